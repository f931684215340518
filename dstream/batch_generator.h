#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <variant>
#include <vector>

#include "weir/dstream/batch.h"

namespace weir::internal {

/// Decides when batches are cut. Pure: told what happens and what time it is, says what to do.
///
/// Batch times lie on the grid of multiples of the interval since the epoch, the first one strictly
/// after the start and the last batch of an earlier driver; sequence numbers go on after that
/// one's, or count from 1. A late driver cuts one batch per due event and is due again at once
/// until it has caught up. When batches wait already, it waits itself, until `CatchUp`; then the
/// grid points that it missed are one batch, at the last of them, but for those at which something
/// is due that is not due with every batch: they have their own. Grid points that are skipped, and
/// those at which there was no driver, have no batch.
///
///     start at 2.3s, interval 1s:   zero time 2s   #1 at 3s   #2 at 4s   ...
///     from 4.1s to 9.4s batches wait, a window is due at 6s:   #3 at 6s   #4 at 9s   #5 at 10s
class BatchGenerator {
 public:
  enum class State { kReady, kRunning, kLastTick, kFinished };

  struct Start {
    Batch last = {};                     ///< of an earlier driver; sequence 0: there was none
    std::optional<Time> zero_time = {};  ///< the earlier driver's
  };
  struct TimerDue {
    bool wait = false;  ///< batches wait already: cut none, until `CatchUp`
  };
  /// Cut what was missed meanwhile, if anything was.
  struct CatchUp {};
  /// One more tick, so that what was received before now is processed.
  struct StopGracefully {};
  struct StopNow {};
  using Event = std::variant<Start, TimerDue, CatchUp, StopGracefully, StopNow>;

  /// Send `TimerDue` when it is `due`; replaces the timer set before.
  struct SetTimer {
    Time due;
    bool operator==(const SetTimer&) const = default;
  };
  struct Generate {
    Batch batch;
    bool operator==(const Generate&) const = default;
  };
  /// The grid points from `first` to `last` have no batch.
  struct Skip {
    Time first;
    Time last;
    bool operator==(const Skip&) const = default;
  };
  /// No batch follows.
  struct Finished {
    bool operator==(const Finished&) const = default;
  };
  using Action = std::variant<SetTimer, Generate, Skip, Finished>;

  /// Whether something is due at a grid point that is not due at every one.
  using IsSpecial = std::function<bool(Time)>;

  /// `interval` is positive.
  explicit BatchGenerator(Duration interval, IsSpecial is_special = {});

  std::vector<Action> on(const Event& event, Time now);

  State state() const { return state_; }
  /// One interval before the first batch ever, on this interval's grid; set by `Start`.
  Time zero_time() const { return zero_time_; }
  /// The grid point at or before `time`.
  static Time grid_point(Time time, Duration interval);

 private:
  std::vector<Action> start(const Start& event, Time now);
  std::vector<Action> tick(Time now);
  std::vector<Action> catch_up(Time now);
  std::vector<Action> stop_gracefully(Time now);
  std::vector<Action> finish();
  void enter(State state);

  const Duration interval_;
  const IsSpecial is_special_;
  bool waits_ = false;  // for CatchUp
  State state_ = State::kReady;
  Time zero_time_{};
  Batch next_;             // the next batch to cut
  Time stop_requested_{};  // in kLastTick: the last batch is the first one after this
};

}  // namespace weir::internal
