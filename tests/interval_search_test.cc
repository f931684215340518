#include "interval_search.h"

#include <functional>
#include <vector>

#include <gtest/gtest.h>

#include "weir/core/error.h"

namespace weir::tools {
namespace {

using namespace std::chrono_literals;

/// What is found where `sustained` says how each trial goes, and how many trials that took.
std::pair<std::optional<Duration>, int> search(const std::function<bool(Duration)>& sustained) {
  IntervalSearch search(IntervalSearch::default_ladder());
  int trials = 0;
  while (const auto interval = search.next()) {
    search.tried(sustained(*interval));
    if (++trials > 100) break;
  }
  return {search.found(), trials};
}

TEST(IntervalSearch, FindsEveryLimit) {
  for (const Duration limit : IntervalSearch::default_ladder()) {
    const auto [found, trials] = search([&](Duration interval) { return interval >= limit; });
    EXPECT_EQ(found, limit);
    EXPECT_LE(trials, 7) << to_string(limit);
  }
}

TEST(IntervalSearch, MayFindNone) {
  EXPECT_EQ(search([](Duration) { return false; }).first, std::nullopt);
}

TEST(IntervalSearch, TriesWhatItFindsTwice) {
  int at_limit = 0;
  const auto [found, trials] = search([&](Duration interval) {
    if (interval == 10ms) return ++at_limit == 1;  // by chance
    return interval > 10ms;
  });
  EXPECT_EQ(found, 15ms);
  EXPECT_EQ(at_limit, 2);
}

TEST(IntervalSearch, ReachesTheEndsWhateverChanceSays) {
  unsigned state = 1;
  for (int i = 0; i < 1000; ++i) {
    const auto [found, trials] = search([&](Duration) {
      state = state * 1664525 + 1013904223;
      return (state >> 16) % 2 == 0;
    });
    EXPECT_LT(trials, 60);
  }
}

TEST(IntervalSearch, NeedsAnInterval) { EXPECT_THROW(IntervalSearch({}), Error); }

}  // namespace
}  // namespace weir::tools
