#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "weir/core/task.h"

namespace weir {

struct WorkerAdded {
  WorkerId worker;
  std::uint32_t slots = 0;
};
struct WorkerLost {
  WorkerId worker;
  std::string reason;
};
/// A result came from a worker that had been declared lost, or of an attempt that was given up.
struct ResultRefused {
  WorkerId worker;
  AttemptId attempt = 0;
};
struct JobStarted {
  JobId job = 0;
  std::string name;          ///< the operation at its end
  std::uint32_t stages = 0;  ///< those whose map outputs are there already are skipped
  std::uint64_t batch = 0;   ///< its sequence number, 0 outside streaming
  Time time{};
};
struct JobEnded {
  JobId job = 0;
  std::string failure;  ///< empty when it succeeded
  Duration duration{};
};
struct StageSubmitted {
  JobId job = 0;
  std::uint32_t stage = 0;
  std::string name;  ///< the operation at its end, "reduce_by_key"
  std::uint32_t tasks = 0;
  bool again = false;  ///< lost map outputs are made anew
  Time time{};
};
struct StageCompleted {
  JobId job = 0;
  std::uint32_t stage = 0;
  TaskMetrics metrics;  ///< of its tasks since it was submitted, added up
  Duration duration{};  ///< since then
};
struct TaskEnded {
  JobId job = 0;
  std::uint32_t stage = 0;
  std::uint32_t partition = 0;
  std::uint32_t attempt_number = 0;
  WorkerId worker;
  bool is_map = false;
  std::string failure;  ///< empty when it succeeded
  TaskMetrics metrics;
  bool is_copy = false;  ///< a speculative attempt beside another one
};

/// What an accepted attempt added to an accumulator.
struct AccumulatorUpdated {
  JobId job = 0;
  std::uint32_t stage = 0;
  std::uint32_t partition = 0;
  WorkerId worker;
  AccumulatorId accumulator = 0;
  std::string name;
  std::string value;  ///< the sum so far, as `print_value` shows it; empty if it cannot
};

/// Told of what happens in a context, in order, on a thread of its own. Exceptions are logged.
class Listener {
 public:
  virtual ~Listener() = default;
  virtual void on_worker_added(const WorkerAdded&) {}
  virtual void on_worker_lost(const WorkerLost&) {}
  virtual void on_result_refused(const ResultRefused&) {}
  virtual void on_job_started(const JobStarted&) {}
  virtual void on_job_ended(const JobEnded&) {}
  virtual void on_stage_submitted(const StageSubmitted&) {}
  virtual void on_stage_completed(const StageCompleted&) {}
  virtual void on_task_ended(const TaskEnded&) {}
  virtual void on_accumulator_updated(const AccumulatorUpdated&) {}
};

/// Delivers events to listeners in the order of `post`, on its own thread. Thread-safe.
class ListenerBus {
 public:
  ListenerBus();
  ~ListenerBus();

  /// Queues an event; `deliver` runs on the bus thread. Never blocks on listeners: when they are
  /// 100,000 events behind, events are dropped, which is said at the first and at the end.
  void post(std::function<void()> deliver);
  /// Returns when everything posted before has been delivered. Not from the bus thread.
  void flush();
  /// Delivers what is queued and ends the thread; idempotent. Not from the bus thread.
  void stop();
  /// Whether the caller is a listener.
  bool is_current_thread() const { return std::this_thread::get_id() == thread_id_; }

 private:
  void deliver_all();

  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::deque<std::function<void()>> queue_;
  std::uint64_t posted_ = 0;
  std::uint64_t delivered_ = 0;
  std::uint64_t dropped_ = 0;
  bool stopping_ = false;
  std::jthread thread_;
  const std::thread::id thread_id_ = thread_.get_id();
};

}  // namespace weir
