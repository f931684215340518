// Workers that die with state in memory: put together again from files, or known to be lost.

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include <gtest/gtest.h>

#include "weir/weir.h"

#include "process_tools.h"
#include "state_jobs.h"

namespace weir::test {
namespace {

class StateFaults : public ::testing::Test {
 protected:
  StateFaults() { context_.add_listener(record_); }

  /// The processes that tasks run in at the moment.
  std::set<pid_t> workers() {
    const auto pids = context_.parallelize({0, 1}, 2).map([](int) { return getpid(); }).collect();
    return {pids.begin(), pids.end()};
  }
  /// Ends that many workers and waits for those in their place.
  void kill_workers(std::size_t count) {
    const std::size_t before = record_->added().size();
    std::set<pid_t> pids;
    ASSERT_TRUE(eventually([&] { return (pids = workers()).size() >= count; }));
    while (pids.size() > count) pids.erase(pids.begin());
    for (const pid_t pid : pids) kill(pid, SIGKILL);
    ASSERT_TRUE(eventually([&] { return record_->added().size() >= before + count; }));
  }
  StateTracker& tracker() { return context_.engine()->states(); }
  StateTracker::Totals totals() { return tracker().totals(state_.id()); }
  std::string directory() const { return folder_.file("state"); }
  /// Files of the state directory that no version is made of any more.
  std::size_t remove_garbage() {
    std::size_t removed = 0;
    const std::set<std::string> files = tracker().files();
    for (const auto& entry : std::filesystem::directory_iterator(directory())) {
      if (files.count(entry.path().filename()) == 0) {
        removed += std::filesystem::remove(entry.path()) ? 1 : 0;
      }
    }
    return removed;
  }

  TempFolder folder_;
  std::shared_ptr<EventRecord> record_ = std::make_shared<EventRecord>();
  Context context_{Config().set("master", "local-cluster[2,1]")};
  SumState state_{context_, directory(), 4};
};

TEST_F(StateFaults, AKilledWorkersStateComesFromItsChangelog) {
  for (int batch = 1; batch <= 3; ++batch) (void)state_.run({{batch, 1}, {7, 7}, {8, 1}, {9, 1}});
  kill_workers(1);
  for (int batch = 1; batch <= 2; ++batch) (void)state_.run({{batch, 1}, {7, 7}, {8, 1}, {9, 1}});
  EXPECT_EQ(state_.snapshot(), state_.expected());
  EXPECT_GT(totals().restored_partitions, 0U);
  EXPECT_LT(totals().restored_partitions, 4U) << "the other worker's was in memory";
  EXPECT_EQ(totals().lost_partitions, 0U);
}

TEST_F(StateFaults, AWorkerKilledInAnUpdateLeavesNothing) {
  (void)state_.run({{1, 1}, {2, 2}, {7, 7}});
  const auto updated = state_.update({{1, 1}, {2, 2}, {7, 7}}, {.throw_at = 0, .kill_at = 7});
  EXPECT_EQ(state_.collect(updated), (Sums{{1, 2}, {2, 4}, {7, 14}}));
  state_.commit();
  (void)state_.run({{7, 1}});
  EXPECT_EQ(state_.snapshot(), state_.expected());
}

TEST_F(StateFaults, PartitionsMoveBackToAWorkerThatReplacesADeadOne) {
  for (int batch = 1; batch <= 2; ++batch) (void)state_.run({{1, 1}, {2, 2}, {3, 3}, {4, 4}});
  kill_workers(1);
  for (int batch = 1; batch <= 6; ++batch) (void)state_.run({{1, 1}, {2, 2}, {3, 3}, {4, 4}});
  std::map<WorkerId, int> tasks;
  (void)state_.run({{1, 1}, {2, 2}, {3, 3}, {4, 4}});
  context_.engine()->bus().flush();
  const std::vector<TaskEnded> ended = record_->tasks();
  for (std::size_t i = ended.size() - 4; i < ended.size(); ++i) ++tasks[ended[i].worker];
  EXPECT_EQ(tasks.size(), 2U);
  for (const auto& [worker, count] : tasks) EXPECT_EQ(count, 2) << to_string(worker);
  EXPECT_EQ(state_.snapshot(), state_.expected());
}

TEST_F(StateFaults, StateWithoutItsChangelogIsLostAndTheDriverKnows) {
  for (int batch = 1; batch <= 3; ++batch) (void)state_.run({{1, 1}, {2, 2}, {3, 3}, {4, 4}});
  const auto full = [](const auto& steps) { return !steps.empty(); };
  ASSERT_TRUE(std::ranges::all_of(tracker().steps(state_.id(), 3), full));
  std::filesystem::remove_all(directory());
  kill_workers(2);
  const auto updated = state_.update({{1, 1}});
  try {
    (void)state_.collect(updated);
    FAIL() << "the job succeeded";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kStateLost);
    EXPECT_NE(std::string(error.what()).find(directory()), std::string::npos) << error.what();
  }
  const auto behind = tracker().behind(state_.id(), 3);
  EXPECT_EQ(behind, (std::vector<std::uint32_t>{0, 1, 2, 3})) << "all of them in one go";
  for (const std::uint32_t partition : behind) {
    EXPECT_EQ(tracker().version(state_.id(), partition), 0U);
  }
  EXPECT_EQ(totals().lost_partitions, behind.size());
}

TEST_F(StateFaults, ASnapshotAndTheDeltasAfterItAreEnough) {
  const auto has_snapshots = [&] {
    const auto steps = tracker().steps(state_.id(), state_.sequence() - 1);
    return std::ranges::all_of(steps, [](const auto& of_partition) {
      return !of_partition.empty() && of_partition[0].is_snapshot;
    });
  };
  for (int batch = 0; batch < 2000 && !has_snapshots(); ++batch) {
    (void)state_.run({{batch % 50, 1}, {7, 7}, {50 + batch % 2, batch % 4 < 2 ? 1 : -1}});
  }
  ASSERT_TRUE(has_snapshots());
  kill_workers(1);  // its changelog ends; the snapshots after it make it garbage
  const std::set<std::string> before = tracker().files();
  const auto still_needed = [&] {
    const std::set<std::string> files = tracker().files();
    return std::ranges::includes(files, before);
  };
  for (int batch = 0; batch < 2000 && still_needed(); ++batch) (void)state_.run({{7, 7}});
  EXPECT_GT(remove_garbage(), 0U);
  kill_workers(2);
  (void)state_.run({{1, 1}, {7, 7}});
  Sums expected = state_.expected();
  std::erase_if(expected, [](const auto& sum) { return sum.second == 0; });
  EXPECT_EQ(state_.snapshot(), expected);
}

}  // namespace
}  // namespace weir::test
