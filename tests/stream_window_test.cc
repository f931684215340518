#include <chrono>
#include <string>
#include <string_view>
#include <utility>

#include "stream_masters.h"

namespace weir::testing {
namespace {

using namespace std::chrono_literals;
using Ints = Batches<int>;
using Counts = Batches<std::pair<std::string, int>>;

class StreamWindows : public OverMasters {};
WEIR_OVER_MASTERS(StreamWindows);

TEST_P(StreamWindows, FirstWindowsArePartial) {
  const auto out = run_stream(
      Ints{{1}, {2}, {}, {4}, {5}}, [](const DStream<int>& in) { return in.window(3s); },
      options());
  EXPECT_EQ(out, (Ints{{1}, {1, 2}, {1, 2}, {2, 4}, {4, 5}}));
}

TEST_P(StreamWindows, SlideOfSeveralBatchesHasFewerResults) {
  const auto out = run_stream(
      Ints{{1}, {2}, {3}, {4}, {5}, {6}, {7}},
      [](const DStream<int>& in) { return in.window(3s, 2s); }, options());
  EXPECT_EQ(out, (Ints{{1, 2}, {2, 3, 4}, {4, 5, 6}}));
}

TEST_P(StreamWindows, SlideLongerThanTheWindowSkipsBatches) {
  const auto out = run_stream(
      Ints{{1}, {2}, {3}, {4}, {5}, {6}}, [](const DStream<int>& in) { return in.window(1s, 3s); },
      options());
  EXPECT_EQ(out, (Ints{{3}, {6}}));
}

TEST_P(StreamWindows, TumblingWindowHasEachElementOnce) {
  const auto out = run_stream(
      Ints{{1}, {2}, {3}, {4}}, [](const DStream<int>& in) { return in.window(2s, 2s); },
      options());
  EXPECT_EQ(out, (Ints{{1, 2}, {3, 4}}));
}

TEST_P(StreamWindows, WindowOfAWindowReachesBackThroughBoth) {
  const auto out = run_stream(
      Ints{{1}, {2}, {3}, {4}, {5}, {6}, {7}, {8}},
      [](const DStream<int>& in) { return in.window(2s, 2s).window(4s, 4s); }, options());
  EXPECT_EQ(out, (Ints{{1, 2, 3, 4}, {5, 6, 7, 8}}));
}

TEST_P(StreamWindows, OverlappingWindowOfAWindowRepeatsElements) {
  const auto out = run_stream(
      Ints{{1}, {2}, {3}, {4}}, [](const DStream<int>& in) { return in.window(2s).window(2s); },
      options());
  EXPECT_EQ(out, (Ints{{1}, {1, 1, 2}, {1, 2, 2, 3}, {2, 3, 3, 4}}));
}

TEST_P(StreamWindows, WindowAfterReduceByKeyAndReducedAgain) {
  const auto out = run_stream(
      Batches<std::string>{{"a", "b", "a"}, {"a"}, {"c"}, {}},
      [](const DStream<std::string>& in) {
        return in.map([](const std::string& word) { return std::pair(word, 1); })
            .reduce_by_key([](int a, int b) { return a + b; })
            .window(2s)
            .reduce_by_key([](int a, int b) { return a + b; });
      },
      options());
  EXPECT_EQ(sorted(out),
            (Counts{{{"a", 2}, {"b", 1}}, {{"a", 3}, {"b", 1}}, {{"a", 1}, {"c", 1}}, {{"c", 1}}}));
}

TEST_P(StreamWindows, WindowOfViewsKeepsOwnedElements) {
  const auto out = run_stream(
      Batches<std::string>{{"one", "two"}, {"three"}},
      [](const DStream<std::string>& in) {
        return in.map([](const std::string& word) { return std::string_view(word).substr(0, 2); })
            .window(2s);
      },
      options());
  EXPECT_EQ(out, (Batches<std::string>{{"on", "tw"}, {"on", "tw", "th"}}));
}

TEST_P(StreamWindows, OtherBatchIntervals) {
  Options fast = options();
  fast.batch = 10ms;
  const auto out = run_stream(
      Ints{{1}, {2}, {3}}, [](const DStream<int>& in) { return in.window(20ms); }, fast);
  EXPECT_EQ(out, (Ints{{1}, {1, 2}, {2, 3}}));
}

std::string refusal(Duration length, Duration slide, Duration parent_slide = 1s) {
  try {
    run_stream(Ints{{1}},
               [&](const DStream<int>& in) {
                 const auto parent =
                     parent_slide == 1s ? in : in.window(parent_slide, parent_slide);
                 return parent.window(length, slide);
               },
               {.master = "local[1]"});
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    return error.what();
  }
  return "accepted";
}

TEST(WindowRefusals, LengthAndSlideMustBeMultiples) {
  EXPECT_EQ(refusal(2500ms, 1s),
            "window length 2500ms is not a multiple of the batch interval 1000ms");
  EXPECT_EQ(refusal(2s, 1500ms),
            "window slide 1500ms is not a multiple of the batch interval 1000ms");
  EXPECT_EQ(refusal(3s, 3s, 2s),
            "window length 3s is not a multiple of the slide interval of its parent stream 2s");
  EXPECT_EQ(refusal(1000001us, 1s),
            "window length 1000001us is not a multiple of the batch interval 1000000us");
}

TEST(WindowRefusals, LengthAndSlideMustBePositive) {
  EXPECT_EQ(refusal(0s, 1s), "window length must be positive, got 0us");
  EXPECT_EQ(refusal(1s, -1s), "window slide must be positive, got -1000000us");
}

}  // namespace
}  // namespace weir::testing
