#pragma once

#include <cstdint>
#include <optional>

#include "weir/core/time.h"

namespace weir::internal {

/// How many records per second an input may give its next batches, from how the last ones went.
/// Pure: told what happened, says a limit. It changes what is cut, never what was recorded.
///
///     kStarting   the first batches: `initial_rate`, doubled by each batch that took all that it
///                 was allowed in less than `engage_at` of the interval
///       |  |
///       |  +--> kFree      no limit: batches take less than they might, or came after idleness
///       |        |   ^
///       v        v   |     a batch took more than `engage_at` of the interval, or others wait
///     kLimited ------+     until a batch stays below its limit and the stream keeps up
///
/// In kLimited a PID controller sets the rate, with the formula of Spark's PIDRateEstimator
/// (streaming/scheduler/rate/PIDRateEstimator.scala), its parameters and their defaults:
///
///     processed = records / processing time                  the rate at which the last batch went
///     error     = rate - processed
///     backlog   = scheduling delay * processed / interval    records that wait, per second
///     rate      = max(rate - P * error - I * backlog - D * (change of error per second), least)
///
/// The batch that engages it sets the rate to its own `processed`. Batches without records say
/// nothing.
class RateController {
 public:
  enum class State { kStarting, kFree, kLimited };

  struct Options {
    Duration interval{};
    double initial_rate = 50'000;  ///< records/s; 0: begin in kFree
    double min_rate = 100;         ///< records/s, at least one record per batch
    double max_rate = 0;           ///< records/s in every state; 0: no limit
    double proportional = 1.0;
    double integral = 0.2;
    double derivative = 0.0;
    double engage_at = 0.8;  ///< share of the interval
  };

  /// Of a batch that succeeded, and its part of this input.
  struct Completed {
    Time ended{};
    std::uint64_t records = 0;
    std::optional<double> limit = {};  ///< that it was cut with
    Duration processing{};
    Duration scheduling_delay{};
    std::size_t waiting = 0;  ///< batches behind it
  };

  explicit RateController(const Options& options);

  void on_completed(const Completed& batch);

  /// Records per second that the next batch may take; nothing: all that there are.
  std::optional<double> limit() const;
  State state() const { return state_; }

 private:
  void enter(State state, double rate);
  void control(const Completed& batch, double processed);

  const Options options_;
  State state_;
  double rate_ = 0;        // of kStarting and kLimited
  double last_error_ = 0;  // kLimited
  Time last_ended_{};      // kLimited
};

}  // namespace weir::internal
