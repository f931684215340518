// State over every kind of master: batches in, versions and what updates yield out.

#include "weir/core/state/state_dataset.h"

#include <gtest/gtest.h>

#include "weir/core/context.h"

#include "masters.h"
#include "process_tools.h"
#include "state_jobs.h"

namespace weir::test {
namespace {

class StateDatasets : public ::testing::TestWithParam<const char*> {
 protected:
  TempFolder folder_;
  Context context_{Config().set("master", GetParam())};
  SumState state_{context_, folder_.file("state"), 4};
};

TEST_P(StateDatasets, EveryBatchUpdatesWhatTheOnesBeforeItLeft) {
  for (int batch = 1; batch <= 5; ++batch) {
    const auto updated = state_.update({{1, 10}, {batch, 1}, {1, 1}});
    EXPECT_EQ(state_.collect(updated),
              (Sums{{1, state_.expected()[1]}, {batch, state_.expected()[batch]}}));
    state_.commit();
  }
  EXPECT_EQ(state_.snapshot(), state_.expected());
  const StateTracker::Totals totals = context_.engine()->states().totals(state_.id());
  EXPECT_EQ(totals.name, "sums");
  EXPECT_EQ(totals.keys, 5U);
  EXPECT_GT(totals.bytes, 0U);
  EXPECT_EQ(totals.restored_bytes, 0U) << "all of it was in memory";
}

TEST_P(StateDatasets, SeveralJobsOfABatchUpdateOnce) {
  (void)state_.run({{1, 1}, {2, 2}});
  const auto updated = state_.update({{1, 1}, {3, 3}});
  EXPECT_EQ(state_.collect(updated), state_.collect(updated));
  updated.unpersist();
  EXPECT_EQ(state_.collect(updated), (Sums{{1, 2}, {3, 3}})) << "made again over the same base";
  state_.commit();
  EXPECT_EQ(state_.snapshot(), state_.expected());
}

TEST_P(StateDatasets, AnUpdateThatThrowsHalfWayLeavesNothing) {
  (void)state_.run({{1, 1}, {2, 2}, {7, 7}});
  const auto updated = state_.update({{1, 1}, {2, 2}, {7, 7}}, {.throw_at = 7, .kill_at = 0});
  EXPECT_EQ(state_.collect(updated), (Sums{{1, 2}, {2, 4}, {7, 14}}));
  state_.commit();
  (void)state_.run({{1, 1}});
  EXPECT_EQ(state_.snapshot(), state_.expected());
}

// The block of the first attempt stays on the worker; its version does not count.
TEST_P(StateDatasets, AFunctionThatThrowsBehindTheUpdateLeavesNothing) {
  (void)state_.run({{1, 1}, {2, 2}});
  const auto updated = state_.update({{1, 1}, {2, 2}, {3, 3}});
  const auto persisted = Rdd<std::pair<int, std::int64_t>>(updated)
                             .map([](const std::pair<int, std::int64_t>& sum) { return sum; })
                             .persist();
  const auto failing = persisted.map([](const std::pair<int, std::int64_t>& sum) {
    if (TaskContext::current().attempt() == 1) throw std::runtime_error("the first time");
    return sum;
  });
  {
    const internal::BatchScope scope(this, state_.sequence(), {});
    EXPECT_EQ(sums(failing.collect()), (Sums{{1, 2}, {2, 4}, {3, 3}}));
  }
  state_.commit();
  (void)state_.run({{1, 1}});
  EXPECT_EQ(state_.snapshot(), state_.expected());
}

TEST_P(StateDatasets, PartitionsOfAnotherNumberGoOn) {
  for (int batch = 1; batch <= 3; ++batch) (void)state_.run({{batch, 1}, {10 + batch, 2}, {1, 5}});
  StateTracker& tracker = context_.engine()->states();
  SumState wider(context_, folder_.file("state"), 7, &state_);
  tracker.restore(wider.id(), 3, 4, tracker.steps(state_.id(), 3));
  EXPECT_EQ(wider.snapshot(), state_.expected());
  (void)wider.run({{1, 1}, {20, 4}});
  EXPECT_EQ(wider.snapshot(), wider.expected());
}

TEST_P(StateDatasets, StagesAreTheSameFromBatchToBatch) {
  const auto program_of = [&](const Sums& records) {
    const auto updated = state_.update(std::vector<Record>(records.begin(), records.end()));
    const internal::JobPlan plan = internal::plan_job(
        updated.dataset(), internal::ResultOutput<Record, internal::CollectAction<Record>>({}),
        false, {0});
    std::vector<StageHash> hashes;
    for (const internal::StagePlan& stage : plan.stages) hashes.push_back(stage.program->hash);
    (void)state_.collect(updated);
    state_.commit();
    return hashes;
  };
  EXPECT_EQ(program_of({{1, 1}}), program_of({{2, 2}, {3, 3}}));
}

TEST_P(StateDatasets, AReleasedStateIsForgotten) {
  StateId id = 0;
  {
    SumState other(context_, folder_.file("state"), 2);
    (void)other.run({{1, 1}});
    id = other.id();
  }
  EXPECT_TRUE(eventually([&] {
    try {
      (void)context_.engine()->states().version(id, 0);
      return false;
    } catch (const Error&) {
      return true;
    }
  }));
}

TEST_P(StateDatasets, AStateHasOnePartitionAtLeastAndNoMoreThanKeyGroups) {
  EXPECT_THROW(SumState(context_, folder_.file("state"), 0), Error);
  EXPECT_THROW(SumState(context_, folder_.file("state"), 513), Error);
}

WEIR_TEST_OVER_MASTERS(StateDatasets);

}  // namespace
}  // namespace weir::test
