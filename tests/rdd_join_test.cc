// Operations of two datasets of pairs, over every kind of master.

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "rdd_pairs_fixture.h"
#include "row_text.h"

namespace weir::test {
namespace {

class RddJoinTest : public RddPairsTest {};
WEIR_TEST_OVER_MASTERS(RddJoinTest);

/// Rows as text, sorted.
template <class T>
Words rows(const Rdd<T>& joined) {
  return sorted(joined.map(RowText()).collect());
}

TEST_P(RddJoinTest, CogroupHasTheValuesOfBothSidesInTheirOrder) {
  const auto grouped = numbers({{1, 30}, {2, 5}, {1, 10}, {1, 20}})
                           .cogroup(names({{1, "b"}, {3, "c"}, {1, "a"}}), 4);
  EXPECT_EQ(grouped.num_partitions(), 4U);
  EXPECT_EQ(rows(grouped), (Words{"1:30.10.20.:b.a.", "2:5.:", "3::c."}));
}

TEST_P(RddJoinTest, JoinsMakeTheProductOfEachKeysValues) {
  const auto left = numbers({{1, 10}, {2, 20}, {1, 11}, {4, 40}});
  const auto right = names({{1, "a"}, {3, "c"}, {1, "b"}, {2, "d"}, {3, "e"}});
  EXPECT_EQ(rows(left.join(right)), (Words{"1:10:a", "1:10:b", "1:11:a", "1:11:b", "2:20:d"}));
  EXPECT_EQ(rows(left.left_outer_join(right)),
            (Words{"1:10:a", "1:10:b", "1:11:a", "1:11:b", "2:20:d", "4:40:-"}));
  EXPECT_EQ(rows(left.right_outer_join(right)),
            (Words{"1:10:a", "1:10:b", "1:11:a", "1:11:b", "2:20:d", "3:-:c", "3:-:e"}));
  EXPECT_EQ(rows(left.full_outer_join(right)),
            (Words{"1:10:a", "1:10:b", "1:11:a", "1:11:b", "2:20:d", "3:-:c", "3:-:e", "4:40:-"}));
  const std::vector<std::pair<int, std::pair<int, std::string>>> typed = left.join(right).collect();
  EXPECT_EQ(typed.size(), 5U);
}

TEST_P(RddJoinTest, AJoinIsInTheOrderOfItsLeftSide) {
  const auto joined = numbers({{2, 1}, {1, 2}, {2, 3}, {9, 4}})
                          .full_outer_join(names({{1, "x"}, {7, "u"}, {2, "y"}, {2, "z"}}), 1);
  EXPECT_EQ(joined.map(RowText()).collect(),
            (Words{"2:1:y", "2:1:z", "1:2:x", "2:3:y", "2:3:z", "9:4:-", "7:-:u"}));
}

TEST_P(RddJoinTest, JoinsOfEmptySides) {
  const auto nothing = context_.empty_rdd<Number>();
  const auto empty = numbers({});
  const auto some = numbers({{1, 10}, {2, 20}});
  for (const auto& none : {nothing, empty}) {
    EXPECT_EQ(some.join(none).count(), 0);
    EXPECT_EQ(none.join(some).count(), 0);
    EXPECT_EQ(none.full_outer_join(some).count(), 2);
    EXPECT_EQ(some.full_outer_join(none).count(), 2);
    EXPECT_EQ(none.cogroup(nothing).count(), 0);
    EXPECT_EQ(sorted(some.subtract_by_key(none).collect()), (Numbers{{1, 10}, {2, 20}}));
  }
}

TEST_P(RddJoinTest, AJoinOfManyRowsComesInChunks) {
  Numbers left;
  for (int i = 0; i < 3000; ++i) left.emplace_back(i % 2, i);
  const auto joined = numbers(left).join(names({{0, "a"}, {0, "b"}, {0, "c"}, {1, "d"}}), 2);
  std::map<std::string, std::int64_t> sums;
  for (const auto& [key, values] : joined.collect()) sums[values.second] += values.first;
  const std::int64_t even = 2'248'500;  // below 3000
  EXPECT_EQ(sums, (std::map<std::string, std::int64_t>{
                      {"a", even}, {"b", even}, {"c", even}, {"d", even + 1500}}));
}

TEST_P(RddJoinTest, ADatasetJoinsItself) {
  const auto some = names({{1, "a"}, {2, "b"}, {1, "c"}});
  const auto spread = some.partition_by(2);
  const Words expected = {"1:a:a", "1:a:c", "1:c:a", "1:c:c", "2:b:b"};
  EXPECT_EQ(rows(some.join(some)), expected);
  EXPECT_EQ(rows(spread.join(spread)), expected);
}

TEST_P(RddJoinTest, WhatIsSpreadAlikeIsNotShuffledAgain) {
  const auto left = numbers({{1, 10}, {2, 20}}).partition_by(3);
  const auto right = names({{1, "a"}, {2, "b"}, {3, "c"}}).partition_by(3).cache();
  EXPECT_EQ(sorted(left.join(right).collect()).size(), 2U);
  EXPECT_EQ(new_stages(), (Words{"partition_by", "partition_by", "join"}));
  // Blocks and map outputs are there, and the result is spread as its inputs are.
  const auto sums = left.map_values([](int v) { return v + 1; })
                        .join(right.filter([](const Name& name) { return name.first != 1; }))
                        .map_values([](const auto& values) { return values.first; })
                        .reduce_by_key([](int a, int b) { return a + b; });
  EXPECT_EQ(sums.num_partitions(), 3U);
  EXPECT_EQ(sums.collect(), (Numbers{{2, 21}}));
  EXPECT_EQ(new_stages(), (Words{"reduce_by_key"}));
  // A side that is not is brought to the other.
  EXPECT_EQ(numbers({{3, 30}}).join(right).num_partitions(), 3U);
  EXPECT_EQ(numbers({{3, 30}}).join(right).count(), 1);
  EXPECT_EQ(new_stages(), (Words{"join", "join"}));
  EXPECT_EQ(left.join(right, 5).num_partitions(), 5U);
  EXPECT_EQ(left.join(right, 5).count(), 2);
  EXPECT_EQ(new_stages(), (Words{"join", "join", "join"}));
}

TEST_P(RddJoinTest, AFewPartitionsAreNoReasonToSqueezeManyIntoThem) {
  const auto one = names({{1, "a"}}).partition_by(1);
  const auto many = context_.parallelize(Numbers{{1, 10}, {2, 20}}, 100);
  const bool is_small = context_.default_parallelism() > 1;
  EXPECT_EQ(many.join(one).num_partitions(), is_small ? context_.default_parallelism() : 1);
  EXPECT_EQ(numbers({{1, 10}}).join(one).num_partitions(), 1U);
  EXPECT_EQ(many.join(one).count(), 1);
}

TEST_P(RddJoinTest, WhatWasSpreadByAnotherSeedIsShuffledAgain) {
  Names all;
  for (int i = 0; i < 50; ++i) all.emplace_back(i, std::to_string(i));
  const auto reference = names(all).partition_by(4).cache();
  EXPECT_EQ(reference.count(), 50);
  Numbers wanted;
  for (int i = 0; i < 50; ++i) wanted.emplace_back(i, -i);
  {  // as in a stream with a checkpoint directory, which keeps the seed of its first start
    const internal::BatchScope scope(nullptr, 1, Time(), 7);
    EXPECT_EQ(numbers(wanted).join(reference).count(), 50);
    EXPECT_EQ(numbers(wanted).partition_by(4).join(reference).count(), 50);
    EXPECT_EQ(reference.lookup(17), (Words{"17"}));
  }
  const auto outside = numbers(wanted).partition_by(4);
  EXPECT_EQ(outside.join(reference).count(), 50);
}

TEST_P(RddJoinTest, ViewsJoinWithWhatTheyAreViewsOf) {
  const auto words = context_.parallelize({"ab", "cd", "ax"}, 2);
  const auto by_letter = words.map([](const std::string& word) {
    return std::pair(std::string_view(word).substr(0, 1), std::string_view(word));
  });
  const auto known = context_.parallelize({std::pair<std::string, int>("a", 1)}, 1);
  EXPECT_EQ(rows(by_letter.join(known)), (Words{"a:ab:1", "a:ax:1"}));
  // The same where views need not be shuffled.
  const auto spread = by_letter.partition_by(2).map_values(
      [](const std::string& word) { return std::string_view(word); });
  EXPECT_EQ(rows(spread.join(known)), (Words{"a:ab:1", "a:ax:1"}));
}

TEST_P(RddJoinTest, SubtractByKeyKeepsWhatTheOtherHasNot) {
  const auto left = numbers({{1, 10}, {2, 20}, {1, 11}, {3, 30}, {3, 30}});
  EXPECT_EQ(sorted(left.subtract_by_key(names({{1, "a"}, {4, "d"}, {1, "b"}})).collect()),
            (Numbers{{2, 20}, {3, 30}, {3, 30}}));
  const auto spread = left.partition_by(2);
  EXPECT_EQ(spread.subtract_by_key(spread.filter([](const Number& n) { return n.second > 10; }))
                .num_partitions(),
            2U);
  new_stages();
  EXPECT_EQ(spread.subtract_by_key(spread.filter([](const Number& n) { return n.second > 11; }))
                .collect(),
            (Numbers{{1, 10}, {1, 11}}));
  EXPECT_EQ(new_stages(), (Words{"partition_by", "subtract_by_key"}));
}

TEST_P(RddJoinTest, DistinctIntersectionAndSubtract) {
  const auto a = context_.parallelize({"x", "y", "x", "z", "y", "x"}, 3);
  const auto b = context_.parallelize({"z", "w", "x", "z"}, 2);
  EXPECT_EQ(sorted(a.distinct().collect()), (Words{"x", "y", "z"}));
  EXPECT_EQ(a.distinct(5).num_partitions(), 5U);
  EXPECT_EQ(sorted(a.intersection(b).collect()), (Words{"x", "z"}));
  EXPECT_EQ(sorted(a.subtract(b).collect()), (Words{"y", "y"}));
  EXPECT_EQ(sorted(b.subtract(a).collect()), (Words{"w"}));
  EXPECT_EQ(a.intersection(b, 3).num_partitions(), 3U);
  EXPECT_EQ(a.subtract(a).count(), 0);
  const auto none = a.filter([](const std::string&) { return false; });
  EXPECT_EQ(none.distinct().count(), 0);
  EXPECT_EQ(a.intersection(none).count(), 0);
  EXPECT_EQ(a.subtract(none).count(), 6);
}

TEST_P(RddJoinTest, DatasetsOfOtherContextsAreRefused) {
  Context other(config_of("local[1]"));
  const auto foreign = other.parallelize(Numbers{{1, 1}}, 1);
  const Error error = error_of([&] { numbers({{1, 1}}).join(foreign); });
  EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
  EXPECT_STREQ(error.what(), "join: the datasets belong to different contexts");
}

}  // namespace
}  // namespace weir::test
