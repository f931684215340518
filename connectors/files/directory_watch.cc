#include <dirent.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <utility>

#include <fmt/format.h>

#include "weir/connectors/files/directory_watch_internal.h"
#include "weir/core/error.h"

namespace weir::files::internal {

namespace fs = std::filesystem;

namespace {

constexpr std::uint32_t kWatched = IN_MOVED_TO | IN_CREATE | IN_CLOSE_WRITE | IN_DELETE |
                                   IN_MOVED_FROM | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;

std::int64_t nanoseconds(const timespec& time) {
  return static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

std::optional<struct stat> stat_of(const std::string& path) {
  struct stat found {};
  if (::lstat(path.c_str(), &found) == 0) return found;
  if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
  fail_with_errno("look at", path);
}

FileInfo info_of(const struct stat& found, std::string name) {
  return {std::move(name), static_cast<std::uint64_t>(found.st_size), found.st_ino,
          nanoseconds(found.st_mtim)};
}

std::vector<std::string> names_in(const std::string& directory) {
  struct Close {
    void operator()(DIR* open) const { ::closedir(open); }
  };
  const std::unique_ptr<DIR, Close> open(::opendir(directory.c_str()));
  if (open == nullptr) {
    if (errno == ENOENT) return {};
    fail_with_errno("list", directory);
  }
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = ::readdir(open.get())) {
    if (is_visible(entry->d_name)) names.emplace_back(entry->d_name);
  }
  if (errno != 0) fail_with_errno("list", directory);
  std::sort(names.begin(), names.end());
  return names;
}

/// A link to what was there before is complete, and nobody will close it.
bool is_hard_link(const std::string& path) {
  const auto found = stat_of(path);
  return found && found->st_nlink > 1;
}

int watch(const std::string& directory) {
  if (std::error_code error; !fs::is_directory(directory, error)) {
    throw Error(ErrorCode::kInvalidArgument,
                "a stream of files: '" + directory + "' is not a directory; create it first");
  }
  const int inotify = ::inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  if (inotify < 0) fail_with_errno("watch (fs.inotify.max_user_instances?)", directory);
  if (::inotify_add_watch(inotify, directory.c_str(), kWatched) < 0) {
    const int error = errno;
    ::close(inotify);
    errno = error;
    fail_with_errno("watch (fs.inotify.max_user_watches?)", directory);
  }
  return inotify;
}

}  // namespace

bool is_visible(const std::string& name) {
  return !name.empty() && name.front() != '.' && name.front() != '_';
}

std::optional<FileInfo> file_info(const std::string& path, const std::string& name) {
  const auto found = stat_of(path);
  if (!found || !S_ISREG(found->st_mode)) return std::nullopt;
  return info_of(*found, name);
}

DirectoryWatch::DirectoryWatch(std::string directory)
    : directory_(std::move(directory)), inotify_(watch(directory_)) {}

DirectoryWatch::Events DirectoryWatch::poll() {
  Events events;
  alignas(inotify_event) char buffer[64 * 1024];
  while (true) {
    const ssize_t got = ::read(inotify_.descriptor(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return events;
    if (got < 0) fail_with_errno("watch", directory_);
    for (ssize_t at = 0; at < got;) {
      const auto& event = *reinterpret_cast<const inotify_event*>(buffer + at);
      at += static_cast<ssize_t>(sizeof(inotify_event) + event.len);
      if ((event.mask & IN_Q_OVERFLOW) != 0) {
        events.overflow = true;
        being_written_.clear();  // who knows
      }
      if ((event.mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED | IN_UNMOUNT)) != 0) {
        throw Error(ErrorCode::kUnreachable,
                    "the directory of a stream of files is gone: " + directory_);
      }
      std::string name = event.len == 0 ? "" : std::string(event.name);
      if (!is_visible(name)) continue;
      if ((event.mask & (IN_DELETE | IN_MOVED_FROM)) != 0) {
        being_written_.erase(name);
        events.gone.push_back(std::move(name));
      } else if ((event.mask & IN_MOVED_TO) != 0) {
        being_written_.erase(name);
        events.arrived.push_back(std::move(name));
      } else if ((event.mask & IN_CREATE) != 0) {
        if ((event.mask & IN_ISDIR) != 0) continue;
        if (is_hard_link(directory_ + "/" + name)) {
          events.arrived.push_back(std::move(name));
        } else {
          being_written_.insert(std::move(name));
        }
      } else if ((event.mask & IN_CLOSE_WRITE) != 0) {
        auto& reported = being_written_.erase(name) != 0 ? events.arrived : events.rewritten;
        reported.push_back(std::move(name));
      }
    }
  }
}

std::vector<Arrival> DirectoryWatch::list() const {
  std::vector<Arrival> all;
  for (const std::string& name : names_in(directory_)) {
    if (being_written_.count(name) != 0) continue;
    if (auto arrival = look_at(name)) all.push_back(std::move(*arrival));
  }
  return all;
}

std::optional<Arrival> DirectoryWatch::look_at(const std::string& name) const {
  const std::string path = directory_ + "/" + name;
  const auto found = stat_of(path);
  if (!found) return std::nullopt;
  Arrival arrival{
      {nanoseconds(found->st_ctim), name, found->st_ino, 0, nanoseconds(found->st_mtim)}, {}};
  if (S_ISREG(found->st_mode)) {
    arrival.mark.size = static_cast<std::uint64_t>(found->st_size);
    arrival.files.push_back(info_of(*found, name));
  } else if (S_ISDIR(found->st_mode) && file_info(path + "/_COMMIT", name)) {
    for (const std::string& part : names_in(path)) {
      auto file = file_info(path + "/" + part, name + "/" + part);
      if (file) arrival.files.push_back(std::move(*file));
    }
  } else {
    return std::nullopt;
  }
  return arrival;
}

}  // namespace weir::files::internal
