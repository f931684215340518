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

TEST(BatchGenerator, CutsNothingWhileItIsToldToWaitAndThenOneForAllThatWasMissed) {
  Generator generator(1s);
  generator.on(Generator::Start{}, at(0s));
  EXPECT_EQ(generator.on(Generator::CatchUp{}, at(500ms)), Actions{}) << "nothing was missed";
  EXPECT_EQ(generator.on(Generator::TimerDue{.wait = true}, at(900ms)),
            (Actions{Generator::SetTimer{at(1s)}}))
      << "not due";
  EXPECT_EQ(generator.on(Generator::TimerDue{.wait = true}, at(1s)), Actions{});
  EXPECT_EQ(generator.on(Generator::CatchUp{}, at(4200ms)),
            (Actions{Generator::Skip{at(1s), at(3s)}, Generator::Generate{{1, at(4s)}},
                     Generator::SetTimer{at(5s)}}));
  EXPECT_EQ(generator.on(Generator::CatchUp{}, at(4300ms)), Actions{});
  EXPECT_EQ(generator.on(Generator::TimerDue{.wait = true}, at(5s)), Actions{});
  EXPECT_EQ(generator.on(Generator::CatchUp{}, at(5100ms)),
            (Actions{Generator::Generate{{2, at(5s)}}, Generator::SetTimer{at(6s)}}))
      << "one grid point is a batch as ever";
}

TEST(BatchGenerator, GivesSpecialGridPointsBatchesOfTheirOwn) {
  Generator generator(1s,
                      [](Time time) { return time.time_since_epoch() % 3s == Duration::zero(); });
  generator.on(Generator::Start{}, at(0s));
  generator.on(Generator::TimerDue{.wait = true}, at(1s));
  EXPECT_EQ(generator.on(Generator::CatchUp{}, at(7500ms)),
            (Actions{Generator::Skip{at(1s), at(2s)}, Generator::Generate{{1, at(3s)}},
                     Generator::Skip{at(4s), at(5s)}, Generator::Generate{{2, at(6s)}},
                     Generator::Generate{{3, at(7s)}}, Generator::SetTimer{at(8s)}}));
}

TEST(BatchGenerator, AGracefulStopWaitsForNoRoom) {
  Generator generator(1s);
  generator.on(Generator::Start{}, at(0s));
  generator.on(Generator::TimerDue{.wait = true}, at(1s));
  EXPECT_EQ(generator.on(Generator::StopGracefully{}, at(2500ms)),
            (Actions{Generator::Skip{at(1s), at(1s)}, Generator::Generate{{1, at(2s)}},
                     Generator::SetTimer{at(3s)}}));
  EXPECT_EQ(generator.on(Generator::TimerDue{.wait = true}, at(3s)),
            (Actions{Generator::Generate{{2, at(3s)}}, Generator::Finished{}}));
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
