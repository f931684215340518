// Operations that reach outside (pipe), count about, sample by key, spread by rules of the user's,
// and what a dataset says of itself; over every kind of master.

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "weir/core/context.h"

#include "rdd_pairs_fixture.h"

namespace weir::test {
namespace {

class RddMoreTest : public RddPairsTest {
 protected:
  Rdd<int> ints(int end, std::uint32_t partitions) {
    Ints all;
    for (int i = 0; i < end; ++i) all.push_back(i);
    return context_.parallelize(std::move(all), partitions);
  }
  std::string failure_of(const Rdd<std::string>& rdd) {
    return error_of([&] { rdd.collect(); }).what();
  }
};
WEIR_TEST_OVER_MASTERS(RddMoreTest);

// --- pipe ---

TEST_P(RddMoreTest, PipeRunsAProgramPerPartition) {
  EXPECT_EQ(ints(4, 2).pipe("sed s/$/!/").collect(), (Words{"0!", "1!", "2!", "3!"}));
  EXPECT_EQ(ints(10, 3).pipe("wc -l").collect(), (Words{"3", "3", "4"}));
  EXPECT_EQ(context_.parallelize(Numbers{{1, 2}}, 1).pipe("cat").collect(), Words{"(1,2)"});
  EXPECT_EQ(ints(2, 1).pipe({"sh", "-c", "cat; printf 'no newline'"}).collect(),
            (Words{"0", "1", "no newline"}));
}

TEST_P(RddMoreTest, PipeNeitherWaitsForEverNorLosesLines) {
  const Words echoed = ints(200'000, 1).pipe("cat").collect();
  ASSERT_EQ(echoed.size(), 200'000U);
  EXPECT_EQ(echoed.back(), "199999");
  EXPECT_EQ(ints(200'000, 1).pipe("head -n 2").collect(), (Words{"0", "1"}));
  EXPECT_EQ(ints(3, 1).pipe({"sh", "-c", "seq 100000; cat"}).count(), 100'003);
  EXPECT_EQ(ints(200'000, 1).pipe("cat").take(1), Words{"0"});  // what is left of it is killed
}

TEST_P(RddMoreTest, PipeChecksHowTheProgramEnds) {
  EXPECT_NE(failure_of(ints(1, 1).pipe({"sh", "-c", "cat; exit 3"})).find("sh ended with status 3"),
            std::string::npos);
  EXPECT_NE(failure_of(ints(1, 1).pipe({"sh", "-c", "kill -9 $$"})).find("ended by signal 9"),
            std::string::npos);
  EXPECT_NE(failure_of(ints(1, 1).pipe("/no/such/program")).find("cannot start /no/such/program"),
            std::string::npos);
  EXPECT_EQ(error_of([&] { ints(1, 1).pipe("  "); }).code(), ErrorCode::kInvalidArgument);
}

// --- one by one ---

TEST_P(RddMoreTest, ToLocalIteratorRunsAJobPerPartition) {
  Ints all;
  for (const int x : ints(7, 3).to_local_iterator()) all.push_back(x);
  EXPECT_EQ(all, (Ints{0, 1, 2, 3, 4, 5, 6}));
  new_stages();
  auto some = ints(6, 3).to_local_iterator();
  auto at = some.begin();
  EXPECT_EQ(*at, 0);
  ++at;
  EXPECT_EQ(*at, 1);
  EXPECT_EQ(new_stages().size(), 1U);
  auto none = context_.empty_rdd<int>().to_local_iterator();
  EXPECT_TRUE(none.begin() == none.end());
  auto gaps = ints(9, 3).filter([](int x) { return x > 7; }).to_local_iterator();
  EXPECT_EQ(*gaps.begin(), 8);
}

// --- about ---

TEST_P(RddMoreTest, CountApproxDistinctIsAboutRight) {
  EXPECT_EQ(context_.empty_rdd<int>().count_approx_distinct(), 0);
  EXPECT_EQ(context_.parallelize(Words{"a", "b", "a", "a"}, 2).count_approx_distinct(), 2);
  for (const int n : {100, 5'000, 100'000}) {
    const auto twice = ints(n, 4).union_with(ints(n, 3));
    EXPECT_NEAR(static_cast<double>(twice.count_approx_distinct(0.01)), n, 0.04 * n);
    EXPECT_NEAR(static_cast<double>(twice.count_approx_distinct(0.3)), n, 1.2 * n);
  }
  for (const double bad : {0.0, 0.001, 0.5, -1.0}) {
    EXPECT_EQ(error_of([&] { ints(1, 1).count_approx_distinct(bad); }).code(),
              ErrorCode::kInvalidArgument);
  }
}

// --- samples by key ---

TEST_P(RddMoreTest, SampleByKeyGivesEachKeyItsFraction) {
  Numbers pairs;
  for (int i = 0; i < 30'000; ++i) pairs.emplace_back(i % 3, i);
  const auto all = context_.parallelize(pairs, 4);
  const std::map<int, double> fractions{{0, 0.1}, {1, 0.5}};
  const auto sample = all.sample_by_key(false, fractions, 7);
  auto counts = sample.count_by_key();
  EXPECT_NEAR(static_cast<double>(counts[0]), 1'000, 120);
  EXPECT_NEAR(static_cast<double>(counts[1]), 5'000, 200);
  EXPECT_EQ(counts.count(2), 0U);
  EXPECT_EQ(sample.collect(), all.sample_by_key(false, fractions, 7).collect());
  auto again = all.sample_by_key(true, std::map<int, double>{{2, 2.0}}, 7).count_by_key();
  EXPECT_NEAR(static_cast<double>(again[2]), 20'000, 600);
  EXPECT_EQ(error_of([&] {
              all.sample_by_key(false, std::map<int, double>{{0, 1.5}});
            }).code(),
            ErrorCode::kInvalidArgument);
}

// --- spread by rules ---

TEST_P(RddMoreTest, APartitionerOfTheUsersSpreadsPairs) {
  const auto by = CustomPartitioner{3, [](int key) { return key % 3; }};
  const auto spread = numbers({{4, 1}, {3, 2}, {5, 3}, {1, 4}}).partition_by(by);
  EXPECT_EQ(spread.glom().collect(), (std::vector<Numbers>{{{3, 2}}, {{4, 1}, {1, 4}}, {{5, 3}}}));
  ASSERT_TRUE(spread.partitioner().has_value());
  EXPECT_EQ(spread.partitioner()->partitions, 3U);
  new_stages();
  EXPECT_EQ(sorted(spread.reduce_by_key([](int a, int b) { return a + b; }).collect()),
            (Numbers{{1, 4}, {3, 2}, {4, 1}, {5, 3}}));
  EXPECT_EQ(spread.partition_by(by).count(), 4);
  EXPECT_EQ(spread.lookup(1), Ints{4});
  const auto other = numbers({{1, 40}, {9, 90}}).partition_by(by);
  new_stages();
  EXPECT_EQ(spread.join(other).count(), 1);
  EXPECT_EQ(new_stages(), (Words{"partition_by", "join"}));  // what was dealt is there
  // Spread by another rule it is shuffled, both sides.
  EXPECT_EQ(spread.join(numbers({{1, 40}, {9, 90}})).count(), 1);
  EXPECT_EQ(spread
                .join(numbers({{1, 40}}).partition_by(
                    CustomPartitioner{3, [](int key) { return (key + 1) % 3; }}))
                .count(),
            1);
}

TEST_P(RddMoreTest, APartitionThatIsNoneFailsTheJob) {
  const auto spread = numbers({{4, 1}}).partition_by(CustomPartitioner{3, [](int k) { return k; }});
  const std::string what = error_of([&] { spread.count(); }).what();
  EXPECT_NE(what.find("partition 4; they are 0 to 2"), std::string::npos) << what;
}

TEST_P(RddMoreTest, RangesOfKeysHaveAboutEqualNumbersAndAnOrder) {
  Numbers pairs;
  for (int i = 0; i < 1'000; ++i) pairs.emplace_back((i * 7919) % 1'000, i);
  const auto spread = context_.parallelize(pairs, 4).partition_by(RangePartitioner{5});
  int least = -1;
  for (const Numbers& partition : spread.glom().collect()) {
    EXPECT_GT(partition.size(), 100U);
    int most = least;
    for (const auto& [key, value] : partition) {
      EXPECT_GT(key, least);
      most = std::max(most, key);
    }
    least = most;
  }
  new_stages();
  EXPECT_EQ(spread.group_by_key().count(), 1'000);
  EXPECT_EQ(new_stages().size(), 1U);  // what was dealt is there
  const auto within =
      context_.parallelize(pairs, 4).repartition_and_sort_within_partitions(RangePartitioner{3});
  const auto keys = within.keys().collect();
  EXPECT_TRUE(std::is_sorted(keys.begin(), keys.end()));
  EXPECT_EQ(numbers({{1, 1}}).partition_by(HashPartitioner{4}).num_partitions(), 4U);
}

// --- what it says of itself ---

TEST_P(RddMoreTest, ToDebugStringShowsTheLineage) {
  const auto source = ints(4, 2);
  source.set_name("numbers");
  const auto sums = source.map([](int x) { return std::pair(x, 1); })
                        .reduce_by_key([](int a, int b) { return a + b; }, 3)
                        .persist(StorageLevel::kMemoryAndDisk);
  const auto all = sums.union_with(sums.filter([](const auto&) { return true; }));
  const std::string text = all.to_debug_string();
  EXPECT_NE(text.find("(3) union ["), std::string::npos) << text;
  EXPECT_NE(text.find("persisted: memory-and-disk"), std::string::npos) << text;
  EXPECT_NE(text.find("+-(2) map ["), std::string::npos) << text;
  EXPECT_NE(text.find("(2) numbers parallelize ["), std::string::npos) << text;
  EXPECT_FALSE(source.partitioner().has_value());
  EXPECT_EQ(sums.partitioner()->partitions, 3U);
}

}  // namespace
}  // namespace weir::test
