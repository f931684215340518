// Slices of streams, from the driver's functions and from other threads.

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "weir/testing.h"

#include "process_tools.h"

namespace weir::testing {
namespace {

using namespace std::chrono_literals;
using Ints = Batches<int>;

/// The elements of each RDD.
Ints elements(const std::vector<Rdd<int>>& rdds) {
  Ints all;
  for (const auto& rdd : rdds) all.push_back(rdd.collect());
  return all;
}

Time at(Duration time) { return Time(time); }

/// A stream of batches {1}, {2}, ... at 1s, 2s, ... on a manual clock.
class Slices : public ::testing::Test {
 protected:
  Slices()
      : context_(Config().set("master", "local[2]").set("log-level", "error")),
        stream_(context_, 1s, {.clock = clock_}),
        in_(stream_.queue_stream(queue_)) {
    for (int i = 1; i <= 6; ++i) queue_->push(context_.parallelize({i}, 1));
  }

  void run(std::uint64_t batches) {
    stream_.start();
    for (std::uint64_t n = 1; n <= batches; ++n) {
      clock_->advance_to(at(std::chrono::seconds(n)));
      stream_.await_batch(n);
    }
  }

  const std::shared_ptr<ManualClock> clock_ = std::make_shared<ManualClock>();
  const std::shared_ptr<RddQueue<int>> queue_ = std::make_shared<RddQueue<int>>();
  Context context_;
  StreamingContext stream_;
  DStream<int> in_;
};

TEST_F(Slices, AreInclusiveAndRoundedDownToTheGrid) {
  in_.foreach_rdd([](const Rdd<int>&) {});
  stream_.remember(10s);
  run(4);
  EXPECT_EQ(elements(in_.slice(at(2s), at(3s))), (Ints{{2}, {3}}));
  EXPECT_EQ(elements(in_.slice(at(2900ms), at(3999ms))), (Ints{{2}, {3}}));
  EXPECT_EQ(elements(in_.slice(at(4s), at(4s))), (Ints{{4}}));
  EXPECT_EQ(elements(in_.slice(at(3s), at(2s))), Ints{});
  EXPECT_EQ(elements(in_.slice(Time::min(), at(999ms))), Ints{});
  EXPECT_EQ(elements(in_.slice(Time::min(), Time::max())), (Ints{{1}, {2}, {3}, {4}}));
}

TEST_F(Slices, HaveTheTimesOfTheStream) {
  const auto windows = in_.window(2s, 2s);
  windows.foreach_rdd([](const Rdd<int>&) {});
  stream_.remember(10s);
  run(5);
  EXPECT_EQ(elements(windows.slice(at(3s), at(5s))), (Ints{{1, 2}, {3, 4}}));
  EXPECT_EQ(elements(windows.slice(at(4s), at(5s))), (Ints{{3, 4}}));
}

TEST_F(Slices, HaveTheLastBatchWithoutBeingAskedToRememberMore) {
  in_.foreach_rdd([](const Rdd<int>&) {});
  run(3);
  EXPECT_EQ(elements(in_.slice(at(3s), at(9s))), (Ints{{3}}));
}

TEST_F(Slices, InTheDriversFunctionsHaveTheBatchThatRuns) {
  const auto doubled = in_.map([](int x) { return 2 * x; });
  std::vector<Ints> seen;
  in_.foreach_rdd([&](const Rdd<int>&, Time time) {  // before the output operation of `doubled`
    seen.push_back(elements(doubled.slice(time - 1s, time)));
  });
  doubled.foreach_rdd([](const Rdd<int>&) {});
  stream_.remember(2s);
  run(3);
  EXPECT_EQ(seen, (std::vector<Ints>{{{2}}, {{2}, {4}}, {{4}, {6}}}));
}

/// The stream's directory has a hash seed of its own, by which state is spread.
TEST_F(Slices, OfStateAreFoundByKey) {
  const test::TempFolder folder;
  StreamingContext stream(context_, 1s, {.clock = clock_});
  stream.checkpoint(folder.file("checkpoint"));
  const Ints input = {{1, 11, 21, 31}, {2, 12, 22, 32}};
  const auto sums =
      stream.source_stream(MemorySource<int>(std::make_shared<MemoryInput<int>>(input), 2))
          .map([](int x) { return std::pair(x, x); })
          .reduce_by_key_and_window([](int a, int b) { return a + b; },
                                    {.length = 4s, .partitions = 4});
  sums.foreach_rdd([](const auto&) {});
  stream.start();
  clock_->advance_to(at(2s));
  stream.await_batch(2);
  const auto last = sums.slice(at(2s), at(2s));
  ASSERT_EQ(last.size(), 1U);
  for (const int key : {1, 2, 11, 12, 21, 22, 31, 32}) {
    EXPECT_EQ(last[0].lookup(key), std::vector<int>{key});
  }
  const auto keys = context_.parallelize({std::pair(11, 0), std::pair(32, 0), std::pair(3, 0)}, 2);
  EXPECT_EQ(keys.join(last[0]).count(), 2);
}

TEST_F(Slices, BeforeTheStartAreRefused) {
  in_.foreach_rdd([](const Rdd<int>&) {});
  const auto unused = in_.map([](int x) { return x; });
  const auto refusal = [](const DStream<int>& stream) {
    try {
      stream.slice(at(1s), at(2s));
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  const std::string expected =
      "slice: the stream has no RDDs: its StreamingContext was not started, or no output "
      "operation needs the stream";
  EXPECT_EQ(refusal(in_), expected);
  run(2);
  EXPECT_EQ(refusal(in_), "accepted");
  EXPECT_EQ(refusal(unused), expected);
}

}  // namespace
}  // namespace weir::testing
