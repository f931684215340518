#include "weir/core/dag_scheduler.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <random>
#include <set>
#include <string>
#include <type_traits>
#include <variant>
#include <vector>

#include <gtest/gtest.h>

#include "weir/core/hash.h"

namespace weir {
namespace {

using internal::JobPlan;
using internal::LeafNeed;
using internal::StagePlan;
using Texts = std::vector<std::string>;

constexpr WorkerId kA{0, 1};
constexpr WorkerId kB{1, 2};

LeafNeed reads(ShuffleId shuffle, std::uint32_t partition) {
  LeafNeed need;
  need.input.is_shuffle = true;
  need.input.shuffle = shuffle;
  need.input.partition = partition;
  return need;
}

LeafNeed source(std::uint32_t partition) {
  LeafNeed need;
  need.input.partition = partition;
  return need;
}

/// `tasks` tasks, each of which reads its partition of all the given shuffles, or a source.
StagePlan stage(const std::string& name, std::uint32_t tasks,
                const std::vector<ShuffleId>& shuffles) {
  StagePlan plan;
  plan.name = name;
  for (std::uint32_t p = 0; p < tasks; ++p) {
    plan.partitions.push_back(p);
    auto& needs = plan.needs.emplace_back();
    if (shuffles.empty()) needs.push_back(source(p));
    for (const ShuffleId shuffle : shuffles) needs.push_back(reads(shuffle, p));
  }
  return plan;
}

StagePlan map_stage(ShuffleId writes, std::uint32_t tasks,
                    const std::vector<ShuffleId>& shuffles = {}) {
  StagePlan plan = stage("map" + std::to_string(writes), tasks, shuffles);
  plan.writes = writes;
  plan.reducers = 3;
  return plan;
}

StagePlan result_stage(std::uint32_t tasks, const std::vector<ShuffleId>& shuffles = {}) {
  return stage("result", tasks, shuffles);
}

JobPlan job(std::vector<StagePlan> stages) {
  JobPlan plan;
  plan.stages = std::move(stages);
  return plan;
}

/// A map output for three reducers; its content is named by a text.
Done map_done(WorkerId worker, std::uint32_t map_partition, const std::string& content,
              bool is_inline = false) {
  Done done;
  done.output = MapOutput{worker, {}};
  for (int reducer = 0; reducer < 3; ++reducer) {
    Segment segment{map_partition, worker, content.size(), hash_bytes(content), {}};
    if (is_inline) segment.inline_data = Bytes(content);
    done.output->segments.push_back(segment);
  }
  return done;
}

Done result(const std::string& content) {
  Done done;
  done.result = Bytes(content);
  return done;
}

/// Feeds the scheduler by hand and says what it wants, in words: "launch 1:0/2" is task 2 of stage
/// 0 of job 1, "again" a stage whose outputs were lost.
class Scheduling : public ::testing::Test {
 protected:
  struct TaskName {
    JobId job = 0;
    std::uint32_t stage = 0;
    std::uint32_t partition = 0;
    auto operator<=>(const TaskName&) const = default;
  };

  Texts submit(JobId id, JobPlan plan) { return read(scheduler_.submit(id, std::move(plan))); }
  Texts cancel(JobId id, const std::string& reason) { return read(scheduler_.cancel(id, reason)); }
  Texts lose(WorkerId worker) { return read(scheduler_.on_worker_lost(worker)); }

  Texts end(TaskName task, WorkerId worker, TaskOutcome outcome) {
    const AttemptId attempt = spec(task).attempt;
    running_.erase(task);
    return read(scheduler_.on_outcome(attempt, worker, std::move(outcome)));
  }
  Texts end_map(TaskName task, WorkerId worker) {
    return end(task, worker,
               map_done(worker, task.partition, "m" + std::to_string(task.partition)));
  }
  Texts end_result(TaskName task) {
    return end(task, kA, result("r" + std::to_string(task.partition)));
  }
  Texts fail(TaskName task, const std::string& message) { return end(task, kA, Failed{message}); }

  const TaskSpec& spec(TaskName task) const { return running_.at(task); }
  bool is_running(TaskName task) const { return running_.count(task) != 0; }
  std::size_t num_running() const { return running_.size(); }

  /// The workers from which the task was told to read its first input.
  std::vector<WorkerId> sources(TaskName task) const {
    std::vector<WorkerId> workers;
    for (const Segment& segment : spec(task).inputs.at(0).segments)
      workers.push_back(segment.worker);
    return workers;
  }

  Texts read(DagScheduler::Actions actions) {
    Texts texts;
    for (DagScheduler::Action& action : actions) {
      std::visit([&](auto& each) { read(each, texts); }, action);
    }
    return texts;
  }

  DagScheduler scheduler_{{.max_failures = 4, .max_losses = 6, .max_fetch_failures = 5}};

 private:
  static std::string name(const TaskName& t) {
    return std::to_string(t.job) + ":" + std::to_string(t.stage) + "/" +
           std::to_string(t.partition);
  }

  void read(DagScheduler::Launch& launch, Texts& texts) {
    EXPECT_TRUE(attempts_.insert(launch.task.attempt).second) << "an attempt was named twice";
    const TaskName task{launch.task.job, launch.task.stage, launch.task.partition};
    EXPECT_EQ(running_.count(task), 0U) << name(task) << " runs twice";
    texts.push_back("launch " + name(task));
    running_[task] = std::move(launch.task);
  }
  void read(const DagScheduler::Cancel& cancel, Texts& texts) {
    for (const auto& [task, spec] : running_) {
      if (spec.attempt != cancel.attempt) continue;
      texts.push_back("cancel " + name(task));
      running_.erase(task);
      return;
    }
    ADD_FAILURE() << "an attempt that does not run was cancelled";
  }
  void read(const DagScheduler::JobSucceeded& job, Texts& texts) {
    std::string text = "job " + std::to_string(job.job) + " succeeded:";
    for (const Bytes& part : job.results) text += " " + std::string(part.view());
    texts.push_back(text);
  }
  void read(const DagScheduler::JobFailed& job, Texts& texts) {
    texts.push_back("job " + std::to_string(job.job) + " failed");
    last_failure_ = job;
  }
  void read(const StageSubmitted& stage, Texts& texts) {
    texts.push_back("submitted " + std::to_string(stage.job) + ":" + std::to_string(stage.stage) +
                    " of " + std::to_string(stage.tasks) + (stage.again ? " again" : ""));
  }
  void read(const StageCompleted& stage, Texts& texts) {
    completed_.push_back(stage);
    texts.push_back("completed " + std::to_string(stage.job) + ":" + std::to_string(stage.stage));
  }
  void read(const TaskEnded& task, Texts&) { ended_.push_back(task); }
  void read(const DagScheduler::Accumulated& accumulated, Texts& texts) {
    const TaskName task{accumulated.job, accumulated.stage, accumulated.partition};
    for (const AccumulatorUpdate& update : accumulated.updates) {
      texts.push_back("counted " + name(task) + " " + std::string(update.added.view()));
    }
  }
  void read(const DagScheduler::StateInstalled& state, Texts& texts) {
    texts.push_back("installed " + std::to_string(state.output.state) + "/" +
                    std::to_string(state.output.partition) + " at " +
                    std::to_string(state.output.sequence));
  }
  void read(const DagScheduler::StateVersionLost& state, Texts& texts) {
    texts.push_back("lost " + std::to_string(state.lost.state) + "/" +
                    std::to_string(state.lost.partition) + " after " +
                    std::to_string(state.lost.sequence));
  }

