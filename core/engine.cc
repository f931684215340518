#include "weir/core/engine.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <random>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "weir/core/error.h"
#include "weir/core/log.h"
#include "weir/core/runner_registry.h"
#include "weir/core/shared/accumulator.h"

namespace weir {
namespace {

const ConfigKey<std::string> kMaster(
    "master", "local[*]",
    "where tasks run: local[N] (N threads, * for one per core), local-cluster[W,S] (W worker "
    "processes with S slots each)");
const ConfigKey<std::int64_t> kParallelism(
    "parallelism", 0,
    "partitions of datasets that are given no number, up to 1000000; 0: one per slot");
const ConfigKey<std::int64_t> kMaxFailures(
    "task-max-failures", 4, "attempts of a task before its job fails (1 to 1000000)");
const ConfigKey<std::string> kLogLevel("log-level", "warning",
                                       "messages shown: debug, info, warning, error or off");
const ConfigKey<std::int64_t> kHashSeed("hash-seed", 0,
                                        "seed of key hashes; 0: a random one for each application");

const ConfigKey<bool> kSpeculation(
    "speculation", false,
    "copies of tasks that take much longer than others of their stage, on idle slots; the first "
    "result counts");
const ConfigKey<double> kSpeculationQuantile(
    "speculation-quantile", 0.75, "share of a stage's tasks that must be done before (0 to 1)");
const ConfigKey<double> kSpeculationMultiplier(
    "speculation-multiplier", 3,
    "a task is copied that takes so many times the median of its stage (1 to 1000), and at least "
    "100ms");

constexpr Duration kSpeculationInterval = std::chrono::milliseconds(50);
constexpr std::int64_t kMostFailures = 1'000'000;
/// Attempts of resident tasks are numbered from here, those of jobs from 1.
constexpr AttemptId kFirstResident = AttemptId{1} << 63;

thread_local const void* current_owner = nullptr;
thread_local std::uint64_t current_batch = 0;
thread_local Time current_batch_time{};
thread_local std::uint64_t current_hash_seed = 0;

std::uint64_t random_seed() {
  std::random_device device;
  return (std::uint64_t{device()} << 32) | device();
}

DagScheduler::Options scheduler_options(const Config& config) {
  DagScheduler::Options options;
  options.max_failures = static_cast<std::uint32_t>(config.get(kMaxFailures, 1, kMostFailures));
  options.speculation = config.get(kSpeculation);
  options.speculation_quantile = config.get(kSpeculationQuantile, 0, 1);
  options.speculation_multiplier = config.get(kSpeculationMultiplier, 1, 1000);
  return options;
}

}  // namespace

Engine::Engine(Config config) : config_(std::move(config)), scheduler_(scheduler_options(config_)) {
  set_log_level(config_.get(kLogLevel));
  runner_ = internal::make_runner(config_.get(kMaster), config_);
  const auto seed = static_cast<std::uint64_t>(config_.get(kHashSeed));
  hash_seed_ = seed != 0 ? seed : random_seed();
  const auto parallelism =
      static_cast<std::uint32_t>(config_.get(kParallelism, 0, internal::kMaxPartitions));
  default_parallelism_ = parallelism > 0 ? parallelism : runner_->total_slots();
  runner_->start(*this);
  if (config_.get(kSpeculation)) {
    speculation_thread_ = std::jthread([this](const std::stop_token& stopped) {
      std::mutex mutex;
      std::condition_variable_any never;
      std::unique_lock lock(mutex);
      while (!never.wait_for(lock, stopped, kSpeculationInterval, [] { return false; }) &&
             !stopped.stop_requested()) {
        runner_->post([this] {
          perform(scheduler_.speculate(Clock::system().steady_now(), runner_->total_slots()));
        });
      }
    });
  }
}

Engine::~Engine() { stop(); }

void Engine::stop() {
  if (bus_.is_current_thread()) {
    if (stopped_.load()) return;
    throw Error(
        ErrorCode::kInvalidArgument,
        "Context::stop was called from a listener, which it would have to wait for; call it "
        "from another thread");
  }
  const std::scoped_lock stopping(stopping_);
  {
    const std::scoped_lock posting(posting_);
    if (stopped_.exchange(true)) return;
  }
  speculation_thread_ = {};
  // All jobs have been posted before this.
  std::promise<void> drained;
  runner_->post([this, &drained] {
    while (!jobs_.empty()) {
      perform(scheduler_.cancel(jobs_.begin()->first, "the context was stopped"));
    }
    for (const auto& [attempt, callbacks] : residents_) runner_->cancel(attempt);
    residents_.clear();
    failure_ = "the context was stopped";
    drained.set_value();
  });
  drained.get_future().wait();
  runner_->stop();
  bus_.stop();
}

std::uint64_t Engine::hash_seed() const {
  return current_hash_seed != 0 ? current_hash_seed : hash_seed_;
}

std::future<std::vector<Bytes>> Engine::start_job(internal::JobPlan plan) {
  plan.hash_seed = hash_seed();
  plan.batch = current_batch;
  plan.batch_time = current_batch_time;
  const JobId id = ++last_job_;
  auto pending = std::make_unique<PendingJob>();
  pending->keep = std::exchange(plan.keep, {});
  pending->owner = current_owner;
  auto result = pending->promise.get_future();
  {
    const std::scoped_lock posting(posting_);
    if (stopped_.load()) throw Error(ErrorCode::kCancelled, "the context was stopped");
    // std::function wants copies, so what is moved in travels behind a shared pointer.
    auto job = std::make_shared<std::pair<internal::JobPlan, std::unique_ptr<PendingJob>>>(
        std::move(plan), std::move(pending));
    runner_->post([this, id, job] {
      if (!failure_.empty()) {
        job->second->promise.set_exception(
            std::make_exception_ptr(Error(ErrorCode::kUnreachable, failure_)));
        return;
      }
      job->second->started = Clock::system().steady_now();
      jobs_.emplace(id, std::move(job->second));
      const internal::JobPlan& started = job->first;
      notify(&Listener::on_job_started,
             JobStarted{id, started.stages.empty() ? "" : started.stages.back().name,
                        static_cast<std::uint32_t>(started.stages.size()), started.batch,
                        Clock::system().now()});
      perform(scheduler_.submit(id, std::move(job->first)));
    });
  }
  return result;
}

void Engine::cancel_jobs(const void* owner, const std::string& reason) {
  const std::scoped_lock posting(posting_);
  if (stopped_.load()) return;
  runner_->post([this, owner, reason] {
    std::vector<JobId> owned;
    for (const auto& [id, job] : jobs_) {
      if (job->owner == owner) owned.push_back(id);
    }
    for (const JobId id : owned) perform(scheduler_.cancel(id, reason));
  });
}

AttemptId Engine::start_resident(internal::JobPlan plan, ResidentCallbacks callbacks) {
  if (plan.stages.size() != 1) {
    throw Error(ErrorCode::kInvalidArgument,
                "a receiver cannot use a broadcast: it runs on its own, without a job that would "
                "send one; capture the value itself");
  }
  internal::StagePlan& stage = plan.stages.at(0);
  auto task = std::make_shared<TaskSpec>();
  task->attempt = kFirstResident + last_resident_++;
  task->partition = stage.partitions.at(0);
  task->program = std::move(stage.program);
  for (internal::LeafNeed& need : stage.needs.at(0)) task->inputs.push_back(std::move(need.input));
  task->hash_seed = hash_seed();
  task->resident = true;
  const AttemptId attempt = task->attempt;
  const std::scoped_lock posting(posting_);
  if (stopped_.load()) throw Error(ErrorCode::kCancelled, "the context was stopped");
  runner_->post([this, task, callbacks = std::move(callbacks)]() mutable {
    if (!failure_.empty()) return callbacks.on_ended({}, Failed{failure_});
    residents_.emplace(task->attempt, std::move(callbacks));
    runner_->launch(std::move(*task));
  });
  return attempt;
}

void Engine::tell_resident(AttemptId task, Bytes message) {
  const std::scoped_lock posting(posting_);
  if (stopped_.load()) return;
  runner_->post([this, task, message = std::move(message)] {
    if (residents_.count(task) != 0) runner_->tell(task, message);
  });
}

void Engine::stop_resident(AttemptId task) {
  const std::scoped_lock posting(posting_);
  if (stopped_.load()) return;
  runner_->post([this, task] {
    if (residents_.erase(task) != 0) runner_->cancel(task);
  });
}

void Engine::release_shuffle(ShuffleId shuffle) {
  if (stopped_.load()) return;
  runner_->post([this, shuffle] {
    scheduler_.release_shuffle(shuffle);
    runner_->release_shuffle(shuffle);
  });
}

void Engine::release_dataset(DatasetId dataset) {
  if (stopped_.load()) return;
  runner_->post([this, dataset] {
    scheduler_.release_dataset(dataset);
    runner_->release_dataset(dataset);
  });
}

void Engine::release_state(StateId state) {
  states_.forget(state);
  if (stopped_.load()) return;
  runner_->post([this, state] {
    scheduler_.release_state(state);
    runner_->release_state(state);
  });
}

void Engine::add_accumulator(const std::shared_ptr<internal::AccumulatedBase>& accumulator) {
  const std::scoped_lock lock(accumulators_mutex_);
  std::erase_if(accumulators_, [](const auto& known) { return known.second.expired(); });
  accumulators_.emplace(accumulator->id(), accumulator);
}

void Engine::set_checkpoint_dir(const std::string& directory) {
  const std::string own =
      fmt::format("{}/{:016x}", std::filesystem::absolute(directory).string(), random_seed());
  std::error_code failure;
  std::filesystem::create_directories(own, failure);
  if (failure) {
    throw Error(ErrorCode::kUnreachable,
                fmt::format("set_checkpoint_dir: cannot make {}: {}", own, failure.message()));
  }
  const std::scoped_lock lock(checkpoints_mutex_);
  checkpoint_dir_ = own;
}

std::string Engine::checkpoint_path(DatasetId dataset) {
  const std::scoped_lock lock(checkpoints_mutex_);
  if (checkpoint_dir_.empty()) {
    throw Error(ErrorCode::kInvalidArgument,
                "checkpoint: there is no directory for the files; call "
                "Context::set_checkpoint_dir(path) first, or use local_checkpoint()");
  }
  return fmt::format("{}/rdd-{}", checkpoint_dir_, dataset);
}

void Engine::add_checkpoint(const std::shared_ptr<internal::DatasetBase>& dataset,
                            std::function<void()> checkpoint) {
  const std::scoped_lock lock(checkpoints_mutex_);
  for (PendingCheckpoint& pending : checkpoints_) {
    if (pending.dataset.lock() != dataset) continue;
    pending.make = std::move(checkpoint);
    return;
  }
  checkpoints_.push_back({dataset, std::move(checkpoint)});
  any_checkpoints_.store(true);
}

void Engine::make_checkpoints(const internal::DatasetBase& root) {
  if (!any_checkpoints_.load()) return;
  std::vector<PendingCheckpoint> due;
  {
    const std::scoped_lock lock(checkpoints_mutex_);
    std::erase_if(checkpoints_, [&](PendingCheckpoint& pending) {
      const auto dataset = pending.dataset.lock();
      if (dataset == nullptr) return true;
      if (!internal::is_made_from(root, *dataset)) return false;
      due.push_back(std::move(pending));
      return true;
    });
    any_checkpoints_.store(!checkpoints_.empty());
  }
  for (const PendingCheckpoint& checkpoint : due) checkpoint.make();
}

std::vector<Bytes> internal::run_output(const std::shared_ptr<DatasetBase>& root,
                                        const StageOutput& output, bool has_effects,
                                        const std::vector<std::uint32_t>& partitions,
                                        Bytes job_bytes) {
  const auto engine = root->engine();
  if (engine == nullptr) {
    throw Error(ErrorCode::kCancelled, "the dataset's context no longer exists");
  }
  JobPlan plan = plan_job(root, output, has_effects, partitions);
  plan.job_bytes = std::move(job_bytes);
  std::vector<Bytes> results = engine->run_job(std::move(plan));
  engine->make_checkpoints(*root);
  return results;
}

void Engine::count(const DagScheduler::Accumulated& accumulated) {
  for (const AccumulatorUpdate& update : accumulated.updates) {
    std::shared_ptr<internal::AccumulatedBase> accumulator;
    {
      const std::scoped_lock lock(accumulators_mutex_);
      const auto found = accumulators_.find(update.accumulator);
      if (found != accumulators_.end()) accumulator = found->second.lock();
    }
    if (accumulator == nullptr) continue;  // nobody can read it any more
    accumulator->merge(update.added);
    if (!has_listeners()) continue;  // sums may be long
    notify(&Listener::on_accumulator_updated,
           AccumulatorUpdated{accumulated.job, accumulated.stage, accumulated.partition,
                              accumulated.worker, accumulator->id(), accumulator->name(),
                              accumulator->text()});
  }
}

void Engine::add_listener(std::shared_ptr<Listener> listener) {
  const std::scoped_lock lock(listeners_mutex_);
  listeners_.push_back(std::move(listener));
}

bool Engine::has_listeners() {
  const std::scoped_lock lock(listeners_mutex_);
  return !listeners_.empty();
}

void Engine::remove_listener(const std::shared_ptr<Listener>& listener) {
  const std::scoped_lock lock(listeners_mutex_);
  std::erase(listeners_, listener);
}

template <class Event>
void Engine::notify(void (Listener::*handler)(const Event&), Event event) {
  const std::scoped_lock lock(listeners_mutex_);
  if (listeners_.empty()) return;
  const auto shared = std::make_shared<const Event>(std::move(event));
  for (const auto& listener : listeners_) {
    bus_.post([listener, handler, shared] { ((*listener).*handler)(*shared); });
  }
}

void Engine::on_outcome(AttemptId attempt, WorkerId worker, TaskOutcome outcome) {
  if (attempt >= kFirstResident) {
    const auto resident = residents_.extract(attempt);
    if (!resident.empty()) resident.mapped().on_ended(worker, std::move(outcome));
    return;
  }
  if (const auto* failed = std::get_if<FetchFailed>(&outcome)) {
    received_blocks_.on_fetch_failed(*failed);
  }
  perform(scheduler_.on_outcome(attempt, worker, std::move(outcome)));
}

void Engine::on_worker_added(WorkerId worker, std::uint32_t slots) {
  scheduler_.on_worker_added(worker);
  notify(&Listener::on_worker_added, WorkerAdded{worker, slots});
}

void Engine::on_worker_lost(WorkerId worker, const std::string& reason) {
  log_warning("worker " + to_string(worker) + " lost: " + reason);
  notify(&Listener::on_worker_lost, WorkerLost{worker, reason});
  received_blocks_.on_worker_lost(worker);
  perform(scheduler_.on_worker_lost(worker));
}

void Engine::on_report(AttemptId attempt, WorkerId worker, const Bytes& report) {
  const auto resident = residents_.find(attempt);
  if (resident != residents_.end()) resident->second.on_report(worker, report);
}

void Engine::on_result_refused(WorkerId worker, AttemptId attempt) {
  notify(&Listener::on_result_refused, ResultRefused{worker, attempt});
}

void Engine::on_failure(const std::string& reason) {
  failure_ = reason;
  log_error(reason);
  perform(scheduler_.on_failure(reason));
  for (auto& [attempt, callbacks] : std::exchange(residents_, {})) {
    callbacks.on_ended({}, Failed{reason});
  }
}

void Engine::finish(JobId id, const std::string& failure,
                    const std::function<void(std::promise<std::vector<Bytes>>&)>& settle) {
  const auto found = jobs_.find(id);
  if (found == jobs_.end()) return;
  const auto job = std::move(found->second);
  jobs_.erase(found);
  notify(&Listener::on_job_ended,
         JobEnded{id, failure, Clock::system().steady_now() - job->started});
  job->keep.clear();
  settle(job->promise);
}

void Engine::perform(DagScheduler::Actions actions) {
  for (DagScheduler::Action& action : actions) {
    if (auto* launch = std::get_if<DagScheduler::Launch>(&action)) {
      this->launch(std::move(launch->task));
    } else if (const auto* installed = std::get_if<DagScheduler::StateInstalled>(&action)) {
      states_.installed(installed->attempt, installed->output);
    } else if (const auto* lost = std::get_if<DagScheduler::StateVersionLost>(&action)) {
      log_warning("state was lost: " + lost->lost.message);
      states_.lost(lost->lost);
    } else if (const auto* accumulated = std::get_if<DagScheduler::Accumulated>(&action)) {
      count(*accumulated);
    } else if (const auto* cancel = std::get_if<DagScheduler::Cancel>(&action)) {
      runner_->cancel(cancel->attempt);
    } else if (auto* succeeded = std::get_if<DagScheduler::JobSucceeded>(&action)) {
      finish(succeeded->job, {},
             [&](auto& promise) { promise.set_value(std::move(succeeded->results)); });
    } else if (const auto* failed = std::get_if<DagScheduler::JobFailed>(&action)) {
      finish(failed->job, failed->message, [&](auto& promise) {
        promise.set_exception(std::make_exception_ptr(Error(failed->code, failed->message)));
      });
    } else if (auto* submitted = std::get_if<StageSubmitted>(&action)) {
      submitted->time = Clock::system().now();
      const auto job = jobs_.find(submitted->job);
      if (job != jobs_.end()) {
        job->second->stages[submitted->stage] = Clock::system().steady_now();
      }
      notify(&Listener::on_stage_submitted, std::move(*submitted));
    } else if (auto* completed = std::get_if<StageCompleted>(&action)) {
      const auto job = jobs_.find(completed->job);
      if (job != jobs_.end()) {
        completed->duration = Clock::system().steady_now() - job->second->stages[completed->stage];
      }
      notify(&Listener::on_stage_completed, std::move(*completed));
    } else if (auto* ended = std::get_if<TaskEnded>(&action)) {
      notify(&Listener::on_task_ended, std::move(*ended));
    }
  }
}

/// The versions and received blocks that a task works on are looked up as late as this, so that a
/// task that is tried again is told of what has changed meanwhile.
void Engine::launch(TaskSpec task) {
  for (StateInput& need : task.states) {
    StateInput input =
        states_.input(need.state, need.partition, need.sequence, need.writes, !need.withheld);
    input.node = need.node;
    input.time = need.time;
    input.withheld = need.withheld;
    need = std::move(input);
  }
  received_blocks_.locate(task);
  runner_->launch(std::move(task));
}

namespace internal {

BatchScope::BatchScope(const void* owner, std::uint64_t batch, Time time, std::uint64_t hash_seed)
    : outer_owner_(std::exchange(current_owner, owner)),
      outer_batch_(std::exchange(current_batch, batch)),
      outer_time_(std::exchange(current_batch_time, time)),
      outer_hash_seed_(std::exchange(current_hash_seed, hash_seed)) {}

BatchScope::Running BatchScope::running() { return {current_batch, current_batch_time}; }

BatchScope::~BatchScope() {
  current_owner = outer_owner_;
  current_batch = outer_batch_;
  current_batch_time = outer_time_;
  current_hash_seed = outer_hash_seed_;
}

}  // namespace internal
}  // namespace weir
