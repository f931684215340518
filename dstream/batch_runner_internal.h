#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "weir/dstream/batch_ahead_internal.h"
#include "weir/dstream/stream_parts_internal.h"

namespace weir::internal {

/// The batch thread: runs one batch after the other. Each updates the state, waits until the INTENT
/// is durable, runs the output operations, and appends the COMMIT. Batches that wait for one that
/// runs are in flight: what can be is made of them meanwhile (BatchAhead). Versions of state
/// that turn out to be lost are made again by running earlier batches without their outputs.
///
/// Thread-safe.
class BatchRunner {
 public:
  /// From the batch thread; null when it succeeded.
  using OnEnded = std::function<void(std::uint64_t sequence, std::exception_ptr failure)>;

  /// Borrows the parts.
  BatchRunner(const StreamParts& parts, OnEnded on_ended)
      : parts_(parts), on_ended_(std::move(on_ended)), ahead_(parts, this) {}
  ~BatchRunner() { end(); }

  void start();
  /// In their order; the first that fails is the last one that runs.
  void run(const Batch& batch);
  /// An earlier driver's batch that is done and can be run again for its state.
  void add_replayable(const Batch& batch);
  /// Calls `release` and forgets that batches up to this one can be run again; does nothing and
  /// returns false while batches are run again, for they read what would be released.
  bool try_release(const Batch& batch, const std::function<void()>& release);
  /// Cancels the jobs of the running batch, and lets no further output begin. To be called again
  /// until it has ended: a batch between two jobs has none to cancel.
  void cancel();
  bool is_cancelled() const { return cancelled_; }
  /// Records nothing more, as a killed driver.
  void abandon() { abandoned_ = true; }
  bool is_abandoned() const { return abandoned_; }
  /// No batch runs any more, and none will.
  void end();

 private:
  void run_batches();
  void run_batch(const Batch& batch);
  void try_batch(const Batch& batch);
  void run_output(const Batch& batch, std::size_t id);
  void try_output(const Batch& batch, std::size_t id, std::int64_t attempt);
  void wait_before_retry();
  void require_quotas(const Batch& batch, const std::vector<std::uint64_t>& before) const;
  std::vector<std::uint64_t> state_bytes() const;
  void update_states(const Batch& batch);
  void replay_lost_states(const Batch& before, const std::string& lost);
  void set_back_what_is_needed(std::uint64_t sequence);
  void require_replayable(const std::map<std::uint64_t, Batch>& batches, const Batch& before,
                          const std::string& lost) const;
  void delete_unused_files() const;
  Time now() const { return parts_.clock.now(); }

  const StreamParts& parts_;
  const OnEnded on_ended_;
  BatchAhead ahead_;
  std::atomic<bool> cancelled_{false};
  std::atomic<bool> abandoned_{false};
  Time checkpoint_due_{};  // batch thread

  std::mutex release_mutex_;  // held while batches are run again, and to release input
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Batch> work_;                     // guarded by mutex_
  std::map<std::uint64_t, Batch> replayable_;  // guarded by mutex_; by sequence
  bool no_more_work_ = false;                  // guarded by mutex_
  std::jthread thread_;
};

}  // namespace weir::internal