 protected:
  DagScheduler::JobFailed last_failure_;
  std::vector<TaskEnded> ended_;
  std::vector<StageCompleted> completed_;

 private:
  std::map<TaskName, TaskSpec> running_;
  std::set<AttemptId> attempts_;
};

TEST_F(Scheduling, AJobWithoutShufflesIsOneStage) {
  EXPECT_EQ(submit(1, job({result_stage(2)})),
            (Texts{"submitted 1:0 of 2", "launch 1:0/0", "launch 1:0/1"}));
  EXPECT_EQ(end_result({1, 0, 1}), Texts{});
  EXPECT_EQ(end_result({1, 0, 0}), (Texts{"completed 1:0", "job 1 succeeded: r0 r1"}));
  EXPECT_TRUE(scheduler_.is_idle());
}

Done adding(Done done, const std::string& added) {
  done.accumulated.push_back({1, Bytes(added)});
  return done;
}

TEST_F(Scheduling, WhatTasksAddIsCountedOnceForEachTaskOfAnAction) {
  submit(1, job({result_stage(2)}));
  EXPECT_EQ(fail({1, 0, 0}, "no"), Texts{"launch 1:0/0"});
  EXPECT_EQ(end({1, 0, 0}, kA, adding(result("r0"), "x")), Texts{"counted 1:0/0 x"});
  EXPECT_EQ(end({1, 0, 1}, kA, adding(result("r1"), "y")),
            (Texts{"counted 1:0/1 y", "completed 1:0", "job 1 succeeded: r0 r1"}));
}

TEST_F(Scheduling, WhatMapTasksAddIsCountedWhenTheirOutputIsMadeFirst) {
  submit(1, job({map_stage(9, 1), result_stage(1, {9})}));
  EXPECT_EQ(end({1, 0, 0}, kB, adding(map_done(kB, 0, "m0"), "x")),
            (Texts{"counted 1:0/0 x", "completed 1:0", "submitted 1:1 of 1", "launch 1:1/0"}));
  EXPECT_EQ(lose(kB), Texts{});
  EXPECT_EQ(end({1, 1, 0}, kA, FetchFailed{9, kB, {0}, "gone"}),
            (Texts{"submitted 1:0 of 1 again", "launch 1:0/0"}));
  EXPECT_EQ(end({1, 0, 0}, kA, adding(map_done(kA, 0, "m0"), "x")),
            (Texts{"completed 1:0", "launch 1:1/0"}));
}

TEST_F(Scheduling, ABlockIsReadFromItsSecondReplicaWhenTheFirstIsLost) {
  StagePlan stage = result_stage(1);
  stage.needs[0][0].behind = {12, 0};
  stage.cached = {{0, 12, {}, StorageLevel::kMemory2}};
  submit(1, job({stage}));
  Done done = result("r0");
  done.stored = {{12, 0, 100, kB}};
  end({1, 0, 0}, kA, done);
  submit(2, job({stage}));
  EXPECT_EQ(spec({2, 0, 0}).preferred, (std::vector{kA, kB}));
  EXPECT_TRUE(spec({2, 0, 0}).inputs_withheld);
  end_result({2, 0, 0});
  lose(kA);
  submit(3, job({stage}));
  EXPECT_EQ(spec({3, 0, 0}).preferred, std::vector{kB});
  EXPECT_TRUE(spec({3, 0, 0}).inputs_withheld);
}

Done result_after(Duration time) {
  Done done = result("r");
  done.metrics.run_time = time;
  return done;
}

/// Four tasks of which three took 10 ms; a tick of the clock has seen the fourth.
class Speculation : public Scheduling {
 protected:
  static constexpr Duration kTook = std::chrono::milliseconds(10);

  Speculation() {
    scheduler_ = DagScheduler({.max_failures = 2, .speculation = true});
    plan_ = result_stage(4);
  }
  void begin() {
    submit(1, job({plan_}));
    for (std::uint32_t p = 0; p < 3; ++p) end({1, 0, p}, kA, result_after(kTook));
    EXPECT_EQ(tick(0), Texts{});
    first_ = spec({1, 0, 3}).attempt;
  }
  Texts tick(int milliseconds, std::uint32_t slots = 2) {
    Texts texts;
    for (auto& action :
         scheduler_.speculate(SteadyTime(std::chrono::milliseconds(milliseconds)), slots)) {
      auto& launch = std::get<DagScheduler::Launch>(action);
      texts.push_back("copy of " + std::to_string(launch.task.copy_of));
      copy_ = launch.task.attempt;
    }
    return texts;
  }
  Texts end_attempt(AttemptId attempt, TaskOutcome outcome) {
    Texts texts;
    for (const auto& action : scheduler_.on_outcome(attempt, kB, std::move(outcome))) {
      if (const auto* cancel = std::get_if<DagScheduler::Cancel>(&action)) {
        texts.push_back("cancel " + std::to_string(cancel->attempt));
      } else if (std::holds_alternative<DagScheduler::JobSucceeded>(action)) {
        texts.emplace_back("succeeded");
      } else if (std::holds_alternative<DagScheduler::JobFailed>(action)) {
        texts.emplace_back("failed");
      } else if (const auto* launch = std::get_if<DagScheduler::Launch>(&action)) {
        texts.emplace_back("launch");
        first_ = launch->task.attempt;
      }
    }
    return texts;
  }

