#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

/// Places where a test lets a process die. The environment variable `WEIR_CRASH_AT=name[:n]` kills
/// the process (SIGKILL) when it passes the point of that name for the n-th time, by default the
/// first. Any process that has the variable and the point obeys: the next one too that is started
/// in the place of a dead one, unless `WEIR_CRASH_ONCE=file` is set as well. Then only the process
/// dies that makes the file, which holds its id; while it is there nobody else does. Not armed, a
/// point costs one relaxed load.
namespace weir {

/// The names of all points in this program, sorted.
std::vector<std::string> crash_points();

/// As the environment does; "" disarms all. Throws Error(kInvalidArgument) for a name that this
/// program does not have, or a count that is none.
void arm_crash_point(const std::string& name_and_count);

/// Throws Error(kInvalidArgument) if `WEIR_CRASH_AT` is set to what cannot be armed, so that a
/// misspelt name is not taken for a process that survives everything.
void check_crash_environment();

namespace internal {

class CrashPoint {
 public:
  /// Enters itself into the table, armed if the environment says so. `name` lives for ever.
  explicit CrashPoint(const char* name);

  const char* name() const { return name_; }
  void arm(std::uint64_t passings) { left_.store(passings, std::memory_order_relaxed); }
  /// Whether this is the passing at which to die.
  bool reached() { return left_.load(std::memory_order_relaxed) != 0 && counts_down(); }

 private:
  bool counts_down() { return left_.fetch_sub(1) == 1 && may_die(); }
  static bool may_die();

  const char* const name_;
  std::atomic<std::uint64_t> left_{0};  ///< passings until death; 0: not armed
};

[[noreturn]] void die_at_once();

template <std::size_t kSize>
struct CrashPointName {
  char text[kSize];
  constexpr CrashPointName(const char (&name)[kSize]) {  // NOLINT: a literal is meant to convert
    std::copy_n(name, kSize, text);
  }
};

/// One object per name, made before main() by every program that contains the place.
template <CrashPointName kName>
struct NamedCrashPoint {
  static inline CrashPoint point{kName.text};
};

}  // namespace internal
}  // namespace weir

/// Whether to die here, for places that have to do half of something first and then call
/// weir::internal::die_at_once().
#define WEIR_CRASH_DUE(name) (::weir::internal::NamedCrashPoint<name>::point.reached())

/// Dies here, when armed.
#define WEIR_CRASH_POINT(name)                                 \
  do {                                                         \
    if (WEIR_CRASH_DUE(name)) ::weir::internal::die_at_once(); \
  } while (false)
