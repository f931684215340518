#include <cstdint>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "weir/core/split.h"

#include "stream_masters.h"

namespace weir::testing {
namespace {

using Ints = Batches<int>;
using Counts = Batches<std::pair<std::string, int>>;
using KeyedInts = Batches<std::pair<int, int>>;

int add(int a, int b) { return a + b; }

class StreamOperators : public OverMasters {};
WEIR_OVER_MASTERS(StreamOperators);

TEST_P(StreamOperators, MapKeepsBatchesAndOrder) {
  const auto out = run_stream(
      Ints{{1, 2, 3, 4}, {5}, {}},
      [](const DStream<int>& in) { return in.map([](int x) { return std::to_string(x); }); },
      options());
  EXPECT_EQ(out, (Batches<std::string>{{"1", "2", "3", "4"}, {"5"}, {}}));
}

TEST_P(StreamOperators, AFailureInTheLastBatchIsRethrown) {
  for (const Ints& input : {Ints{{1}, {2}}, Ints{{2}}}) {
    try {
      run_stream(
          input,
          [](const DStream<int>& in) {
            return in.map([](int x) { return x == 2 ? throw std::runtime_error("two") : x; });
          },
          options());
      ADD_FAILURE() << "nothing was thrown";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("two"), std::string::npos) << error.what();
    }
  }
}

TEST_P(StreamOperators, MapTakesBoundValues) {
  const auto out = run_stream(
      Ints{{1, 2}, {3}},
      [](const DStream<int>& in) {
        return in.map(bind(10, [](int factor, int x) { return factor * x; }));
      },
      options());
  EXPECT_EQ(out, (Ints{{10, 20}, {30}}));
}

TEST_P(StreamOperators, FlatMapTakesRangesAndViews) {
  const auto out = run_stream(
      Batches<std::string>{{"a b", "c"}, {}, {" d  e "}},
      [](const DStream<std::string>& in) {
        return in.flat_map([](const std::string& line) { return split(line, ' '); });
      },
      options());
  EXPECT_EQ(out, (Batches<std::string>{{"a", "b", "c"}, {}, {"d", "e"}}));
}

TEST_P(StreamOperators, FilterKeepsWhatMatches) {
  const auto out = run_stream(
      Ints{{1, 2, 3, 4}, {1, 3}, {6}},
      [](const DStream<int>& in) { return in.filter([](int x) { return x % 2 == 0; }); },
      options());
  EXPECT_EQ(out, (Ints{{2, 4}, {}, {6}}));
}

TEST_P(StreamOperators, MapPartitionsSeesPartitions) {
  const auto out = run_stream(
      Ints{{1, 2, 3, 4}, {5, 6, 7}},
      [](const DStream<int>& in) {
        return in.map_partitions([](auto elements) {
          int sum = 0;
          for (const int x : elements) sum += x;
          return std::vector<int>{sum};
        });
      },
      options());
  EXPECT_EQ(out, (Ints{{3, 7}, {5, 13}}));
}

TEST_P(StreamOperators, GlomMakesAVectorOfEachPartition) {
  const auto out = run_stream(
      Ints{{1, 2, 3}, {}}, [](const DStream<int>& in) { return in.glom(); }, options());
  EXPECT_EQ(out, (Batches<std::vector<int>>{{{1}, {2, 3}}, {{}, {}}}));
}

TEST_P(StreamOperators, MapValuesKeepsKeys) {
  const auto out = run_stream(
      KeyedInts{{{1, 10}, {2, 20}}, {{1, 30}}},
      [](const auto& in) { return in.map_values([](int v) { return v + 0.5; }); }, options());
  EXPECT_EQ(out, (Batches<std::pair<int, double>>{{{1, 10.5}, {2, 20.5}}, {{1, 30.5}}}));
}

TEST_P(StreamOperators, ReduceByKeyIsPerBatch) {
  const auto out = run_stream(
      Batches<std::string>{{"a b a", "b a"}, {}, {"a"}},
      [](const DStream<std::string>& in) {
        return in.flat_map([](const std::string& line) { return split(line, ' '); })
            .map([](std::string_view word) { return std::pair(word, 1); })
            .reduce_by_key(fn<&add>);
      },
      options());
  EXPECT_EQ(sorted(out), (Counts{{{"a", 3}, {"b", 2}}, {}, {{"a", 1}}}));
}

TEST_P(StreamOperators, GroupByKeyKeepsTheOrderOfValues) {
  const auto out = run_stream(
      KeyedInts{{{1, 3}, {2, 9}, {1, 1}, {1, 2}}, {}},
      [](const auto& in) { return in.group_by_key(3); }, options());
  EXPECT_EQ(sorted(out),
            (Batches<std::pair<int, std::vector<int>>>{{{1, {3, 1, 2}}, {2, {9}}}, {}}));
}

TEST_P(StreamOperators, CountIsZeroForAnEmptyBatch) {
  const auto out = run_stream(
      Ints{{1, 2, 3}, {}, {4}}, [](const DStream<int>& in) { return in.count(); }, options());
  EXPECT_EQ(out, (Batches<std::int64_t>{{3}, {0}, {1}}));
}

TEST_P(StreamOperators, CountIsZeroWithoutPartitions) {
  Options more = options();
  more.num_batches = 2;
  const auto out = run_stream(
      Ints{{1}}, [](const DStream<int>& in) { return in.count(); }, more);
  EXPECT_EQ(out, (Batches<std::int64_t>{{1}, {0}}));
}

TEST_P(StreamOperators, ReduceOfAnEmptyBatchIsEmpty) {
  const auto out = run_stream(
      Ints{{1, 2, 3, 4}, {}, {7}}, [](const DStream<int>& in) { return in.reduce(fn<&add>); },
      options());
  EXPECT_EQ(out, (Ints{{10}, {}, {7}}));
}

TEST_P(StreamOperators, CountByValueCountsDistinctElements) {
  const auto out = run_stream(
      Batches<std::string>{{"x", "y", "x"}, {"z"}},
      [](const DStream<std::string>& in) { return in.count_by_value(); }, options());
  EXPECT_EQ(sorted(out),
            (Batches<std::pair<std::string, std::int64_t>>{{{"x", 2}, {"y", 1}}, {{"z", 1}}}));
}

TEST_P(StreamOperators, TransformSeesRddAndTimeAndMayCapture) {
  std::vector<Time> times;
  const int offset = 100;
  const auto out = run_stream(
      Ints{{1, 2}, {3}},
      [&](const DStream<int>& in) {
        return in.transform([&times, offset](const Rdd<int>& rdd, Time time) {
          times.push_back(time);
          return rdd.map(bind(offset, [](int more, int x) { return x + more; }));
        });
      },
      options());
  EXPECT_EQ(out, (Ints{{101, 102}, {103}}));
  EXPECT_EQ(times,
            (std::vector<Time>{Time(std::chrono::seconds(1)), Time(std::chrono::seconds(2))}));
}

TEST_P(StreamOperators, FunctionsOfTheDriverMayHoldWhatCannotBeCopied) {
  const auto out = run_stream(
      Ints{{1}, {2}},
      [](DStream<int>& in) {
        in.foreach_rdd([sum = std::make_unique<std::int64_t>(0)](const Rdd<int>& rdd) {
          *sum += rdd.count();
        });
        return in.transform([calls = std::make_unique<int>(0)](const Rdd<int>& rdd) {
          return rdd.map(bind(++*calls, [](int call, int x) { return 10 * call + x; }));
        });
      },
      options());
  EXPECT_EQ(out, (Ints{{11}, {22}}));
}

TEST_P(StreamOperators, UnionHasTheElementsOfBoth) {
  const auto out = run_stream(
      Ints{{1, 2}, {}, {5}}, Ints{{3}, {4}},
      [](const DStream<int>& a, const DStream<int>& b) { return a.union_with(b); }, options());
  EXPECT_EQ(out, (Ints{{1, 2, 3}, {4}, {5}}));
}

TEST_P(StreamOperators, TransformWithJoinsTwoStreamsOfOtherTypes) {
  const auto out = run_stream(
      Ints{{1}, {2}}, Batches<std::string>{{"a", "b"}, {}},
      [](const DStream<int>& numbers, const DStream<std::string>& words) {
        return numbers.transform_with(words, [](const Rdd<int>& n, const Rdd<std::string>& w) {
          return n.union_with(w.map([](const std::string& s) { return static_cast<int>(s[0]); }));
        });
      },
      options());
  EXPECT_EQ(out, (Ints{{1, 'a', 'b'}, {2}}));
}

TEST_P(StreamOperators, AStreamUsedTwiceIsComputedOnce) {
  int calls = 0;
  const auto out = run_stream(
      Ints{{1}, {2}},
      [&](const DStream<int>& in) {
        const auto shared = in.transform([&calls](const Rdd<int>& rdd) {
          ++calls;
          return rdd;
        });
        return shared.union_with(shared.map([](int x) { return -x; }));
      },
      options());
  EXPECT_EQ(out, (Ints{{1, -1}, {2, -2}}));
  EXPECT_EQ(calls, 2);
}

TEST_P(StreamOperators, PersistedStreamsGiveTheSame) {
  const auto out = run_stream(
      Ints{{1, 2}, {3}, {}},
      [](const DStream<int>& in) {
        const auto doubled = in.map([](int x) { return 2 * x; }).cache();
        return doubled.union_with(doubled);
      },
      options());
  EXPECT_EQ(out, (Ints{{2, 4, 2, 4}, {6, 6}, {}}));
}

TEST_P(StreamOperators, OneElementPerPartitionAndManyElements) {
  std::vector<int> many(5000);
  std::iota(many.begin(), many.end(), 0);
  Options wide = options();
  wide.partitions = 7;
  const auto out = run_stream(
      Ints{many, {1}}, [](const DStream<int>& in) { return in.map([](int x) { return x; }); },
      wide);
  EXPECT_EQ(out, (Ints{many, {1}}));
}

TEST_P(StreamOperators, ATaskThatThrowsEndsTheRunWithBatchTimeAndMessage) {
  try {
    run_stream(
        Ints{{1}, {2}, {3}},
        [](const DStream<int>& in) {
          return in.map([](int x) {
            if (x == 2) throw std::runtime_error("two is too much");
            return x;
          });
        },
        options());
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kJobFailed);
    const std::string message = error.what();
    EXPECT_NE(message.find("two is too much"), std::string::npos) << message;
    EXPECT_NE(message.find("batch 2 of 2.000s"), std::string::npos) << message;
  }
}

TEST(TestingKit, RefusesWhatItCannotDo) {
  const auto same = [](const DStream<int>& in) { return in; };
  EXPECT_THROW(run_stream(Ints{{1}}, same, {.restart_before = {1}}), Error);
  EXPECT_THROW(run_stream(Ints{{1}}, same, {.partitions = 0}), Error);
  EXPECT_THROW(run_stream(Ints{{1}}, same, {.master = "nowhere[1]"}), Error);
}

TEST(TestingKit, NumBatchesCutsAndExtends) {
  const auto same = [](const DStream<int>& in) { return in; };
  EXPECT_EQ(run_stream(Ints{{1}, {2}, {3}}, same, {.num_batches = 2}), (Ints{{1}, {2}}));
  EXPECT_EQ(run_stream(Ints{{1}}, same, {.num_batches = 3}), (Ints{{1}, {}, {}}));
  EXPECT_EQ(run_stream(Ints{}, same), Ints{});
}

}  // namespace
}  // namespace weir::testing
