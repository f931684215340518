#pragma once

#include <cstdint>
#include <exception>
#include <memory>
#include <string>

#include "weir/core/sink.h"
#include "weir/dstream/batch.h"
#include "weir/dstream/batch_clock.h"
#include "weir/dstream/streaming_events_internal.h"

namespace weir {

class Context;

namespace internal {

class BatchJournal;
class StreamGraph;
class StreamSink;

/// What becomes of an output operation that fails.
struct OutputFailures {
  std::int64_t attempts = 1;  ///< of each, in each batch
  Duration delay{};           ///< between them
  /// Whether the batch goes on without it after the last one; else the stream ends. Sinks are never
  /// skipped: what one lacks would be missed at the next start.
  bool skip = false;
};

/// What a running stream is made of, for those that start it, cut its batches and run them.
struct StreamParts {
  Context& context;
  std::shared_ptr<StreamGraph> graph;
  BatchClock& clock;
  StreamingEvents& events;
  /// Null: nothing is recorded, and a restarted driver starts afresh.
  std::shared_ptr<BatchJournal> journal = {};
  std::string application = {};  ///< what sinks know the program by
  Duration checkpoint_interval{};
  /// Where workers keep what state changes, and how many ranges of keys there are.
  std::string state_directory = {};
  std::uint32_t key_groups = 512;
  std::uint64_t hash_seed = 0;  ///< of keys; 0: the context's
  OutputFailures output_failures = {};
  std::uint64_t state_quota = 0;  ///< bytes that one operator's state may grow to; 0: any
  std::size_t batches_in_flight = 1;

  CommitId commit_id(const StreamSink& sink, const Batch& batch, std::uint64_t intent) const;
};

/// "batch 3 of 1.500s"
std::string to_text(const Batch& batch);
std::string message_of(const std::exception_ptr& failure);
/// The exception being handled, said to be `where`'s.
std::exception_ptr located(const std::string& where);

}  // namespace internal
}  // namespace weir
