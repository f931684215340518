#include "weir/core/state/window_state.h"

#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "state_kit.h"

namespace weir::internal {
namespace {

using namespace std::chrono_literals;
using testing::at_seconds;
using testing::sorted;
using testing::StatePartition;

constexpr KeyGroups kAll{16, 0, 16};

// Not commutative and without an inverse.
struct Concatenate {
  std::string operator()(const std::string& a, const std::string& b) const { return a + b; }
};
struct Add {
  std::int64_t operator()(std::int64_t a, std::int64_t b) const { return a + b; }
};
struct Subtract {
  std::int64_t operator()(std::int64_t a, std::int64_t b) const { return a - b; }
};
struct NotZero {
  bool operator()(const std::pair<std::string, std::int64_t>& element) const {
    return element.second != 0;
  }
};
using Texts = WindowOperator<std::string, std::string, Concatenate>;
using Sums = WindowOperator<std::string, std::int64_t, Add, Subtract>;
using KeptSums = WindowOperator<std::string, std::int64_t, Add, Subtract, NotZero>;

template <class V>
using Records = std::vector<std::pair<std::string, V>>;

TEST(Window, SlidesOverSlices) {
  const Texts op({3s, 1s, 1s, {}}, {});
  StatePartition<Texts> partition(op, kAll);
  using R = Records<std::string>;
  EXPECT_EQ(sorted(partition.run(at_seconds(1), R{{"a", "1"}, {"b", "1"}})),
            (R{{"a", "1"}, {"b", "1"}}));
  EXPECT_EQ(sorted(partition.run(at_seconds(2), R{{"a", "2"}})), (R{{"a", "12"}, {"b", "1"}}));
  EXPECT_EQ(sorted(partition.run(at_seconds(3), R{{"c", "3"}})),
            (R{{"a", "12"}, {"b", "1"}, {"c", "3"}}));
  EXPECT_EQ(sorted(partition.run(at_seconds(4), R{})), (R{{"a", "2"}, {"c", "3"}}));
  EXPECT_EQ(sorted(partition.run(at_seconds(5), R{{"a", "5"}, {"a", "6"}})),
            (R{{"a", "56"}, {"c", "3"}}));
  EXPECT_EQ(partition.keys(), 2U);
}

TEST(Window, WithAnInverseKeepsKeysUntilKeepSaysNo) {
  const WindowMeasures measures{2s, 1s, 1s, {}};
  const Sums all(measures, {}, {});
  const KeptSums kept(measures, {}, {}, {});
  StatePartition<Sums> one(all, kAll);
  StatePartition<KeptSums> other(kept, kAll);
  using R = Records<std::int64_t>;
  one.run(at_seconds(1), R{{"a", 1}, {"b", 2}});
  other.run(at_seconds(1), R{{"a", 1}, {"b", 2}});
  // Zero while it is in a slice: not given, but not forgotten.
  EXPECT_EQ(sorted(one.run(at_seconds(2), R{{"a", -1}})), (R{{"a", 0}, {"b", 2}}));
  EXPECT_EQ(other.run(at_seconds(2), R{{"a", -1}}), (R{{"b", 2}}));
  EXPECT_EQ(sorted(one.run(at_seconds(3), R{})), (R{{"a", -1}, {"b", 0}}));
  EXPECT_EQ(other.run(at_seconds(3), R{}), (R{{"a", -1}}));
  EXPECT_EQ(sorted(one.run(at_seconds(9), R{})), (R{{"a", 0}, {"b", 0}}));
  EXPECT_EQ(other.run(at_seconds(9), R{}), R{});
  EXPECT_EQ(one.keys(), 2U);
  EXPECT_EQ(other.keys(), 0U);
}

TEST(Window, GivesResultsOnlyWhenDue) {
  const Texts op({4s, 2s, 1s, at_seconds(1)}, {});
  StatePartition<Texts> partition(op, kAll);
  using R = Records<std::string>;
  EXPECT_EQ(partition.run(at_seconds(2), R{{"a", "2"}}), R{});
  EXPECT_EQ(partition.run(at_seconds(3), R{{"a", "3"}}), (R{{"a", "23"}}));
  EXPECT_EQ(partition.run(at_seconds(4), R{{"a", "4"}}), R{});
  EXPECT_EQ(partition.run(at_seconds(5), R{{"a", "5"}}), (R{{"a", "2345"}}));
  EXPECT_EQ(partition.elements(), (R{{"a", "2345"}}));
}

TEST(Window, RefusesMeasuresThatAreNoMultiples) {
  EXPECT_THROW(Texts({2500ms, 1s, 1s, {}}, {}), Error);
  EXPECT_THROW(Texts({2s, 1500ms, 1s, {}}, {}), Error);
  EXPECT_THROW(Texts({0s, 1s, 1s, {}}, {}), Error);
}

// A window as it is defined: what lies in it, reduced anew.
template <class V, class Reduce>
std::map<std::string, V> recompute(const std::map<int, Records<V>>& batches, int now, int length,
                                   const Reduce& reduce) {
  std::map<std::string, V> result;
  for (const auto& [time, records] : batches) {
    if (time <= now - length || time > now) continue;
    for (const auto& [key, value] : records) {
      const auto [at, is_new] = result.emplace(key, value);
      if (!is_new) at->second = reduce(at->second, value);
    }
  }
  return result;
}

template <class V>
V random_value(std::mt19937& random);
template <>
std::string random_value(std::mt19937& random) {
  return std::string(1, static_cast<char>('a' + random() % 26));
}
template <>
std::int64_t random_value(std::mt19937& random) {
  return static_cast<std::int64_t>(random() % 5) - 1;
}

// Runs batches with gaps between their times; folded at random, and at every batch also by a table
// that was restored from the window's deltas alone.
template <class Operator>
void check_against_recomputation(unsigned seed) {
  SCOPED_TRACE("seed " + std::to_string(seed));
  using V = typename Operator::Value;
  std::mt19937 random(seed);
  const int length = 1 + static_cast<int>(random() % 13);
  const int slide = 1 + static_cast<int>(random() % 3);
  const int keys = 1 + static_cast<int>(random() % 30);
  SCOPED_TRACE("length " + std::to_string(length) + ", slide " + std::to_string(slide) + ", keys " +
               std::to_string(keys));
  const auto reduce = [] {
    if constexpr (std::is_same_v<V, std::string>)
      return Concatenate();
    else
      return Add();
  }();
  constexpr bool kInverse = !std::is_same_v<V, std::string>;
  const Operator op({std::chrono::seconds(length), std::chrono::seconds(slide), 1s, {}}, {});
  StatePartition<Operator> partition(op, kAll);
  std::map<int, Records<V>> batches;
  std::set<std::string> seen;
  int time = static_cast<int>(random() % 20) - 5;
  for (int batch = 0; batch < 60; ++batch) {
    time += random() % 8 == 0 ? 1 + static_cast<int>(random() % (2 * length)) : 1;
    Records<V>& records = batches[time];
    for (unsigned i = random() % 10; i > 0; --i) {
      const std::string key = "k" + std::to_string(random() % keys);
      records.emplace_back(key, random_value<V>(random));
      seen.insert(key);
    }
    // Before it runs: what a worker would do that has nothing but the last deltas.
    StatePartition<Operator> restored(op, kAll);
    const std::size_t from = partition.deltas().size() > op.expires_after()
                                 ? partition.deltas().size() - op.expires_after()
                                 : 0;
    for (std::size_t i = from; i < partition.deltas().size(); ++i) {
      restored.fold_delta(partition.deltas()[i]);
    }
    const auto out = partition.run(at_seconds(time), records);
    ASSERT_EQ(restored.run(at_seconds(time), records), out) << "batch " << batch;
    ASSERT_EQ(restored.keys(), partition.keys());
    ASSERT_EQ(restored.elements(), partition.elements());
    auto expected = recompute(batches, time, length, reduce);
    if constexpr (kInverse) {
      for (const auto& key : seen) expected.emplace(key, V{});
    }
    if constexpr (std::is_same_v<Operator, KeptSums>) {
      std::erase_if(expected, [](const auto& element) { return element.second == V{}; });
    }
    const Records<V> all(expected.begin(), expected.end());
    ASSERT_EQ(sorted(partition.elements()), all) << "batch " << batch << " at " << time;
    ASSERT_EQ(sorted(out), time % slide == 0 ? all : Records<V>{});
    partition.fold(random() % 4);
  }
}

TEST(Window, IsWhatRecomputationGivesAndTheSameAfterARestoreAtEveryBatch) {
  const unsigned seed = std::random_device()();
  for (unsigned i = 0; i < 60; ++i) {
    check_against_recomputation<Texts>(seed + i);
    check_against_recomputation<Sums>(seed + i);
    check_against_recomputation<KeptSums>(seed + i);
    if (HasFatalFailure()) return;
  }
}

// Sums of doubles depend on the order of addition.
TEST(Window, AddsFloatingPointNumbersInTheSameOrderAfterARestore) {
  struct AddDoubles {
    double operator()(double a, double b) const { return a + b; }
  };
  using Doubles = WindowOperator<std::string, double, AddDoubles>;
  const Doubles op({7s, 1s, 1s, {}}, {});
  StatePartition<Doubles> partition(op, kAll);
  for (int time = 1; time <= 40; ++time) {
    StatePartition<Doubles> restored(op, kAll);
    const auto& deltas = partition.deltas();
    for (std::size_t i = deltas.size() > 7 ? deltas.size() - 7 : 0; i < deltas.size(); ++i) {
      restored.fold_delta(deltas[i]);
    }
    const Records<double> records{{"a", 1.0 / time}, {"b", 1e16 / (time % 3 + 1)}, {"b", 0.1}};
    ASSERT_EQ(restored.run(at_seconds(time), records), partition.run(at_seconds(time), records));
  }
}

TEST(Window, GoesToOtherNumbersOfPartitions) {
  const Sums op({5s, 1s, 1s, {}}, {}, {});
  std::mt19937 random(1);
  std::vector<StatePartition<Sums>> before;
  for (std::uint32_t p = 0; p < 3; ++p) before.emplace_back(op, KeyGroups::of_partition(p, 3, 16));
  for (int time = 1; time <= 12; ++time) {
    Records<std::int64_t> records;
    for (int i = 0; i < 20; ++i) records.emplace_back("k" + std::to_string(random() % 50), i);
    for (auto& partition : before) partition.run(at_seconds(time), records);
  }
  Records<std::int64_t> expected;
  for (auto& partition : before) {
    for (auto& element : partition.elements()) expected.push_back(std::move(element));
  }
  for (const std::uint32_t partitions : {1U, 2U, 5U}) {
    Records<std::int64_t> all;
    for (std::uint32_t p = 0; p < partitions; ++p) {
      StatePartition<Sums> after(op, KeyGroups::of_partition(p, partitions, 16));
      for (auto& partition : before) {
        for (std::size_t i = 7; i < 12; ++i) after.fold_delta(partition.deltas()[i]);
      }
      for (auto& element : after.elements()) all.push_back(std::move(element));
    }
    EXPECT_EQ(all, expected) << partitions << " partitions";
  }
}

TEST(Window, ADeltaCountsForTheGroupsThatItIsToldOnly) {
  const Sums op({3s, 1s, 1s, {}}, {}, {});
  Records<std::int64_t> records;
  for (int i = 0; i < 50; ++i) records.emplace_back("k" + std::to_string(i), i);
  StatePartition<Sums> former(op, kAll);
  StatePartition<Sums> again(op, KeyGroups{16, 8, 16});  // made again, as a partition of its own
  former.run(at_seconds(1), records);
  again.run(at_seconds(1), records);
  StatePartition<Sums> restored(op, kAll);
  restored.fold_delta(former.deltas()[0], KeyGroups{16, 0, 8});
  restored.fold_delta(again.deltas()[0], KeyGroups{16, 8, 16});
  EXPECT_EQ(sorted(restored.elements()), sorted(former.elements()));
}

TEST(Window, IsRestoredAtAnotherBatchInterval) {
  const Texts fine({4s, 1s, 500ms, {}}, {});
  const Texts coarse({4s, 1s, 1s, {}}, {});
  StatePartition<Texts> before(fine, kAll);
  using R = Records<std::string>;
  for (int i = 1; i <= 7; ++i) {
    before.run(at_seconds(i * 0.5), R{{"a", std::to_string(i)}, {i % 2 == 0 ? "b" : "c", "x"}});
  }
  StatePartition<Texts> after(coarse, kAll);
  for (const auto& delta : before.deltas()) after.fold_delta(delta);
  EXPECT_EQ(sorted(after.run(at_seconds(4), R{{"a", "8"}})),
            (R{{"a", "12345678"}, {"b", "xxx"}, {"c", "xxxx"}}));
}

TEST(Window, ShipsItsMeasuresAndFunctions) {
  const auto limited =
      weir::bind(10, [](int limit, int a, int b) { return std::min(limit, a + b); });
  using Limited = WindowOperator<std::string, int, std::decay_t<decltype(limited)>>;
  SlimWriter writer;
  write_function(writer, Limited({2s, 1s, 1s, {}}, limited));
  SlimReader reader(writer.view());
  const auto op = read_function<Limited>(reader);
  StatePartition<Limited> partition(op, kAll);
  partition.run(at_seconds(1), Records<int>{{"a", 4}});
  EXPECT_EQ(partition.run(at_seconds(2), Records<int>{{"a", 7}}), (Records<int>{{"a", 10}}));
}

}  // namespace
}  // namespace weir::internal