  StagePlan plan_;
  AttemptId first_ = 0;
  AttemptId copy_ = 0;
};

TEST_F(Speculation, AStragglerGetsOneCopyOnceItIsLate) {
  begin();
  EXPECT_EQ(tick(100), Texts{});
  EXPECT_EQ(tick(101, 1), Texts{}) << "there is no idle slot";
  EXPECT_EQ(tick(101), Texts{"copy of " + std::to_string(first_)});
  EXPECT_EQ(tick(1000, 9), Texts{});
}

TEST_F(Speculation, TheFirstResultCountsAndTheCopyIsCancelled) {
  begin();
  tick(500);
  EXPECT_EQ(end_attempt(first_, result_after(kTook)),
            (Texts{"cancel " + std::to_string(copy_), "succeeded"}));
  EXPECT_EQ(end_attempt(copy_, result_after(kTook)), Texts{});
  EXPECT_TRUE(scheduler_.is_idle());
}

TEST_F(Speculation, TheFirstResultMayBeTheCopys) {
  begin();
  tick(500);
  EXPECT_EQ(end_attempt(copy_, result_after(kTook)),
            (Texts{"cancel " + std::to_string(first_), "succeeded"}));
  EXPECT_EQ(end_attempt(first_, Failed{"too late"}), Texts{});
  EXPECT_TRUE(scheduler_.is_idle());
}

TEST_F(Speculation, WhatBefallsOneOfTwoLeavesTheOtherRunning) {
  begin();
  tick(500);
  EXPECT_EQ(end_attempt(first_, Failed{"no"}), Texts{});
  EXPECT_EQ(tick(1000), Texts{}) << "the copy is seen for the first time";
  EXPECT_EQ(end_attempt(copy_, AttemptLost{kB, false, "killed"}), Texts{"launch"});
  EXPECT_EQ(end_attempt(first_, Failed{"no"}), Texts{"failed"}) << "for the second time";
}

TEST_F(Speculation, BothAttemptsEndWithTheirJob) {
  begin();
  tick(500);
  Texts texts;
  for (const auto& action : scheduler_.cancel(1, "enough")) {
    if (std::holds_alternative<DagScheduler::Cancel>(action)) texts.emplace_back("cancel");
  }
  EXPECT_EQ(texts, (Texts{"cancel", "cancel"}));
  EXPECT_TRUE(scheduler_.is_idle());
}

TEST_F(Speculation, StagesWithEffectsAreNeverCopied) {
  plan_.has_effects = true;
  begin();
  EXPECT_EQ(tick(10'000, 9), Texts{});
}

TEST_F(Scheduling, StagesAddUpWhatTheirTasksMeasured) {
  submit(1, job({result_stage(2)}));
  Done done = result("r0");
  done.metrics = {.records_read = 5, .bytes_fetched = 2, .run_time = Duration(3), .spills = 1};
  end({1, 0, 0}, kA, done);
  end({1, 0, 1}, kA, done);
  ASSERT_EQ(completed_.size(), 1U);
  EXPECT_EQ(completed_[0].metrics.records_read, 10U);
  EXPECT_EQ(completed_[0].metrics.run_time, Duration(6));
  EXPECT_EQ(completed_[0].metrics.spills, 2U);
}

TEST_F(Scheduling, ReducersWaitForAllMapOutputs) {
  EXPECT_EQ(submit(1, job({map_stage(9, 3), result_stage(2, {9})})),
            (Texts{"submitted 1:0 of 3", "launch 1:0/0", "launch 1:0/1", "launch 1:0/2"}));
  EXPECT_EQ(end_map({1, 0, 2}, kB), Texts{});
  EXPECT_EQ(end_map({1, 0, 0}, kA), Texts{});
  EXPECT_EQ(end_map({1, 0, 1}, kA),
            (Texts{"completed 1:0", "submitted 1:1 of 2", "launch 1:1/0", "launch 1:1/1"}));
  EXPECT_EQ(sources({1, 1, 0}), (std::vector<WorkerId>{kA, kA, kB}));  // in map-partition order
  end_result({1, 1, 0});
  EXPECT_EQ(end_result({1, 1, 1}), (Texts{"completed 1:1", "job 1 succeeded: r0 r1"}));
}

TEST_F(Scheduling, EachReducerGetsItsOwnSegmentOfEveryOutput) {
  submit(1, job({map_stage(9, 1), result_stage(3, {9})}));
  Done done = map_done(kA, 0, "x");
  for (std::uint64_t r = 0; r < 3; ++r) done.output->segments[r].size = 100 + r;
  end({1, 0, 0}, kA, done);
  for (std::uint32_t r = 0; r < 3; ++r) {
    EXPECT_EQ(spec({1, 1, r}).inputs[0].segments[0].size, 100U + r);
  }
}

TEST_F(Scheduling, TasksCarryWhatTheirJobSays) {
  JobPlan plan = job({map_stage(9, 1), result_stage(1, {9})});
  plan.hash_seed = 77;
  plan.batch = 5;
  plan.batch_time = Time(std::chrono::seconds(3));
  plan.stages[0].partitions = {4};  // a job may want some partitions only
  plan.stages[0].program = std::make_shared<const StageProgram>(StageProgram{123, Bytes("p")});
  plan.stages[0].cached = {{2, 8, {}}};
  submit(1, std::move(plan));
  const TaskSpec& task = spec({1, 0, 4});
  EXPECT_EQ(task.hash_seed, 77U);
  EXPECT_EQ(task.batch, 5U);
  EXPECT_EQ(task.batch_time, Time(std::chrono::seconds(3)));
  EXPECT_EQ(task.program->hash, 123U);
  EXPECT_EQ(task.cached.at(0).dataset, 8U);
  EXPECT_EQ(task.writes_shuffle, ShuffleId{9});
  EXPECT_EQ(task.attempt_number, 1U);
}

TEST_F(Scheduling, StagesRunInTheOrderOfTheirNeeds) {
  // 1 and 2 feed 3; 3 and 1 feed the result.
  submit(1,
         job({map_stage(1, 1), map_stage(2, 1), map_stage(3, 1, {1, 2}), result_stage(1, {3, 1})}));
  EXPECT_EQ(num_running(), 2U);
  end_map({1, 0, 0}, kA);
  EXPECT_FALSE(is_running({1, 2, 0}));
  EXPECT_EQ(end_map({1, 1, 0}, kA), (Texts{"completed 1:1", "submitted 1:2 of 1", "launch 1:2/0"}));
  EXPECT_EQ(end_map({1, 2, 0}, kA), (Texts{"completed 1:2", "submitted 1:3 of 1", "launch 1:3/0"}));
  EXPECT_EQ(end_result({1, 3, 0}), (Texts{"completed 1:3", "job 1 succeeded: r0"}));
}

TEST_F(Scheduling, StagesWhoseOutputsExistAreSkipped) {
  submit(1, job({map_stage(1, 2), map_stage(2, 1, {1}), result_stage(1, {2})}));
  end_map({1, 0, 0}, kA);
  end_map({1, 0, 1}, kA);
  end_map({1, 1, 0}, kA);
  end_result({1, 2, 0});
  EXPECT_EQ(submit(2, job({map_stage(1, 2), map_stage(2, 1, {1}), result_stage(1, {2})})),
            (Texts{"submitted 2:2 of 1", "launch 2:2/0"}));
}

TEST_F(Scheduling, ReleasedOutputsAreMadeAgain) {
  submit(1, job({map_stage(9, 1), result_stage(1, {9})}));
  end_map({1, 0, 0}, kA);
  end_result({1, 1, 0});
  scheduler_.release_shuffle(9);
  EXPECT_EQ(submit(2, job({map_stage(9, 1), result_stage(1, {9})})),
            (Texts{"submitted 2:0 of 1", "launch 2:0/0"}));
}

TEST_F(Scheduling, ReleasingDuringAJobOnlyCostsTime) {
  submit(1, job({map_stage(9, 2), result_stage(1, {9})}));
  end_map({1, 0, 0}, kA);
  scheduler_.release_shuffle(9);
  EXPECT_EQ(end_map({1, 0, 1}, kA), (Texts{"launch 1:0/0"}));
  EXPECT_EQ(end_map({1, 0, 0}, kA), (Texts{"completed 1:0", "submitted 1:1 of 1", "launch 1:1/0"}));
  scheduler_.release_shuffle(9);
  EXPECT_EQ(end_result({1, 1, 0}), (Texts{"completed 1:1", "job 1 succeeded: r0"}));
}

TEST_F(Scheduling, ReleasingBeforeARetryMakesTheInputsAgain) {
  submit(1, job({map_stage(9, 1), result_stage(1, {9})}));
  end_map({1, 0, 0}, kA);
  scheduler_.release_shuffle(9);
  EXPECT_EQ(fail({1, 1, 0}, "boom"), (Texts{"submitted 1:0 of 1 again", "launch 1:0/0"}));
  EXPECT_EQ(end_map({1, 0, 0}, kA), (Texts{"completed 1:0", "launch 1:1/0"}));
}

TEST_F(Scheduling, TheFourthFailureFailsTheJob) {
  submit(1, job({result_stage(2)}));
  for (std::uint32_t attempt = 1; attempt <= 3; ++attempt) {
    EXPECT_EQ(spec({1, 0, 1}).attempt_number, attempt);
    EXPECT_EQ(fail({1, 0, 1}, "boom"), (Texts{"launch 1:0/1"}));
  }
  EXPECT_EQ(fail({1, 0, 1}, "boom"), (Texts{"cancel 1:0/0", "job 1 failed"}));
  EXPECT_EQ(last_failure_.code, ErrorCode::kJobFailed);
  EXPECT_EQ(last_failure_.message,
            "task 1 of stage 0 (result) failed 4 times, the last time on worker 0.1: boom");
  EXPECT_TRUE(scheduler_.is_idle());
  ASSERT_EQ(ended_.size(), 4U);
  EXPECT_EQ(ended_[3].failure, "boom");
  EXPECT_EQ(ended_[3].attempt_number, 4U);
}

TEST_F(Scheduling, FailuresAreCountedPerTask) {
  submit(1, job({result_stage(2)}));
  for (int i = 0; i < 3; ++i) {
    fail({1, 0, 0}, "boom");
    fail({1, 0, 1}, "boom");
  }
  end_result({1, 0, 0});
  EXPECT_EQ(end_result({1, 0, 1}), (Texts{"completed 1:0", "job 1 succeeded: r0 r1"}));
}

TEST_F(Scheduling, OneJobsFailureLeavesOthersAlone) {
  submit(1, job({result_stage(1)}));
  submit(2, job({result_stage(1)}));
  for (int i = 0; i < 4; ++i) fail({1, 0, 0}, "boom");
  EXPECT_EQ(end_result({2, 0, 0}), (Texts{"completed 2:0", "job 2 succeeded: r0"}));
}

TEST_F(Scheduling, CrashesCountAsFailures) {
  submit(1, job({result_stage(1)}));
  const AttemptLost crash{kA, true, "signal 11"};
  for (int i = 0; i < 3; ++i) EXPECT_EQ(end({1, 0, 0}, kA, crash), (Texts{"launch 1:0/0"}));
  EXPECT_EQ(end({1, 0, 0}, kA, crash), (Texts{"job 1 failed"}));
  EXPECT_NE(last_failure_.message.find("signal 11"), std::string::npos) << last_failure_.message;
}

TEST_F(Scheduling, LossesWithoutBlameAreForgivenUpToALimitOfTheirOwn) {
  submit(1, job({result_stage(1)}));
  const AttemptLost killed{kA, false, "killed"};
  for (int i = 0; i < 3; ++i) fail({1, 0, 0}, "boom");
  for (int i = 0; i < 5; ++i) EXPECT_EQ(end({1, 0, 0}, kA, killed), (Texts{"launch 1:0/0"}));
  EXPECT_EQ(end({1, 0, 0}, kA, killed), (Texts{"job 1 failed"}));
}

TEST_F(Scheduling, AFetchFailureRunsExactlyTheLostMapPartitionsAgain) {
  submit(1, job({map_stage(9, 3), result_stage(2, {9})}));
  end_map({1, 0, 0}, kA);
  end_map({1, 0, 1}, kB);
  end_map({1, 0, 2}, kA);
  EXPECT_EQ(end({1, 1, 0}, kA, FetchFailed{9, kB, {1}, "gone"}),
            (Texts{"submitted 1:0 of 1 again", "launch 1:0/1"}));
  EXPECT_TRUE(is_running({1, 1, 1}));  // the other reducer may have got its data
  EXPECT_EQ(spec({1, 0, 1}).attempt_number, 2U);
  EXPECT_EQ(end_map({1, 0, 1}, kA), (Texts{"completed 1:0", "launch 1:1/0"}));
  EXPECT_EQ(sources({1, 1, 0}), (std::vector<WorkerId>{kA, kA, kA}));
}

TEST_F(Scheduling, TwoReducersThatMissTheSameOutputMakeItOnce) {
  submit(1, job({map_stage(9, 2), result_stage(2, {9})}));
  end_map({1, 0, 0}, kA);
  end_map({1, 0, 1}, kB);
  EXPECT_EQ(end({1, 1, 0}, kA, FetchFailed{9, kB, {1}, "gone"}).size(), 2U);
  EXPECT_EQ(end({1, 1, 1}, kA, FetchFailed{9, kB, {1}, "gone"}), Texts{});
  EXPECT_EQ(end_map({1, 0, 1}, kA), (Texts{"completed 1:0", "launch 1:1/0", "launch 1:1/1"}));
}

TEST_F(Scheduling, AFetchFailureOfAnOutputThatIsElsewhereByNowOnlyRetries) {
  submit(1, job({map_stage(9, 2), result_stage(2, {9})}));
  end_map({1, 0, 0}, kA);
  end_map({1, 0, 1}, kB);
  end({1, 1, 0}, kA, FetchFailed{9, kB, {1}, "gone"});
  end_map({1, 0, 1}, kA);
  EXPECT_EQ(end({1, 1, 1}, kA, FetchFailed{9, kB, {1}, "gone"}), (Texts{"launch 1:1/1"}));
}

TEST_F(Scheduling, FetchFailuresAreNoFailuresButEndSomewhere) {
  submit(1, job({map_stage(9, 1), result_stage(1, {9})}));
  end_map({1, 0, 0}, kB);
  for (int i = 0; i < 4; ++i) {
    end({1, 1, 0}, kA, FetchFailed{9, kB, {0}, "gone"});
    end_map({1, 0, 0}, kB);
    ASSERT_TRUE(is_running({1, 1, 0}));
  }
  EXPECT_EQ(end({1, 1, 0}, kA, FetchFailed{9, kB, {0}, "gone"}), (Texts{"job 1 failed"}));
}

TEST_F(Scheduling, FetchFailuresGoBackThroughSeveralStages) {
  submit(1, job({map_stage(1, 2), map_stage(2, 1, {1}), result_stage(1, {2})}));
  end_map({1, 0, 0}, kA);
  end_map({1, 0, 1}, kB);
  end_map({1, 1, 0}, kB);
  lose(kB);
  EXPECT_EQ(end({1, 2, 0}, kA, FetchFailed{2, kB, {0}, "gone"}),
            (Texts{"submitted 1:0 of 1 again", "launch 1:0/1"}));
  EXPECT_EQ(end_map({1, 0, 1}, kA),
            (Texts{"completed 1:0", "submitted 1:1 of 1 again", "launch 1:1/0"}));
  EXPECT_EQ(end_map({1, 1, 0}, kA), (Texts{"completed 1:1", "launch 1:2/0"}));
}

TEST_F(Scheduling, ALostWorkersOutputsAreMadeAgainBeforeTheReducersStart) {
  submit(1, job({map_stage(9, 3), result_stage(1, {9})}));
  end_map({1, 0, 0}, kB);
  end_map({1, 0, 1}, kA);
  EXPECT_EQ(lose(kB), (Texts{"launch 1:0/0"}));
  end_map({1, 0, 2}, kA);
  EXPECT_EQ(end_map({1, 0, 0}, kA), (Texts{"completed 1:0", "submitted 1:1 of 1", "launch 1:1/0"}));
}

TEST_F(Scheduling, ALostWorkersInlineAndEmptyOutputsSurviveIt) {
  submit(1, job({map_stage(9, 2), result_stage(1, {9})}));
  end({1, 0, 0}, kB, map_done(kB, 0, "inline", true));
  end({1, 0, 1}, kB, map_done(kB, 1, ""));
  EXPECT_EQ(lose(kB), Texts{});
  EXPECT_EQ(fail({1, 1, 0}, "boom"), (Texts{"launch 1:1/0"}));
}

TEST_F(Scheduling, ALostWorkersTasksAndOutputsRunAgain) {
  submit(1, job({map_stage(9, 2), result_stage(1, {9})}));
  end_map({1, 0, 0}, kB);
  EXPECT_EQ(lose(kB), (Texts{"launch 1:0/0"}));
  EXPECT_EQ(end({1, 0, 1}, kB, AttemptLost{kB, false, "killed"}), (Texts{"launch 1:0/1"}));
}

TEST_F(Scheduling, OutputsLostBetweenJobsAreMadeByTheNext) {
  submit(1, job({map_stage(9, 2), result_stage(1, {9})}));
  end_map({1, 0, 0}, kA);
  end_map({1, 0, 1}, kB);
  end_result({1, 1, 0});
  EXPECT_EQ(lose(kB), Texts{});
  EXPECT_EQ(submit(2, job({map_stage(9, 2), result_stage(1, {9})})),
            (Texts{"submitted 2:0 of 1", "launch 2:0/1"}));
}

class SchedulingOfStoredBlocks : public Scheduling {
 protected:
  /// One task that reads a shuffle behind a stored block of dataset 5.
  static JobPlan plan() {
    JobPlan plan = job({map_stage(9, 1), result_stage(1, {9})});
    plan.stages[1].needs[0][0].behind = {5, 0};
    plan.stages[1].cached = {{0, 5, {}}};
    return plan;
  }
  Texts end_storing(TaskName task, WorkerId worker) {
    Done done = result("r0");
    done.stored = {{5, 0, 100}};
    return end(task, worker, std::move(done));
  }
  void store_block(WorkerId worker) {
    submit(1, plan());
    end_map({1, 0, 0}, kA);
    end_storing({1, 1, 0}, worker);
  }
};

TEST_F(SchedulingOfStoredBlocks, TasksGoToTheirBlockWithoutInputs) {
  store_block(kB);
  scheduler_.release_shuffle(9);  // not needed while the block is there
  EXPECT_EQ(submit(2, plan()), (Texts{"submitted 2:1 of 1", "launch 2:1/0"}));
  EXPECT_TRUE(spec({2, 1, 0}).inputs.empty());
  EXPECT_TRUE(spec({2, 1, 0}).inputs_withheld);
  EXPECT_EQ(spec({2, 1, 0}).preferred, std::vector<WorkerId>{kB});
}

TEST_F(SchedulingOfStoredBlocks, AMissingBlockBringsTheInputs) {
  store_block(kB);
  submit(2, plan());
  EXPECT_EQ(end({2, 1, 0}, kA, NeedInputs{}), (Texts{"launch 2:1/0"}));
  EXPECT_FALSE(spec({2, 1, 0}).inputs_withheld);
  EXPECT_EQ(sources({2, 1, 0}), std::vector<WorkerId>{kA});
  EXPECT_EQ(end_storing({2, 1, 0}, kA), (Texts{"completed 2:1", "job 2 succeeded: r0"}));
  submit(3, plan());
  EXPECT_EQ(spec({3, 1, 0}).preferred, (std::vector<WorkerId>{kA, kB}));
}

TEST_F(SchedulingOfStoredBlocks, AMissingBlockWhoseInputsAreGoneMakesThemAgain) {
  store_block(kB);
  scheduler_.release_shuffle(9);
  submit(2, plan());
  EXPECT_EQ(end({2, 1, 0}, kA, NeedInputs{}), (Texts{"submitted 2:0 of 1", "launch 2:0/0"}));
  EXPECT_EQ(end_map({2, 0, 0}, kA), (Texts{"completed 2:0", "launch 2:1/0"}));
}

TEST_F(SchedulingOfStoredBlocks, BlocksGoWithTheirWorkerAndWithTheirDataset) {
  store_block(kB);
  lose(kB);
  submit(2, plan());
  EXPECT_FALSE(spec({2, 1, 0}).inputs_withheld);
  end_storing({2, 1, 0}, kA);
  scheduler_.release_dataset(5);
  submit(3, plan());
  EXPECT_FALSE(spec({3, 1, 0}).inputs_withheld);
}

constexpr StateId kState = 3;

class SchedulingOfState : public Scheduling {
 protected:
  /// One task per partition of the state, each of which updates it in the given batch. The job's id
  /// is the batch's.
  static JobPlan plan(std::uint64_t batch, std::uint32_t partitions = 4) {
    JobPlan plan = job({result_stage(partitions)});
    for (std::uint32_t p = 0; p < partitions; ++p) {
      internal::StateNeed need;
      need.input.state = kState;
      need.input.partition = p;
      need.input.sequence = batch;
      need.input.writes = true;
      need.partitions = partitions;
      plan.stages[0].states.push_back({need});
    }
    return plan;
  }
  Texts end_update(std::uint64_t batch, std::uint32_t partition, WorkerId worker) {
    Done done = result("r");
    StateOutput& output = done.states.emplace_back();
    output.state = kState;
    output.partition = partition;
    output.sequence = batch;
    return end({batch, 0, partition}, worker, std::move(done));
  }
  /// Runs a batch where its tasks want to run, else on `otherwise`; says where they ran.
  std::vector<WorkerId> run(std::uint64_t batch, WorkerId otherwise) {
    submit(batch, plan(batch));
    std::vector<WorkerId> ran;
    for (std::uint32_t p = 0; p < 4; ++p) {
      const auto& preferred = spec({batch, 0, p}).preferred;
      ran.push_back(preferred.empty() ? otherwise : preferred[0]);
    }
    for (std::uint32_t p = 0; p < 4; ++p) end_update(batch, p, ran[p]);
    return ran;
  }
  const StateInput& state(std::uint64_t batch, std::uint32_t partition) const {
    return spec({batch, 0, partition}).states.at(0);
  }
};

TEST_F(SchedulingOfState, AnAcceptedAttemptInstallsItsVersionBeforeTheJobEnds) {
  submit(1, plan(1, 1));
  EXPECT_FALSE(state(1, 0).withheld);
  EXPECT_FALSE(spec({1, 0, 0}).sticky);
  EXPECT_EQ(end_update(1, 0, kB),
            (Texts{"installed 3/0 at 1", "completed 1:0", "job 1 succeeded: r"}));
}

TEST_F(SchedulingOfState, TheNextTaskSticksToTheHolderWithoutHistory) {
  submit(1, plan(1, 1));
  end_update(1, 0, kB);
  submit(2, plan(2, 1));
  EXPECT_TRUE(state(2, 0).withheld);
  EXPECT_TRUE(spec({2, 0, 0}).sticky);
  EXPECT_EQ(spec({2, 0, 0}).preferred, std::vector<WorkerId>{kB});
  EXPECT_EQ(end({2, 0, 0}, kB, NeedInputs{}), (Texts{"launch 2:0/0"}));
  EXPECT_FALSE(state(2, 0).withheld);
}

TEST_F(SchedulingOfState, NobodyHoldsWhatALostWorkerHeld) {
  submit(1, plan(1, 1));
  end_update(1, 0, kB);
  lose(kB);
  submit(2, plan(2, 1));
  EXPECT_FALSE(state(2, 0).withheld);
  EXPECT_FALSE(spec({2, 0, 0}).sticky);
}

TEST_F(SchedulingOfState, NobodyHoldsAReleasedState) {
  submit(1, plan(1, 1));
  end_update(1, 0, kB);
  scheduler_.release_state(kState);
  submit(2, plan(2, 1));
  EXPECT_FALSE(state(2, 0).withheld);
}

TEST_F(SchedulingOfState, LostStateFailsTheJobWhenAllThatLostItIsKnown) {
  submit(1, plan(1, 4));
  EXPECT_EQ(end({1, 0, 1}, kA, StateLost{kState, 1, 0, "offset 8 of log: too short"}),
            (Texts{"lost 3/1 after 0"}));
  EXPECT_EQ(end_update(1, 0, kA), (Texts{"installed 3/0 at 1"}));
  EXPECT_EQ(fail({1, 0, 3}, "user code"), Texts{}) << "it is not tried again";
  EXPECT_EQ(end({1, 0, 2}, kA, StateLost{kState, 2, 0, "the same"}),
            (Texts{"lost 3/2 after 0", "job 1 failed"}));
  EXPECT_EQ(last_failure_.code, ErrorCode::kStateLost);
  EXPECT_NE(last_failure_.message.find("offset 8 of log"), std::string::npos);
}

TEST_F(SchedulingOfState, AStoredBlockSparesTheUpdate) {
  const auto behind = [](JobPlan plan) {
    plan.stages[0].needs[0][0].behind = {5, 0};
    plan.stages[0].states[0][0].behind = {5, 0};
    return plan;
  };
  submit(1, behind(plan(1, 1)));
  EXPECT_EQ(spec({1, 0, 0}).states.size(), 1U);
  Done done = result("r");
  done.stored = {{5, 0, 100}};
  end({1, 0, 0}, kA, std::move(done));
  submit(2, behind(plan(1, 1)));
  EXPECT_TRUE(spec({2, 0, 0}).states.empty());
  EXPECT_TRUE(spec({2, 0, 0}).inputs_withheld);
  end({2, 0, 0}, kA, NeedInputs{});
  EXPECT_EQ(spec({2, 0, 0}).states.size(), 1U);
}

TEST_F(SchedulingOfState, OnePartitionPerBatchMovesToAWorkerWithFewerThanItsShare) {
  scheduler_.on_worker_added(kA);
  using Workers = std::vector<WorkerId>;
  EXPECT_EQ(run(1, kA), (Workers{kA, kA, kA, kA}));
  EXPECT_EQ(run(2, kA), (Workers{kA, kA, kA, kA}));
  scheduler_.on_worker_added(kB);
  EXPECT_EQ(run(3, kA), (Workers{kB, kA, kA, kA}));
  EXPECT_EQ(run(4, kA), (Workers{kB, kB, kA, kA}));
  EXPECT_EQ(run(5, kA), (Workers{kB, kB, kA, kA}));
  lose(kB);
  EXPECT_EQ(run(6, kA), (Workers{kA, kA, kA, kA}));
}

TEST_F(SchedulingOfState, APartitionMovesWithItsHistory) {
  scheduler_.on_worker_added(kA);
  run(1, kA);
  scheduler_.on_worker_added(kB);
  submit(2, plan(2));
  EXPECT_FALSE(state(2, 0).withheld);
  EXPECT_TRUE(spec({2, 0, 0}).sticky);
  EXPECT_EQ(spec({2, 0, 0}).preferred, std::vector<WorkerId>{kB});
  EXPECT_TRUE(state(2, 1).withheld);
}

TEST_F(Scheduling, EqualContentMadeAgainRestartsNothing) {
  submit(1, job({map_stage(9, 2), result_stage(2, {9})}));
  end_map({1, 0, 0}, kA);
  end_map({1, 0, 1}, kB);
  end_result({1, 1, 1});
  end({1, 1, 0}, kA, FetchFailed{9, kB, {1}, "gone"});
  EXPECT_EQ(end_map({1, 0, 1}, kA), (Texts{"completed 1:0", "launch 1:1/0"}));
}

TEST_F(Scheduling, OtherContentMadeAgainRestartsItsConsumers) {
  submit(1, job({map_stage(9, 2), result_stage(3, {9})}));
  end_map({1, 0, 0}, kA);
  end_map({1, 0, 1}, kB);
  end_result({1, 1, 1});  // done with the first content
  end({1, 1, 0}, kA, FetchFailed{9, kB, {1}, "gone"});
  EXPECT_TRUE(is_running({1, 1, 2}));  // may be reading the first content
  EXPECT_EQ(
      end({1, 0, 1}, kA, map_done(kA, 1, "other")),
      (Texts{"cancel 1:1/2", "launch 1:1/0", "launch 1:1/1", "launch 1:1/2", "completed 1:0"}));
  end_result({1, 1, 0});
  end_result({1, 1, 1});
  EXPECT_EQ(end_result({1, 1, 2}), (Texts{"completed 1:1", "job 1 succeeded: r0 r1 r2"}));
}

TEST_F(Scheduling, OtherContentGoesOnThroughTheStagesBehind) {
  submit(1, job({map_stage(1, 1), map_stage(2, 2, {1}), result_stage(1, {2})}));
  end_map({1, 0, 0}, kA);
  end_map({1, 1, 0}, kA);
  end({1, 1, 1}, kA, FetchFailed{1, kA, {0}, "gone"});
  end({1, 0, 0}, kB, map_done(kB, 0, "other"));
  EXPECT_TRUE(is_running({1, 1, 0}));  // its output came from the first content
  EXPECT_TRUE(is_running({1, 1, 1}));
  EXPECT_FALSE(is_running({1, 2, 0}));
}

TEST_F(Scheduling, OtherContentRedoesWhatAnEarlierJobMadeOfTheFirst) {
  submit(1, job({map_stage(1, 1), map_stage(2, 1, {1}), result_stage(1, {2})}));
  end_map({1, 0, 0}, kA);
  end_map({1, 1, 0}, kB);
  end_result({1, 2, 0});
  lose(kA);
  submit(2, job({map_stage(1, 1), map_stage(2, 1, {1}), result_stage(1, {1, 2})}));
  end({2, 0, 0}, kB, map_done(kB, 0, "other"));
  EXPECT_FALSE(is_running({2, 2, 0}));  // not on the new 1 and the old 2
  EXPECT_TRUE(is_running({2, 1, 0}));
  end_map({2, 1, 0}, kB);
  EXPECT_EQ(end_result({2, 2, 0}), (Texts{"completed 2:2", "job 2 succeeded: r0"}));
}

TEST_F(Scheduling, OtherContentThanThatOfPersistedElementsFailsTheJob) {
  JobPlan plan = job({map_stage(9, 1), result_stage(2, {9})});
  for (std::uint32_t p = 0; p < 2; ++p)
    plan.stages[1].needs[p][0].behind = std::pair(DatasetId{7}, p);
  submit(1, plan);
  end_map({1, 0, 0}, kA);
  for (std::uint32_t p = 0; p < 2; ++p) {
    Done done = result("r");
    done.stored = {{7, p, 100}};
    end({1, 1, p}, p == 0 ? kA : kB, done);
  }
  lose(kA);  // with the map output and the block of partition 0
  submit(2, plan);
  EXPECT_TRUE(is_running({2, 1, 1}));
  EXPECT_EQ(end({2, 0, 0}, kB, map_done(kB, 0, "other")), (Texts{"cancel 2:1/1", "job 2 failed"}));
  EXPECT_NE(last_failure_.message.find("unpersist"), std::string::npos);
}

TEST_F(Scheduling, AMapTaskWithoutAllItsPiecesHasFailed) {
  submit(1, job({map_stage(9, 1), result_stage(1, {9})}));
  EXPECT_EQ(end({1, 0, 0}, kA, result("no output")), (Texts{"launch 1:0/0"}));
  Done done = map_done(kA, 0, "content");
  done.output->segments.pop_back();
  EXPECT_EQ(end({1, 0, 0}, kA, done), (Texts{"launch 1:0/0"}));
  EXPECT_EQ(end_map({1, 0, 0}, kA), (Texts{"completed 1:0", "submitted 1:1 of 1", "launch 1:1/0"}));
}

TEST_F(Scheduling, OtherContentAfterEffectsFailsTheJob) {
  JobPlan plan = job({map_stage(9, 2), result_stage(2, {9})});
  plan.stages[1].has_effects = true;
  submit(1, std::move(plan));
  end_map({1, 0, 0}, kA);
  end_map({1, 0, 1}, kB);
  end_result({1, 1, 1});
  end({1, 1, 0}, kA, FetchFailed{9, kB, {1}, "gone"});
  EXPECT_EQ(end({1, 0, 1}, kA, map_done(kA, 1, "other")), (Texts{"job 1 failed"}));
  EXPECT_NE(last_failure_.message.find("not deterministic"), std::string::npos);
  EXPECT_TRUE(scheduler_.is_idle());
}

TEST_F(Scheduling, OtherContentBeforeAnyEffectIsNoMatter) {
  JobPlan plan = job({map_stage(9, 2), result_stage(1, {9})});
  plan.stages[1].has_effects = true;
  submit(1, std::move(plan));
  end_map({1, 0, 0}, kB);
  lose(kB);
  end({1, 0, 0}, kA, map_done(kA, 0, "other"));
  EXPECT_EQ(end_map({1, 0, 1}, kA), (Texts{"completed 1:0", "submitted 1:1 of 1", "launch 1:1/0"}));
}

TEST_F(Scheduling, CancellationEndsAJobAndItsTasks) {
  submit(1, job({map_stage(9, 2), result_stage(1, {9})}));
  end_map({1, 0, 0}, kA);
  EXPECT_EQ(cancel(1, "no longer wanted"), (Texts{"cancel 1:0/1", "job 1 failed"}));
  EXPECT_EQ(last_failure_.code, ErrorCode::kCancelled);
  EXPECT_EQ(last_failure_.message, "no longer wanted");
  EXPECT_TRUE(scheduler_.is_idle());
  EXPECT_EQ(cancel(1, "again"), Texts{});
}

TEST_F(Scheduling, OutcomesOfAttemptsThatWereGivenUpAreIgnored) {
  submit(1, job({result_stage(1)}));
  const AttemptId stale = spec({1, 0, 0}).attempt;
  end({1, 0, 0}, kA, AttemptLost{kA, false, "frozen"});
  EXPECT_EQ(read(scheduler_.on_outcome(stale, kA, result("late"))), Texts{});
  EXPECT_EQ(end_result({1, 0, 0}), (Texts{"completed 1:0", "job 1 succeeded: r0"}));
  EXPECT_EQ(read(scheduler_.on_outcome(stale, kA, result("later"))), Texts{});
  EXPECT_EQ(read(scheduler_.on_outcome(12345, kA, result("unknown"))), Texts{});
}

TEST_F(Scheduling, ACancelledOutcomeOfAWantedTaskIsTriedAgain) {
  submit(1, job({result_stage(1)}));
  EXPECT_EQ(end({1, 0, 0}, kA, Cancelled{}), (Texts{"launch 1:0/0"}));
}

TEST_F(Scheduling, NothingRunsAnyMoreFailsEveryJob) {
  submit(1, job({result_stage(1)}));
  submit(2, job({result_stage(1)}));
  EXPECT_EQ(read(scheduler_.on_failure("no worker could be started")),
            (Texts{"cancel 1:0/0", "job 1 failed", "cancel 2:0/0", "job 2 failed"}));
  EXPECT_EQ(last_failure_.code, ErrorCode::kUnreachable);
  EXPECT_TRUE(scheduler_.is_idle());
}

TEST_F(Scheduling, StagesWithoutTasks) {
  EXPECT_EQ(submit(1, job({result_stage(0)})), (Texts{"job 1 succeeded:"}));
  EXPECT_EQ(submit(2, job({map_stage(9, 2), result_stage(0, {9})})), (Texts{"job 2 succeeded:"}));
  EXPECT_EQ(submit(3, job({map_stage(8, 0), result_stage(1, {8})})),
            (Texts{"submitted 3:1 of 1", "launch 3:1/0"}));
  EXPECT_TRUE(spec({3, 1, 0}).inputs.at(0).segments.empty());
  EXPECT_EQ(end_result({3, 1, 0}), (Texts{"completed 3:1", "job 3 succeeded: r0"}));
}

TEST_F(Scheduling, OnlyTheInputsOfWantedPartitionsAreNeeded) {
  // Partition 0 of the result reads shuffle 1, partition 1 shuffle 2, as a union's would.
  JobPlan plan = job({map_stage(1, 1), map_stage(2, 1), result_stage(2)});
  plan.stages[2].needs = {{reads(1, 0)}, {reads(2, 0)}};
  submit(1, std::move(plan));
  EXPECT_EQ(end_map({1, 0, 0}, kA), (Texts{"completed 1:0", "submitted 1:2 of 2", "launch 1:2/0"}));
  EXPECT_EQ(end_map({1, 1, 0}, kA), (Texts{"completed 1:1", "launch 1:2/1"}));
}

TEST_F(Scheduling, AJobForMapOutputsEndsWhenTheyAreThere) {
  submit(1, job({map_stage(8, 1), map_stage(9, 2, {8})}));
  EXPECT_EQ(end_map({1, 0, 0}, kA),
            (Texts{"completed 1:0", "submitted 1:1 of 2", "launch 1:1/0", "launch 1:1/1"}));
  EXPECT_EQ(end_map({1, 1, 0}, kA), Texts{});
  EXPECT_EQ(end_map({1, 1, 1}, kB), (Texts{"completed 1:1", "job 1 succeeded:"}));
  EXPECT_EQ(submit(2, job({map_stage(8, 1), map_stage(9, 2, {8}), result_stage(1, {9})})),
            (Texts{"submitted 2:2 of 1", "launch 2:2/0"}));
  EXPECT_EQ(submit(3, job({map_stage(9, 2)})), (Texts{"job 3 succeeded:"}));
}

TEST_F(Scheduling, WhatOneJobIsMakingAnotherOneWaitsFor) {
  submit(1, job({map_stage(9, 2)}));
  end_map({1, 0, 0}, kA);
  EXPECT_EQ(submit(2, job({map_stage(9, 2), result_stage(1, {9})})), Texts{});
  EXPECT_EQ(fail({1, 0, 1}, "boom"), (Texts{"launch 1:0/1"}));
  EXPECT_EQ(end_map({1, 0, 1}, kA),
            (Texts{"completed 1:0", "job 1 succeeded:", "submitted 2:1 of 1", "launch 2:1/0"}));
}

TEST_F(Scheduling, WhatAJobThatEndsWasMakingTheOthersMake) {
  submit(1, job({map_stage(9, 2), result_stage(1, {9})}));
  submit(2, job({map_stage(9, 2), result_stage(1, {9})}));
  submit(3, job({map_stage(9, 2)}));
  end_map({1, 0, 0}, kA);
  EXPECT_EQ(cancel(1, "stop"),
            (Texts{"cancel 1:0/1", "job 1 failed", "submitted 2:0 of 1", "launch 2:0/1"}));
  for (int i = 0; i < 3; ++i) fail({2, 0, 1}, "boom");
  EXPECT_EQ(fail({2, 0, 1}, "boom"), (Texts{"job 2 failed", "submitted 3:0 of 1", "launch 3:0/1"}));
  EXPECT_EQ(end_map({3, 0, 1}, kA), (Texts{"completed 3:0", "job 3 succeeded:"}));
  EXPECT_TRUE(scheduler_.is_idle());
}

TEST_F(Scheduling, JobsThatShareAShuffleShareItsOutputs) {
  submit(1, job({map_stage(9, 1), result_stage(1, {9})}));
  submit(2, job({map_stage(9, 1), result_stage(1, {9})}));
  EXPECT_EQ(num_running(), 1U);
  const Texts after = end_map({1, 0, 0}, kA);
  EXPECT_TRUE(is_running({1, 1, 0}));
  EXPECT_TRUE(is_running({2, 1, 0}));
  end_result({1, 1, 0});
  const Texts last = end_result({2, 1, 0});
  EXPECT_EQ(last.at(1), "job 2 succeeded: r0");
  EXPECT_EQ(num_running(), 0U);
  EXPECT_TRUE(scheduler_.is_idle());
}

/// Whatever happens to workers, outputs and attempts, jobs end with the right result.
class RandomScheduling : public ::testing::TestWithParam<std::uint64_t> {
 protected:
  static constexpr JobId kCancelled = 3;

  std::uint64_t roll(std::uint64_t n) { return random_() % n; }

  /// What a deterministic task makes of the segments it was told to read.
  static std::string compute(const TaskSpec& task) {
    std::string content = std::to_string(task.stage) + "/" + std::to_string(task.partition);
    for (const LeafInput& input : task.inputs) {
      for (const Segment& segment : input.segments) content += " " + std::to_string(segment.hash);
    }
    return std::to_string(hash_bytes(content) % 1'000'000);
  }

  void perform(DagScheduler::Actions actions) {
    for (auto& action : actions) {
      if (auto* launch = std::get_if<DagScheduler::Launch>(&action)) {
        for (const auto& [attempt, run] : running_) {
          EXPECT_FALSE(launch->task.writes_shuffle &&
                       run.first.writes_shuffle == launch->task.writes_shuffle &&
                       run.first.partition == launch->task.partition)
              << "a map task runs twice at once";
        }
        running_.emplace(launch->task.attempt, std::pair(launch->task, workers_[roll(3)]));
      } else if (const auto* cancel = std::get_if<DagScheduler::Cancel>(&action)) {
        running_.erase(cancel->attempt);
      } else if (const auto* done = std::get_if<DagScheduler::JobSucceeded>(&action)) {
        std::string text;
        for (const Bytes& part : done->results) text += std::string(part.view()) + " ";
        results_[done->job] = text;
      } else if (const auto* failed = std::get_if<DagScheduler::JobFailed>(&action)) {
        if (failed->job != kCancelled) ADD_FAILURE() << failed->message;
        results_[failed->job] = "failed";
      }
    }
  }

  void end_one(bool with_faults) {
    auto at = running_.begin();
    std::advance(at, static_cast<std::ptrdiff_t>(roll(running_.size())));
    const auto [task, worker] = at->second;
    running_.erase(at);
    // A segment of an incarnation that is gone cannot be fetched.
    for (const LeafInput& input : task.inputs) {
      FetchFailed failure{input.shuffle, {}, {}, "gone"};
      for (const Segment& segment : input.segments) {
        if (std::count(workers_.begin(), workers_.end(), segment.worker) != 0) continue;
        failure.worker = segment.worker;
        failure.map_partitions.push_back(segment.map_partition);
      }
      // One failure names one worker.
      std::erase_if(failure.map_partitions,
                    [&](std::uint32_t p) { return input.segments[p].worker != failure.worker; });
      if (!failure.map_partitions.empty()) {
        return perform(scheduler_.on_outcome(task.attempt, worker, failure));
      }
    }
    if (with_faults && roll(40) == 0) {
      return perform(scheduler_.on_outcome(task.attempt, worker, Failed{"boom"}));
    }
    Done done = task.writes_shuffle ? map_done(worker, task.partition, compute(task))
                                    : result(compute(task));
    perform(scheduler_.on_outcome(task.attempt, worker, std::move(done)));
  }

  void lose_a_worker() {
    WorkerId& lost = workers_[roll(3)];
    const WorkerId old = std::exchange(lost, WorkerId{lost.slot, ++incarnations_});
    perform(scheduler_.on_worker_lost(old));
    std::vector<AttemptId> attempts;
    for (const auto& [attempt, run] : running_) {
      if (run.second == old) attempts.push_back(attempt);
    }
    for (const AttemptId attempt : attempts) {
      if (running_.erase(attempt) == 0) continue;
      perform(scheduler_.on_outcome(attempt, old, AttemptLost{old, false, "killed"}));
    }
  }

  static JobPlan plan() {
    return job({map_stage(1, 4), map_stage(2, 3), map_stage(3, 3, {1, 2}), map_stage(4, 2, {3}),
                result_stage(3, {4, 1})});
  }

  /// For map outputs that others read.
  static JobPlan ahead() {
    return job({map_stage(1, 4), map_stage(2, 3), map_stage(3, 3, {1, 2})});
  }

  std::map<JobId, std::string> run(bool with_faults) {
    JobId submitted = 0;
    while (submitted < 6 || !running_.empty()) {
      if (submitted < 6 && (running_.empty() || roll(10) == 0)) {
        ++submitted;
        perform(scheduler_.submit(submitted, submitted % 3 == 2 ? ahead() : plan()));
      } else if (with_faults && roll(60) == 0) {
        perform(scheduler_.cancel(kCancelled, "not wanted"));
      } else if (with_faults && roll(12) == 0) {
        lose_a_worker();
      } else if (with_faults && roll(40) == 0) {
        scheduler_.release_shuffle(1 + roll(4));
      } else {
        end_one(with_faults);
      }
    }
    EXPECT_TRUE(scheduler_.is_idle());
    results_.erase(kCancelled);
    return results_;
  }

  std::mt19937_64 random_{GetParam()};
  DagScheduler scheduler_{{.max_failures = 1000, .max_losses = 1000, .max_fetch_failures = 1000}};
  std::map<AttemptId, std::pair<TaskSpec, WorkerId>> running_;
  std::vector<WorkerId> workers_ = {{0, 1}, {1, 2}, {2, 3}};
  std::uint32_t incarnations_ = 3;
  std::map<JobId, std::string> results_;
};

TEST_P(RandomScheduling, EndsWithTheRightResult) {
  const auto disturbed = run(true);
  ASSERT_EQ(disturbed.size(), 5U);
  scheduler_ = DagScheduler();
  results_.clear();
  const auto calm = run(false);
  EXPECT_EQ(disturbed, calm);
}
INSTANTIATE_TEST_SUITE_P(Seeds, RandomScheduling, ::testing::Range<std::uint64_t>(1, 201));

}  // namespace
}  // namespace weir
