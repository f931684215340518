#pragma once

#include <chrono>
#include <string>

namespace weir {

using Duration = std::chrono::microseconds;
/// A point on the wall clock: batch times and event times.
using Time = std::chrono::sys_time<Duration>;
/// A point on the monotonic clock: timeouts and measured durations.
using SteadyTime = std::chrono::time_point<std::chrono::steady_clock, Duration>;

/// "1500ms", "2s", "250us": the shortest exact form, as options accept it.
std::string to_string(Duration duration);
/// Seconds since the epoch with the digits that matter, "1700000000.250s".
std::string to_string(Time time);
/// Reads "250us", "10ms", "2s", "5min", "1h". Throws Error(kInvalidArgument) that names `what`.
Duration parse_duration(const std::string& text, const std::string& what);

/// The clocks, given to whatever waits or measures, so that tests and the simulation own time.
/// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual Time now() const = 0;
  virtual SteadyTime steady_now() const = 0;

  /// The machine's clocks.
  static const Clock& system();
};

}  // namespace weir
