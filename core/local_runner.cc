#include "weir/core/local_runner.h"

#include <condition_variable>
#include <deque>
#include <iterator>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "weir/core/error.h"
#include "weir/core/resident_host.h"
#include "weir/core/runner_registry.h"
#include "weir/core/storage/memory_settings.h"
#include "weir/core/task_executor.h"

namespace weir::internal {
namespace {

/// Tasks on threads of this process. One decision thread runs posted events; N slot threads take
/// tasks from one queue, in the order of their launch unless `lets_pass`. Map outputs and blocks
/// stay in one store, so nothing is fetched and nothing is inline.
class LocalRunner final : public TaskRunner {
 public:
  LocalRunner(std::uint32_t slots, const MemorySettings& memory)
      : slots_(slots), executor_(options(memory)) {}
  ~LocalRunner() override { stop(); }

  void start(Observer& observer) override {
    observer_ = &observer;
    decision_thread_ = std::jthread([this] { run_events(); });
    for (std::uint32_t i = 0; i < slots_; ++i) {
      slot_threads_.emplace_back([this] { run_tasks(); });
    }
    post([this] { observer_->on_worker_added({}, slots_); });
  }

  void stop() override {
    {
      const std::scoped_lock lock(mutex_);
      stopping_ = true;
      for (auto& [attempt, progress] : running_) progress->cancelled.store(true);
    }
    events_changed_.notify_all();
    tasks_changed_.notify_all();
    slot_threads_.clear();  // joins
    if (decision_thread_.joinable()) decision_thread_.join();
    resident_threads_.clear();  // it starts them
    executor_.release_locals();
  }

  void post(std::function<void()> event) override {
    {
      const std::scoped_lock lock(mutex_);
      if (stopping_) return;
      events_.push_back(std::move(event));
    }
    events_changed_.notify_one();
  }

  void launch(TaskSpec task) override {
    if (task.resident) return start_resident(std::move(task));
    {
      const std::scoped_lock lock(mutex_);
      auto at = tasks_.end();
      while (at != tasks_.begin() && lets_pass(*std::prev(at), task)) --at;
      tasks_.insert(at, std::move(task));
    }
    tasks_changed_.notify_one();
  }

  void cancel(AttemptId attempt) override {
    const std::scoped_lock lock(mutex_);
    std::erase_if(tasks_, [&](const TaskSpec& task) { return task.attempt == attempt; });
    const auto running = running_.find(attempt);
    if (running != running_.end()) running->second->cancelled.store(true);
  }

  void tell(AttemptId attempt, Bytes message) override {
    std::shared_ptr<Host> host;
    {
      const std::scoped_lock lock(mutex_);
      const auto found = hosts_.find(attempt);
      if (found == hosts_.end()) return;
      host = found->second;
    }
    host->deliver(std::move(message));
  }

  void release_shuffle(ShuffleId shuffle) override { executor_.blocks().release_shuffle(shuffle); }
  void release_dataset(DatasetId dataset) override { executor_.blocks().release_dataset(dataset); }
  void release_state(StateId state) override { executor_.states().release(state); }
  std::uint32_t total_slots() const override { return slots_; }
  std::uint32_t total_workers() const override { return 1; }

 private:
  /// There is no other worker.
  class Host final : public ResidentHost {
   public:
    Host(LocalRunner& runner, AttemptId attempt) : runner_(runner), attempt_(attempt) {}

    void report(Bytes report) override {
      runner_.post([this_runner = &runner_, attempt = attempt_, report = std::move(report)] {
        this_runner->observer_->on_report(attempt, {}, report);
      });
    }
    void listen(std::function<void(Bytes)> take) override {
      const std::scoped_lock lock(mutex_);
      take_ = std::move(take);
    }
    std::optional<WorkerId> copy(ShuffleId, std::uint32_t, const Bytes&, std::uint32_t) override {
      return std::nullopt;
    }
    void deliver(Bytes message) {
      const std::scoped_lock lock(mutex_);
      if (take_) take_(std::move(message));
    }

