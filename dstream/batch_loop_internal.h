#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <variant>
#include <vector>

#include "weir/dstream/batch_clock.h"
#include "weir/dstream/batch_generator.h"
#include "weir/dstream/batch_scheduler.h"
#include "weir/dstream/streaming_events_internal.h"
#include "weir/dstream/streaming_listener.h"

namespace weir {

class Context;

namespace internal {

class StopSignals;
class StreamGraph;

/// The two threads of a running stream. The generator thread owns both state machines: it waits for
/// the clock and for messages, cuts batches and decides which one runs. The batch thread runs the
/// output operations of one batch after the other.
class BatchLoop {
 public:
  struct Options {
    Context& context;
    std::shared_ptr<StreamGraph> graph;
    BatchClock& clock;
    StreamingEvents& events;
    Duration drain_cap{};
    bool stop_on_signal = true;
    /// On the generator thread: a batch has succeeded. One that fails ends the stream instead.
    std::function<void(std::uint64_t sequence)> on_batch_done;
    /// The last thing that the generator thread does; null when nothing failed.
    std::function<void(std::exception_ptr)> on_end;
  };

  /// Starts the inputs, which may throw, and the threads. When it throws nothing is left running.
  explicit BatchLoop(Options options);
  /// Stops at once and waits for user code that runs in the driver.
  ~BatchLoop();

  /// Returns at once; `on_end` follows.
  void request_stop(bool graceful);

 private:
  struct Stop {
    bool graceful = true;
    Time requested{};
  };
  struct BatchEnded {
    std::uint64_t sequence = 0;
    std::exception_ptr failure;
  };
  using Message = std::variant<Stop, BatchEnded>;

  void start();
  /// Undoes what `start` did, as far as it came, and forgets all RDDs. No more batches are sent to
  /// the batch thread.
  void end();

  // On the generator thread.
  void generate();
  std::optional<Message> next_message();
  std::optional<Time> next_timer() const;
  void on_message(const Message& message);
  void perform(const std::vector<BatchGenerator::Action>& actions);
  void perform(const std::vector<BatchScheduler::Action>& actions);
  void cut(const Batch& batch, bool last);
  Duration last_wait() const;
  void finish_batch(const BatchScheduler::BatchDone& done);
  void cancel_running();
  void finish();

  // On the batch thread.
  void run_batches();
  void run_batch(const Batch& batch);
  void run_output(const Batch& batch, std::size_t id);

  void send(Message message);
  Time now() const { return options_.clock.now(); }

  const Options options_;

  // Generator thread only.
  BatchGenerator generator_;
  BatchScheduler scheduler_;
  std::optional<Time> tick_;                    // when the generator is due
  std::map<std::uint64_t, BatchInfo> batches_;  // submitted and not done
  std::exception_ptr error_;                    // the first one
  std::exception_ptr batch_failure_;            // of the batch that is ending

  std::mutex mutex_;
  std::condition_variable changed_;  // for the generator thread
  std::condition_variable work_changed_;
  std::deque<Message> inbox_;  // guarded by mutex_
  std::deque<Batch> work_;     // guarded by mutex_; for the batch thread
  bool no_more_work_ = false;  // guarded by mutex_

  std::atomic<bool> cancelled_{false};
  std::unique_ptr<StopSignals> signals_;
  std::jthread batch_thread_;
  std::jthread generator_thread_;
};

}  // namespace internal
}  // namespace weir
