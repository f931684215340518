#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <thread>

#include "weir/dstream/stream_parts_internal.h"

namespace weir::internal {

/// Begins with batches in flight before it is their turn, on a thread of its own: makes the RDDs of
/// one batch after the other, but for those that state feeds, and starts the jobs that make the map
/// outputs which these read. The batch thread, which does everything else when the batches before
/// are done, then finds them made, or being made.
///
/// What is made ahead has no effects and needs no INTENT. If it fails nobody is told: the batch
/// thread will find the same. With one batch in flight there is no thread and nothing to do.
///
/// Thread-safe.
class BatchAhead {
 public:
  /// Borrows the parts. `owner` of the jobs: see BatchScope.
  BatchAhead(const StreamParts& parts, const void* owner) : parts_(parts), owner_(owner) {}
  ~BatchAhead() { end(); }

  void start();
  /// In the order of the batches.
  void prepare(const Batch& batch);
  /// The batch thread takes the batch: makes its RDDs now if they are not made yet, so that
  /// functions of the driver see the batches in their order, and nothing more is begun ahead for
  /// it.
  void begin(const Batch& batch);
  /// Nothing runs ahead any more, and nothing will.
  void end();

 private:
  void run();
  void make(const Batch& batch, bool and_start_jobs);

  const StreamParts& parts_;
  const void* const owner_;
  std::uint64_t made_ = 0;  // guarded by the graph's `making`; the newest batch that was

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Batch> work_;  // guarded by mutex_
  bool ended_ = false;      // guarded by mutex_
  std::jthread thread_;
};

}  // namespace weir::internal
