#pragma once

#include <algorithm>
#include <chrono>

#include "weir/core/time.h"

namespace weir::kafka::internal {

/// When waiting ends: passed through all steps of something, so that they share one time-out.
class Deadline {
 public:
  explicit Deadline(Duration timeout) : timeout_(timeout), at_(SteadyClock::now() + timeout) {}

  Duration left() const {
    return std::max(Duration::zero(),
                    std::chrono::duration_cast<Duration>(at_ - SteadyClock::now()));
  }
  bool passed() const { return left() == Duration::zero(); }
  /// What it was made with, for messages.
  Duration timeout() const { return timeout_; }

 private:
  using SteadyClock = std::chrono::steady_clock;

  Duration timeout_;
  SteadyClock::time_point at_;
};

}  // namespace weir::kafka::internal
