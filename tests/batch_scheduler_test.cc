#include "weir/dstream/batch_scheduler.h"

#include <chrono>
#include <vector>

#include <gtest/gtest.h>

namespace weir::internal {
namespace {

using namespace std::chrono_literals;
using Scheduler = BatchScheduler;
using Actions = std::vector<Scheduler::Action>;

Time at(Duration since_epoch) { return Time(since_epoch); }
Batch batch(std::uint64_t n) { return {n, at(n * 1s)}; }

class BatchSchedulerTest : public ::testing::Test {
 protected:
  Actions submit(std::uint64_t n, Duration now) {
    return scheduler.on(Scheduler::Submit{batch(n)}, at(now));
  }
  Actions ended(std::uint64_t n, Duration now, bool failed = false) {
    return scheduler.on(Scheduler::Ended{n, failed}, at(now));
  }

  Scheduler scheduler{{.depth = 1, .drain_cap = 10s}};
};

TEST_F(BatchSchedulerTest, AnIdleSchedulerStartsABatchAtOnce) {
  EXPECT_EQ(submit(1, 1s), (Actions{Scheduler::StartBatch{{batch(1), at(1s), at(1s)}}}));
}

TEST_F(BatchSchedulerTest, OneBatchRunsAndTheOthersWaitInOrder) {
  submit(1, 1s);
  EXPECT_EQ(submit(2, 2s), Actions{});
  EXPECT_EQ(submit(3, 3s), Actions{});
  EXPECT_EQ(ended(1, 3500ms),
            (Actions{Scheduler::BatchDone{{batch(1), at(1s), at(1s), at(3500ms)}, false},
                     Scheduler::StartBatch{{batch(2), at(2s), at(3500ms)}}}));
  EXPECT_EQ(ended(2, 3600ms),
            (Actions{Scheduler::BatchDone{{batch(2), at(2s), at(3500ms), at(3600ms)}, false},
                     Scheduler::StartBatch{{batch(3), at(3s), at(3600ms)}}}));
}

TEST_F(BatchSchedulerTest, DepthIsHowManyRunAtATime) {
  Scheduler two({.depth = 2, .drain_cap = 10s});
  two.on(Scheduler::Submit{batch(1)}, at(1s));
  EXPECT_EQ(two.on(Scheduler::Submit{batch(2)}, at(2s)),
            (Actions{Scheduler::StartBatch{{batch(2), at(2s), at(2s)}}}));
  EXPECT_EQ(two.on(Scheduler::Submit{batch(3)}, at(3s)), Actions{});
  EXPECT_EQ(two.running(), 2u);
  EXPECT_EQ(two.waiting(), 1u);
}

TEST_F(BatchSchedulerTest, AFailureDropsWhatWaitsAndFinishes) {
  submit(1, 1s);
  submit(2, 2s);
  EXPECT_EQ(ended(1, 3s, true),
            (Actions{Scheduler::BatchDone{{batch(1), at(1s), at(1s), at(3s)}, true},
                     Scheduler::StopCutting{}, Scheduler::Finished{1}}));
  EXPECT_EQ(scheduler.state(), Scheduler::State::kFinished);
}

TEST_F(BatchSchedulerTest, DrainProcessesWhatIsThereAndStillComes) {
  submit(1, 1s);
  EXPECT_EQ(scheduler.on(Scheduler::Drain{}, at(1500ms)), Actions{});
  EXPECT_EQ(scheduler.timer(), at(11500ms));
  EXPECT_EQ(submit(2, 2s), Actions{});
  EXPECT_EQ(scheduler.on(Scheduler::Close{}, at(2s)), Actions{});
  ended(1, 3s);
  EXPECT_EQ(ended(2, 4s), (Actions{Scheduler::BatchDone{{batch(2), at(2s), at(3s), at(4s)}, false},
                                   Scheduler::Finished{0}}));
  EXPECT_EQ(scheduler.timer(), std::nullopt);
}

TEST_F(BatchSchedulerTest, DrainWaitsForTheLastBatchToBeCut) {
  EXPECT_EQ(scheduler.on(Scheduler::Drain{}, at(1s)), Actions{});
  EXPECT_EQ(scheduler.state(), Scheduler::State::kDraining);
  EXPECT_EQ(scheduler.on(Scheduler::Close{}, at(2s)), (Actions{Scheduler::Finished{0}}));
}

TEST_F(BatchSchedulerTest, DrainGivesUpAtItsCap) {
  submit(1, 1s);
  submit(2, 2s);
  scheduler.on(Scheduler::Drain{}, at(2s));
  scheduler.on(Scheduler::Close{}, at(3s));
  EXPECT_EQ(scheduler.on(Scheduler::TimerDue{}, at(11s)), Actions{});
  EXPECT_EQ(scheduler.on(Scheduler::TimerDue{}, at(12s)),
            (Actions{Scheduler::StopCutting{}, Scheduler::CancelRunning{}}));
  EXPECT_EQ(ended(1, 12100ms, true),
            (Actions{Scheduler::BatchDone{{batch(1), at(1s), at(1s), at(12100ms)}, true},
                     Scheduler::Finished{1}}));
}

TEST_F(BatchSchedulerTest, AbortWaitsForTheRunningBatchToEnd) {
  submit(1, 1s);
  EXPECT_EQ(scheduler.on(Scheduler::Abort{}, at(2s)),
            (Actions{Scheduler::StopCutting{}, Scheduler::CancelRunning{}}));
  EXPECT_EQ(scheduler.on(Scheduler::Abort{}, at(2150ms)), Actions{});
  EXPECT_EQ(scheduler.state(), Scheduler::State::kAborting);
  EXPECT_EQ(scheduler.timer(), std::nullopt);
  ended(1, 2160ms, true);
  EXPECT_EQ(scheduler.state(), Scheduler::State::kFinished);
}

TEST_F(BatchSchedulerTest, AbortOfAnIdleSchedulerFinishes) {
  EXPECT_EQ(scheduler.on(Scheduler::Abort{}, at(2s)),
            (Actions{Scheduler::StopCutting{}, Scheduler::Finished{0}}));
}

TEST_F(BatchSchedulerTest, BatchesCutAfterAnAbortAreDropped) {
  submit(1, 1s);
  scheduler.on(Scheduler::Abort{}, at(2s));
  EXPECT_EQ(submit(2, 2s), Actions{});
  EXPECT_EQ(ended(1, 3s), (Actions{Scheduler::BatchDone{{batch(1), at(1s), at(1s), at(3s)}, false},
                                   Scheduler::Finished{1}}));
}

TEST_F(BatchSchedulerTest, AFailureWhileDrainingFinishes) {
  submit(1, 1s);
  submit(2, 2s);
  scheduler.on(Scheduler::Drain{}, at(2s));
  ended(1, 3s, true);
  EXPECT_EQ(scheduler.state(), Scheduler::State::kFinished);
}

}  // namespace
}  // namespace weir::internal
