#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>

#include "weir/core/time.h"

namespace weir {

/// The clock by which batches are cut, and the waiting for its next tick. Thread-safe.
class BatchClock : public Clock {
 public:
  /// Waits on `changed` until it is notified or it is `due`; may return early.
  virtual void wait_until(std::unique_lock<std::mutex>& lock, std::condition_variable& changed,
                          Time due) = 0;
  /// Time has moved other than by passing: `wake`, one for each `owner`, must notify whoever waits.
  /// An empty function ends that: afterwards the owner's former one is not running and is not
  /// called again.
  virtual void on_move(const void* owner, std::function<void()> wake) = 0;

  /// The machine's wall clock.
  static BatchClock& system();
};

/// A clock that stands still until it is told to move: streams on it, one or several, need no real
/// time.
class ManualClock final : public BatchClock {
 public:
  explicit ManualClock(Time start = Time{}) : now_(start) {}

  Time now() const override { return now_.load(); }
  SteadyTime steady_now() const override { return SteadyTime(now().time_since_epoch()); }
  void wait_until(std::unique_lock<std::mutex>& lock, std::condition_variable& changed,
                  Time due) override;
  void on_move(const void* owner, std::function<void()> wake) override;

  /// Moves forward. Batches that become due are cut one by one, in order, on each stream's own
  /// thread.
  void advance_to(Time time);

 private:
  std::atomic<Time> now_;
  std::mutex mutex_;
  std::map<const void*, std::function<void()>> wake_;  // guarded by mutex_; by owner
};

}  // namespace weir
