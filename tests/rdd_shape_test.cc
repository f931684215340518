// Operations on whole partitions, on two datasets, samples, order and aggregates, over every kind
// of master.

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "weir/core/split.h"

#include "rdd_pairs_fixture.h"

namespace weir::test {
namespace {

using Pieces = std::vector<Ints>;

class RddShapeTest : public RddPairsTest {
 protected:
  Rdd<int> ints(int end, std::uint32_t partitions) {
    Ints all;
    for (int i = 0; i < end; ++i) all.push_back(i);
    return context_.parallelize(std::move(all), partitions);
  }
};
WEIR_TEST_OVER_MASTERS(RddShapeTest);

// --- partitions ---

TEST_P(RddShapeTest, PartitionsHaveAnIndexAlsoBehindOthers) {
  const auto with_index = [](std::uint32_t index, auto elements) {
    std::vector<Number> all;
    for (const int x : elements) all.emplace_back(static_cast<int>(index), x);
    return all;
  };
  EXPECT_EQ(ints(4, 3).map_partitions_with_index(with_index).collect(),
            (Numbers{{0, 0}, {1, 1}, {2, 2}, {2, 3}}));
  // The second of two datasets in a row has indices of its own.
  const auto other = ints(2, 2).map_partitions_with_index(with_index);
  EXPECT_EQ(other.union_with(other).coalesce(1).collect(),
            (Numbers{{0, 0}, {1, 1}, {0, 0}, {1, 1}}));
}

TEST_P(RddShapeTest, GlomMakesEachPartitionOneElement) {
  EXPECT_EQ(ints(5, 3).glom().collect(), (Pieces{{0}, {1, 2}, {3, 4}}));
  EXPECT_EQ(ints(1, 2).glom().collect(), (Pieces{{}, {0}}));
}

TEST_P(RddShapeTest, ZipWithIndexIsDenseAndCountsInAJobOfItsOwn) {
  const auto words =
      context_.parallelize(Words{"a b", "c", "d"}, 3).flat_map([](const std::string& s) {
        return split(s, ' ');
      });
  using Numbered = std::vector<std::pair<std::string, std::int64_t>>;
  const auto numbered = words.zip_with_index();
  EXPECT_EQ(new_stages().size(), 1U);
  EXPECT_EQ(numbered.collect(), (Numbered{{"a", 0}, {"b", 1}, {"c", 2}, {"d", 3}}));
  new_stages();
  (void)ints(3, 1).zip_with_index();
  EXPECT_TRUE(new_stages().empty()) << "one partition needs no counting";
}

TEST_P(RddShapeTest, ZipWithUniqueIdNeedsNoJob) {
  using Numbered = std::vector<std::pair<int, std::int64_t>>;
  const auto numbered = ints(5, 2).zip_with_unique_id();  // 0 1 | 2 3 4
  EXPECT_TRUE(new_stages().empty());
  EXPECT_EQ(numbered.collect(), (Numbered{{0, 0}, {1, 2}, {2, 1}, {3, 3}, {4, 5}}));
}

// --- keys ---

TEST_P(RddShapeTest, KeyByAndGroupBy) {
  const auto parity = [](int x) { return x % 2; };
  EXPECT_EQ(ints(3, 2).key_by(parity).collect(), (Numbers{{0, 0}, {1, 1}, {0, 2}}));
  EXPECT_EQ(sorted(ints(5, 2).group_by(parity, 3).collect()),
            (std::vector<std::pair<int, Ints>>{{0, {0, 2, 4}}, {1, {1, 3}}}));
}

// --- two datasets ---

TEST_P(RddShapeTest, ZipPairsElementsOfUnevenChunks) {
  const auto left = ints(5000, 2);
  const auto right = ints(5000, 2).flat_map([](int x) { return std::vector<int>(1, x * 2); });
  const auto pairs = left.zip(right).collect();
  ASSERT_EQ(pairs.size(), 5000U);
  for (int i = 0; i < 5000; ++i) ASSERT_EQ(pairs[static_cast<std::size_t>(i)], Number(i, 2 * i));
}

TEST_P(RddShapeTest, ZipOfUnevenDatasetsIsRefused) {
  const Error partitions = error_of([&] { (void)ints(4, 2).zip(ints(4, 3)); });
  EXPECT_EQ(partitions.code(), ErrorCode::kInvalidArgument);
  EXPECT_NE(std::string(partitions.what()).find("this dataset has 2 partitions, the other one 3"),
            std::string::npos);
  const Error elements = error_of([&] { (void)ints(4, 2).zip(ints(5, 2)).collect(); });
  EXPECT_EQ(elements.code(), ErrorCode::kJobFailed);
  EXPECT_NE(std::string(elements.what()).find("zip: this dataset has fewer elements"),
            std::string::npos)
      << elements.what();
}

TEST_P(RddShapeTest, ZipPartitionsGivesBothRanges) {
  const auto sums = ints(5, 2).zip_partitions(ints(4, 2), [](auto left, auto right) {
    int sum = 0;
    for (const int x : left) sum += x;
    for (const int x : right) sum += 100 * x;
    return Ints{sum};
  });
  EXPECT_EQ(sums.collect(), (Ints{0 + 1 + 100, 2 + 3 + 4 + 500}));
}

TEST_P(RddShapeTest, CartesianHasAPartitionForEachTwo) {
  const auto pairs = ints(3, 2).cartesian(context_.parallelize(Words{"a", "b"}, 2));  // 0 | 1 2
  EXPECT_EQ(pairs.num_partitions(), 4U);
  EXPECT_EQ(pairs.collect(), (Names{{0, "a"}, {0, "b"}, {1, "a"}, {2, "a"}, {1, "b"}, {2, "b"}}));
  EXPECT_EQ(ints(300, 1).cartesian(ints(40, 1)).count(), 12000);
  EXPECT_TRUE(ints(3, 2).cartesian(context_.parallelize(Ints{}, 2)).collect().empty());
}

// --- samples ---

TEST_P(RddShapeTest, ASampleIsTheSameForTheSameSeed) {
  const auto all = ints(4000, 3);
  const Ints once = all.sample(false, 0.25, 7).collect();
  EXPECT_EQ(once, all.sample(false, 0.25, 7).collect());
  EXPECT_NE(once, all.sample(false, 0.25, 8).collect());
  EXPECT_TRUE(std::is_sorted(once.begin(), once.end()));
  EXPECT_NEAR(static_cast<double>(once.size()), 1000, 150);
  EXPECT_EQ(std::set<int>(once.begin(), once.end()).size(), once.size());
  EXPECT_EQ(all.sample(false, 1, 7).count(), 4000);
  EXPECT_EQ(all.sample(false, 0, 7).count(), 0);
}

TEST_P(RddShapeTest, ASampleWithReplacementRepeatsElements) {
  const Ints twice = ints(2000, 2).sample(true, 2, 7).collect();
  EXPECT_NEAR(static_cast<double>(twice.size()), 4000, 400);
  EXPECT_LT(std::set<int>(twice.begin(), twice.end()).size(), 2000U);
}

TEST_P(RddShapeTest, RandomSplitIsDisjointAndWhole) {
  const auto parts = ints(3000, 3).random_split({1, 2}, 7);
  ASSERT_EQ(parts.size(), 2U);
  Ints both = parts[0].collect();
  EXPECT_NEAR(static_cast<double>(both.size()), 1000, 150);
  for (const int x : parts[1].collect()) both.push_back(x);
  EXPECT_EQ(sorted(both), ints(3000, 3).collect());
}

TEST_P(RddShapeTest, TakeSampleIsExact) {
  const auto all = ints(1000, 3);
  const Ints taken = all.take_sample(false, 50, 7);
  EXPECT_EQ(taken.size(), 50U);
  EXPECT_EQ(std::set<int>(taken.begin(), taken.end()).size(), 50U);
  EXPECT_EQ(taken, all.take_sample(false, 50, 7));
  EXPECT_EQ(sorted(all.take_sample(false, 2000, 7)), all.collect());
  EXPECT_EQ(all.take_sample(true, 2000, 7).size(), 2000U);
  EXPECT_TRUE(all.take_sample(false, 0).empty());
}

TEST_P(RddShapeTest, FractionsAndWeightsThatAreNoneAreRefused) {
  for (const double fraction : {-0.1, 1.5, 0.0 / 0.0}) {
    EXPECT_EQ(error_of([&] { (void)ints(2, 1).sample(false, fraction); }).code(),
              ErrorCode::kInvalidArgument)
        << fraction;
  }
  for (const std::vector<double>& weights : {std::vector<double>{}, {0, 0}, {1, -1}}) {
    EXPECT_EQ(error_of([&] { (void)ints(2, 1).random_split(weights); }).code(),
              ErrorCode::kInvalidArgument);
  }
}

// --- order ---

TEST_P(RddShapeTest, SortByIsAGlobalStableOrder) {
  Numbers shuffled;
  for (int i = 0; i < 3000; ++i) shuffled.emplace_back(i * 7919 % 500, i);
  const auto all = context_.parallelize(shuffled, 3);
  Numbers expected = shuffled;
  std::stable_sort(expected.begin(), expected.end(),
                   [](const Number& a, const Number& b) { return a.first < b.first; });
  const auto key = [](const Number& x) { return x.first; };
  const auto in_order = all.sort_by(key, true, 4);
  EXPECT_EQ(in_order.num_partitions(), 4U);
  EXPECT_EQ(in_order.collect(), expected);
  for (const Numbers& piece : in_order.glom().collect()) EXPECT_GT(piece.size(), 300U);
  std::stable_sort(expected.begin(), expected.end(),
                   [](const Number& a, const Number& b) { return a.first > b.first; });
  EXPECT_EQ(all.sort_by_key(false).collect(), expected);
  EXPECT_EQ(all.sort_by(key, true, 1).map(key).collect().front(), 0);
}

TEST_P(RddShapeTest, SortByOfViewsAndOfFewKeys) {
  const auto words =
      context_.parallelize(Words{"b a", "d", "c a"}, 2).flat_map([](const std::string& s) {
        return split(s, ' ');
      });
  EXPECT_EQ(words.sort_by([](std::string_view w) { return w; }, true, 3).collect(),
            (Words{"a", "a", "b", "c", "d"}));
  EXPECT_EQ(context_.parallelize(Ints(100, 5), 3).sort_by([](int x) { return x; }).collect(),
            Ints(100, 5));
  EXPECT_TRUE(context_.parallelize(Ints{}, 3).sort_by([](int x) { return x; }).collect().empty());
}

TEST_P(RddShapeTest, RepartitionAndSortWithinPartitions) {
  const auto spread =
      numbers({{3, 1}, {1, 2}, {2, 3}, {1, 4}, {3, 5}}).repartition_and_sort_within_partitions(2);
  EXPECT_EQ(spread.num_partitions(), 2U);
  std::map<int, Ints> found;
  for (const Numbers& piece : spread.glom().collect()) {
    EXPECT_TRUE(std::is_sorted(piece.begin(), piece.end()));
    for (const auto& [key, value] : piece) found[key].push_back(value);
  }
  EXPECT_EQ(found, (std::map<int, Ints>{{1, {2, 4}}, {2, {3}}, {3, {1, 5}}}));
  new_stages();
  (void)spread.group_by_key(2).count();
  EXPECT_EQ(new_stages().size(), 1U) << "it is spread by key already, and shuffled before";
}

TEST_P(RddShapeTest, TopAndTakeOrdered) {
  const auto all = context_.parallelize(Ints{5, 1, 4, 9, 3, 9, 2}, 3);
  EXPECT_EQ(all.take_ordered(3), (Ints{1, 2, 3}));
  EXPECT_EQ(all.top(3), (Ints{9, 9, 5}));
  EXPECT_EQ(all.top(100).size(), 7U);
  EXPECT_TRUE(all.top(0).empty());
  const auto by_last_digit = [](int a, int b) { return a % 4 < b % 4; };
  EXPECT_EQ(all.take_ordered(1, by_last_digit), (Ints{4}));
  EXPECT_EQ(all.min(), 1);
  EXPECT_EQ(all.max(), 9);
  EXPECT_EQ(all.max(std::greater<>()), 1);
}

TEST_P(RddShapeTest, ActionsThatNeedAnElementSaySo) {
  const auto none = context_.parallelize(Ints{}, 2);
  EXPECT_TRUE(none.is_empty());
  EXPECT_FALSE(ints(1, 2).is_empty());
  EXPECT_EQ(ints(3, 2).first(), 0);
  const auto refused = [](const char* action, auto f) {
    const Error error = error_of(f);
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_EQ(std::string(error.what()).find(std::string(action) + ": the dataset is empty"), 0U)
        << error.what();
  };
  refused("first", [&] { (void)none.first(); });
  refused("min", [&] { (void)none.min(); });
  refused("max", [&] { (void)none.max(); });
  refused("reduce", [&] { (void)none.reduce(std::plus<>()); });
  refused("tree_reduce", [&] { (void)none.tree_reduce(std::plus<>()); });
}

// --- aggregates ---

TEST_P(RddShapeTest, FoldAndAggregateUseZeroInEachPartitionAndOnceMore) {
  const auto all = ints(5, 3);
  EXPECT_EQ(all.fold(0, std::plus<>()), 10);
  EXPECT_EQ(all.fold(100, std::plus<>()), 410);
  const auto text = all.aggregate(
      std::string("<"),
      [](std::string so_far, int x) { return std::move(so_far) + std::to_string(x); },
      [](std::string a, const std::string& b) { return std::move(a) + b; });
  EXPECT_EQ(text, "<<0<12<34");
}

TEST_P(RddShapeTest, TreesGiveTheSameAsOneLevel) {
  const auto all = ints(1000, 20);
  EXPECT_EQ(all.tree_reduce(std::plus<>()), 499500);
  EXPECT_EQ(all.tree_reduce(std::plus<>(), 4), 499500);
  EXPECT_EQ(all.tree_reduce([](int a, int b) { return std::max(a, b); }, 1), 999);
  const auto count = [](std::int64_t n, int) { return n + 1; };
  EXPECT_EQ(all.tree_aggregate(std::int64_t{0}, count, std::plus<>(), 3), 1000);
  new_stages();
  (void)all.tree_reduce(std::plus<>());
  EXPECT_EQ(new_stages().size(), 2U) << "20 partitions by way of 4";
}

TEST_P(RddShapeTest, CountByValue) {
  EXPECT_EQ(context_.parallelize(Words{"a", "b", "a"}, 2).count_by_value(),
            (std::map<std::string, std::int64_t>{{"a", 2}, {"b", 1}}));
}

}  // namespace
}  // namespace weir::test
