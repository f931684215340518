#include "weir/core/state/state_tracker.h"

#include <gtest/gtest.h>

#include "weir/core/error.h"

namespace weir {
namespace {

using internal::KeyGroups;

constexpr StateId kState = 1;

StatePiece piece(std::uint64_t sequence, std::uint64_t length = 10, const char* file = "log") {
  return {file, sequence * 100, length, sequence};
}
StateStep delta(std::uint64_t sequence, const char* file = "log") {
  return {sequence, false, piece(sequence, 10, file)};
}
StateStep snapshot(std::uint64_t sequence, const char* file = "snap") {
  return {sequence, true, piece(sequence, 10, file)};
}
StateStep of_groups(StateStep step, std::uint32_t begin, std::uint32_t end) {
  step.begin_group = begin;
  step.end_group = end;
  return step;
}

class Tracking : public ::testing::Test {
 protected:
  explicit Tracking(std::uint64_t expires_after = 0) {
    tracker_.declare(kState, {"sums", 2, 8, "/state", expires_after});
  }

  StateOutput made(std::uint32_t partition, std::uint64_t sequence, std::uint64_t base) {
    StateOutput output;
    output.state = kState;
    output.partition = partition;
    output.sequence = sequence;
    output.base_sequence = base;
    output.delta = piece(sequence);
    return output;
  }
  /// Attempt 10 * sequence of partition 0.
  void install(std::uint64_t sequence, std::uint64_t base) {
    tracker_.installed(10 * sequence, made(0, sequence, base));
  }
  void install_to(std::uint64_t last) {
    for (std::uint64_t n = 1; n <= last; ++n) install(n, n - 1);
  }
  void report_snapshot(std::uint64_t of, std::uint64_t with) {
    StateOutput output = made(0, with, with - 1);
    output.snapshots = {snapshot(of)};
    tracker_.installed(10 * with, output);
  }
  StateInput input(std::uint64_t sequence, bool writes = true) {
    return tracker_.input(kState, 0, sequence, writes);
  }
  void lose(std::uint64_t sequence) { tracker_.lost({kState, 0, sequence, "gone"}); }

