// Operations of datasets of pairs, and those on partitions, over every kind of master.

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "weir/core/split.h"

#include "rdd_pairs_fixture.h"

namespace weir::test {
namespace {

class RddByKeyTest : public RddPairsTest {};
WEIR_TEST_OVER_MASTERS(RddByKeyTest);

/// Each partition's elements.
template <class T>
std::vector<std::vector<T>> pieces(const Rdd<T>& rdd) {
  return rdd
      .map_partitions([](auto range) {
        std::vector<std::vector<T>> one(1);
        for (const T& element : range) one.front().push_back(element);
        return one;
      })
      .collect();
}

// --- combining ---

TEST_P(RddByKeyTest, CombineByKeyCreatesPerPartitionAndMergesInOrder) {
  // Partitions: (1, 1) (2, 2) | (1, 3) (1, 4) | (2, 5) (1, 6).
  const auto all = numbers({{1, 1}, {2, 2}, {1, 3}, {1, 4}, {2, 5}, {1, 6}});
  const auto create = [](int v) { return "<" + std::to_string(v); };
  const auto merge = [](std::string c, int v) { return std::move(c) + "," + std::to_string(v); };
  const auto both = [](std::string a, const std::string& b) { return std::move(a) + b; };
  const auto combined = all.combine_by_key(create, merge, both, 4);
  EXPECT_EQ(combined.num_partitions(), 4U);
  EXPECT_EQ(sorted(combined.collect()), (Names{{1, "<1<3,4<6"}, {2, "<2<5"}}));
  // One partition per key has it all already.
  const auto spread = all.partition_by(3);
  EXPECT_EQ(sorted(spread.combine_by_key(create, merge, both).collect()),
            (Names{{1, "<1,3,4,6"}, {2, "<2,5"}}));
  EXPECT_EQ(new_stages(),
            (Words{"combine_by_key", "combine_by_key", "partition_by", "combine_by_key"}));
}

TEST_P(RddByKeyTest, AggregateByKeyBeginsWithZeroInEachPartition) {
  // Partitions: (1, 1) (1, 2) | (1, 3) (2, 4): key 1 has two zeros, key 2 one.
  const auto all = context_.parallelize(Numbers{{1, 1}, {1, 2}, {1, 3}, {2, 4}}, 2);
  EXPECT_EQ(sorted(all.aggregate_by_key(
                          0.5, [](double sum, int v) { return sum + v; }, std::plus<>())
                       .collect()),
            (std::vector<std::pair<int, double>>{{1, 7}, {2, 4.5}}));
  EXPECT_EQ(sorted(all.aggregate_by_key(
                          Ints{},
                          [](Ints sum, int v) {
                            sum.push_back(v);
                            return sum;
                          },
                          [](Ints a, const Ints& b) {
                            a.insert(a.end(), b.begin(), b.end());
                            return a;
                          })
                       .collect()),
            (std::vector<std::pair<int, Ints>>{{1, {1, 2, 3}}, {2, {4}}}));
}

TEST_P(RddByKeyTest, FoldByKey) {
  const auto all = context_.parallelize(Numbers{{1, 1}, {1, 2}, {1, 3}, {2, 4}}, 2);
  EXPECT_EQ(sorted(all.fold_by_key(100, std::plus<>()).collect()), (Numbers{{1, 206}, {2, 104}}));
  EXPECT_EQ(sorted(all.fold_by_key(0, std::plus<>(), 3).collect()), (Numbers{{1, 6}, {2, 4}}));
}

/// Counts its copies within a task, so within a partition.
struct Growing {
  Ints values;
  int copies = 0;

