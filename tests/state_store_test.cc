// The state store by hand: who asks for which version, what is in memory and what in files.

#include "weir/core/state/state_store.h"

#include <sys/resource.h>

#include <filesystem>
#include <fstream>
#include <utility>

#include <gtest/gtest.h>

#include "weir/core/error.h"
#include "weir/core/hash.h"
#include "weir/core/state/snapshot_file.h"
#include "weir/core/state/state_tracker.h"

#include "process_tools.h"
#include "toy_state.h"

namespace weir::test {
namespace {

using internal::KeyGroups;
using Sums = std::map<int, std::int64_t>;

constexpr StateId kState = 3;
constexpr std::uint64_t kSeed = 42;

std::unique_ptr<internal::StateTable> make_table(const KeyGroups& groups) {
  return std::make_unique<SumTable>(groups);
}

/// A worker's store and the driver's tracker, and tasks between them.
class Stores : public ::testing::Test {
 protected:
  Stores() { declare(1); }

  void declare(std::uint32_t partitions, std::uint64_t expires_after = 0) {
    partitions_ = partitions;
    tracker_.declare(kState, {"sums", partitions, 8, folder_.file("state"), expires_after});
  }

  StateInput input(std::uint64_t sequence, bool writes = true, std::uint32_t partition = 0) {
    return tracker_.input(kState, partition, sequence, writes);
  }
  auto open(const StateInput& input) {
    return store_->open(
        input, make_table, [] {}, cancelled_);
  }
  StateLease lease(const StateInput& input) { return std::get<StateLease>(open(input)); }

  /// A task that adds to sums; accepted or not, its output is what it reported.
  StateOutput attempt(const StateInput& input, AttemptId attempt, const Sums& added) {
    const StateLease base = lease(input);
    SumOverlay::Sums changed;
    for (const auto& [key, value] : added) {
      const std::uint64_t hash = internal::key_hash(key, kSeed);
      if (!input.groups.owns(hash)) continue;
      changed[hash] = {key, sum_in(base.view(), hash).value_or(0) + value};
    }
    return store_->keep(input, base, attempt, std::make_shared<SumOverlay>(changed), 0);
  }
  /// One batch: all partitions are updated and accepted, and the batch is committed.
  void batch(std::uint64_t sequence, const Sums& added) {
    for (std::uint32_t p = 0; p < partitions_; ++p) {
      const AttemptId id = ++last_attempt_;
      tracker_.installed(id, attempt(input(sequence, true, p), id, added));
    }
    tracker_.committed(sequence);
  }
  Sums read(std::uint64_t sequence) {
    Sums all;
    for (std::uint32_t p = 0; p < partitions_; ++p) {
      all.merge(sums_of(lease(input(sequence, false, p)).view()));
    }
    return all;
  }
  /// A worker with nothing in memory. When snapshots are written is said by `finish_snapshots`, so
  /// that no test depends on how fast a thread is.
  static std::unique_ptr<StateStore> fresh_store() {
    return std::make_unique<StateStore>(StateStore::Options{.on_callers_thread = true});
  }
  /// Another worker.
  void restart() { store_ = fresh_store(); }
  std::string path(const std::string& file) const { return folder_.file("state/" + file); }

