// A program is changed, by a filter in front of all its state, and takes over another's checkpoint.

#include <string>

#include <gtest/gtest.h>

#include "crash_point_stream.h"

namespace weir::test {
namespace {

const std::string kFiltered = "key1";
constexpr int kLinesPerKey = kFiles * kLinesPerFile / kKeys;
constexpr int kDataWouldBeLost = 6;  // exit code

/// As if `count` lines of the filtered key had been written.
Totals ledger_with(Totals ledger, std::int64_t count) {
  ledger.erase(kFiltered);
  if (count != 0) ledger[kFiltered] = count;
  return ledger;
}

std::int64_t filtered_in(const Totals& totals) {
  const auto found = totals.find(kFiltered);
  return found == totals.end() ? 0 : found->second;
}

Ending run_edited(Stream& stream, std::int64_t filtered, std::vector<std::string> options = {}) {
  const auto lines = static_cast<int>((kKeys - 1) * kLinesPerKey + filtered);
  return stream.run({.lines = lines, .program = WEIR_EDITED_JOB, .options = std::move(options)});
}

TEST(EditedProgram, KeepsTheStateAndReplaysNothingAfterAGracefulStop) {
  Stream stream(kFiles / 2);
  ASSERT_TRUE(stream.run({.lines = kFiles / 2 * kLinesPerFile}).ended_well()) << stream.log();
  const std::int64_t before = filtered_in(stream.counts("totals"));
  ASSERT_EQ(before, kLinesPerKey / 2);
  stream.write_files(kFiles);

  ASSERT_TRUE(run_edited(stream, before).ended_well()) << stream.log();
  const Totals expected = ledger_with(stream.ledger(), before);
  for (const char* name : {"totals", "running", "window"}) {
    EXPECT_EQ(stream.counts(name), expected) << name;
  }
  EXPECT_EQ(stream.sink_counts(), expected);
}

TEST(EditedProgram, IsRefusedCommittedBatchesOutsideACheckpointUnlessTold) {
  Stream stream;
  ASSERT_TRUE(stream.run("checkpoint.before-sync:1").was_killed()) << stream.log();
  const std::int64_t in_sink = filtered_in(stream.sink_counts());
  ASSERT_GT(in_sink, 0);
  stream.lose_state();  // so that these batches have to be run again, by whoever goes on

  const Ending refused = run_edited(stream, 0);
  ASSERT_TRUE(WIFEXITED(refused.status));
  EXPECT_EQ(WEXITSTATUS(refused.status), kDataWouldBeLost);
  EXPECT_NE(stream.log().find("the program was changed since it ran batch"), std::string::npos);
  EXPECT_NE(stream.log().find("--weir.replay-with-new-code"), std::string::npos);
  EXPECT_EQ(filtered_in(stream.sink_counts()), in_sink);

  ASSERT_TRUE(run_edited(stream, 0, {"--weir.replay-with-new-code"}).ended_well()) << stream.log();
  for (const char* name : {"totals", "running", "window"}) {
    EXPECT_EQ(stream.counts(name), ledger_with(stream.ledger(), 0)) << name;
  }
  // What was committed stays as the former program made it.
  EXPECT_EQ(stream.sink_counts(), ledger_with(stream.ledger(), in_sink));
}

TEST(EditedProgram, FormerProgramGoesOnWhereTheEditedOneWasRefused) {
  Stream stream;
  ASSERT_TRUE(stream.run("checkpoint.before-sync:1").was_killed()) << stream.log();
  ASSERT_FALSE(run_edited(stream, 0).ended_well());
  ASSERT_TRUE(stream.run("").ended_well()) << stream.log();
  EXPECT_EQ(stream.difference(), "");
}

}  // namespace
}  // namespace weir::test
