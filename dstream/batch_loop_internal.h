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

#include "weir/core/sink.h"
#include "weir/dstream/batch_clock.h"
#include "weir/dstream/batch_generator.h"
#include "weir/dstream/batch_scheduler.h"
#include "weir/dstream/input_rates.h"
#include "weir/dstream/streaming_events_internal.h"
#include "weir/dstream/streaming_listener.h"

namespace weir {

class Context;

namespace internal {

class BatchJournal;
class StopSignals;
class StreamGraph;
class StreamSink;
struct Recovery;

/// The two threads of a running stream. The generator thread owns both state machines: it waits for
/// the clock and for messages, cuts batches and decides which one runs. The batch thread runs one
/// batch after the other: it updates the state, waits until the INTENT is durable, runs the output
/// operations, and appends the COMMIT.
class BatchLoop {
 public:
  struct Options {
    Context& context;
    std::shared_ptr<StreamGraph> graph;
    BatchClock& clock;
    StreamingEvents& events;
    Duration drain_cap{};
    bool stop_on_signal = true;
    /// Null: nothing is recorded, and a restarted driver starts afresh.
    std::shared_ptr<BatchJournal> journal = {};
    std::string application = {};  ///< what sinks know the program by
    Duration checkpoint_interval{};
    /// Where workers keep what state changes, and how many ranges of keys there are.
    std::string state_directory = {};
    std::uint32_t key_groups = 512;
    std::uint64_t hash_seed = 0;  ///< of keys; 0: the context's
    InputRates::Options rates = {};
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
  void attach_states();
  Recovery recover();
  void begin(const Recovery& recovery) const;
  void require_windows_have(const Recovery& recovery) const;
  /// Returns the newest batch that any sink holds.
  std::uint64_t open_sinks(const Recovery& recovery);
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
  void cut(const Batch& batch, bool last);
  void submit(BatchInfo info);
  Duration last_wait() const;
  void finish_batch(const BatchScheduler::BatchDone& done);
  void release_inputs(const Batch& batch);
  void release_what_can_be();
  std::vector<StateInfo> states() const;
  void cancel_running();
  void finish();

  // On the batch thread.
  void run_batches();
  void run_batch(const Batch& batch);
  void try_batch(const Batch& batch);
  CommitId commit_id(const StreamSink& sink, const Batch& batch, std::uint64_t intent) const;
  void delete_unused_files() const;
  void update_states(const Batch& batch);
  void replay_lost_states(const Batch& before, const std::string& lost);
  void set_back_what_is_needed(std::uint64_t sequence);
  void require_replayable(const std::map<std::uint64_t, Batch>& batches, const Batch& before,
                          const std::string& lost) const;
  void run_output(const Batch& batch, std::size_t id);

  /// From any thread.
  void send(Message message);
  Time now() const { return options_.clock.now(); }

  const Options options_;

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

  std::mutex release_mutex_;  // held while batches are run again, and to release input
  std::mutex mutex_;
  std::condition_variable changed_;  // for the generator thread
  std::condition_variable work_changed_;
  std::deque<Message> inbox_;  // guarded by mutex_
  std::deque<Batch> work_;     // guarded by mutex_; for the batch thread
  /// Guarded by mutex_: by sequence, batches that are done and can be run again for their state.
  std::map<std::uint64_t, Batch> replayable_;
  bool no_more_work_ = false;  // guarded by mutex_

  std::atomic<bool> abandoned_{false};
  std::atomic<bool> cancelled_{false};
  Time checkpoint_due_{};  // batch thread
  std::unique_ptr<StopSignals> signals_;
  std::jthread batch_thread_;
  std::jthread generator_thread_;
};

}  // namespace internal
}  // namespace weir
