#include "weir/dstream/batch_generator.h"

#include <chrono>
#include <vector>

#include <gtest/gtest.h>

namespace weir::internal {
namespace {

using namespace std::chrono_literals;
using Generator = BatchGenerator;
using Actions = std::vector<Generator::Action>;

Time at(Duration since_epoch) { return Time(since_epoch); }

TEST(BatchGenerator, FirstBatchIsAtTheNextGridPoint) {
  Generator generator(1s);
  EXPECT_EQ(generator.on(Generator::Start{}, at(2300ms)), (Actions{Generator::SetTimer{at(3s)}}));
  EXPECT_EQ(generator.zero_time(), at(2s));
  EXPECT_EQ(generator.state(), Generator::State::kRunning);
}

TEST(BatchGenerator, StartOnAGridPointWaitsAWholeInterval) {
  Generator generator(100ms);
  EXPECT_EQ(generator.on(Generator::Start{}, at(700ms)), (Actions{Generator::SetTimer{at(800ms)}}));
  EXPECT_EQ(generator.zero_time(), at(700ms));
}

TEST(BatchGenerator, GridIsThatOfTheEpochForIntervalsThatDivideNothing) {
  EXPECT_EQ(Generator::grid_point(at(100ms), 7ms), at(98ms));
  EXPECT_EQ(Generator::grid_point(at(-1ms), 7ms), at(-7ms));
  EXPECT_EQ(Generator::grid_point(at(0ms), 7ms), at(0ms));
}

TEST(BatchGenerator, CutsABatchPerTickWithDenseNumbers) {
  Generator generator(1s);
  generator.on(Generator::Start{}, at(0s));
  EXPECT_EQ(generator.on(Generator::TimerDue{}, at(1s)),
            (Actions{Generator::Generate{{1, at(1s)}}, Generator::SetTimer{at(2s)}}));
  EXPECT_EQ(generator.on(Generator::TimerDue{}, at(2000010us)),
            (Actions{Generator::Generate{{2, at(2s)}}, Generator::SetTimer{at(3s)}}));
}

TEST(BatchGenerator, EarlyTimerIsSetAgain) {
  Generator generator(1s);
  generator.on(Generator::Start{}, at(0s));
  EXPECT_EQ(generator.on(Generator::TimerDue{}, at(999ms)), (Actions{Generator::SetTimer{at(1s)}}));
}

TEST(BatchGenerator, CatchesUpOneByOneWhenLate) {
  Generator generator(1s);
  generator.on(Generator::Start{}, at(0s));
  for (std::uint64_t n = 1; n <= 3; ++n) {
    const Time time = at(n * 1s);
    EXPECT_EQ(generator.on(Generator::TimerDue{}, at(3500ms)),
              (Actions{Generator::Generate{{n, time}}, Generator::SetTimer{time + 1s}}));
  }
  EXPECT_EQ(generator.on(Generator::TimerDue{}, at(3500ms)),
            (Actions{Generator::SetTimer{at(4s)}}));
}

TEST(BatchGenerator, GracefulStopCutsOneMoreBatch) {
  Generator generator(1s);
  generator.on(Generator::Start{}, at(0s));
  generator.on(Generator::TimerDue{}, at(1s));
  EXPECT_EQ(generator.on(Generator::StopGracefully{}, at(1400ms)),
            (Actions{Generator::SetTimer{at(2s)}}));
  EXPECT_EQ(generator.state(), Generator::State::kLastTick);
  EXPECT_EQ(generator.on(Generator::TimerDue{}, at(2s)),
            (Actions{Generator::Generate{{2, at(2s)}}, Generator::Finished{}}));
  EXPECT_EQ(generator.state(), Generator::State::kFinished);
  EXPECT_EQ(generator.on(Generator::TimerDue{}, at(3s)), Actions{});
}

TEST(BatchGenerator, GracefulStopOfALateDriverCutsAllThatWasDue) {
  Generator generator(1s);
  generator.on(Generator::Start{}, at(0s));
  generator.on(Generator::StopGracefully{}, at(2500ms));
  generator.on(Generator::TimerDue{}, at(2500ms));
  generator.on(Generator::TimerDue{}, at(2500ms));
  EXPECT_EQ(generator.on(Generator::TimerDue{}, at(3s)),
            (Actions{Generator::Generate{{3, at(3s)}}, Generator::Finished{}}));
}

TEST(BatchGenerator, GracefulStopOnAGridPointTakesTheNextOne) {
  Generator generator(1s);
  generator.on(Generator::Start{}, at(0s));
  generator.on(Generator::StopGracefully{}, at(1s));
  EXPECT_EQ(generator.on(Generator::TimerDue{}, at(1s)),
            (Actions{Generator::Generate{{1, at(1s)}}, Generator::SetTimer{at(2s)}}));
  EXPECT_EQ(generator.on(Generator::TimerDue{}, at(2s)),
            (Actions{Generator::Generate{{2, at(2s)}}, Generator::Finished{}}));
}

TEST(BatchGenerator, StopNowFinishesOnce) {
  Generator generator(1s);
  generator.on(Generator::Start{}, at(0s));
  EXPECT_EQ(generator.on(Generator::StopNow{}, at(500ms)), (Actions{Generator::Finished{}}));
  EXPECT_EQ(generator.on(Generator::StopNow{}, at(600ms)), Actions{});
  EXPECT_EQ(generator.on(Generator::StopGracefully{}, at(600ms)), Actions{});
  EXPECT_EQ(generator.on(Generator::TimerDue{}, at(1s)), Actions{});
}

TEST(BatchGenerator, StopNowOverridesAGracefulStop) {
  Generator generator(1s);
  generator.on(Generator::Start{}, at(0s));
  generator.on(Generator::StopGracefully{}, at(500ms));
  EXPECT_EQ(generator.on(Generator::StopNow{}, at(600ms)), (Actions{Generator::Finished{}}));
}

}  // namespace
}  // namespace weir::internal
