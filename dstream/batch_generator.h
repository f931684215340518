#pragma once

#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

#include "weir/dstream/batch.h"

namespace weir::internal {

/// Decides when batches are cut. Pure: told what happens and what time it is, says what to do.
///
/// Batch times lie on the grid of multiples of the interval since the epoch, the first one strictly
/// after the start and the last batch of an earlier driver; sequence numbers go on after that
/// one's, or count from 1. A late driver misses none: it cuts one batch per due event and is due
/// again at once until it has caught up. Grid points at which there was no driver have no batch.
///
///     start at 2.3s, interval 1s:   zero time 2s   #1 at 3s   #2 at 4s   ...
class BatchGenerator {
 public:
  enum class State { kReady, kRunning, kLastTick, kFinished };

  struct Start {
    Batch last = {};                     ///< of an earlier driver; sequence 0: there was none
    std::optional<Time> zero_time = {};  ///< the earlier driver's
  };
  struct TimerDue {};
  /// One more tick, so that what was received before now is processed.
  struct StopGracefully {};
  struct StopNow {};
  using Event = std::variant<Start, TimerDue, StopGracefully, StopNow>;

  /// Send `TimerDue` when it is `due`; replaces the timer set before.
  struct SetTimer {
    Time due;
    bool operator==(const SetTimer&) const = default;
  };
  struct Generate {
    Batch batch;
    bool operator==(const Generate&) const = default;
  };
  /// No batch follows.
  struct Finished {
    bool operator==(const Finished&) const = default;
  };
  using Action = std::variant<SetTimer, Generate, Finished>;

  /// `interval` is positive.
  explicit BatchGenerator(Duration interval);

  std::vector<Action> on(const Event& event, Time now);

  State state() const { return state_; }
  /// One interval before the first batch ever, on this interval's grid; set by `Start`.
  Time zero_time() const { return zero_time_; }
  /// The grid point at or before `time`.
  static Time grid_point(Time time, Duration interval);

 private:
  std::vector<Action> start(const Start& event, Time now);
  std::vector<Action> tick(Time now);
  std::vector<Action> stop_gracefully(Time now);
  std::vector<Action> finish();
  void enter(State state);

  const Duration interval_;
  State state_ = State::kReady;
  Time zero_time_{};
  Batch next_;             // the next batch to cut
  Time stop_requested_{};  // in kLastTick: the last batch is the first one after this
};

}  // namespace weir::internal
