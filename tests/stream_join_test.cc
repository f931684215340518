// Streams of pairs that are joined: with one another, with windows and state, with datasets.

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "row_text.h"
#include "stream_masters.h"

namespace weir::testing {
namespace {

using namespace std::chrono_literals;
using Number = std::pair<int, int>;
using Name = std::pair<int, std::string>;
using Numbers = Batches<Number>;
using Names = Batches<Name>;
using Words = Batches<std::string>;

using test::RowText;

class StreamJoins : public OverMasters {};
WEIR_OVER_MASTERS(StreamJoins);

const Numbers kLeft = {{{1, 10}, {2, 20}}, {{1, 11}}, {}, {}};
const Names kRight = {{{1, "a"}, {3, "c"}, {1, "b"}}, {}, {{4, "d"}}, {}};

using Op = std::function<DStream<std::string>(const DStream<Number>&, const DStream<Name>&)>;

/// The rows that `op` makes of both, sorted.
Words joined(const Op& op, const Options& options) {
  return sorted(run_stream(kLeft, kRight, op, options));
}

TEST_P(StreamJoins, CogroupHasEveryKeyOfABatch) {
  EXPECT_EQ(
      joined([](const auto& left, const auto& right) { return left.cogroup(right).map(RowText()); },
             options()),
      (Words{{"1:10.:a.b.", "2:20.:", "3::c."}, {"1:11.:"}, {"4::d."}, {}}));
}

TEST_P(StreamJoins, AreOfBatchesOfOneTime) {
  EXPECT_EQ(
      joined([](const auto& left, const auto& right) { return left.join(right).map(RowText()); },
             options()),
      (Words{{"1:10:a", "1:10:b"}, {}, {}, {}}));
}

TEST_P(StreamJoins, OuterOnesKeepWhatOneSideHasAlone) {
  EXPECT_EQ(joined([](const auto& left,
                      const auto& right) { return left.left_outer_join(right).map(RowText()); },
                   options()),
            (Words{{"1:10:a", "1:10:b", "2:20:-"}, {"1:11:-"}, {}, {}}));
  EXPECT_EQ(joined([](const auto& left,
                      const auto& right) { return left.right_outer_join(right, 3).map(RowText()); },
                   options()),
            (Words{{"1:10:a", "1:10:b", "3:-:c"}, {}, {"4:-:d"}, {}}));
  EXPECT_EQ(joined([](const auto& left,
                      const auto& right) { return left.full_outer_join(right, 1).map(RowText()); },
                   options()),
            (Words{{"1:10:a", "1:10:b", "2:20:-", "3:-:c"}, {"1:11:-"}, {"4:-:d"}, {}}));
}

TEST_P(StreamJoins, OfWindowsAndStateGoOnAfterRestarts) {
  Options restarted = options();
  restarted.restart_before = {1, 2, 3};
  EXPECT_EQ(joined(
                [](const auto& left, const auto& right) {
                  return left
                      .reduce_by_key_and_window([](int a, int b) { return a + b; }, {.length = 2s})
                      .join(right.window(3s))
                      .map(RowText());
                },
                restarted),
            (Words{{"1:10:a", "1:10:b"}, {"1:21:a", "1:21:b"}, {"1:11:a", "1:11:b"}, {}}));
}

/// A dataset that was spread and stored before the stream began, whose checkpoint directory has a
/// hash seed of its own.
TEST_P(StreamJoins, JoinWithADatasetFromBeforeTheStream) {
  Names known;
  known.emplace_back();
  for (int i = 0; i < 40; ++i) known[0].emplace_back(i, std::to_string(i));
  Numbers wanted(3);
  for (int i = 0; i < 40; ++i) wanted[1].emplace_back(i, i);
  Options restarted = options();
  restarted.restart_before = {1, 2};
  const auto out = run_stream(
      wanted,
      [&](const DStream<Number>& in) {
        Context& context = in.node()->graph()->context();
        const auto reference = context.parallelize(known[0], 2).partition_by(4).cache();
        EXPECT_EQ(reference.count(), 40);
        return in.transform([reference](const Rdd<Number>& rdd) { return rdd.join(reference); })
            .count();
      },
      restarted);
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

TEST(StreamJoinRefusals, StreamsOfOtherSlidesDoNotJoin) {
  EXPECT_EQ(refusal([](const auto& left, const auto& right) { return left.join(right); }),
            "join: the streams have different slide intervals, 1s and 2s");
  EXPECT_EQ(refusal([](const auto& left, const auto& right) { return left.cogroup(right); }),
            "cogroup: the streams have different slide intervals, 1s and 2s");
}

}  // namespace
}  // namespace weir::testing
