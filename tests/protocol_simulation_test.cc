// The exactly-once protocol in a world of dying drivers, workers, machines and disks, all from one
// seed. A failure names its seed:
//
//     WEIR_PROTOCOL_SEED=1234 protocol_pure_test --gtest_filter='*WhateverHappens'
//
// runs that one and prints every event. WEIR_PROTOCOL_SEEDS says how many are tried otherwise.
#include "protocol_simulation.h"

#include <cstdint>
#include <cstdio>
#include <exception>
#include <string>

#include <gtest/gtest.h>

#include "weir/core/log.h"

namespace weir {
namespace {

using protocol::Mutant;
using protocol::Simulation;

const simulation::Seeds kSeeds("WEIR_PROTOCOL");
constexpr bool kIsQuick = WEIR_TIME_SCALE == 1;  // else it runs under a sanitizer
constexpr std::uint64_t kUsually = kIsQuick ? 5000 : 500;

/// The models make drivers die that tell the operator so.
class ProtocolSimulation : public ::testing::Test {
 protected:
  ProtocolSimulation() { set_log_level("off"); }
};

TEST_F(ProtocolSimulation, OutputAndStateAreExactlyOnceWhateverHappens) {
  int starts = 0;
  int crashes = 0;
  int fenced = 0;
  int losses = 0;
  int late = 0;
  int raced = 0;
  int commits = 0;
  int checkpoints = 0;
  int snapshots = 0;
  const std::uint64_t seeds = kSeeds.wanted(kUsually);
  for (std::uint64_t seed = kSeeds.first(); seed < kSeeds.end(seeds); ++seed) {
    Simulation simulation(seed);
    simulation.trace.verbose = kSeeds.is_single();
    try {
      simulation.run();
    } catch (const std::exception& broken) {
      FAIL() << "WEIR_PROTOCOL_SEED=" << seed << ": " << broken.what();
    }
    starts += simulation.starts;
    crashes += simulation.crashes;
    fenced += simulation.fenced;
    losses += simulation.losses;
    late += simulation.late;
    raced += simulation.raced;
    commits += simulation.commits;
    checkpoints += simulation.checkpoints;
    snapshots += simulation.snapshots;
  }
  if (kSeeds.is_single() || seeds < 500) return;
  std::printf(
      "starts %d, crashes %d, fenced %d, lost state %d, late outcomes %d, races %d, "
      "commits %d, steps of checkpoints %d, snapshots %d\n",
      starts, crashes, fenced, losses, late, raced, commits, checkpoints, snapshots);
  // Otherwise the weather is too fine to show anything.
  EXPECT_GT(fenced, 100);
  EXPECT_GT(losses, 100);
  EXPECT_GT(late, 100);
  EXPECT_GT(raced, 100);
  EXPECT_GT(snapshots, 100);
}

TEST_F(ProtocolSimulation, ASeedReplaysExactly) {
  std::uint64_t before = 0;
  const std::uint64_t seeds = kSeeds.wanted(kUsually) / 100 + 1;
  for (std::uint64_t seed = kSeeds.first(); seed < kSeeds.end(seeds); ++seed) {
    Simulation one(seed);
    Simulation two(seed);
    one.run();
    two.run();
    ASSERT_EQ(one.trace.hash(), two.trace.hash()) << "WEIR_PROTOCOL_SEED=" << seed;
    ASSERT_NE(one.trace.hash(), before) << "two seeds are the same";
    before = one.trace.hash();
  }
}

struct Wrong {
  Mutant mutant;
  const char* name;
  bool looks_inside = true;  ///< else what it leads to has to be enough
};

/// Otherwise the simulation would say nothing about the right protocol.
class WrongProtocol : public ProtocolSimulation, public ::testing::WithParamInterface<Wrong> {};

TEST_P(WrongProtocol, IsFound) {
  constexpr std::uint64_t kMost = kIsQuick ? 10'000 : 300;
  for (std::uint64_t seed = kSeeds.first(); seed < kSeeds.end(kMost); ++seed) {
    Simulation simulation(seed, GetParam().mutant);
    simulation.trace.verbose = kSeeds.is_single();
    simulation.looks_inside = GetParam().looks_inside;
    try {
      simulation.run();
    } catch (const std::exception& broken) {
      std::printf("found at seed %llu: %s\n", static_cast<unsigned long long>(seed), broken.what());
      return;
    }
  }
  if (!kIsQuick) GTEST_SKIP() << "not found in the few seeds that there is time for";
  FAIL() << "not found";
}

INSTANTIATE_TEST_SUITE_P(
    All, WrongProtocol,
    ::testing::Values(Wrong{Mutant::kEffectsBeforeIntent, "EffectsBeforeIntent", false},
                      Wrong{Mutant::kAwaitWithoutSync, "AwaitWithoutSync", false},
                      Wrong{Mutant::kFailedSyncIgnored, "FailedSyncIgnored"},
                      Wrong{Mutant::kDirectoryNotSynced, "DirectoryNotSynced"},
                      Wrong{Mutant::kTakeoverOverlooked, "TakeoverOverlooked"},
                      Wrong{Mutant::kStateInPlace, "StateInPlace"},
                      Wrong{Mutant::kStaleOutcomeAccepted, "StaleOutcomeAccepted"},
                      Wrong{Mutant::kFilesFreedAtCommit, "FilesFreedAtCommit"},
                      Wrong{Mutant::kFilesFreedBeforeRecord, "FilesFreedBeforeRecord"},
                      Wrong{Mutant::kFilesFreedDuringBatch, "FilesFreedDuringBatch"},
                      Wrong{Mutant::kLogReleasedAtCommit, "LogReleasedAtCommit"},
                      Wrong{Mutant::kCheckpointBeforeCommit, "CheckpointBeforeCommit"},
                      Wrong{Mutant::kCheckpointUnsynced, "CheckpointUnsynced", false},
                      Wrong{Mutant::kCommitBeforeOutputs, "CommitBeforeOutputs"},
                      Wrong{Mutant::kCommitWithoutState, "CommitWithoutState"},
                      Wrong{Mutant::kIntentCutAgain, "IntentCutAgain"},
                      Wrong{Mutant::kIntentDropped, "IntentDropped"},
                      Wrong{Mutant::kSkippedByNumber, "SkippedByNumber", false},
                      Wrong{Mutant::kEpochUnchecked, "EpochUnchecked"},
                      Wrong{Mutant::kReleasedAtIntent, "ReleasedAtIntent"},
                      Wrong{Mutant::kReleasedAtCommit, "ReleasedAtCommit"},
                      Wrong{Mutant::kLossTakenForEmpty, "LossTakenForEmpty"},
                      Wrong{Mutant::kLogReadPastBadGroup, "LogReadPastBadGroup"},
                      Wrong{Mutant::kDeltaUnchecked, "DeltaUnchecked"},
                      Wrong{Mutant::kFailedWriteIgnored, "FailedWriteIgnored"},
                      Wrong{Mutant::kRemovedFileWritten, "RemovedFileWritten"},
                      Wrong{Mutant::kSnapshotUnsynced, "SnapshotUnsynced", false},
                      Wrong{Mutant::kStateFolderUnsynced, "StateFolderUnsynced", false},
                      Wrong{Mutant::kDeltaOfAllGroups, "DeltaOfAllGroups"},
                      Wrong{Mutant::kOthersFilesRemoved, "OthersFilesRemoved"},
                      Wrong{Mutant::kSnapshotSlips, "SnapshotSlips"}),
    [](const auto& each) { return std::string(each.param.name); });

}  // namespace
}  // namespace weir
