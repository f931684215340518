// The scheduler, the cluster's driver and its workers in a world of crashes, freezes and a network
// that drops, doubles, delays and reorders, all from one seed. A failure names its seed:
//
//     WEIR_SIM_SEED=1234 cluster_pure_test --gtest_filter='ClusterSimulation.*'
//
// runs that one and prints every event. WEIR_SIM_SEEDS says how many are tried otherwise.
#include "cluster_simulation.h"

#include <cstdint>
#include <stdexcept>
#include <string>

#include <gtest/gtest.h>

namespace weir {
namespace {

const simulation::Seeds kSeeds("WEIR_SIM");

/// Fewer where each takes longer.
std::uint64_t end_of(std::uint64_t seeds) {
  return kSeeds.end(kSeeds.wanted(kTimeoutScale == 1 ? seeds : seeds / 10));
}

TEST(ClusterSimulation, AllJobsEndWithTheRightResultWhateverHappens) {
  int losses = 0;
  int refusals = 0;
  int retries = 0;
  int spills = 0;
  int evictions = 0;
  int hits = 0;
  int replicas = 0;
  int ahead = 0;
  int missing = 0;
  for (std::uint64_t seed = kSeeds.first(); seed < end_of(2000); ++seed) {
    simulation::Simulation simulation(seed);
    simulation.trace.verbose = kSeeds.is_single();
    try {
      simulation.run();
    } catch (const std::exception& broken) {
      FAIL() << "WEIR_SIM_SEED=" << seed << ": " << broken.what();
    }
    losses += simulation.losses;
    refusals += simulation.refusals;
    retries += simulation.retries;
    spills += simulation.spills;
    evictions += simulation.evictions;
    hits += simulation.hits;
    replicas += simulation.replicas;
    ahead += simulation.ahead;
    missing += simulation.missing;
  }
  if (kSeeds.is_single()) return;
  EXPECT_GT(losses, 100) << "the weather is too fine to show anything";
  EXPECT_GT(refusals, 10);
  EXPECT_GT(retries, 100);
  EXPECT_GT(spills, 100);
  EXPECT_GT(evictions, 100);
  EXPECT_GT(hits, 100);
  EXPECT_GT(replicas, 10);
  EXPECT_GT(ahead, 100);
  EXPECT_GT(missing, 10);
}

TEST(ClusterSimulation, AJobWhoseFunctionThrowsFailsWithTheMessageAndNoOtherDoes) {
  for (std::uint64_t seed = kSeeds.first(); seed < end_of(200); ++seed) {
    simulation::Simulation simulation(seed, true);
    try {
      simulation.run();
    } catch (const std::exception& broken) {
      FAIL() << "WEIR_SIM_SEED=" << seed << ": " << broken.what();
    }
  }
}

TEST(ClusterSimulation, ASeedReplaysExactly) {
  std::uint64_t before = 0;
  for (std::uint64_t seed = kSeeds.first(); seed < end_of(2000) / 20 + 1; ++seed) {
    simulation::Simulation one(seed);
    simulation::Simulation two(seed);
    one.run();
    two.run();
    ASSERT_EQ(one.trace.hash(), two.trace.hash()) << "WEIR_SIM_SEED=" << seed;
    ASSERT_EQ(one.events(), two.events()) << "WEIR_SIM_SEED=" << seed;
    ASSERT_NE(one.trace.hash(), before) << "two seeds are the same";
    before = one.trace.hash();
  }
}

}  // namespace
}  // namespace weir
