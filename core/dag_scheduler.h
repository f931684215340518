#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "weir/core/error.h"
#include "weir/core/listener.h"
#include "weir/core/stage.h"
#include "weir/core/task.h"

namespace weir {

/// Decides which tasks run when: a pure state machine, events in, actions out, no threads and no
/// time.
///
/// A stage's tasks are launched when the map outputs they read are all there (a barrier). Map
/// outputs and stored blocks are remembered across jobs, until released, so a stage whose output
/// exists is skipped, and what one job is making no other one makes as well. Every task is retried;
/// what failed says how it counts:
///
///     Failed, AttemptLost with blame   one of `max_failures` attempts, then the job fails
///     AttemptLost without blame        retried, up to `max_losses`
///     FetchFailed                     exactly the map partitions named run again, then the task
///     NeedInputs                      launched again with the inputs that had been withheld
///     StateLost                       nothing more is launched, and when what runs has ended the
///                                     job fails: only who runs batches can make state anew, of
///                                     all partitions that lost it
///
/// A map output that is made anew with other content than the first time (user code that is not a
/// function of its input) restarts the tasks that consumed the first and what was made of their
/// outputs, or fails the job where that cannot be undone: effects, persisted elements.
///
/// A task that works on state goes to the worker that holds the newest version and waits for it,
/// and is not sent how to put the version together. When a worker has joined and another one holds
/// more than its share of a state's partitions, one partition per batch moves over.
class DagScheduler {
 public:
  struct Options {
    std::uint32_t max_failures = 4;
    std::uint32_t max_losses = 64;
    std::uint32_t max_fetch_failures = 64;
    /// Copies of stragglers, see `speculate`.
    bool speculation = false;
    double speculation_quantile = 0.75;
    double speculation_multiplier = 3;
    Duration speculation_least = std::chrono::milliseconds(100);
  };

  struct Launch {
    TaskSpec task;
  };
  struct Cancel {
    AttemptId attempt = 0;
  };
  struct JobSucceeded {
    JobId job = 0;
    std::vector<Bytes> results;  ///< in the order of the result stage's tasks
  };
  struct JobFailed {
    JobId job = 0;
    ErrorCode code = ErrorCode::kJobFailed;
    std::string message;
  };
  /// The driver accepts the attempt that made this version.
  struct StateInstalled {
    AttemptId attempt = 0;
    StateOutput output;
  };
  struct StateVersionLost {
    StateLost lost;
  };
  /// What a task added to accumulators counts, now and never again.
  struct Accumulated {
    JobId job = 0;
    std::uint32_t stage = 0;
    std::uint32_t partition = 0;
    WorkerId worker;
    std::vector<AccumulatorUpdate> updates;
  };
  using Action =
      std::variant<Launch, Cancel, JobSucceeded, JobFailed, StageSubmitted, StageCompleted,
                   TaskEnded, StateInstalled, StateVersionLost, Accumulated>;
  using Actions = std::vector<Action>;

  DagScheduler() = default;
  explicit DagScheduler(Options options) : options_(options) {}

  /// A job whose last stage is a map stage succeeds when that stage's outputs are there.
  Actions submit(JobId job, internal::JobPlan plan);
  Actions cancel(JobId job, const std::string& reason);
  /// The end of an attempt; attempts that were given up are ignored.
  Actions on_outcome(AttemptId attempt, WorkerId worker, TaskOutcome outcome);
  void on_worker_added(WorkerId worker) { workers_.insert(worker); }
  /// Its map outputs, blocks and state are gone. Its running attempts end by outcomes of their own.
  Actions on_worker_lost(WorkerId worker);
  /// Now and then: where a slot is idle, a task that has been running for longer than
  /// `speculation_least` and `speculation_multiplier` times the median of its stage, of which
  /// `speculation_quantile` are done, gets a second attempt. The first result counts, and the other
  /// attempt is cancelled. Never in stages with effects or state. `slots`: of all workers.
  Actions speculate(SteadyTime now, std::uint32_t slots);
  /// Nothing can run any more.
  Actions on_failure(const std::string& reason);

  /// Forgets map outputs / blocks; what a running job still needs is made anew.
  void release_shuffle(ShuffleId shuffle) { shuffles_.erase(shuffle); }
  void release_dataset(DatasetId dataset);
  void release_state(StateId state);

  std::size_t num_jobs() const { return jobs_.size(); }
  bool is_idle() const { return jobs_.empty() && attempts_.empty(); }