  Growing() = default;
  Growing(const Growing& other) : values(other.values), copies(other.copies + 1) {}
  Growing(Growing&& other) noexcept = default;
  Growing& operator=(const Growing& other) {
    values = other.values;
    copies = other.copies + 1;
    return *this;
  }
  Growing& operator=(Growing&& other) noexcept = default;
  ~Growing() = default;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & values & copies;
  }
};

TEST_P(RddByKeyTest, WhatIsCombinedGrowsInPlace) {
  const auto grow = [](Growing all, int v) {
    all.values.push_back(v);
    return all;
  };
  const auto append = [](Growing all, const Growing& more) {
    all.values.insert(all.values.end(), more.values.begin(), more.values.end());
    return all;
  };
  Numbers thousand;
  for (int i = 0; i < 1000; ++i) thousand.emplace_back(0, i);
  const auto grown = numbers(thousand).aggregate_by_key(Growing(), grow, append).collect();
  ASSERT_EQ(grown.size(), 1U);
  EXPECT_EQ(grown[0].second.values.size(), 1000U);
  EXPECT_EQ(grown[0].second.values[999], 999);
  EXPECT_LE(grown[0].second.copies, 3);
}

// --- values ---

TEST_P(RddByKeyTest, FlatMapValuesPairsEachElementWithTheKey) {
  const auto lines = names({{1, "a b"}, {2, ""}, {3, "c"}});
  EXPECT_EQ(lines.flat_map_values([](const std::string& line) { return split(line, ' '); })
                .map_values([](std::string_view word) { return std::string(word); })
                .collect(),
            (Names{{1, "a"}, {1, "b"}, {3, "c"}}));
  const auto repeated = numbers({{1, 2}, {2, 0}, {3, 3000}}).flat_map_values([](int n) {
    return Ints(static_cast<std::size_t>(n), n);
  });
  EXPECT_EQ(repeated.count(), 3002);
  EXPECT_EQ(repeated.take(3), (Numbers{{1, 2}, {1, 2}, {3, 3000}}));
  EXPECT_EQ(numbers({{1, 2}, {2, 3}})
                .flat_map_values([](int n) { return n == 3 ? std::optional(7L) : std::nullopt; })
                .collect(),
            (std::vector<std::pair<int, long>>{{2, 7}}));
}

TEST_P(RddByKeyTest, FlatMapValuesOfViewsKeepsTheirKeys) {
  const auto words = context_.parallelize({"k1:a b", "k2:c"}, 1);
  const auto pairs = words
                         .map([](const std::string& line) {
                           const std::string_view view = line;
                           return std::pair(view.substr(0, 2), view.substr(3));
                         })
                         .flat_map_values([](std::string_view text) { return split(text, ' '); });
  using Pair = std::pair<std::string, std::string>;
  EXPECT_EQ(pairs.collect(), (std::vector<Pair>{{"k1", "a"}, {"k1", "b"}, {"k2", "c"}}));
}

TEST_P(RddByKeyTest, FlatMapValuesKeepsThePartitioner) {
  const auto twice = numbers({{1, 1}, {2, 2}}).partition_by(2).flat_map_values([](int v) {
    return Ints{v, v};
  });
  EXPECT_EQ(sorted(twice.reduce_by_key(std::plus<>()).collect()), (Numbers{{1, 2}, {2, 4}}));
  EXPECT_EQ(new_stages(), (Words{"partition_by", "reduce_by_key"}));
}

TEST_P(RddByKeyTest, KeysAndValues) {
  const auto all = names({{2, "b"}, {1, "a"}, {2, "c"}});
  EXPECT_EQ(all.keys().collect(), (Ints{2, 1, 2}));
  EXPECT_EQ(all.values().collect(), (Words{"b", "a", "c"}));
}

// --- partitions ---

TEST_P(RddByKeyTest, PartitionByPutsEqualKeysTogetherInOrder) {
  const auto spread = numbers({{1, 1}, {2, 2}, {1, 3}, {3, 4}, {1, 5}, {2, 6}}).partition_by(4);
  const auto parts = pieces(spread);
  ASSERT_EQ(parts.size(), 4U);
  std::map<int, std::vector<Numbers>> found;  // by key, what each partition has of it
  for (const Numbers& part : parts) {
    std::map<int, Numbers> of_key;
    for (const Number& number : part) of_key[number.first].push_back(number);
    for (const auto& [key, pairs] : of_key) found[key].push_back(pairs);
  }
  EXPECT_EQ(found, (std::map<int, std::vector<Numbers>>{
                       {1, {{{1, 1}, {1, 3}, {1, 5}}}}, {2, {{{2, 2}, {2, 6}}}}, {3, {{{3, 4}}}}}));
  EXPECT_EQ(spread.partition_by(4).id(), spread.id());
  EXPECT_EQ(spread.partition_by().id(), spread.id());
  EXPECT_EQ(spread.partition_by(2).num_partitions(), 2U);
}

TEST_P(RddByKeyTest, RepartitionDealsInTurn) {
  const auto all = context_.parallelize({0, 1, 2, 3, 4, 5, 6, 7}, 2);
  // The second partition, 4 to 7, begins with the second piece.
  EXPECT_EQ(pieces(all.repartition(3)), (std::vector<Ints>{{0, 3, 6}, {1, 4, 7}, {2, 5}}));
  EXPECT_EQ(pieces(all.repartition(1)), (std::vector<Ints>{{0, 1, 2, 3, 4, 5, 6, 7}}));
  EXPECT_EQ(pieces(context_.parallelize({1, 2, 3}, 3).repartition(4)),
            (std::vector<Ints>{{1}, {2}, {3}, {}}));
  EXPECT_EQ(context_.empty_rdd<int>().repartition(2).count(), 0);
  Ints many(50'000, 1);
  EXPECT_EQ(context_.parallelize(many, 2).repartition(3).reduce(std::plus<>()), 50'000);
}

TEST_P(RddByKeyTest, CoalesceJoinsNeighboursWithoutAShuffle) {
  const auto all = context_.parallelize({1, 2, 3, 4, 5}, 5);
  EXPECT_EQ(pieces(all.coalesce(2)), (std::vector<Ints>{{1, 2}, {3, 4, 5}}));
  EXPECT_EQ(pieces(all.coalesce(3)), (std::vector<Ints>{{1}, {2, 3}, {4, 5}}));
  EXPECT_EQ(all.coalesce(5).id(), all.id());
  EXPECT_EQ(all.coalesce(9).num_partitions(), 5U);
  EXPECT_EQ(new_stages().size(), 2U);
  // Also of what was shuffled, whose keys are then spread otherwise.
  const auto sums = numbers({{1, 1}, {2, 2}, {1, 3}}).reduce_by_key(std::plus<>(), 4).coalesce(3);
  EXPECT_EQ(sorted(sums.reduce_by_key(std::plus<>(), 3).collect()), (Numbers{{1, 4}, {2, 2}}));
  EXPECT_EQ(context_.empty_rdd<int>().coalesce(1).count(), 0);
}

TEST_P(RddByKeyTest, PartitionsMustBePossible) {
  const auto all = numbers({{1, 1}});
  const std::string limit = "a dataset has 1 to 1000000";
  EXPECT_EQ(error_of([&] { all.repartition(0); }).what(),
            "repartition: 0 partitions were asked for; " + limit);
  EXPECT_EQ(error_of([&] { all.coalesce(0); }).what(),
            "coalesce: 0 partitions were asked for; " + limit);
  EXPECT_EQ(error_of([&] { all.partition_by(1'000'001); }).what(),
            "partition_by: 1000001 partitions were asked for; " + limit);
  EXPECT_EQ(error_of([&] { all.join(all, 4'294'967'295); }).what(),
            "join: 4294967295 partitions were asked for; " + limit);
}

// --- actions ---

TEST_P(RddByKeyTest, LookupComputesThePartitionOfTheKeyOnly) {
  const auto all = names({{1, "a"}, {2, "b"}, {1, "c"}});
  EXPECT_EQ(all.lookup(1), (Words{"a", "c"}));
  EXPECT_EQ(all.lookup(3), Words{});
  const auto spread = all.partition_by(8).cache();
  EXPECT_EQ(spread.count(), 3);
  new_tasks();
  EXPECT_EQ(spread.lookup(1), (Words{"a", "c"}));
  EXPECT_EQ(spread.lookup(2), (Words{"b"}));
  EXPECT_EQ(spread.lookup(3), Words{});
  EXPECT_EQ(new_tasks(), 3U);
  const auto by_word = all.map([](const Name& name) { return std::pair(name.second, name.first); });
  EXPECT_EQ(by_word.reduce_by_key(std::plus<>(), 4).lookup("b"), Ints{2});
}

TEST_P(RddByKeyTest, MapsInTheDriver) {
  const auto all = numbers({{1, 30}, {2, 5}, {1, 10}, {3, 7}, {1, 20}});
  EXPECT_EQ(all.count_by_key(), (std::map<int, std::int64_t>{{1, 3}, {2, 1}, {3, 1}}));
  EXPECT_EQ(all.collect_as_map(), (std::map<int, int>{{1, 20}, {2, 5}, {3, 7}}));
  new_stages();
  EXPECT_EQ(all.reduce_by_key_locally(std::plus<>()),
            (std::map<int, int>{{1, 60}, {2, 5}, {3, 7}}));
  EXPECT_EQ(new_stages(), (Words{"reduce_by_key_locally"}));
  EXPECT_EQ(names({}).collect_as_map(), (std::map<int, std::string>{}));
  EXPECT_EQ(names({}).count_by_key(), (std::map<int, std::int64_t>{}));
}

}  // namespace
}  // namespace weir::test
