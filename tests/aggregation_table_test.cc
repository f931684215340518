#include "weir/core/aggregation_table.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "weir/core/hash.h"

namespace weir::internal {
namespace {

using Counts = AggregationTable<std::string, int>;

int& count_of(Counts& table, std::string_view key, std::uint64_t hash) {
  return table.find_or_insert(hash, key, [] { return 0; }).first->second;
}
int& count_of(Counts& table, std::string_view key) { return count_of(table, key, hash_bytes(key)); }

std::vector<std::string> keys(Counts& table) {
  std::vector<std::string> all;
  for (const auto& entry : table.entries()) all.push_back(entry.first);
  return all;
}

TEST(AggregationTable, IteratesInInsertionOrder) {
  Counts table;
  for (const char* word : {"the", "quick", "the", "fox", "quick", "the"}) ++count_of(table, word);
  EXPECT_EQ(keys(table), (std::vector<std::string>{"the", "quick", "fox"}));
  EXPECT_EQ(table.entries()[0].second, 3);
  EXPECT_EQ(table.entries()[1].second, 2);
  EXPECT_EQ(table.entries()[2].second, 1);
}

TEST(AggregationTable, TellsWhetherAnEntryIsNewAndMakesOnlyNewOnes) {
  Counts table;
  int made = 0;
  const auto make = [&] { return ++made; };
  EXPECT_TRUE(table.find_or_insert(1, std::string_view("a"), make).second);
  EXPECT_FALSE(table.find_or_insert(1, std::string_view("a"), make).second);
  EXPECT_EQ(made, 1);
}

TEST(AggregationTable, KeepsEverythingWhileItGrows) {
  Counts table;
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 10'000; ++i) ++count_of(table, std::to_string(i));
  }
  ASSERT_EQ(table.size(), 10'000U);
  for (int i = 0; i < 10'000; ++i) {
    EXPECT_EQ(table.entries()[i].first, std::to_string(i));
    EXPECT_EQ(table.entries()[i].second, 3);
    EXPECT_EQ(table.hashes()[i], hash_bytes(std::to_string(i)));
  }
}

TEST(AggregationTable, ReservingChangesNothingElse) {
  Counts table;
  ++count_of(table, "early");
  table.reserve(5000);
  ++count_of(table, "late");
  ++count_of(table, "early");
  EXPECT_EQ(keys(table), (std::vector<std::string>{"early", "late"}));
  EXPECT_EQ(table.entries()[0].second, 2);
}

TEST(AggregationTable, LooksUpByViewAndOwnsOnInsertion) {
  Counts table;
  {
    std::string buffer = "transient";
    ++count_of(table, std::string_view(buffer));
    buffer.assign(buffer.size(), '#');
  }
  ++count_of(table, "transient");
  EXPECT_EQ(keys(table), std::vector<std::string>{"transient"});
  EXPECT_EQ(table.entries()[0].second, 2);
}

TEST(AggregationTable, ComparesKeysWithTheirViewsThroughPairsAndContainers) {
  using namespace std::string_literals;
  using namespace std::string_view_literals;
  EXPECT_TRUE(same_key(std::pair("a"s, 1), std::pair("a"sv, 1)));
  EXPECT_FALSE(same_key(std::pair("a"s, 1), std::pair("a"sv, 2)));
  EXPECT_FALSE(same_key(std::pair("a"s, 1), std::pair("b"sv, 1)));
  EXPECT_TRUE(same_key(std::tuple(std::pair("a"s, 1), 2), std::tuple(std::pair("a"sv, 1), 2)));
  EXPECT_TRUE(same_key(std::optional(std::pair("a"s, 1)), std::optional(std::pair("a"sv, 1))));
  EXPECT_FALSE(same_key(std::optional<std::string>(""), std::optional<std::string_view>()));
  EXPECT_TRUE(same_key(std::vector{"a"s, "b"s}, std::vector{"a"sv, "b"sv}));
  EXPECT_FALSE(same_key(std::vector{"a"s, "b"s}, std::vector{"a"sv}));
  EXPECT_TRUE(same_key(1, std::int64_t{1}));
}

TEST(AggregationTable, MovesOwnedKeysIn) {
  Counts table;
  std::string key(100, 'k');
  const char* content = key.data();
  table.find_or_insert(1, std::move(key), [] { return 0; });
  EXPECT_EQ(table.entries()[0].first.data(), content);
}

TEST(AggregationTable, TellsKeysOfOneHashApart) {
  Counts table;
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 200; ++i) ++count_of(table, std::to_string(i), 42);
  }
  ASSERT_EQ(table.size(), 200U);
  for (const auto& entry : table.entries()) EXPECT_EQ(entry.second, 2) << entry.first;
}

TEST(AggregationTable, TellsKeysOfOneTagApart) {
  Counts table;  // tags are the high halves of the hashes: all zero, as if the slot were free
  for (int round = 0; round < 2; ++round) {
    for (std::uint64_t i = 0; i < 200; ++i) ++count_of(table, std::to_string(i), i);
  }
  EXPECT_EQ(table.size(), 200U);
  EXPECT_EQ(count_of(table, "199", 199), 2);
}

TEST(AggregationTable, IteratesAlikeWhateverTheSeed) {
  std::vector<std::vector<std::string>> orders;
  for (const std::uint64_t seed : {1U, 2U, 3U}) {
    Counts table;
    for (int i = 0; i < 1000; ++i) {
      const std::string key = std::to_string(i * 7 % 500);
      ++count_of(table, key, hash_bytes(key, seed));
    }
    orders.push_back(keys(table));
  }
  EXPECT_EQ(orders[0], orders[1]);
  EXPECT_EQ(orders[0], orders[2]);
}

TEST(AggregationTable, OfNothingIsEmpty) {
  Counts table;
  table.prefetch(1);
  EXPECT_EQ(table.size(), 0U);
  EXPECT_TRUE(table.entries().empty());
}

}  // namespace
}  // namespace weir::internal