   private:
    LocalRunner& runner_;
    const AttemptId attempt_;
    std::mutex mutex_;
    std::function<void(Bytes)> take_;  // guarded by mutex_
  };

  /// On a thread of its own.
  void start_resident(TaskSpec task) {
    const std::scoped_lock lock(mutex_);
    for (const AttemptId ended : std::exchange(ended_residents_, {})) {
      resident_threads_.erase(ended);  // joins what has nothing left to do
    }
    if (stopping_) return;
    const AttemptId attempt = task.attempt;
    const auto progress = std::make_shared<TaskExecutor::Progress>();
    const auto host = std::make_shared<Host>(*this, attempt);
    running_[attempt] = progress.get();
    hosts_.emplace(attempt, host);
    resident_threads_[attempt] = std::jthread([this, task = std::move(task), progress, host] {
      std::unique_lock running(mutex_);
      run(task, *progress, host.get(), running);
      hosts_.erase(task.attempt);
      ended_residents_.push_back(task.attempt);
    });
  }

  static TaskExecutor::Options options(const MemorySettings& memory) {
    TaskExecutor::Options options;
    options.inline_limit = 0;
    options.task_bytes = memory.task_bytes;
    options.store = memory.store_options();
    options.compress = memory.compress;
    return options;
  }

  void run_events() {
    std::unique_lock lock(mutex_);
    while (true) {
      events_changed_.wait(lock, [&] { return stopping_ || !events_.empty(); });
      if (events_.empty()) return;
      const auto event = std::move(events_.front());
      events_.pop_front();
      lock.unlock();
      try {
        event();
      } catch (...) {
        observer_->on_failure("a defect of Weir: " + describe_current_exception());
      }
      lock.lock();
    }
  }

  void run_tasks() {
    std::unique_lock lock(mutex_);
    while (true) {
      tasks_changed_.wait(lock, [&] { return stopping_ || !tasks_.empty(); });
      if (stopping_) return;
      const TaskSpec task = std::move(tasks_.front());
      tasks_.pop_front();
      TaskExecutor::Progress progress;
      running_[task.attempt] = &progress;
      run(task, progress, nullptr, lock);
    }
  }

  /// Called, and left, with the lock of mutex_ held.
  void run(const TaskSpec& task, TaskExecutor::Progress& progress, ResidentHost* host,
           std::unique_lock<std::mutex>& lock) {
    lock.unlock();
    auto outcome = std::make_shared<TaskOutcome>(executor_.run(task, progress, host).value());
    lock.lock();
    running_.erase(task.attempt);
    if (stopping_) return;
    events_.push_back([this, attempt = task.attempt, outcome] {
      observer_->on_outcome(attempt, {}, std::move(*outcome));
    });
    events_changed_.notify_one();
  }

  const std::uint32_t slots_;
  TaskExecutor executor_;
  Observer* observer_ = nullptr;

  std::mutex mutex_;  // guards what follows
  std::condition_variable events_changed_;
  std::condition_variable tasks_changed_;
  std::deque<std::function<void()>> events_;
  std::deque<TaskSpec> tasks_;
  std::unordered_map<AttemptId, TaskExecutor::Progress*> running_;
  std::unordered_map<AttemptId, std::shared_ptr<Host>> hosts_;  // of resident tasks
  std::vector<AttemptId> ended_residents_;                      // whose threads have to be joined
  bool stopping_ = false;

  std::unordered_map<AttemptId, std::jthread> resident_threads_;  // decision thread, then `stop`
  std::jthread decision_thread_;
  std::vector<std::jthread> slot_threads_;
};

}  // namespace

void register_local_runner() {
  static const bool registered =
      register_runner("local", [](const std::string& master, const Config& config) {
        std::uint32_t slots = std::max(1U, std::thread::hardware_concurrency());
        if (master != "local[*]") {
          slots = static_cast<std::uint32_t>(
              parse_master_numbers(master, 1, "local[N] or local[*], N threads")[0]);
        }
        return std::make_unique<LocalRunner>(slots, MemorySettings::from(config, 1, slots));
      });
  (void)registered;
}

}  // namespace weir::internal
