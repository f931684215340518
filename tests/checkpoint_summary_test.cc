// What people are told of a checkpoint directory, whole and damaged.

#include "weir/dstream/checkpoint_summary.h"

#include <filesystem>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include "recovery_kit.h"

namespace weir::test {
namespace {

class CheckpointSummaries : public Recovery {
 protected:
  /// A driver that ends as it is told after four batches.
  void run(bool gracefully) {
    auto driver = start([this](StreamingContext& stream) {
      counts(stream)
          .update_state_by_key(fn<&add_up>)
          .uid("totals")
          .write_to(sink(), {.uid = "out"});
    });
    driver->run(4, 4);
    gracefully ? driver->stop() : driver->kill();
  }
};

TEST_F(CheckpointSummaries, SayWhereAStreamIs) {
  run(true);
  const CheckpointSummary summary = summarize_checkpoint(directory(), true);
  EXPECT_TRUE(summary.problems.empty()) << summary.problems.front();
  EXPECT_EQ(summary.epoch, 1u);
  EXPECT_EQ(summary.checkpointed.sequence, 4u);
  EXPECT_EQ(summary.committed, 4u);
  EXPECT_EQ(summary.last.sequence, 4u);
  EXPECT_FALSE(summary.application.empty());
  ASSERT_EQ(summary.states.size(), 1u);
  EXPECT_EQ(summary.states[0].uid, "totals");
  EXPECT_GT(summary.states[0].bytes, 0u);
}

TEST_F(CheckpointSummaries, FindWhatADriverWouldMiss) {
  run(false);
  ASSERT_TRUE(summarize_checkpoint(directory(), true).problems.empty());
  for (const auto& entry : std::filesystem::directory_iterator(state_directory())) {
    std::string bytes = read_file(entry.path());
    for (char& byte : bytes) byte = static_cast<char>(byte ^ 1);
    std::ofstream(entry.path(), std::ios::binary) << bytes;
  }
  EXPECT_TRUE(summarize_checkpoint(directory(), false).problems.empty()) << "nothing was read";
  EXPECT_FALSE(summarize_checkpoint(directory(), true).problems.empty());
  EXPECT_GT(remove_state_files(".chg"), 0u);
  const CheckpointSummary summary = summarize_checkpoint(directory(), true);
  ASSERT_FALSE(summary.problems.empty());
  EXPECT_NE(summary.problems.front().find("state/log-"), std::string::npos);
}

TEST_F(CheckpointSummaries, NeedADirectory) {
  EXPECT_THROW(summarize_checkpoint(folder_.file("nothing"), false), Error);
  EXPECT_FALSE(std::filesystem::exists(folder_.file("nothing")));
}

}  // namespace
}  // namespace weir::test
