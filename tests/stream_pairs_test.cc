// Streams of pairs: combined and windowed.

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "weir/core/split.h"

#include "stream_masters.h"

namespace weir::testing {
namespace {

using namespace std::chrono_literals;
using Ints = Batches<int>;
using Words = Batches<std::string>;
using Number = std::pair<int, int>;
using Name = std::pair<int, std::string>;
using Numbers = Batches<Number>;
using Names = Batches<Name>;

class StreamPairs : public OverMasters {
 protected:
  /// The driver is killed and restarted before each of `batches` but the first.
  Options restarted(std::size_t batches) const {
    Options all = options();
    for (std::size_t i = 1; i < batches; ++i) all.restart_before.push_back(i);
    return all;
  }
};
WEIR_OVER_MASTERS(StreamPairs);

// --- each batch ---

TEST_P(StreamPairs, RepartitionSpreadsEachBatch) {
  const auto out = run_stream(
      Ints{{1, 2, 3, 4, 5}, {}, {6}},
      [](const DStream<int>& in) { return in.repartition(3).glom(); }, options());
  // The second partition, 3 to 5, begins with the second piece.
  EXPECT_EQ(out, (Batches<std::vector<int>>{{{1, 5}, {2, 3}, {4}}, {{}, {}, {}}, {{}, {6}, {}}}));
}

TEST_P(StreamPairs, FlatMapValuesPairsElementsWithTheKey) {
  const auto out = run_stream(
      Names{{{1, "a b"}, {2, ""}}, {}, {{3, "c"}}},
      [](const DStream<Name>& in) {
        return in.flat_map_values([](const std::string& text) { return split(text, ' '); });
      },
      options());
  EXPECT_EQ(out, (Names{{{1, "a"}, {1, "b"}}, {}, {{3, "c"}}}));
}

TEST_P(StreamPairs, CombineByKeyIsPerBatch) {
  const auto out = run_stream(
      Names{{{1, "a"}, {2, "b"}, {1, "cd"}}, {}, {{1, "e"}}},
      [](const DStream<Name>& in) {
        return in.combine_by_key(
            [](const std::string& v) { return v + "."; },
            [](std::string all, const std::string& v) { return std::move(all) + v + "."; },
            [](std::string all, const std::string& more) { return std::move(all) + more; });
      },
      options());
  EXPECT_EQ(sorted(out), (Names{{{1, "a.cd."}, {2, "b."}}, {}, {{1, "e."}}}));
}

// --- windows ---

TEST_P(StreamPairs, GroupByKeyAndWindowHasValuesOldestFirst) {
  const Numbers input = {{{1, 3}, {2, 9}}, {{1, 1}, {1, 2}}, {}, {{2, 5}}, {}, {}};
  using Groups = Batches<std::pair<int, std::vector<int>>>;
  const auto every_batch = run_stream(
      input, [](const DStream<Number>& in) { return in.group_by_key_and_window(2s); },
      restarted(6));
  EXPECT_EQ(sorted(every_batch), (Groups{{{1, {3}}, {2, {9}}},
                                         {{1, {3, 1, 2}}, {2, {9}}},
                                         {{1, {1, 2}}},
                                         {{2, {5}}},
                                         {{2, {5}}},
                                         {}}));
  const auto every_second = run_stream(
      input, [](const DStream<Number>& in) { return in.group_by_key_and_window(3s, 2s, 3); },
      options());
  EXPECT_EQ(sorted(every_second),
            (Groups{{{1, {3, 1, 2}}, {2, {9}}}, {{1, {1, 2}}, {2, {5}}}, {{2, {5}}}}));
}

TEST_P(StreamPairs, CountByValueAndWindowForgetsWhatHasLeft) {
  const Words input = {{"a", "b", "a"}, {"a"}, {}, {"c"}, {}, {}};
  using Counts = Batches<std::pair<std::string, std::int64_t>>;
  const auto every_batch = run_stream(
      input, [](const DStream<std::string>& in) { return in.count_by_value_and_window(2s); },
      restarted(6));
  EXPECT_EQ(
      sorted(every_batch),
      (Counts{{{"a", 2}, {"b", 1}}, {{"a", 3}, {"b", 1}}, {{"a", 1}}, {{"c", 1}}, {{"c", 1}}, {}}));
  const auto every_second = run_stream(
      input, [](const DStream<std::string>& in) { return in.count_by_value_and_window(3s, 2s, 3); },
      options());
  EXPECT_EQ(sorted(every_second), (Counts{{{"a", 3}, {"b", 1}}, {{"a", 1}, {"c", 1}}, {{"c", 1}}}));
}

}  // namespace
}  // namespace weir::testing