 private:
  struct Task {
    enum class State : std::uint8_t { kWaiting, kRunning, kDone };
    State state = State::kWaiting;
    AttemptId attempt = 0;
    std::uint32_t attempts = 0;
    std::uint32_t failures = 0;
    std::uint32_t losses = 0;
    std::uint32_t fetch_failures = 0;
    bool withhold = true;
    bool counted = false;                       // what it added to accumulators
    AttemptId copy = 0;                         // that runs beside `attempt`; 0: none
    std::optional<SteadyTime> running_since{};  // as far as `speculate` has seen
  };
  struct Stage {
    internal::StagePlan plan;
    std::vector<Task> tasks;
    std::size_t done = 0;             // tasks that are
    bool submitted = false;           // at least one task is out since it was last complete
    TaskMetrics metrics;              // of tasks done since then
    std::vector<Duration> run_times;  // of all tasks done, for `speculate`
    bool completed_before = false;
  };
  struct Job {
    internal::JobPlan plan;  // its stages are moved into `stages`
    std::vector<Stage> stages;
    std::vector<Bytes> results;
    std::string lost_state;  // why it fails as soon as nothing of it runs; empty: it does not
  };
  struct Shuffle {
    std::vector<std::optional<MapOutput>> outputs;  // by map partition
    std::vector<std::uint64_t> content;             // hash of the first output of each, 0: none yet
    std::vector<ShuffleId> reads;                   // what its map tasks read
    std::size_t missing = 0;
    bool planned = false;

    void plan(const internal::StagePlan& stage);
    bool is_made() const { return planned && missing == 0; }
    void forget(std::size_t map_task);
    void forget_outputs();
  };
  struct AttemptInfo {
    JobId job = 0;
    std::size_t stage = 0;
    std::size_t task = 0;
  };
  using BlockKey = std::pair<DatasetId, std::uint32_t>;
  using StateKey = std::pair<StateId, std::uint32_t>;
  struct Holder {
    WorkerId worker;
    std::uint64_t sequence = 0;  // of the version it has
  };

  void advance(JobId id, Actions& actions);
  void advance_all(Actions& actions);
  void require(JobId id, Job& job, std::size_t stage, std::set<std::size_t>& visited,
               Actions& actions);
  std::vector<const Stage*> same_stage_elsewhere(JobId id, ShuffleId writes) const;
  bool inputs_ready(const Stage& stage, std::size_t task, std::vector<ShuffleId>& missing) const;
  void launch(JobId id, Job& job, std::size_t stage, std::size_t task, Actions& actions);
  void add_states(const Stage& stage, std::size_t task, TaskSpec& spec);
  std::optional<WorkerId> move_to(const internal::StateNeed& need, WorkerId holder);
  void on_state_lost(JobId id, std::size_t stage, std::size_t task, const StateLost& lost,
                     Actions& actions);
  bool end_one_of_two(JobId id, std::size_t stage, std::size_t task, AttemptId ended,
                      const TaskOutcome& outcome, Actions& actions);
  void forget_outputs(const FetchFailed& failed);
  void retry(JobId id, std::size_t stage, std::size_t task, Actions& actions);
  void on_done(JobId id, std::size_t stage, std::size_t task, AttemptId attempt, WorkerId worker,
               Done done, Actions& actions);
  bool is_first_result(Stage& stage, std::size_t task);
  void register_output(ShuffleId shuffle, std::size_t map_task, MapOutput output, Actions& actions);
  void restart_consumers(ShuffleId shuffle, Actions& actions);
  void restart(Stage& stage, Task& task, Actions& actions);
  static StageCompleted completed(JobId id, std::size_t at, Stage& stage);
  static void enter(Stage& stage, Task& task, Task::State state);
  void fail(JobId id, ErrorCode code, const std::string& message, Actions& actions);
  void end(JobId id, Action outcome, Actions& actions);
  void cancel_attempts(const Job& job, Actions& actions);
  void cancel_attempts(const Task& task, Actions& actions);
  bool is_stored(const BlockKey& block) const { return stored_.count(block) != 0; }
  static std::size_t stage_writing(const Job& job, ShuffleId shuffle);
  std::string describe(const Job& job, std::size_t stage, std::size_t task) const;

  Options options_;
  std::map<JobId, Job> jobs_;
  std::unordered_map<AttemptId, AttemptInfo> attempts_;
  std::map<ShuffleId, Shuffle> shuffles_;
  std::map<BlockKey, std::set<WorkerId>> stored_;
  std::map<StateKey, Holder> holders_;
  std::map<StateId, std::uint64_t> last_move_;  // the batch in which a partition moved
  std::set<WorkerId> workers_;
  AttemptId last_attempt_ = 0;
};

}  // namespace weir
