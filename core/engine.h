#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "weir/core/config.h"
#include "weir/core/dag_scheduler.h"
#include "weir/core/listener.h"
#include "weir/core/received_blocks.h"
#include "weir/core/stage.h"
#include "weir/core/state/state_tracker.h"
#include "weir/core/task.h"

namespace weir {

namespace internal {
class AccumulatedBase;
}

/// The driver's engine behind a `Context`: plans jobs on the calling thread, decides on the
/// runner's decision thread, and tells listeners on theirs. Handles and datasets refer to it
/// weakly, so that they never keep it alive in a cycle; what they ask of a stopped engine is an
/// error or nothing.
///
/// Threads: every public function may be called from any thread, but not from the decision thread.
class Engine final : private TaskRunner::Observer {
 public:
  /// Starts the runner that the configuration names; throws Error.
  explicit Engine(Config config);
  ~Engine() override;

  const Config& config() const { return config_; }
  /// Tasks that can run at once; how many partitions datasets get unless told otherwise.
  std::uint32_t default_parallelism() const { return default_parallelism_; }
  DatasetId next_dataset_id() { return ++last_dataset_; }
  /// Of keys, in jobs that the calling thread runs; see BatchScope.
  std::uint64_t hash_seed() const;

  /// Runs the job to its end and returns each task's result, in the order of its partitions. Throws
  /// Error(kJobFailed), Error(kStateLost) when a version of state cannot be had (`states()` then
  /// knows), Error(kCancelled) when it is cancelled or the engine stopped.
  std::vector<Bytes> run_job(internal::JobPlan plan) { return start_job(std::move(plan)).get(); }
  /// The same without waiting: the results, or what `run_job` throws. The future may be dropped.
  std::future<std::vector<Bytes>> start_job(internal::JobPlan plan);
  /// Ends the running jobs of `owner` (see BatchScope); their callers get Error(kCancelled) with
  /// the reason.
  void cancel_jobs(const void* owner, const std::string& reason);

  /// What is told of a resident task, on the decision thread: it must not wait there.
  struct ResidentCallbacks {
    std::function<void(WorkerId worker, const Bytes& report)> on_report;
    /// The last one; it may be missing for a task that was stopped.
    std::function<void(WorkerId worker, TaskOutcome outcome)> on_ended;
  };
  /// Runs the one task of the plan beside the slots, once, until it ends. It waits for a worker
  /// that has room for it.
  AttemptId start_resident(internal::JobPlan plan, ResidentCallbacks callbacks);
  /// See ResidentHost.
  void tell_resident(AttemptId task, Bytes message);
  /// Cancels it; what is said of it afterwards is not told.
  void stop_resident(AttemptId task);
  /// Worker processes, when all are there.
  std::uint32_t total_workers() const { return runner_->total_workers(); }
  ReceivedBlocks& received_blocks() { return received_blocks_; }

  void release_shuffle(ShuffleId shuffle);
  void release_dataset(DatasetId dataset);

  AccumulatorId next_accumulator_id() { return ++last_accumulator_; }
  /// Counts what tasks add to it from now on, as long as it lives.
  void add_accumulator(const std::shared_ptr<internal::AccumulatedBase>& accumulator);

  /// See Context::set_checkpoint_dir.
  void set_checkpoint_dir(const std::string& directory);
  /// A new directory's path for a dataset's files. Throws Error(kInvalidArgument) if none is set.
  std::string checkpoint_path(DatasetId dataset);
  /// `checkpoint` is called when a job that computes the dataset has ended, once; if it throws, the
  /// action throws that.
  void add_checkpoint(const std::shared_ptr<internal::DatasetBase>& dataset,
                      std::function<void()> checkpoint);
  /// A job on `root` has ended; on the thread that ran it.
  void make_checkpoints(const internal::DatasetBase& root);

  /// What is known of stateful operators' versions.
  StateTracker& states() { return states_; }
  StateId next_state_id() { return ++last_state_; }
  /// Forgets the state and frees it on the workers; its files stay.
  void release_state(StateId state);

  void add_listener(std::shared_ptr<Listener> listener);
  void remove_listener(const std::shared_ptr<Listener>& listener);
  ListenerBus& bus() { return bus_; }

  /// Cancels jobs, ends workers and threads; idempotent. Called from a listener, which it would
  /// have to wait for, it throws Error(kInvalidArgument) unless all is ending already.
  void stop();
  bool stopped() const { return stopped_.load(); }