  StateTracker tracker_{{.max_deltas = 4, .min_snapshot_bytes = 100}};
};
struct TrackingWindows : Tracking {
  TrackingWindows() : Tracking(3) {}
};

TEST_F(Tracking, WhatOnlyCommitsNameIsUnreadUntilATaskHasBuiltOnIt) {
  tracker_.checkpointed(kState, 1, {{delta(1)}, {}});
  tracker_.restore(kState, 1, 2, {{delta(1)}, {}});
  EXPECT_FALSE(tracker_.has_unread(kState));
  tracker_.restore(kState, 2, 2, {{delta(1), delta(2)}, {}});
  EXPECT_TRUE(tracker_.has_unread(kState));
  install(3, 2);
  EXPECT_FALSE(tracker_.has_unread(kState));
}

TEST_F(Tracking, ATaskIsGivenTheNewestVersionBeforeItsBatch) {
  EXPECT_EQ(input(1).base_sequence, 0U);
  install_to(2);
  const StateInput next = input(3);
  EXPECT_EQ(next.base_sequence, 2U);
  EXPECT_EQ(next.base_attempt, 20U);
  EXPECT_EQ(next.sequence, 3U);
  EXPECT_TRUE(next.writes);
  EXPECT_EQ(next.directory, "/state");
  EXPECT_EQ(next.groups, (KeyGroups{8, 0, 4}));
  EXPECT_EQ(next.history, (std::vector<StateStep>{delta(1), delta(2)}));
  EXPECT_EQ(input(2).base_sequence, 1U) << "batch 2 is computed again";
  EXPECT_EQ(input(2, false).base_sequence, 2U);
  EXPECT_EQ(input(9).base_sequence, 2U) << "batches 3 to 8 did not change it";
  EXPECT_TRUE(tracker_.input(kState, 0, 3, true, false).history.empty());
  EXPECT_THROW((void)tracker_.input(kState, 2, 1, true), Error);
  EXPECT_THROW((void)tracker_.input(kState + 1, 0, 1, true), Error);
}

TEST_F(Tracking, VersionsAreTrackedForEachPartition) {
  install_to(2);
  tracker_.installed(5, made(1, 1, 0));
  EXPECT_EQ(tracker_.version(kState, 0), 2U);
  EXPECT_EQ(tracker_.version(kState, 1), 1U);
  EXPECT_EQ(tracker_.behind(kState, 2), std::vector<std::uint32_t>{1});
  EXPECT_EQ(tracker_.deltas(kState, 2), (std::vector<StatePiece>{piece(2), {}}));
  EXPECT_EQ(tracker_.steps(kState, 2),
            (std::vector<std::vector<StateStep>>{{delta(1), delta(2)}, {delta(1)}}));
}

TEST_F(Tracking, OfTwoAttemptsTheLastCountsUnlessThereIsANewerVersion) {
  install_to(2);
  tracker_.installed(99, made(0, 2, 1));
  EXPECT_EQ(input(3).base_attempt, 99U);
  tracker_.installed(98, made(0, 1, 0));
  EXPECT_EQ(input(2).base_attempt, 10U);
}

TEST_F(Tracking, AVersionOverABaseThatIsNotKnownAnyMoreIsNotInstalled) {
  install_to(3);
  lose(1);
  install(4, 3);
  EXPECT_EQ(tracker_.version(kState, 0), 1U);
}

TEST_F(Tracking, CommittedBatchesMayBeFolded) {
  install_to(3);
  tracker_.committed(2);
  EXPECT_EQ(input(4).fold_to, 2U);
}

TEST_F(Tracking, ASnapshotIsAskedForAfterManyDeltasOrBytes) {
  install_to(3);
  EXPECT_FALSE(input(4).snapshot);
  install(4, 3);
  EXPECT_TRUE(input(5).snapshot);
  EXPECT_FALSE(input(5, false).snapshot) << "a task that reads only could not report it";
  report_snapshot(4, 5);
  EXPECT_FALSE(input(6).snapshot);
  StateOutput large = made(0, 6, 5);
  large.delta.length = 101;
  tracker_.installed(60, large);
  EXPECT_TRUE(input(7).snapshot);
}

TEST_F(Tracking, ASnapshotTakesThePlaceOfTheStepsBeforeIt) {
  install_to(4);
  report_snapshot(3, 5);
  EXPECT_EQ(input(6).history, (std::vector<StateStep>{snapshot(3), delta(4), delta(5)}));
  EXPECT_EQ(input(3).history, (std::vector<StateStep>{delta(1), delta(2)}));
  tracker_.committed(5);
  EXPECT_EQ(input(6).history, (std::vector<StateStep>{snapshot(3), delta(4), delta(5)}));
  EXPECT_TRUE(input(3).gone);
  EXPECT_EQ(tracker_.files(), (std::set<std::string>{"log", "snap"}));
}

TEST_F(Tracking, WhatBehindALostStepCanBeHadIsTheNewestVersion) {
  install_to(4);
  lose(2);
  EXPECT_EQ(input(3).base_sequence, 2U);
  EXPECT_EQ(input(3).base_attempt, 20U);
  EXPECT_EQ(tracker_.totals(kState).lost_partitions, 1U);
  lose(2);
  EXPECT_EQ(tracker_.totals(kState).lost_partitions, 1U);
}

TEST_F(Tracking, ALostSnapshotLeavesNothing) {
  install_to(4);
  report_snapshot(3, 5);
  tracker_.committed(5);
  lose(0);
  EXPECT_EQ(tracker_.version(kState, 0), 0U);
  EXPECT_TRUE(input(1).history.empty());
  EXPECT_FALSE(input(1).gone);
  install_to(2);
  EXPECT_EQ(input(3).history, (std::vector<StateStep>{delta(1), delta(2)}));
}

TEST_F(Tracking, ADeltaLostBehindASnapshotLeavesTheSnapshot) {
  install_to(4);
  report_snapshot(3, 5);
  tracker_.committed(5);
  lose(3);
  EXPECT_EQ(tracker_.version(kState, 0), 3U);
  EXPECT_EQ(input(4).history, std::vector<StateStep>{snapshot(3)});
}

TEST_F(Tracking, BeginsWithWhatWasRestored) {
  tracker_.restore(kState, 7, 2, {{snapshot(4), delta(6)}, {}});
  EXPECT_EQ(input(8).base_sequence, 7U);
  EXPECT_EQ(input(8).base_attempt, 0U);
  EXPECT_EQ(input(8).history, (std::vector<StateStep>{snapshot(4), delta(6)}));
  EXPECT_TRUE(input(7).gone);
  install(8, 7);
  EXPECT_EQ(input(9).history, (std::vector<StateStep>{snapshot(4), delta(6), delta(8)}));
  lose(6);
  EXPECT_EQ(tracker_.version(kState, 0), 7U) << "batch 7 did not change it";
  lose(4);
  EXPECT_EQ(tracker_.version(kState, 0), 5U) << "nor batch 5";
  EXPECT_EQ(input(6).history, std::vector<StateStep>{snapshot(4)});
  EXPECT_THROW(tracker_.restore(kState, 7, 2, {{}}), Error);
}

TEST_F(Tracking, PartitionsOfAnotherNumberTakeStepsOverByTheirGroups) {
  tracker_.restore(kState, 7, 3, {{snapshot(4, "a")}, {snapshot(5, "b"), delta(6, "b")}, {}});
  EXPECT_EQ(input(8).history, (std::vector<StateStep>{of_groups(snapshot(4, "a"), 0, 3),
                                                      of_groups(snapshot(5, "b"), 3, 4),
                                                      of_groups(delta(6, "b"), 3, 4)}));
  EXPECT_EQ(
      tracker_.input(kState, 1, 8, true).history,
      (std::vector<StateStep>{of_groups(snapshot(5, "b"), 4, 6), of_groups(delta(6, "b"), 4, 6)}));
}

TEST_F(Tracking, DeltasAloneAreTakenOverInTheOrderOfBatchesAndCommonOnesOnce) {
  tracker_.restore(kState, 7, 3,
                   {{delta(4, "a"), delta(6, "a")}, {delta(5, "b"), delta(6, "a")}, {}});
  EXPECT_EQ(input(8).history,
            (std::vector<StateStep>{of_groups(delta(4, "a"), 0, 3), of_groups(delta(5, "b"), 3, 4),
                                    delta(6, "a")}));
}

TEST_F(Tracking, ADeltaDoesNotCountForGroupsThatWereMadeAgainWithoutIt) {
  // Of two partitions three were made; the second one of them was lost and made again.
  tracker_.restore(kState, 7, 3,
                   {{delta(4, "a"), delta(5, "c")}, {delta(4, "b"), delta(5, "d")}, {}});
  EXPECT_EQ(input(8).history, (std::vector<StateStep>{
                                  of_groups(delta(4, "a"), 0, 3), of_groups(delta(4, "b"), 3, 4),
                                  of_groups(delta(5, "c"), 0, 3), of_groups(delta(5, "d"), 3, 4)}));
}

// Batches were cut three times as often: nine of them were in a window.
TEST_F(TrackingWindows, StepsOfAShorterIntervalExpireWhenAllOfThemHaveLeft) {
  tracker_.restore(kState, 9, 2, {{delta(1), delta(5), delta(9)}, {}}, 9);
  EXPECT_EQ(tracker_.expires_after(kState, 9), 9U);
  for (std::uint64_t n = 10; n <= 13; ++n) {
    install(n, n - 1);
    tracker_.committed(n);
    if (n == 12) {
      EXPECT_EQ(input(13).history,
                (std::vector<StateStep>{delta(5), delta(9), delta(10), delta(11), delta(12)}));
    }
  }
  EXPECT_EQ(input(14).history,
            (std::vector<StateStep>{delta(10), delta(11), delta(12), delta(13)}));
  EXPECT_EQ(tracker_.expires_after(kState, 13), 3U);
}

TEST_F(TrackingWindows, StepsThatExpiredAreLeftOut) {
  install_to(6);
  EXPECT_EQ(input(7).history, (std::vector<StateStep>{delta(3), delta(4), delta(5), delta(6)}));
  EXPECT_FALSE(input(7).snapshot);
  tracker_.committed(6);
  EXPECT_EQ(input(7).history.size(), 4U);
  EXPECT_TRUE(input(6).gone) << "version 5 needs what has expired";
  lose(0);
  EXPECT_EQ(tracker_.version(kState, 0), 2U) << "what came before has expired";
  install(3, 2);
  EXPECT_EQ(input(4).history, std::vector<StateStep>{delta(3)});
}

TEST_F(Tracking, AForgottenStateTakesNothingMore) {
  tracker_.forget(kState);
  install(1, 0);
  lose(0);
  EXPECT_TRUE(tracker_.files().empty());
  EXPECT_THROW((void)tracker_.version(kState, 0), Error);
}

}  // namespace
}  // namespace weir
