// The scheduler, the cluster's driver and its workers in a world of crashes, freezes and a network
// that drops, doubles, delays and reorders, all from one seed. A failure names its seed:
//
//     WEIR_SIM_SEED=1234 cluster_pure_test --gtest_filter='ClusterSimulation.*'
//
// runs that one and prints every event. WEIR_SIM_SEEDS says how many are tried otherwise.
#include "cluster_simulation.h"

#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include <gtest/gtest.h>

namespace weir {
namespace {

std::uint64_t number(const char* variable, std::uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

std::uint64_t first_seed() { return number("WEIR_SIM_SEED", 1); }
bool is_single() { return std::getenv("WEIR_SIM_SEED") != nullptr; }
std::uint64_t num_seeds(std::uint64_t otherwise) {
  if (is_single()) return 1;
  return number("WEIR_SIM_SEEDS", kTimeoutScale == 1 ? otherwise : otherwise / 10);
}

TEST(ClusterSimulation, AllJobsEndWithTheRightResultWhateverHappens) {
  int losses = 0;
  int refusals = 0;
  int retries = 0;
  for (std::uint64_t seed = first_seed(); seed < first_seed() + num_seeds(2000); ++seed) {
    simulation::Simulation simulation(seed);
    simulation.verbose = is_single();
    try {
      simulation.run();
    } catch (const std::exception& broken) {
      FAIL() << "WEIR_SIM_SEED=" << seed << ": " << broken.what();
    }
    losses += simulation.losses;
    refusals += simulation.refusals;
    retries += simulation.retries;
  }
  if (is_single()) return;
  EXPECT_GT(losses, 100) << "the weather is too fine to show anything";
  EXPECT_GT(refusals, 10);
  EXPECT_GT(retries, 100);
}

TEST(ClusterSimulation, AJobWhoseFunctionThrowsFailsWithTheMessageAndNoOtherDoes) {
  for (std::uint64_t seed = first_seed(); seed < first_seed() + num_seeds(200); ++seed) {
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
  for (std::uint64_t seed = first_seed(); seed < first_seed() + num_seeds(2000) / 20 + 1; ++seed) {
    simulation::Simulation one(seed);
    simulation::Simulation two(seed);
    one.run();
    two.run();
    ASSERT_EQ(one.trace_hash(), two.trace_hash()) << "WEIR_SIM_SEED=" << seed;
    ASSERT_EQ(one.events(), two.events()) << "WEIR_SIM_SEED=" << seed;
    ASSERT_NE(one.trace_hash(), before) << "two seeds are the same";
    before = one.trace_hash();
  }
}

}  // namespace
}  // namespace weir
