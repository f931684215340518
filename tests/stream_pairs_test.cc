// Streams of pairs: combined, joined, windowed.

#include <chrono>
#include <cstdint>
#include <optional>
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
      Numbers{{{1, 10}, {2, 20}, {1, 30}}, {}, {{1, 40}}},
      [](const DStream<Number>& in) {
        return in.combine_by_key(
            [](int v) { return std::pair(v, 1); },
            [](Number sum, int v) { return Number(sum.first + v, sum.second + 1); },
            [](Number a, Number b) { return Number(a.first + b.first, a.second + b.second); });
      },
      options());
  EXPECT_EQ(sorted(out),
            (Batches<std::pair<int, Number>>{{{1, {40, 2}}, {2, {20, 1}}}, {}, {{1, {40, 1}}}}));
}

// --- two streams ---

const Numbers kLeft = {{{1, 10}, {2, 20}}, {{1, 11}}, {}, {}};
const Names kRight = {{{1, "a"}, {3, "c"}, {1, "b"}}, {}, {{4, "d"}}, {}};

TEST_P(StreamPairs, CogroupHasEveryKeyOfABatch) {
  const auto out = run_stream(
      kLeft, kRight,
      [](const DStream<Number>& left, const DStream<Name>& right) { return left.cogroup(right); },
      options());
  using Row = std::pair<int, std::pair<std::vector<int>, std::vector<std::string>>>;
  EXPECT_EQ(sorted(out), (Batches<Row>{{{1, {{10}, {"a", "b"}}}, {2, {{20}, {}}}, {3, {{}, {"c"}}}},
                                       {{1, {{11}, {}}}},
                                       {{4, {{}, {"d"}}}},
                                       {}}));
}

TEST_P(StreamPairs, JoinsAreOfBatchesOfOneTime) {
  const auto inner = run_stream(
      kLeft, kRight,
      [](const DStream<Number>& left, const DStream<Name>& right) { return left.join(right); },
      options());
  using Inner = std::pair<int, std::pair<int, std::string>>;
  EXPECT_EQ(sorted(inner), (Batches<Inner>{{{1, {10, "a"}}, {1, {10, "b"}}}, {}, {}, {}}));
}

TEST_P(StreamPairs, OuterJoinsKeepWhatOneSideHasAlone) {
  // All three as text, one after another.
  const auto out = run_stream(
      kLeft, kRight,
      [](const DStream<Number>& left, const DStream<Name>& right) {
        const auto shown = [](const auto& row) {
          const std::optional<int> number = row.second.first;
          const std::optional<std::string> name = row.second.second;
          return std::to_string(row.first) + (number ? ":" + std::to_string(*number) : ":-") + ":" +
                 name.value_or("-");
        };
        return left.left_outer_join(right)
            .map(shown)
            .map([](const std::string& row) { return "left " + row; })
            .union_with(left.right_outer_join(right, 3).map(shown).map(
                [](const std::string& row) { return "right " + row; }))
            .union_with(left.full_outer_join(right, 1).map(shown).map(
                [](const std::string& row) { return "full " + row; }));
      },
      options());
  EXPECT_EQ(sorted(out),
            (Words{{"full 1:10:a", "full 1:10:b", "full 2:20:-", "full 3:-:c", "left 1:10:a",
                    "left 1:10:b", "left 2:20:-", "right 1:10:a", "right 1:10:b", "right 3:-:c"},
                   {"full 1:11:-", "left 1:11:-"},
                   {"full 4:-:d", "right 4:-:d"},
                   {}}));
}

TEST_P(StreamPairs, JoinOfWindowsAndState) {
  const auto out = run_stream(
      kLeft, kRight,
      [](const DStream<Number>& left, const DStream<Name>& right) {
        return left.reduce_by_key_and_window([](int a, int b) { return a + b; }, {.length = 2s})
            .join(right.window(3s));
      },
      restarted(4));
  using Row = std::pair<int, std::pair<int, std::string>>;
  EXPECT_EQ(sorted(out), (Batches<Row>{{{1, {10, "a"}}, {1, {10, "b"}}},
                                       {{1, {21, "a"}}, {1, {21, "b"}}},
                                       {{1, {11, "a"}}, {1, {11, "b"}}},
                                       {}}));
}

/// A dataset that was spread and stored before the stream began, whose checkpoint directory has a
/// hash seed of its own.
TEST_P(StreamPairs, JoinWithADatasetFromBeforeTheStream) {
  Names known;
  known.emplace_back();
  for (int i = 0; i < 40; ++i) known[0].emplace_back(i, std::to_string(i));
  Numbers wanted(3);
  for (int i = 0; i < 40; ++i) wanted[1].emplace_back(i, i);
  const auto out = run_stream(
      wanted,
      [&](const DStream<Number>& in) {
        Context& context = in.node()->graph()->context();
        const auto reference = context.parallelize(known[0], 2).partition_by(4).cache();
        EXPECT_EQ(reference.count(), 40);
        return in.transform([reference](const Rdd<Number>& rdd) { return rdd.join(reference); })
            .count();
      },
      restarted(3));
  EXPECT_EQ(out, (Batches<std::int64_t>{{0}, {40}, {0}}));
}

template <class Join>
std::string refusal(Join join) {
  try {
    run_stream(Numbers{{{1, 1}}}, Numbers{{{1, 1}}},
               [&](const DStream<Number>& left, const DStream<Number>& right) {
                 return join(left, right.window(2s, 2s));
               },
               {.master = "local[1]"});
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    return error.what();
  }
  return "accepted";
}

TEST(StreamPairRefusals, StreamsOfOtherSlidesDoNotJoin) {
  EXPECT_EQ(refusal([](const auto& left, const auto& right) { return left.join(right); }),
            "join: the streams have different slide intervals, 1s and 2s");
  EXPECT_EQ(refusal([](const auto& left, const auto& right) { return left.cogroup(right); }),
            "cogroup: the streams have different slide intervals, 1s and 2s");
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
