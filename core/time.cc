#include "weir/core/time.h"

#include <charconv>
#include <cstdint>
#include <cstdio>
#include <limits>

#include "weir/core/error.h"

namespace weir {
namespace {

class SystemClock final : public Clock {
 public:
  Time now() const override {
    return std::chrono::time_point_cast<Duration>(std::chrono::system_clock::now());
  }
  SteadyTime steady_now() const override {
    return std::chrono::time_point_cast<Duration>(std::chrono::steady_clock::now());
  }
};

struct Unit {
  const char* name;
  std::int64_t microseconds;
};
constexpr Unit kUnits[] = {
    {"us", 1}, {"ms", 1'000}, {"s", 1'000'000}, {"min", 60'000'000}, {"h", 3'600'000'000}};

}  // namespace

const Clock& Clock::system() {
  static const SystemClock clock;
  return clock;
}

std::string to_string(Duration duration) {
  const std::int64_t us = duration.count();
  if (us % 1'000'000 == 0) return std::to_string(us / 1'000'000) + "s";
  if (us % 1'000 == 0) return std::to_string(us / 1'000) + "ms";
  return std::to_string(us) + "us";
}

std::string to_string(Time time) {
  const std::int64_t us = time.time_since_epoch().count();
  char text[48];
  if (us % 1'000 == 0) {
    std::snprintf(text, sizeof text, "%lld.%03llds", static_cast<long long>(us / 1'000'000),
                  static_cast<long long>(us % 1'000'000 / 1'000));
  } else {
    std::snprintf(text, sizeof text, "%lld.%06llds", static_cast<long long>(us / 1'000'000),
                  static_cast<long long>(us % 1'000'000));
  }
  return text;
}

Duration parse_duration(const std::string& text, const std::string& what) {
  std::int64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  if (error == std::errc{}) {
    for (const Unit& unit : kUnits) {
      if (std::string(rest, end) != unit.name) continue;
      constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
      if (number > kMost / unit.microseconds || number < -(kMost / unit.microseconds)) break;
      return Duration(number * unit.microseconds);
    }
  }
  throw Error(
      ErrorCode::kInvalidArgument,
      what + ": '" + text + "' is not a duration; write for example 250us, 10ms, 2s or 5min");
}

}  // namespace weir
