// Every operation of datasets and pairs, over every kind of master.

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <numeric>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "weir/core/log.h"
#include "weir/weir.h"

#include "rdd_pairs_fixture.h"

namespace weir::test {
namespace {

using namespace std::string_literals;
using namespace std::string_view_literals;

using Count = std::pair<std::string, std::int64_t>;
using Counts = std::vector<Count>;

Ints numbers(int n) {
  Ints all(static_cast<std::size_t>(n));
  std::iota(all.begin(), all.end(), 0);
  return all;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// A context for a test, and a record of what happened in it.
class RddTest : public ::testing::TestWithParam<const char*> {
 protected:
  RddTest() : context_(config_of(GetParam())) { context_.add_listener(events_); }

  const EventRecord& events() {
    context_.engine()->bus().flush();
    return *events_;
  }
  /// Stages that ran since the last call, by the names of their last operations.
  Words new_stages() {
    Words names;
    const auto all = events().stages();
    for (; stages_seen_ < all.size(); ++stages_seen_) names.push_back(all[stages_seen_].name);
    return names;
  }
  /// Partitions of result stages that were computed since the last call.
  std::size_t new_tasks() {
    const auto all = events().tasks();
    return all.size() - std::exchange(tasks_seen_, all.size());
  }
  /// Elements that sources produced since the last call.
  std::uint64_t new_records() {
    std::uint64_t sum = 0;
    const auto all = events().tasks();
    for (; records_seen_ < all.size(); ++records_seen_)
      sum += all[records_seen_].metrics.records_read;
    return sum;
  }

  Context context_;

 private:
  const std::shared_ptr<EventRecord> events_ = std::make_shared<EventRecord>();
  std::size_t stages_seen_ = 0;
  std::size_t tasks_seen_ = 0;
  std::size_t records_seen_ = 0;
};
WEIR_TEST_OVER_MASTERS(RddTest);

/// For operations that need several contexts.
class ContextTest : public ::testing::TestWithParam<const char*> {};
WEIR_TEST_OVER_MASTERS(ContextTest);

// --- sources ---

TEST_P(RddTest, ParallelizeCutsIntoContiguousPieces) {
  const auto rdd = context_.parallelize({1, 2, 3, 4, 5, 6, 7}, 3);
  EXPECT_EQ(rdd.num_partitions(), 3U);
  EXPECT_EQ(rdd.collect(), (Ints{1, 2, 3, 4, 5, 6, 7}));
  const auto pieces = rdd.map_partitions([](auto range) {
    Ints piece;
    for (const int x : range) piece.push_back(x);
    return std::vector<Ints>{piece};
  });
  EXPECT_EQ(pieces.collect(), (std::vector<Ints>{{1, 2}, {3, 4}, {5, 6, 7}}));
}

TEST_P(RddTest, ParallelizeTakesMorePartitionsThanElementsAndTheDefault) {
  EXPECT_EQ(context_.parallelize({1, 2}, 5).collect(), (Ints{1, 2}));
  EXPECT_EQ(context_.parallelize(Ints{}, 3).collect(), Ints{});
  EXPECT_EQ(context_.parallelize({1}).num_partitions(), context_.default_parallelism());
}

TEST_P(RddTest, ElementsOfManyTypes) {
  EXPECT_EQ(context_.parallelize({"a"s, ""s, std::string(10'000, 'x')}, 2).collect(),
            (Words{"a", "", std::string(10'000, 'x')}));
  EXPECT_EQ(context_.parallelize({"a", "bc"}, 2).collect(), (Words{"a", "bc"}));
  EXPECT_EQ(context_.parallelize({"a"sv, "bc"sv}, 2).collect(), (Words{"a", "bc"}));
  EXPECT_EQ(context_.parallelize({true, false, true}, 2).collect(),
            (std::vector<bool>{true, false, true}));
  using Maybe = std::optional<std::string>;
  EXPECT_EQ(context_.parallelize({Maybe("a"), Maybe()}, 2).collect(),
            (std::vector<Maybe>{"a", std::nullopt}));
  using Nested = std::map<std::string, std::vector<double>>;
  EXPECT_EQ(context_.parallelize(std::vector<Nested>{{{"a", {1, 2}}}, {}}, 2).collect(),
            (std::vector<Nested>{{{"a", {1, 2}}}, {}}));
}

TEST_P(RddTest, ManyElementsKeepTheirOrder) {
  const Ints all = numbers(100'000);
  EXPECT_EQ(context_.parallelize(all, 7).collect(), all);
}

TEST_P(RddTest, TextFileHasItsLinesWhateverThePartitions) {
  const TempFolder folder;
  write_file(folder.file("text"), "the quick\r\nbrown fox\n\njumps");
  const Words lines = {"the quick", "brown fox", "", "jumps"};
  for (const std::uint32_t partitions : {0U, 1U, 2U, 5U, 30U}) {
    EXPECT_EQ(context_.text_file(folder.file("text"), partitions).collect(), lines);
  }
  EXPECT_EQ(context_.text_file(folder.file("text")).count(), 4);
  EXPECT_EQ(error_of([&] { context_.text_file(folder.file("missing")); }).code(),
            ErrorCode::kInvalidArgument);
}

TEST_P(RddTest, AFileThatGoesAwayFailsTheJobByItsName) {
  const TempFolder folder;
  write_file(folder.file("text"), "a\nb\n");
  const auto lines = context_.text_file(folder.file("text"));
  std::filesystem::remove(folder.file("text"));
  const Error error = error_of([&] { lines.count(); });
  EXPECT_EQ(error.code(), ErrorCode::kJobFailed);
  EXPECT_TRUE(contains(error.what(), folder.file("text"))) << error.what();
}

TEST_P(RddTest, NothingAtAll) {
  const auto nothing = context_.empty_rdd<int>();
  EXPECT_EQ(nothing.num_partitions(), 0U);
  EXPECT_EQ(nothing.collect(), Ints{});
  EXPECT_EQ(nothing.count(), 0);
  EXPECT_EQ(nothing.take(3), Ints{});
  EXPECT_EQ(nothing.map([](int x) { return std::pair(x, x); }).reduce_by_key(std::plus<>()).count(),
            0);
  nothing.foreach ([](int) {});
  EXPECT_EQ(error_of([&] { nothing.reduce(std::plus<>()); }).code(), ErrorCode::kInvalidArgument);

  const auto empty = context_.parallelize(Ints{}, 3);
  EXPECT_EQ(empty.count(), 0);
  EXPECT_EQ(empty.take(3), Ints{});
  EXPECT_EQ(empty.map([](int x) { return std::pair(x, x); }).group_by_key().count(), 0);
  EXPECT_EQ(error_of([&] { empty.reduce(std::plus<>()); }).code(), ErrorCode::kInvalidArgument);
}

// --- narrow transformations ---

TEST_P(RddTest, Map) {
  const auto rdd = context_.parallelize({1, 2, 3}, 2);
  EXPECT_EQ(rdd.map([](int x) { return x * x; }).collect(), (Ints{1, 4, 9}));
  EXPECT_EQ(rdd.map([](int x) { return std::to_string(x); }).collect(), (Words{"1", "2", "3"}));
  EXPECT_EQ(rdd.map([](int x) { return x > 1; }).collect(), (std::vector<bool>{false, true, true}));
}

int negated(int x) { return -x; }

struct Power {
  int exponent = 1;
  int operator()(int x) const {
    int result = 1;
    for (int i = 0; i < exponent; ++i) result *= x;
    return result;
  }
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & exponent;
  }
};

TEST_P(RddTest, EveryKindOfShippableFunction) {
  const auto rdd = context_.parallelize({1, 2, 3}, 2);
  EXPECT_EQ(rdd.map(fn<&negated>).collect(), (Ints{-1, -2, -3}));
  EXPECT_EQ(rdd.map(Power{3}).collect(), (Ints{1, 8, 27}));
  const int by = 10;
  EXPECT_EQ(rdd.map(weir::bind(by, [](int b, int x) { return b * x; })).collect(),
            (Ints{10, 20, 30}));
  EXPECT_EQ(rdd.map(weir::bind("no. ", [](const std::string& prefix,
                                          int x) { return prefix + std::to_string(x); }))
                .collect(),
            (Words{"no. 1", "no. 2", "no. 3"}));
  EXPECT_EQ(rdd.reduce(std::plus<>()), 6);
}

TEST_P(RddTest, FlatMap) {
  const auto lines = context_.parallelize({"the quick  fox", "", "jumps"}, 2);
  EXPECT_EQ(lines.flat_map([](const std::string& l) { return split(l, ' '); }).collect(),
            (Words{"the", "quick", "fox", "jumps"}));
  EXPECT_EQ(context_.parallelize({2, 0, 1}, 2)
                .flat_map([](int x) { return Ints(static_cast<std::size_t>(x), x); })
                .collect(),
            (Ints{2, 2, 1}));
  EXPECT_EQ(context_.parallelize({1, 2, 3, 4}, 2)
                .flat_map([](int x) { return x % 2 == 0 ? std::optional(x) : std::nullopt; })
                .collect(),
            (Ints{2, 4}));
  EXPECT_EQ(context_.parallelize({3000}, 1)
                .flat_map([](int n) { return std::views::iota(0, n); })
                .collect(),
            numbers(3000));
}

TEST_P(RddTest, Filter) {
  const auto odd = context_.parallelize(numbers(10), 3).filter([](int x) { return x % 2 == 1; });
  EXPECT_EQ(odd.collect(), (Ints{1, 3, 5, 7, 9}));
  EXPECT_EQ(odd.filter([](int) { return false; }).collect(), Ints{});
}

TEST_P(RddTest, MapPartitions) {
  const auto sums = context_.parallelize({1, 2, 3, 4, 5}, 2).map_partitions([](auto range) {
    int sum = 0;
    for (const int x : range) sum += x;
    return Ints{sum};
  });
  EXPECT_EQ(sums.collect(), (Ints{3, 12}));
}

TEST_P(RddTest, TransformationsChain) {
  const auto result = context_.parallelize(numbers(1000), 4)
                          .filter([](int x) { return x % 3 == 0; })
                          .map([](int x) { return x / 3; })
                          .flat_map([](int x) {
                            return Ints{x, -x};
                          })
                          .filter([](int x) { return x < 0 && x > -4; });
  EXPECT_EQ(result.collect(), (Ints{-1, -2, -3}));
}

TEST_P(RddTest, UnionPutsPartitionsInARow) {
  const auto a = context_.parallelize({1, 2}, 2);
  const auto b = context_.parallelize({3, 4, 5}, 3);
  EXPECT_EQ(a.union_with(b).num_partitions(), 5U);
  EXPECT_EQ(a.union_with(b).collect(), (Ints{1, 2, 3, 4, 5}));
  EXPECT_EQ(a.union_with(a).collect(), (Ints{1, 2, 1, 2}));
  EXPECT_EQ(context_.union_of({b, a, b}).collect(), (Ints{3, 4, 5, 1, 2, 3, 4, 5}));
  EXPECT_EQ(context_.union_of({a, context_.empty_rdd<int>()}).collect(), (Ints{1, 2}));
  EXPECT_EQ(a.union_with(b).union_with(a).map([](int x) { return x * 10; }).collect(),
            (Ints{10, 20, 30, 40, 50, 10, 20}));
}

TEST_P(RddTest, ViewsLiveInsideAStageAndAreOwnedOutside) {
  const auto words =
      context_.parallelize({"the quick fox", "the dog"}, 2).flat_map([](const std::string& line) {
        return split(line, ' ');
      });
  static_assert(std::is_same_v<decltype(words)::value_type, std::string_view>);
  EXPECT_EQ(words.collect(), (Words{"the", "quick", "fox", "the", "dog"}));
  EXPECT_EQ(words.take(4), (Words{"the", "quick", "fox", "the"}));
  EXPECT_EQ(words.reduce([](std::string_view a, std::string_view b) { return std::max(a, b); }),
            "the");
  const auto pairs = words.map([](std::string_view w) { return std::pair(w, w.substr(0, 1)); });
  EXPECT_EQ(sorted(pairs
                       .reduce_by_key([](std::string_view a, std::string_view b) {
                         return std::string(a) + std::string(b);
                       })
                       .collect()),
            (std::vector<std::pair<std::string, std::string>>{
                {"dog", "d"}, {"fox", "f"}, {"quick", "q"}, {"the", "tt"}}));
  const auto kept = words.persist();
  EXPECT_EQ(kept.count(), 5);
  EXPECT_EQ(kept.collect(), (Words{"the", "quick", "fox", "the", "dog"}));
}

// --- transformations of pairs ---

TEST_P(RddTest, WordCount) {
  const auto counts = context_.parallelize({"the quick fox", "the lazy dog", "the end"}, 3)
                          .flat_map([](const std::string& line) { return split(line, ' '); })
                          .map([](std::string_view w) { return std::pair(w, std::int64_t{1}); })
                          .reduce_by_key([](std::int64_t a, std::int64_t b) { return a + b; });
  EXPECT_EQ(sorted(counts.collect()),
            (Counts{{"dog", 1}, {"end", 1}, {"fox", 1}, {"lazy", 1}, {"quick", 1}, {"the", 3}}));
}

TEST_P(RddTest, MapValues) {
  const auto pairs = context_.parallelize({Count("a", 1), Count("b", 2)}, 2);
  EXPECT_EQ(pairs.map_values([](std::int64_t v) { return v * 10; }).collect(),
            (Counts{{"a", 10}, {"b", 20}}));
}

TEST_P(RddTest, ReduceByKeyTakesANumberOfPartitions) {
  const auto pairs =
      context_.parallelize(numbers(100), 4).map([](int x) { return std::pair(x % 10, x); });
  for (const std::uint32_t partitions : {1U, 2U, 7U, 32U}) {
    const auto sums = pairs.reduce_by_key(std::plus<>(), partitions);
    EXPECT_EQ(sums.num_partitions(), partitions);
    const auto all = sorted(sums.collect());
    ASSERT_EQ(all.size(), 10U);
    for (int k = 0; k < 10; ++k) EXPECT_EQ(all[k], (std::pair(k, 450 + 10 * k)));
  }
  EXPECT_EQ(pairs.reduce_by_key(std::plus<>()).num_partitions(), context_.default_parallelism());
}

TEST_P(RddTest, ReduceByKeyOnKeysOfManyTypes) {
  using Key = std::tuple<std::string, double, std::optional<int>>;
  const std::vector<std::pair<Key, int>> input = {{{"a", 0.0, 1}, 1},
                                                  {{"a", -0.0, 1}, 2},
                                                  {{"a", 0.0, {}}, 4},
                                                  {{"b", 0.0, 1}, 8},
                                                  {{"a", 0.0, 1}, 16}};
  EXPECT_EQ(sorted(context_.parallelize(input, 3).reduce_by_key(std::plus<>()).collect()),
            (std::vector<std::pair<Key, int>>{
                {{"a", 0.0, {}}, 4}, {{"a", 0.0, 1}, 19}, {{"b", 0.0, 1}, 8}}));
}

TEST_P(RddTest, ReduceByKeyOnKeysThatHoldViews) {
  const auto lines = context_.parallelize({"a b", "b a", "a b"}, 3);
  const auto pairs = lines.map([](const std::string& line) {
    return std::pair(std::pair(std::string_view(line).substr(0, 1), line.size()), 1);
  });
  using PairCount = std::pair<std::pair<std::string, std::size_t>, int>;
  EXPECT_EQ(sorted(pairs.reduce_by_key(std::plus<>()).collect()),
            (std::vector<PairCount>{{{"a", 3}, 2}, {{"b", 3}, 1}}));
  const auto tuples = lines.map([](const std::string& line) {
    const std::string_view text = line;
    return std::pair(std::tuple(std::optional(text.substr(0, 1)), std::pair(text, 0)), 1);
  });
  EXPECT_EQ(tuples.reduce_by_key(std::plus<>()).count(), 2);
  const auto lists = lines.map([](const std::string& line) {
    const auto words = split(line, ' ');
    return std::pair(std::vector<std::string_view>(words.begin(), std::next(words.begin(), 2)), 1);
  });
  EXPECT_EQ(sorted(lists.reduce_by_key(std::plus<>()).collect()),
            (std::vector<std::pair<Words, int>>{{{"a", "b"}, 2}, {{"b", "a"}, 1}}));
}

TEST_P(RddTest, ReduceByKeyCombinesInTheOrderOfTheInput) {
  std::vector<std::pair<int, std::string>> input;
  std::string expected;
  for (int i = 0; i < 200; ++i) {
    input.emplace_back(0, std::to_string(i) + " ");
    expected += std::to_string(i) + " ";
  }
  EXPECT_EQ(context_.parallelize(input, 7).reduce_by_key(std::plus<>(), 1).collect(),
            (std::vector<std::pair<int, std::string>>{{0, expected}}));
}

TEST_P(RddTest, GroupByKeyKeepsTheOrderOfTheInput) {
  const auto groups = context_.parallelize(numbers(20), 5)
                          .map([](int x) { return std::pair(x % 3, x); })
                          .group_by_key(2);
  EXPECT_EQ(sorted(groups.collect()),
            (std::vector<std::pair<int, Ints>>{{0, {0, 3, 6, 9, 12, 15, 18}},
                                               {1, {1, 4, 7, 10, 13, 16, 19}},
                                               {2, {2, 5, 8, 11, 14, 17}}}));
}

TEST_P(RddTest, ShufflesFollowShuffles) {
  // How many words have each count.
  const auto histogram = context_.parallelize({"a", "b", "a", "c", "b", "a"}, 3)
                             .map([](const std::string& w) { return std::pair(w, 1); })
                             .reduce_by_key(std::plus<>())
                             .map([](const auto& count) { return std::pair(count.second, 1); })
                             .reduce_by_key(std::plus<>());
  EXPECT_EQ(sorted(histogram.collect()),
            (std::vector<std::pair<int, int>>{{1, 1}, {2, 1}, {3, 1}}));
  EXPECT_EQ(new_stages().size(), 3U);
  EXPECT_EQ(histogram.count(), 3);
  EXPECT_EQ(new_stages().size(), 1U) << "map outputs that exist are used again";
}

TEST_P(RddTest, LargeShufflesCrossWhole) {
  // 40 values of 20 KB per key: pieces well above what travels inline.
  const auto pairs = context_.parallelize(numbers(400), 4).map([](int x) {
    return std::pair(x % 10, std::string(20'000, static_cast<char>('a' + x % 26)));
  });
  std::size_t bytes = 0;
  for (const auto& [key, values] : pairs.group_by_key(3).collect()) {
    EXPECT_EQ(values.size(), 40U);
    for (const auto& value : values) bytes += value.size();
  }
  EXPECT_EQ(bytes, 400U * 20'000U);
}

TEST_P(RddTest, PartitionedDataIsNotShuffledAgain) {
  const auto once = context_.parallelize({Count("a", 1), Count("b", 2), Count("a", 3)}, 3)
                        .reduce_by_key(std::plus<>(), 4);
  const auto twice = once.filter([](const Count& c) { return c.second > 0; })
                         .map_values([](std::int64_t v) { return v * 10; })
                         .reduce_by_key(std::plus<>());
  EXPECT_EQ(twice.num_partitions(), 4U);
  EXPECT_EQ(sorted(twice.collect()), (Counts{{"a", 40}, {"b", 20}}));
  EXPECT_EQ(new_stages().size(), 2U);
  EXPECT_EQ(
      sorted(once.group_by_key(4).collect()),
      (std::vector<std::pair<std::string, std::vector<std::int64_t>>>{{"a", {4}}, {"b", {2}}}));
  EXPECT_EQ(new_stages().size(), 1U);
  EXPECT_EQ(once.reduce_by_key(std::plus<>(), 3).count(), 2);
  EXPECT_EQ(new_stages().size(), 2U) << "another number of partitions is another partitioner";
  EXPECT_EQ(once.map([](const Count& c) { return c; }).reduce_by_key(std::plus<>(), 4).count(), 2);
  EXPECT_EQ(new_stages().size(), 2U) << "map may change keys";
}

TEST_P(RddTest, UnionOfEquallyPartitionedDataIsNotShuffledAgain) {
  const auto counts = [&](Counts input) {
    return context_.parallelize(std::move(input), 2).reduce_by_key(std::plus<>(), 3);
  };
  const auto both = counts({{"a", 1}, {"b", 2}}).union_with(counts({{"a", 10}, {"c", 4}}));
  EXPECT_EQ(both.num_partitions(), 3U);
  EXPECT_EQ(sorted(both.collect()), (Counts{{"a", 1}, {"a", 10}, {"b", 2}, {"c", 4}}));
  EXPECT_EQ(new_stages().size(), 3U);
  EXPECT_EQ(sorted(both.reduce_by_key(std::plus<>()).collect()),
            (Counts{{"a", 11}, {"b", 2}, {"c", 4}}));
  EXPECT_EQ(new_stages().size(), 1U);
}

// --- actions ---

TEST_P(RddTest, CountAndReduce) {
  const auto rdd = context_.parallelize(numbers(1001), 4);
  EXPECT_EQ(rdd.count(), 1001);
  EXPECT_EQ(rdd.reduce([](int a, int b) { return a + b; }), 500'500);
  EXPECT_EQ(context_.parallelize({5}, 3).reduce(std::plus<>()), 5);
  EXPECT_EQ(context_.parallelize({"a", "b", "c", "d"}, 3).reduce(std::plus<>()), "abcd");
}

TEST_P(RddTest, TakeReadsNoMorePartitionsThanItNeeds) {
  const auto rdd = context_.parallelize(numbers(100), 50);
  EXPECT_EQ(rdd.take(0), Ints{});
  EXPECT_EQ(new_tasks(), 0U);
  EXPECT_EQ(rdd.take(2), (Ints{0, 1}));
  EXPECT_EQ(new_tasks(), 1U);
  EXPECT_EQ(rdd.take(5), (Ints{0, 1, 2, 3, 4}));
  EXPECT_EQ(new_tasks(), 1U + 4U);
  EXPECT_EQ(rdd.take(1000), numbers(100));
  EXPECT_EQ(new_tasks(), 50U);
}

TEST_P(RddTest, TakeStopsInsideAPartition) {
  const auto rdd = context_.parallelize(numbers(100'000), 1).map([](int x) { return x + 1; });
  EXPECT_EQ(rdd.take(3), (Ints{1, 2, 3}));
  EXPECT_LE(new_records(), kChunkElements);
}

TEST_P(RddTest, ForeachHappensForEveryElement) {
  const TempFolder folder;
  context_.parallelize(numbers(20), 4)
      .foreach (weir::bind(folder.file(""), [](const std::string& path, int x) {
        write_file(path + std::to_string(x), "");
      }));
  std::size_t files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder.file(""))) {
    ++files;
  }
  EXPECT_EQ(files, 20U);
}

TEST_P(RddTest, ForeachPartitionHappensOncePerPartition) {
  const TempFolder folder;
  context_.parallelize(numbers(7), 3)
      .foreach_partition(weir::bind(folder.file(""), [](const std::string& path, auto range) {
        std::string all;
        for (const int x : range) all += std::to_string(x) + " ";
        write_file(path + std::to_string(TaskContext::current().partition()), all);
      }));
  EXPECT_EQ(read_file(folder.file("0")), "0 1 ");
  EXPECT_EQ(read_file(folder.file("1")), "2 3 ");
  EXPECT_EQ(read_file(folder.file("2")), "4 5 6 ");
}

TEST_P(RddTest, EffectsOfAFailedAttemptHappenAgain) {
  const TempFolder folder;
  context_.parallelize({1, 2}, 1).foreach (
      weir::bind(folder.file(""), [](const std::string& path, int x) {
        const auto attempt = TaskContext::current().attempt();
        if (x == 2 && attempt == 1) throw std::runtime_error("boom");
        write_file(path + std::to_string(x) + "." + std::to_string(attempt), "");
      }));
  EXPECT_TRUE(std::filesystem::exists(folder.file("1.1")));
  EXPECT_FALSE(std::filesystem::exists(folder.file("2.1")));
  EXPECT_TRUE(std::filesystem::exists(folder.file("1.2")));
  EXPECT_TRUE(std::filesystem::exists(folder.file("2.2")));
}

TEST_P(RddTest, TasksKnowTheirPartitionAndAttempt) {
  const auto seen = context_.parallelize({1, 2, 3}, 3).map([](int) {
    const TaskContext& task = TaskContext::current();
    return std::tuple(task.partition(), task.attempt(), task.batch(), task.cancelled());
  });
  using Seen = std::tuple<std::uint32_t, std::uint32_t, std::uint64_t, bool>;
  EXPECT_EQ(seen.collect(),
            (std::vector<Seen>{{0, 1, 0, false}, {1, 1, 0, false}, {2, 1, 0, false}}));
  EXPECT_EQ(error_of([] { TaskContext::current(); }).code(), ErrorCode::kInvalidArgument);
}

// --- persist ---

TEST_P(RddTest, PersistedElementsAreComputedOnce) {
  const auto kept =
      context_.parallelize(numbers(100), 4).map([](int x) { return x * 2; }).persist();
  EXPECT_EQ(kept.count(), 100);
  EXPECT_EQ(new_records(), 100U);
  EXPECT_EQ(kept.reduce(std::plus<>()), 9900);
  EXPECT_EQ(kept.filter([](int x) { return x < 4; }).collect(), (Ints{0, 2}));
  EXPECT_EQ(new_records(), 0U);
  kept.unpersist();
  EXPECT_EQ(kept.count(), 100);
  EXPECT_EQ(new_records(), 100U);
  EXPECT_EQ(kept.count(), 100);
  EXPECT_EQ(new_records(), 100U);
}

TEST_P(RddTest, WithoutPersistEverythingIsComputedEachTime) {
  const auto rdd = context_.parallelize(numbers(100), 4).map([](int x) { return x * 2; });
  EXPECT_EQ(rdd.count(), 100);
  EXPECT_EQ(rdd.count(), 100);
  EXPECT_EQ(new_records(), 200U);
}

TEST_P(RddTest, PersistedShuffleResultsNeedNoMapStage) {
  const auto counts = context_.parallelize({Count("a", 1), Count("a", 2), Count("b", 3)}, 3)
                          .reduce_by_key(std::plus<>(), 2)
                          .cache();
  EXPECT_EQ(sorted(counts.collect()), (Counts{{"a", 3}, {"b", 3}}));
  EXPECT_EQ(new_stages().size(), 2U);
  new_records();
  EXPECT_EQ(sorted(counts.collect()), (Counts{{"a", 3}, {"b", 3}}));
  EXPECT_EQ(counts.map_values([](std::int64_t v) { return -v; }).count(), 2);
  EXPECT_EQ(new_stages().size(), 2U);
  EXPECT_EQ(new_records(), 0U);
}

TEST_P(RddTest, ConsumersDoNotChangeWhatIsPersisted) {
  const auto kept = context_.parallelize({Count("a", 1), Count("b", 2)}, 1).persist();
  const Counts all = kept.collect();
  EXPECT_EQ(kept.map_values([](std::int64_t v) { return v * 10; }).count(), 2);
  EXPECT_EQ(kept.filter([](const Count& c) { return c.first == "b"; }).count(), 1);
  EXPECT_EQ(kept.reduce_by_key(std::plus<>()).count(), 2);
  EXPECT_EQ(kept.collect(), all);
}

TEST_P(RddTest, HandlesMayGoBeforeWhatIsMadeOfThem) {
  const auto counts = [&] {
    const auto kept = context_.parallelize({Count("a", 1), Count("a", 2)}, 2).persist();
    (void)kept.count();
    return kept.reduce_by_key(std::plus<>());
  }();
  EXPECT_EQ(counts.collect(), (Counts{{"a", 3}}));
}

TEST_P(RddTest, NamesAndIds) {
  const auto a = context_.parallelize({1}, 1).set_name("ones");
  const auto b = context_.parallelize({1}, 1);
  EXPECT_EQ(a.name(), "ones");
  EXPECT_NE(a.id(), b.id());
}

// --- failure ---

TEST_P(RddTest, AFunctionThatThrowsIsTriedFourTimesAndThenNamed) {
  const auto bad = context_.parallelize({1, 2, 3, 4}, 4).map([](int x) {
    if (x == 3) throw std::runtime_error("three is not allowed");
    return x;
  });
  const Error error = error_of([&] { bad.collect(); });
  EXPECT_EQ(error.code(), ErrorCode::kJobFailed);
  EXPECT_TRUE(contains(error.what(), "three is not allowed")) << error.what();
  EXPECT_TRUE(contains(error.what(), "failed 4 times")) << error.what();
  EXPECT_TRUE(contains(error.what(), "task 2 ")) << error.what();
  std::size_t failures = 0;
  for (const TaskEnded& task : events().tasks()) failures += task.failure.empty() ? 0U : 1U;
  EXPECT_EQ(failures, 4U);
  EXPECT_EQ(context_.parallelize({1, 2}, 2).count(), 2) << "the context still works";
}

TEST_P(RddTest, AFunctionThatThrowsInAMapStageFailsTheJobToo) {
  const auto bad = context_.parallelize({1, 2}, 2)
                       .map([](int x) -> std::pair<int, int> {
                         if (x == 2) throw std::runtime_error("no pair for two");
                         return {x, x};
                       })
                       .reduce_by_key(std::plus<>());
  const Error error = error_of([&] { bad.collect(); });
  EXPECT_EQ(error.code(), ErrorCode::kJobFailed);
  EXPECT_TRUE(contains(error.what(), "no pair for two")) << error.what();
}

TEST_P(RddTest, AFunctionThatThrowsThreeTimesIsForgiven) {
  const auto flaky = context_.parallelize({1, 2}, 2).map([](int x) {
    if (x == 2 && TaskContext::current().attempt() < 4) throw std::runtime_error("not yet");
    return x;
  });
  EXPECT_EQ(flaky.collect(), (Ints{1, 2}));
}

TEST_P(RddTest, WhatIsThrownNeedNotBeAnException) {
  const auto bad = context_.parallelize({1}, 1).map([](int x) {
    if (x == 1) throw 5;
    return x;
  });
  EXPECT_EQ(error_of([&] { bad.count(); }).code(), ErrorCode::kJobFailed);
}

TEST_P(ContextTest, TheNumberOfAttemptsIsASetting) {
  Context context(config_of(GetParam()).set("task-max-failures", "1"));
  const auto flaky = context.parallelize({1}, 1).map([](int x) {
    if (TaskContext::current().attempt() < 2) throw std::runtime_error("not yet");
    return x;
  });
  const Error error = error_of([&] { flaky.count(); });
  EXPECT_TRUE(contains(error.what(), "failed 1 times")) << error.what();
}

// --- contexts ---

TEST_P(ContextTest, ResultsAreAFunctionOfTheInputOnly) {
  const auto run = [](const char* master) {
    Context context(config_of(master));
    const auto counts = context.parallelize(numbers(5000), 8)
                            .map([](int x) { return std::pair(std::to_string(x % 700), x); })
                            .group_by_key(5);
    EXPECT_EQ(counts.collect(), counts.collect());
    return counts.map([](const auto& group) { return std::pair(group.second.size(), group.first); })
        .reduce_by_key([](const std::string& a, const std::string& b) { return a + b; }, 3)
        .collect();
  };
  EXPECT_EQ(run(GetParam()), run("local[2]"));
}

TEST_P(ContextTest, DatasetsOutliveTheirContextOnlyAsErrors) {
  auto context = std::make_unique<Context>(config_of(GetParam()));
  const auto rdd = context->parallelize({1, 2, 3}, 2).persist();
  const auto pairs = rdd.map([](int x) { return std::pair(x, x); });
  const auto sums = pairs.reduce_by_key(std::plus<>());
  EXPECT_EQ(sums.count(), 3);
  context.reset();
  EXPECT_EQ(error_of([&] { rdd.count(); }).code(), ErrorCode::kCancelled);
  EXPECT_EQ(error_of([&] { sums.collect(); }).code(), ErrorCode::kCancelled);
  EXPECT_EQ(error_of([&] { rdd.take(1); }).code(), ErrorCode::kCancelled);
  EXPECT_EQ(error_of([&] { rdd.union_with(rdd); }).code(), ErrorCode::kCancelled);
  EXPECT_EQ(error_of([&] { rdd.map([](int x) { return x; }); }).code(), ErrorCode::kCancelled);
  EXPECT_EQ(error_of([&] { pairs.reduce_by_key(std::plus<>()); }).code(), ErrorCode::kCancelled);
  rdd.unpersist();
}

TEST_P(ContextTest, AStoppedContextRunsNothing) {
  Context context(config_of(GetParam()));
  const auto rdd = context.parallelize({1, 2, 3}, 2);
  EXPECT_EQ(rdd.count(), 3);
  context.stop();
  context.stop();
  EXPECT_TRUE(context.stopped());
  EXPECT_EQ(error_of([&] { rdd.count(); }).code(), ErrorCode::kCancelled);
}

TEST_P(ContextTest, StopEndsARunningActionAsCancelled) {
  const TempFolder folder;
  Context context(config_of(GetParam()));
  std::optional<Error> error;
  std::jthread action([&] {
    error = error_of([&] {
      context.parallelize(numbers(2), 2)
          .foreach (weir::bind(folder.file("started"), [](const std::string& path, int) {
            write_file(path + std::to_string(TaskContext::current().partition()), "");
            (void)eventually([] { return TaskContext::current().cancelled(); });
          }));
    });
  });
  ASSERT_TRUE(eventually([&] { return std::filesystem::exists(folder.file("started0")); }));
  context.stop();
  action.join();
  EXPECT_EQ(error->code(), ErrorCode::kCancelled) << error->what();
}

TEST_P(RddTest, CancellingJobsLeavesTheContextUsable) {
  const TempFolder folder;
  std::optional<Error> error;
  {
    std::jthread action([&] {
      error = error_of([&] {
        context_.parallelize({1}, 1).foreach (
            weir::bind(folder.file("started"), [](const std::string& path, int) {
              write_file(path, "");
              (void)eventually([] { return TaskContext::current().cancelled(); });
            }));
      });
    });
    ASSERT_TRUE(eventually([&] { return std::filesystem::exists(folder.file("started")); }));
    const int somebody_else = 0;
    context_.engine()->cancel_jobs(&somebody_else, "another's");
    context_.engine()->cancel_jobs(nullptr, "no longer wanted");
  }
  EXPECT_EQ(error->code(), ErrorCode::kCancelled);
  EXPECT_STREQ(error->what(), "no longer wanted");
  EXPECT_EQ(context_.parallelize({1, 2}, 2).count(), 2);
}

TEST_P(RddTest, StoppingEndsTasksBehindAShuffleAtTheNextChunk) {
  const TempFolder folder;
  std::jthread action([&] {
    (void)error_of([&] {
      context_.parallelize(numbers(10'000), 1)
          .map([](int x) { return std::pair(x, x); })
          .reduce_by_key(std::plus<>(), 1)
          .foreach (weir::bind(
              folder.file("started"), folder.file("late"),
              [](const std::string& started, const std::string& late, const std::pair<int, int>&) {
                if (!std::filesystem::exists(started)) write_file(started, "");
                (void)eventually([] { return TaskContext::current().cancelled(); });
                std::ofstream(late, std::ios::app) << '.';
              }));
    });
  });
  ASSERT_TRUE(eventually([&] { return std::filesystem::exists(folder.file("started")); }));
  context_.stop();
  action.join();
  EXPECT_LE(read_file(folder.file("late")).size(), kChunkElements);
}

TEST_P(RddTest, ListenersThatStopOrUseAContextThatIsStoppingDoNotHoldItUp) {
  struct Meddling final : Listener {
    explicit Meddling(Context& meddled) : context(meddled) {}
    void on_task_ended(const TaskEnded&) override {
      (void)eventually([&] { return context.stopped(); });
      context.stop();
      code = error_of([&] { (void)context.parallelize({1}).count(); }).code();
    }
    Context& context;
    ErrorCode code = ErrorCode::kInternal;
  };
  const auto meddling = std::make_shared<Meddling>(context_);
  context_.add_listener(meddling);
  EXPECT_EQ(context_.parallelize({1}, 1).count(), 1);
  context_.stop();
  EXPECT_EQ(meddling->code, ErrorCode::kCancelled);
}

TEST_P(RddTest, ActionsRunFromSeveralThreadsAtOnce) {
  const auto shared = context_.parallelize(numbers(1000), 4)
                          .map([](int x) { return std::pair(x % 10, x); })
                          .reduce_by_key(std::plus<>(), 3);
  std::vector<std::int64_t> sums(4);
  {
    std::vector<std::jthread> threads;
    for (std::size_t t = 0; t < sums.size(); ++t) {
      threads.emplace_back([&, t] {
        for (int round = 0; round < 5; ++round) {
          for (const auto& [key, value] : shared.collect()) sums[t] += value;
          const auto own =
              context_.parallelize(numbers(10), 2).map([](int x) { return std::pair(x % 2, x); });
          for (const auto& [key, value] : own.reduce_by_key(std::plus<>()).collect())
            sums[t] += value;
        }
      });
    }
  }
  EXPECT_EQ(sums, std::vector<std::int64_t>(4, 5 * (499'500 + 45)));
}

TEST_P(RddTest, EveryListenerIsToldThoughOneThrows) {
  struct Throwing final : Listener {
    void on_task_ended(const TaskEnded&) override { throw std::runtime_error("from a listener"); }
  };
  set_log_level("off");
  const auto throwing = std::make_shared<Throwing>();
  const auto behind = std::make_shared<EventRecord>();
  context_.add_listener(throwing);
  context_.add_listener(behind);
  EXPECT_EQ(context_.parallelize({1, 2}, 2).count(), 2);
  EXPECT_EQ(new_tasks(), 2U);
  EXPECT_EQ(behind->tasks().size(), 2U);
  context_.remove_listener(behind);
  EXPECT_EQ(context_.parallelize({1, 2}, 2).count(), 2);
  EXPECT_EQ(new_tasks(), 2U);
  EXPECT_EQ(behind->tasks().size(), 2U);
  set_log_level("error");
}

TEST_P(RddTest, EventsTellOfStagesAndTasks) {
  const auto counts =
      context_.parallelize({Count("a", 1), Count("b", 2)}, 2).reduce_by_key(std::plus<>(), 3);
  EXPECT_EQ(counts.count(), 2);
  const auto stages = events().stages();
  ASSERT_EQ(stages.size(), 2U);
  EXPECT_EQ(stages[0].tasks, 2U);
  EXPECT_EQ(stages[1].tasks, 3U);
  EXPECT_FALSE(stages[0].again);
  std::size_t maps = 0;
  for (const TaskEnded& task : events().tasks()) maps += task.is_map ? 1U : 0U;
  EXPECT_EQ(maps, 2U);
  EXPECT_EQ(events().tasks().size(), 5U);
}

TEST_P(RddTest, NumbersOfPartitionsThatCannotBeMeantAreRefused) {
  const auto pairs = context_.parallelize({Count("a", 1)}, 1);
  for (const auto partitions : {static_cast<std::uint32_t>(-1), 1'000'001U}) {
    for (const Error& error : {error_of([&] { (void)context_.parallelize({1}, partitions); }),
                               error_of([&] { (void)pairs.group_by_key(partitions); })}) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      EXPECT_TRUE(contains(error.what(), std::to_string(partitions))) << error.what();
    }
  }
}

TEST_P(RddTest, StagesBearTheNameOfTheirDataset) {
  const auto counts = context_.parallelize({Count("a", 1)}, 1).reduce_by_key(std::plus<>(), 1);
  (void)new_stages();
  EXPECT_EQ(counts.set_name("counts").count(), 1);
  EXPECT_EQ(new_stages(), (Words{"counts", "counts"}));
}

/// A view with an owning form of its own.
struct Tag {
  std::string_view text;
};
struct OwnedTag {
  std::string text;

  OwnedTag() = default;
  explicit OwnedTag(const Tag& tag) : text(tag.text) {}
  auto operator<=>(const OwnedTag&) const = default;
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & text;
  }
};

}  // namespace
}  // namespace weir::test

template <>
struct weir::owned<weir::test::Tag> {
  using type = weir::test::OwnedTag;
};

namespace weir::test {
namespace {

TEST_P(RddTest, TypesWithAnOwningFormOfTheirOwnAreKeysAndValues) {
  const auto tags = context_.parallelize({"a", "b", "a"}, 2).map([](const std::string& text) {
    return Tag{text};
  });
  Counts counted;
  for (const auto& [tag, count] :
       tags.map([](const Tag& tag) { return std::pair(tag, std::int64_t{1}); })
           .reduce_by_key(std::plus<>(), 2)
           .collect()) {
    counted.emplace_back(tag.text, count);
  }
  EXPECT_EQ(sorted(counted), (Counts{{"a", 2}, {"b", 1}}));
  const auto groups =
      tags.map([](const Tag& tag) { return std::pair(1, tag); }).group_by_key(2).collect();
  ASSERT_EQ(groups.size(), 1U);
  EXPECT_EQ(groups[0].second.size(), 3U);
  EXPECT_EQ(groups[0].second[1].text, "b");
}

TEST_P(RddTest, LiteralsAreKeys) {
  const auto counts = context_.parallelize({1, 2, 3}, 2).map([](int x) {
    return std::pair(x == 2 ? "even" : "odd", std::int64_t{1});
  });
  EXPECT_EQ(sorted(counts.reduce_by_key(std::plus<>(), 2).collect()),
            (Counts{{"even", 1}, {"odd", 2}}));
}

TEST(Masters, AnUnknownOneIsRefusedWithTheKnown) {
  for (const char* master :
       {"remote[2]", "local[0]", "local[x]", "local[1,2]", "local", "local[", ""}) {
    const Error error = error_of([&] { const Context context(Config().set("master", master)); });
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument) << master;
    EXPECT_TRUE(contains(error.what(), "'"s + master + "'")) << error.what();
    EXPECT_TRUE(contains(error.what(), "local[")) << error.what();
  }
}

TEST(Masters, SettingsComeFromTheCommandLine) {
  std::string arguments[] = {"program", "--weir.master=local[3]", "--mine", "--weir.parallelism=7"};
  char* argv[] = {arguments[0].data(), arguments[1].data(), arguments[2].data(),
                  arguments[3].data(), nullptr};
  int argc = 4;
  Context context(argc, argv, Config().set("master", "local[1]"));
  EXPECT_EQ(argc, 2);
  EXPECT_STREQ(argv[1], "--mine");
  EXPECT_EQ(context.default_parallelism(), 7U);
  EXPECT_EQ(error_of([] { Context bad(Config().set("task-max-failures", "0")); }).code(),
            ErrorCode::kInvalidArgument);
  for (const char* bad : {"-1", "1000001", "4294967296"}) {
    EXPECT_EQ(error_of([&] { Context none(Config().set("parallelism", bad)); }).code(),
              ErrorCode::kInvalidArgument)
        << bad;
  }
}

}  // namespace
}  // namespace weir::test