 private:
  struct PendingJob {
    std::promise<std::vector<Bytes>> promise;
    std::vector<std::shared_ptr<internal::DatasetBase>> keep;
    const void* owner = nullptr;
    SteadyTime started{};
    std::map<std::uint32_t, SteadyTime> stages{};  // when they were submitted last
  };

  // On the decision thread.
  void on_outcome(AttemptId attempt, WorkerId worker, TaskOutcome outcome) override;
  void on_worker_added(WorkerId worker, std::uint32_t slots) override;
  void on_worker_lost(WorkerId worker, const std::string& reason) override;
  void on_report(AttemptId attempt, WorkerId worker, const Bytes& report) override;
  void on_result_refused(WorkerId worker, AttemptId attempt) override;
  void on_failure(const std::string& reason) override;
  void perform(DagScheduler::Actions actions);
  void launch(TaskSpec task);
  void count(const DagScheduler::Accumulated& accumulated);
  bool has_listeners();
  void finish(JobId job, const std::string& failure,
              const std::function<void(std::promise<std::vector<Bytes>>&)>& settle);

  template <class Event>
  void notify(void (Listener::*handler)(const Event&), Event event);

  const Config config_;
  std::uint32_t default_parallelism_ = 1;
  std::uint64_t hash_seed_ = 0;
  std::atomic<DatasetId> last_dataset_{0};
  std::atomic<JobId> last_job_{0};
  std::atomic<StateId> last_state_{0};
  std::atomic<AccumulatorId> last_accumulator_{0};
  std::atomic<bool> stopped_{false};

  std::atomic<AttemptId> last_resident_{0};
  StateTracker states_;
  ReceivedBlocks received_blocks_;
  DagScheduler scheduler_;                             // decision thread only
  std::map<JobId, std::unique_ptr<PendingJob>> jobs_;  // decision thread only
  std::map<AttemptId, ResidentCallbacks> residents_;   // decision thread only
  std::string failure_;  // decision thread only; nothing runs any more

  std::mutex accumulators_mutex_;
  std::map<AccumulatorId, std::weak_ptr<internal::AccumulatedBase>>
      accumulators_;  // guarded by accumulators_mutex_

  struct PendingCheckpoint {
    std::weak_ptr<internal::DatasetBase> dataset;
    std::function<void()> make;
  };
  std::mutex checkpoints_mutex_;  // guards the next two
  std::string checkpoint_dir_;    // empty: none
  std::vector<PendingCheckpoint> checkpoints_;
  std::atomic<bool> any_checkpoints_{false};

  std::mutex listeners_mutex_;
  std::vector<std::shared_ptr<Listener>> listeners_;  // guarded by listeners_mutex_
  ListenerBus bus_;
  std::mutex stopping_;  // one stop at a time
  std::mutex posting_;   // jobs are posted while stopped_ is false; locked after stopping_
  std::unique_ptr<TaskRunner> runner_;  // its thread uses all of the above
  std::jthread speculation_thread_;     // posts to it now and then, if that is on
};

namespace internal {

/// While it lives, jobs that this thread runs belong to a batch, which tasks see in `TaskContext`,
/// and to `owner`, who can cancel them. `hash_seed` replaces the engine's: an application keeps its
/// own over restarts; 0: the engine's.
class BatchScope {
 public:
  BatchScope(const void* owner, std::uint64_t batch, Time time, std::uint64_t hash_seed = 0);
  ~BatchScope();
  /// The batch of the innermost scope of this thread; sequence 0: there is none.
  struct Running {
    std::uint64_t sequence = 0;
    Time time{};
  };
  static Running running();
  BatchScope(const BatchScope&) = delete;
  BatchScope& operator=(const BatchScope&) = delete;

 private:
  const void* const outer_owner_;
  const std::uint64_t outer_batch_;
  const Time outer_time_;
  const std::uint64_t outer_hash_seed_;
};

/// Runs a job on the given partitions of `root`; what `output` returns for each, in their order.
/// Blocks the calling thread, and then makes the checkpoints that are due. Throws what
/// `Engine::run_job` does, Error(kCancelled) without a context.
/// `job_bytes` are given to every task.
std::vector<Bytes> run_output(const std::shared_ptr<DatasetBase>& root, const StageOutput& output,
                              bool has_effects, const std::vector<std::uint32_t>& partitions,
                              Bytes job_bytes = {});

}  // namespace internal
}  // namespace weir
