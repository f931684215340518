#include "weir/core/crash_point.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <mutex>
#include <optional>

#include <fmt/format.h>

#include "weir/core/error.h"

namespace weir {
namespace {

constexpr const char* kVariable = "WEIR_CRASH_AT";
constexpr const char* kOnceVariable = "WEIR_CRASH_ONCE";

struct Table {
  std::mutex mutex;
  std::vector<internal::CrashPoint*> points;
};

/// Points enter while other static objects are being made, so it cannot be one of them.
Table& table() {
  static Table made;
  return made;
}

struct Wish {
  std::string name;
  std::uint64_t passings = 1;
};

/// Nothing if the count is not a number from 1 on.
std::optional<Wish> parse(const std::string& text) {
  const std::size_t colon = text.find(':');
  Wish wish{text.substr(0, colon)};
  if (colon == std::string::npos) return wish;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data() + colon + 1, end, wish.passings);
  if (error != std::errc() || rest != end || wish.passings == 0) return std::nullopt;
  return wish;
}

std::string of_environment() {
  const char* const value = std::getenv(kVariable);
  return value == nullptr ? "" : value;
}

/// Checks before anything is changed. The table's mutex is held.
Wish checked(const std::string& text, const std::vector<internal::CrashPoint*>& points) {
  const std::optional<Wish> wish = parse(text);
  if (!wish) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("crash point '{}': give name or name:n with n from 1 on", text));
  }
  for (const internal::CrashPoint* point : points) {
    if (point->name() == wish->name) return *wish;
  }
  std::string names;
  for (const internal::CrashPoint* point : points) names += std::string(" ") + point->name();
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("crash point '{}' is not in this program; it has:{}", wish->name,
                          names.empty() ? " none" : names));
}

}  // namespace

std::vector<std::string> crash_points() {
  const std::lock_guard lock(table().mutex);
  std::vector<std::string> names;
  for (const internal::CrashPoint* point : table().points) names.emplace_back(point->name());
  std::sort(names.begin(), names.end());
  return names;
}

void arm_crash_point(const std::string& name_and_count) {
  const std::lock_guard lock(table().mutex);
  const Wish wish = name_and_count.empty() ? Wish{} : checked(name_and_count, table().points);
  for (internal::CrashPoint* point : table().points) {
    point->arm(point->name() == wish.name ? wish.passings : 0);
  }
}

void check_crash_environment() {
  const std::string text = of_environment();
  const std::lock_guard lock(table().mutex);
  if (!text.empty()) checked(text, table().points);
}

namespace internal {

CrashPoint::CrashPoint(const char* name) : name_(name) {
  const std::lock_guard lock(table().mutex);
  table().points.push_back(this);
  const std::optional<Wish> wish = parse(of_environment());
  if (wish && wish->name == name) arm(wish->passings);
}

/// Leaves the mark that keeps all others alive, if one is asked for and not there yet.
bool CrashPoint::may_die() {
  const char* const once = std::getenv(kOnceVariable);
  if (once == nullptr) return true;
  const int file = open(once, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (file < 0) return errno != EEXIST;  // a path that cannot be made is no reason to live on
  const std::string id = std::to_string(getpid());
  (void)!write(file, id.data(), id.size());
  close(file);
  return true;
}

void die_at_once() {
  kill(getpid(), SIGKILL);
  while (true) pause();  // until it arrives
}

}  // namespace internal
}  // namespace weir
