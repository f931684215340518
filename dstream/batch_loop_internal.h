#pragma once

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

#include "weir/dstream/batch_generator.h"
#include "weir/dstream/batch_runner_internal.h"
#include "weir/dstream/batch_scheduler.h"
#include "weir/dstream/input_rates.h"
#include "weir/dstream/stream_parts_internal.h"
#include "weir/dstream/streaming_listener.h"

namespace weir::internal {

class StopSignals;
struct Recovery;

/// A running stream. Its generator thread owns both state machines: it waits for the clock and for
/// messages, cuts batches and decides which one the batch thread (batch_runner_internal.h) runs.
class BatchLoop {
 public:
  struct Options {
    Duration drain_cap{};
    bool stop_on_signal = true;
    InputRates::Options rates = {};
    std::size_t max_waiting = 1;  ///< batches; then grid points are coalesced
    /// On the generator thread: a batch has succeeded. One that fails ends the stream instead.
    std::function<void(std::uint64_t sequence)> on_batch_done;
    /// The last thing that the generator thread does; null when nothing failed.
    std::function<void(std::exception_ptr)> on_end;
  };

  /// Starts the inputs, which may throw, and the threads. When it throws nothing is left running.
  BatchLoop(StreamParts parts, Options options);
  /// Stops at once and waits for user code that runs in the driver.
  ~BatchLoop();

  /// Returns at once; `on_end` follows.
  void request_stop(bool graceful);
  /// Stops as a killed driver does: nothing more is recorded. For tests.
  void abandon();

 private:
  struct Stop {
    bool graceful = true;
    Time requested{};
  };
  struct BatchEnded {
    std::uint64_t sequence = 0;
    std::exception_ptr failure;
  };
  /// The set of state as of this batch is durable.
  struct Checkpointed {
    CheckpointInfo info;
  };
  struct JournalFailed {
    std::exception_ptr failure;
  };
  using Message = std::variant<Stop, BatchEnded, Checkpointed, JournalFailed>;

  void start();
  void resume(const Recovery& recovery);
  /// Undoes what `start` did, as far as it came, and forgets all RDDs. No more batches are sent to
  /// the batch thread.
  void end();

  // On the generator thread.
  void generate();
  void generate_batches();
  std::optional<Message> next_message();
  std::optional<Time> next_timer() const;
  void on_message(const Message& message);
  void perform(const std::vector<BatchGenerator::Action>& actions);
  void perform(const std::vector<BatchScheduler::Action>& actions);
  void catch_up();
  void cut(const Batch& batch, bool last);
  void submit(BatchInfo info);
  Duration last_wait() const;
  void finish_batch(const BatchScheduler::BatchDone& done);
  void release_inputs(const Batch& batch);
  void release_what_can_be();
  std::vector<StateInfo> states() const;
  void finish();

  /// From any thread.
  void send(Message message);
  Time now() const { return parts_.clock.now(); }

  const StreamParts parts_;
  const Options options_;
  BatchRunner runner_;

  // Generator thread only.
  BatchGenerator generator_;
  BatchScheduler scheduler_;
  InputRates rates_;
  std::optional<Time> tick_;                    // when the generator is due
  std::map<std::uint64_t, BatchInfo> batches_;  // submitted and not done
  std::exception_ptr error_;                    // the first one
  std::exception_ptr batch_failure_;            // of the batch that is ending
  std::optional<Time> checkpoint_time_;         // of the newest CHECKPOINT
  std::optional<Batch> to_release_;             // inputs up to this batch

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Message> inbox_;  // guarded by mutex_

  std::unique_ptr<StopSignals> signals_;
  std::jthread generator_thread_;
};

}  // namespace weir::internal