  TempFolder folder_;
  StateTracker tracker_{{.max_deltas = 3, .min_snapshot_bytes = 1 << 20}};
  std::unique_ptr<StateStore> store_ = fresh_store();
  std::atomic<bool> cancelled_{false};
  std::uint32_t partitions_ = 1;
  AttemptId last_attempt_ = 0;
};

TEST_F(Stores, AVersionIsWhatAnAcceptedAttemptMadeOfTheOneBefore) {
  batch(1, {{1, 10}, {2, 20}});
  batch(2, {{1, 1}});
  EXPECT_EQ(read(2), (Sums{{1, 11}, {2, 20}}));
  EXPECT_EQ(read(1), (Sums{{1, 10}, {2, 20}})) << "from files: it has been folded";
}

TEST_F(Stores, AnAttemptThatWasNotAcceptedIsNotSeen) {
  batch(1, {{1, 10}});
  const StateOutput refused = attempt(input(2), 100, {{1, 5}});
  tracker_.installed(101, attempt(input(2), 101, {{1, 6}}));
  EXPECT_EQ(read(2), (Sums{{1, 16}}));
  EXPECT_EQ(read(1), (Sums{{1, 10}})) << "the base stays until it is committed";
  tracker_.committed(2);
  batch(3, {{1, 1}});
  EXPECT_EQ(read(3), (Sums{{1, 17}}));
}

TEST_F(Stores, TheLastAcceptedOfTwoAttemptsIsTheBase) {
  batch(1, {{1, 10}});
  tracker_.installed(100, attempt(input(2), 100, {{1, 5}}));
  tracker_.installed(101, attempt(input(2), 101, {{1, 5}}));
  EXPECT_EQ(input(3).base_attempt, 101U);
  tracker_.committed(2);
  batch(3, {{1, 1}});
  EXPECT_EQ(read(3), (Sums{{1, 16}}));
}

TEST_F(Stores, TheTableIsNotFoldedWhileItIsRead) {
  batch(1, {{1, 10}});
  batch(2, {{1, 1}});
  {
    const StateLease reader = lease(input(2, false));
    const Sums before = sums_of(reader.view());
    batch(3, {{1, 1}});
    batch(4, {{1, 1}, {2, 7}});
    EXPECT_EQ(read(4), (Sums{{1, 13}, {2, 7}}));
    EXPECT_EQ(sums_of(reader.view()), before);
  }
  store_->finish_snapshots();
  EXPECT_TRUE(lease(input(5)).view().overlays.empty()) << "folded as soon as nobody reads it";
  EXPECT_EQ(read(4), (Sums{{1, 13}, {2, 7}}));
}

TEST_F(Stores, AWithheldHistoryIsAskedForWhereTheBaseIsNotInMemory) {
  batch(1, {{1, 10}});
  StateInput next = input(2);
  next.withheld = true;
  next.history.clear();
  EXPECT_TRUE(std::holds_alternative<StateLease>(open(next)));
  restart();
  EXPECT_TRUE(std::holds_alternative<NeedInputs>(open(next)));
  EXPECT_TRUE(std::holds_alternative<StateLease>(open(input(2))));
  EXPECT_TRUE(std::holds_alternative<StateLease>(open(next))) << "restored, it stays";
}

TEST_F(Stores, AnotherWorkerPutsTheVersionTogetherFromTheChangelog) {
  for (std::uint64_t n = 1; n <= 4; ++n) batch(n, {{1, 1}, {static_cast<int>(n), 100}});
  const Sums expected = read(4);
  restart();
  const StateInput next = input(5);
  EXPECT_EQ(next.history.size(), 4U);
  const StateOutput output = attempt(next, 100, {{9, 9}});
  EXPECT_GT(output.restored_bytes, 0U);
  tracker_.installed(100, output);
  EXPECT_EQ(tracker_.totals(kState).restored_partitions, 1U);
  Sums after = expected;
  after[9] = 9;
  EXPECT_EQ(read(5), after);
  EXPECT_EQ(attempt(input(6), 101, {}).restored_bytes, 0U);
}

TEST_F(Stores, ADamagedDeltaIsLostStateWithWhatCanBeHad) {
  for (std::uint64_t n = 1; n <= 4; ++n) batch(n, {{1, 1}});
  const StateStep damaged = input(5).history.at(2);
  {
    std::fstream file(path(damaged.piece.file), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(damaged.piece.offset));
    file.put('\x7f');
  }
  restart();
  const StateLost lost = std::get<StateLost>(open(input(5)));
  EXPECT_EQ(lost.state, kState);
  EXPECT_EQ(lost.sequence, 2U);
  EXPECT_NE(lost.message.find(path(damaged.piece.file)), std::string::npos) << lost.message;
  EXPECT_NE(lost.message.find("offset " + std::to_string(damaged.piece.offset)), std::string::npos)
      << lost.message;
  tracker_.lost(lost);
  EXPECT_EQ(tracker_.behind(kState, 4), std::vector<std::uint32_t>{0});
  for (std::uint64_t n = 3; n <= 4; ++n) batch(n, {{1, 1}});  // replayed
  EXPECT_EQ(read(4), (Sums{{1, 4}}));
  restart();
  EXPECT_EQ(read(4), (Sums{{1, 4}}));
}

TEST_F(Stores, AShortOrMissingFileIsLostState) {
  batch(1, {{1, 1}});
  batch(2, {{1, 1}});
  const StateStep last = input(3).history.at(1);
  std::filesystem::resize_file(path(last.piece.file), last.piece.offset + 3);
  restart();
  EXPECT_EQ(std::get<StateLost>(open(input(3))).sequence, 1U);
  std::filesystem::remove(path(last.piece.file));
  const StateLost lost = std::get<StateLost>(open(input(3)));
  EXPECT_EQ(lost.sequence, 0U);
  EXPECT_NE(lost.message.find("there is no such file"), std::string::npos) << lost.message;
}

TEST_F(Stores, ASnapshotTakesThePlaceOfTheDeltasBeforeIt) {
  store_ = std::make_unique<StateStore>();  // with the thread that writes them
  for (std::uint64_t n = 1; n <= 4; ++n) batch(n, {{1, 1}, {static_cast<int>(n), 10}});
  store_->finish_snapshots();  // batch 4 asked for it: three deltas
  batch(5, {{5, 10}});
  const std::vector<StateStep> history = input(6).history;
  ASSERT_EQ(history.size(), 3U);
  EXPECT_TRUE(history[0].is_snapshot);
  EXPECT_EQ(history[0].sequence, 3U);
  const Sums expected = read(5);
  restart();
  EXPECT_EQ(read(5), expected);
}

TEST_F(Stores, ASnapshotIsReportedUntilTheDriverHasAcceptedIt) {
  for (std::uint64_t n = 1; n <= 4; ++n) batch(n, {{1, 1}});
  store_->finish_snapshots();
  EXPECT_EQ(attempt(input(5), 100, {}).snapshots.size(), 1U);
  EXPECT_EQ(attempt(input(5), 101, {}).snapshots.size(), 1U) << "attempt 100 was not accepted";
  batch(5, {{1, 1}});
  EXPECT_TRUE(attempt(input(6), 103, {}).snapshots.empty());
}

TEST_F(Stores, ADamagedSnapshotIsLostState) {
  for (std::uint64_t n = 1; n <= 4; ++n) batch(n, {{1, 1}});
  store_->finish_snapshots();
  batch(5, {});
  const StateStep snapshot = input(6).history.at(0);
  ASSERT_TRUE(snapshot.is_snapshot);
  std::filesystem::resize_file(path(snapshot.piece.file), snapshot.piece.length - 1);
  restart();
  EXPECT_EQ(std::get<StateLost>(open(input(6))).sequence, 0U);
}

TEST_F(Stores, AReleasedStateIsNoLongerInMemory) {
  batch(1, {{1, 10}});
  StateInput next = input(2);
  next.withheld = true;
  store_->release(kState + 1);
  EXPECT_TRUE(std::holds_alternative<StateLease>(open(next)));
  store_->release(kState);
  EXPECT_TRUE(std::holds_alternative<NeedInputs>(open(next)));
  cancelled_ = true;
  (void)lease(input(2));
  EXPECT_TRUE(std::holds_alternative<NeedInputs>(open(next))) << "a cancelled attempt kept it";
}

TEST_F(Stores, AnOlderVersionIsForItsTaskOnly) {
  for (std::uint64_t n = 1; n <= 2; ++n) batch(n, {{1, 1}});
  StateInput old = input(2);  // batch 2 is computed again though it is committed
  EXPECT_EQ(old.base_sequence, 1U);
  EXPECT_EQ(sums_of(lease(old).view()), (Sums{{1, 1}}));
  tracker_.installed(100, attempt(old, 100, {{1, 1}}));
  StateInput next = input(3);
  next.withheld = true;
  EXPECT_EQ(sums_of(lease(next).view()), (Sums{{1, 2}}));
}

TEST_F(Stores, ABaseThatIsGoneFailsTheTask) {
  StateInput old = input(1);
  old.gone = true;
  EXPECT_THROW((void)open(old), Error);
}

TEST_F(Stores, ARemovedChangelogIsNotWrittenAnyFurther) {
  batch(1, {{1, 1}});
  std::filesystem::remove(path(input(2).history.at(0).piece.file));
  batch(2, {{1, 1}});
  EXPECT_TRUE(std::filesystem::exists(path(input(3).history.at(1).piece.file)));
}

TEST_F(Stores, AChangelogThatCannotBeWrittenFailsTheTaskAndIsGivenUp) {
  batch(1, {{1, 1}});
  const std::string first = input(2).history.at(0).piece.file;
  struct rlimit before {};
  getrlimit(RLIMIT_FSIZE, &before);
  signal(SIGXFSZ, SIG_IGN);
  const struct rlimit full { std::filesystem::file_size(path(first)) + 3, before.rlim_max };
  setrlimit(RLIMIT_FSIZE, &full);
  std::string message;
  try {
    (void)attempt(input(2), 100, {{1, 1}});
  } catch (const Error& error) {
    message = error.what();
  }
  setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_NE(message.find("cannot write "), std::string::npos) << message;
  EXPECT_NE(message.find("File too large"), std::string::npos) << message;
  EXPECT_NE(message.find(path(first)), std::string::npos) << message;
  batch(2, {{1, 1}});
  EXPECT_NE(input(3).history.at(1).piece.file, first);
  restart();
  EXPECT_EQ(read(2), (Sums{{1, 2}}));
}

TEST_F(Stores, PartitionsOfAnotherNumberTakeOverTheirGroupsAgainAndAgain) {
  Sums many;
  for (int key = 0; key < 40; ++key) many[key] = key + 1;
  declare(2);
  for (std::uint64_t n = 1; n <= 4; ++n) batch(n, many);
  store_->finish_snapshots();
  batch(5, {{0, -5}, {1, 7}});  // key 0 is deleted after its snapshot
  std::uint64_t sequence = 5;
  Sums expected;
  for (const std::uint32_t partitions : {3U, 5U, 2U, 8U, 1U}) {
    expected = read(sequence);
    const auto steps = tracker_.steps(kState, sequence);
    const auto before = partitions_;
    tracker_.forget(kState);
    declare(partitions);
    tracker_.restore(kState, sequence, before, steps);
    restart();
    EXPECT_EQ(read(sequence), expected) << "with " << partitions << " partitions";
    batch(++sequence, {{static_cast<int>(partitions), -expected[static_cast<int>(partitions)]},
                       {50 + static_cast<int>(partitions), 3}});
    store_->finish_snapshots();
    batch(++sequence, {{2, 1}});
  }
  EXPECT_EQ(expected.count(3), 0U);
}

const internal::StateFiles kFiles = internal::StateFiles::of_the_system();

TEST(Changelogs, RollWhenTheyAreFull) {
  TempFolder folder;
  internal::Changelog log(kFiles, 20);
  const StatePiece a = log.append(folder.file("state"), "0123456789");
  const StatePiece b = log.append(folder.file("state"), "abcdefghij");
  const StatePiece c = log.append(folder.file("state"), "x");
  EXPECT_EQ(a.offset, 8U);
  EXPECT_EQ(b.file, a.file);
  EXPECT_EQ(b.offset, 18U);
  EXPECT_NE(c.file, a.file);
  internal::PieceReader reader(kFiles, folder.file("state"));
  EXPECT_EQ(reader.read(b), "abcdefghij");
  EXPECT_EQ(reader.read(c), "x");
  EXPECT_EQ(reader.read(a), "0123456789");
  EXPECT_THROW(log.append(folder.file("no/such/parent"), "x"), Error);
}

TEST(SnapshotFiles, HoldGroupsOfAnySize) {
  TempFolder folder;
  StatePiece piece;
  const std::string large(3 << 20, 'x');
  {
    internal::SnapshotWriter writer(kFiles, folder.file("state"));
    writer.add(3, "three");
    writer.add(4, "");
    writer.add(5, large);
    writer.add(6, "six");
    piece = writer.finish();
  }
  std::map<std::uint32_t, std::string> groups;
  internal::PieceReader(kFiles, folder.file("state"))
      .read_groups(piece, [&](std::uint32_t group, SlimReader& in) {
        const std::size_t size = in.left();
        groups[group] = std::string(in.take(size), size);
      });
  EXPECT_EQ(groups,
            (std::map<std::uint32_t, std::string>{{3, "three"}, {4, ""}, {5, large}, {6, "six"}}));
}

TEST(SnapshotFiles, OneThatIsNotFinishedGoesAway) {
  TempFolder folder;
  { internal::SnapshotWriter(kFiles, folder.file("state")).add(1, "x"); }
  EXPECT_TRUE(std::filesystem::is_empty(folder.file("state")));
}

}  // namespace
}  // namespace weir::test
