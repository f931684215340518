// The exactly-once protocol in a world of dying drivers, workers, machines and disks, all from one
// seed. A failure names its seed:
//
//     WEIR_PROTOCOL_SEED=1234 protocol_pure_test --gtest_filter='*WhateverHappens'
//
// runs that one and prints every event. WEIR_PROTOCOL_SEEDS says how many are tried otherwise.
#include "protocol_simulation.h"

#include <cstdint>
#include <cstdlib>
#include <exception>
#include <optional>
#include <string>

#include <gtest/gtest.h>

#include "weir/core/log.h"

namespace weir {
namespace {

using protocol::Mutant;
using protocol::Simulation;

std::uint64_t number(const char* variable, std::uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

std::uint64_t first_seed() { return number("WEIR_PROTOCOL_SEED", 1); }
bool is_single() { return std::getenv("WEIR_PROTOCOL_SEED") != nullptr; }
std::uint64_t num_seeds(std::uint64_t otherwise) {
  if (is_single()) return 1;
  return number("WEIR_PROTOCOL_SEEDS", WEIR_TIME_SCALE == 1 ? otherwise : otherwise / 10);
}

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
  for (std::uint64_t seed = first_seed(); seed < first_seed() + num_seeds(5000); ++seed) {
    Simulation simulation(seed);
    simulation.verbose = is_single();
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
  }
  if (num_seeds(5000) < 500) return;
  std::printf(
      "starts %d, crashes %d, fenced %d, lost state %d, late outcomes %d, races %d, "
      "commits %d, steps of checkpoints %d\n",
      starts, crashes, fenced, losses, late, raced, commits, checkpoints);
  // Otherwise the weather is too fine to show anything.
  EXPECT_GT(fenced, 100);
  EXPECT_GT(losses, 100);
  EXPECT_GT(late, 100);
  EXPECT_GT(raced, 100);
}

TEST_F(ProtocolSimulation, ASeedReplaysExactly) {
  std::uint64_t before = 0;
  for (std::uint64_t seed = first_seed(); seed < first_seed() + num_seeds(5000) / 100 + 1; ++seed) {
    Simulation one(seed);
    Simulation two(seed);
    one.run();
    two.run();
    ASSERT_EQ(one.trace_hash(), two.trace_hash()) << "WEIR_PROTOCOL_SEED=" << seed;
    ASSERT_NE(one.trace_hash(), before) << "two seeds are the same";
    before = one.trace_hash();
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
  constexpr std::uint64_t kSeeds = 10'000;
  for (std::uint64_t seed = first_seed(); seed < first_seed() + (is_single() ? 1 : kSeeds);
       ++seed) {
    Simulation simulation(seed, GetParam().mutant);
    simulation.verbose = is_single();
    simulation.looks_inside = GetParam().looks_inside;
    try {
      simulation.run();
    } catch (const std::exception& broken) {
      std::printf("found at seed %llu: %s\n", static_cast<unsigned long long>(seed), broken.what());
      return;
    }
  }
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
                      Wrong{Mutant::kLossTakenForEmpty, "LossTakenForEmpty"}),
    [](const auto& each) { return std::string(each.param.name); });

}  // namespace
}  // namespace weir
