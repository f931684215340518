#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "weir/core/sink.h"
#include "weir/core/task.h"
#include "weir/dstream/batch.h"

namespace weir {

struct StreamingStarted {
  Time time{};  ///< when `start` was called; the first batch is at the next grid point
};

/// What a stateful operator keeps.
struct StateInfo {
  std::string uid;
  std::uint64_t keys = 0;
  std::uint64_t bytes = 0;                ///< of memory held by workers, an estimate
  std::uint64_t restored_partitions = 0;  ///< put together from files since the start
  std::uint64_t restored_bytes = 0;       ///< read for that
  std::uint64_t lost_partitions = 0;      ///< whose files were not all there, since the start
};

/// What recording took.
struct LogInfo {
  Duration append_time{};   ///< of the newest group of records: making and writing it
  Duration sync_time{};     ///< of that group
  std::uint64_t bytes = 0;  ///< of the whole log on disk
};

/// A batch on its way. Times are set as it gets there.
struct BatchInfo {
  std::uint64_t sequence = 0;
  Time batch_time{};
  std::vector<BatchInput> inputs = {};
  Time submission_time{};
  /// With batches in flight that is before those ahead of it are done.
  std::optional<Time> processing_start_time = {};
  std::optional<Time> processing_end_time = {};
  std::string failure = {};            ///< of a completed batch: empty when it succeeded
  std::vector<StateInfo> states = {};  ///< of a completed batch, in the order of the operators
  std::optional<LogInfo> log = {};     ///< of a completed batch; nothing without a checkpoint
  /// Of a completed batch: the time of the newest batch whose state is durable.
  std::optional<Time> checkpoint_time = {};

  /// How long it waited for the batches before it.
  std::optional<Duration> scheduling_delay() const;
  std::optional<Duration> processing_time() const;
  /// From its submission to its end.
  std::optional<Duration> total_delay() const;
  /// How much stream time a restart that finds no changelog has to run again.
  std::optional<Duration> state_age() const;
  /// Elements of all inputs that know how many they have.
  std::uint64_t num_records() const;
};

struct OutputOperationInfo {
  std::uint64_t sequence = 0;
  Time batch_time{};
  std::size_t id = 0;         ///< order of registration, from 0
  std::string name;           ///< "print", "foreach_rdd", "write_to"
  std::uint32_t attempt = 1;  ///< in this batch: more than one where failures are tried again
  std::string sink = {};      ///< uid of what it writes to; empty: it may do anything
  /// What becomes of a batch that is written again; of outputs that are no sinks nothing is known.
  SinkGuarantee guarantee = SinkGuarantee::kAtLeastOnce;
  std::optional<Time> start_time = {};
  std::optional<Time> end_time = {};
  std::string failure = {};  ///< of a completed operation: empty when it succeeded
};

/// Where a stream that was started again goes on.
struct RecoveryInfo {
  std::uint64_t epoch = 0;         ///< how many drivers there were, this one included
  std::uint64_t checkpointed = 0;  ///< newest batch whose state is durable, 0: none; as all here
  std::uint64_t committed = 0;     ///< newest batch whose outputs are all done
  std::uint64_t last = 0;  ///< newest batch that was begun: those from committed on run again
  Duration duration{};     ///< until the first batch could be run
};

/// A set of state, durable with all that it is made of.
struct CheckpointInfo {
  std::uint64_t sequence = 0;
  Time batch_time{};
  Duration duration{};      ///< from the batch's end
  std::uint64_t files = 0;  ///< that the state is in
};

/// Versions of state that were lost are made again by running these batches for it.
struct StateReplayInfo {
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  Duration duration{};
};

/// A receiver, each time it has been started on a worker.
struct ReceiverInfo {
  std::string name;  ///< of its input stream
  WorkerId worker;   ///< where it runs, or ran
  std::string last_error = {};
};

/// What a receiver stored, no batch has finished with, and no worker has any more.
struct ReceivedDataLost {
  std::string name;  ///< of the input stream
  std::uint64_t blocks = 0;
  std::uint64_t records = 0;
};

/// Told of what happens in a streaming context, in order, on a thread of its own; workers, stages
/// and tasks are told to a `Listener` of the `Context`. Exceptions are logged. Must not wait for
/// the streaming context: `stop` and `await_termination` throw there.
class StreamingListener {
 public:
  virtual ~StreamingListener() = default;
  virtual void on_streaming_started(const StreamingStarted&) {}
  /// After a start with a checkpoint directory that was not empty, before any batch.
  virtual void on_recovered(const RecoveryInfo&) {}
  virtual void on_batch_submitted(const BatchInfo&) {}
  virtual void on_batch_started(const BatchInfo&) {}
  /// Also for a batch that failed or was cancelled.
  virtual void on_batch_completed(const BatchInfo&) {}
  virtual void on_output_operation_started(const OutputOperationInfo&) {}
  virtual void on_output_operation_completed(const OutputOperationInfo&) {}
  virtual void on_receiver_started(const ReceiverInfo&) {}
  /// It has ended with an error and is started again, or has got over one.
  virtual void on_receiver_error(const ReceiverInfo&) {}
  virtual void on_receiver_stopped(const ReceiverInfo&) {}
  virtual void on_received_data_lost(const ReceivedDataLost&) {}
  virtual void on_state_replayed(const StateReplayInfo&) {}
  virtual void on_checkpoint_completed(const CheckpointInfo&) {}
};

}  // namespace weir
