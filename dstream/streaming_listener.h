#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "weir/dstream/batch.h"

namespace weir {

struct StreamingStarted {
  Time time{};  ///< when `start` was called; the first batch is at the next grid point
};

/// A batch on its way. Times are set as it gets there.
struct BatchInfo {
  std::uint64_t sequence = 0;
  Time batch_time{};
  std::vector<BatchInput> inputs = {};
  Time submission_time{};
  std::optional<Time> processing_start_time = {};
  std::optional<Time> processing_end_time = {};
  std::string failure = {};  ///< of a completed batch: empty when it succeeded

  /// How long it waited for the batches before it.
  std::optional<Duration> scheduling_delay() const;
  std::optional<Duration> processing_time() const;
  /// From its submission to its end.
  std::optional<Duration> total_delay() const;
  /// Elements of all inputs that know how many they have.
  std::uint64_t num_records() const;
};

struct OutputOperationInfo {
  std::uint64_t sequence = 0;
  Time batch_time{};
  std::size_t id = 0;  ///< order of registration, from 0
  std::string name;    ///< "print", "foreach_rdd"
  std::optional<Time> start_time = {};
  std::optional<Time> end_time = {};
  std::string failure = {};  ///< of a completed operation: empty when it succeeded
};

/// Told of what happens in a streaming context, in order, on a thread of its own; workers, stages
/// and tasks are told to a `Listener` of the `Context`. Exceptions are logged. Must not wait for
/// the streaming context: `stop` and `await_termination` throw there.
class StreamingListener {
 public:
  virtual ~StreamingListener() = default;
  virtual void on_streaming_started(const StreamingStarted&) {}
  virtual void on_batch_submitted(const BatchInfo&) {}
  virtual void on_batch_started(const BatchInfo&) {}
  /// Also for a batch that failed or was cancelled.
  virtual void on_batch_completed(const BatchInfo&) {}
  virtual void on_output_operation_started(const OutputOperationInfo&) {}
  virtual void on_output_operation_completed(const OutputOperationInfo&) {}
};

}  // namespace weir
