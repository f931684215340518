#include "weir/core/state/changelog.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <random>

#include <fmt/format.h>

#include "weir/core/crash_point.h"
#include "weir/core/error.h"
#include "weir/core/hash.h"

namespace weir::internal {
namespace {

constexpr std::string_view kMagic = "WEIRCHG1";

[[noreturn]] void fail(const char* what, const std::string& path, int error) {
  throw Error(ErrorCode::kUnreachable, fmt::format("{} {}: {}", what, path, std::strerror(error)));
}

}  // namespace

int create_state_file(const std::string& directory, const std::string& prefix,
                      const std::string& suffix, std::string& name) {
  if (mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
    fail("cannot create the state directory", directory, errno);
  }
  std::random_device device;
  while (true) {
    const std::uint64_t random = (std::uint64_t{device()} << 32) | device();
    name = fmt::format("{}{:016x}{}", prefix, random, suffix);
    const std::string path = directory + "/" + name;
    const int descriptor = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (descriptor >= 0) return descriptor;
    if (errno != EEXIST && errno != EINTR) fail("cannot create the state file", path, errno);
  }
}

void write_state_file(int descriptor, const std::string& path, std::string_view bytes) {
  ssize_t written = -1;
  do {
    written = write(descriptor, bytes.data(), bytes.size());
  } while (written < 0 && errno == EINTR);
  if (written == static_cast<ssize_t>(bytes.size())) return;
  throw Error(
      ErrorCode::kUnreachable,
      fmt::format("wrote {} of {} bytes of state to {}: {}", written < 0 ? 0 : written,
                  bytes.size(), path,
                  written < 0 ? std::strerror(errno) : "no more room, or a limit on files"));
}

struct Changelog::File {
  explicit File(const std::string& directory)
      : descriptor(create_state_file(directory, "log-", ".chg", name)),
        path(directory + "/" + name) {}
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() { close(descriptor); }

  /// Its removal is no error: nothing referred to it.
  bool is_there() const {
    struct stat status {};
    return fstat(descriptor, &status) == 0 && status.st_nlink > 0;
  }

  std::string name;
  const int descriptor;
  const std::string path;
  std::uint64_t size = 0;
};

StatePiece Changelog::append(const std::string& directory, std::string_view bytes) {
  const std::uint64_t hash = hash_bytes(bytes);
  const std::scoped_lock lock(mutex_);
  std::shared_ptr<File>& current = files_[directory];
  if (current != nullptr && (current->size >= roll_bytes_ || !current->is_there())) current.reset();
  const auto file = current != nullptr ? current : std::make_shared<File>(directory);
  current.reset();  // given up unless all of it is written
  if (file->size == 0) {
    write_state_file(file->descriptor, file->path, kMagic);
    file->size = kMagic.size();
  }
  WEIR_CRASH_POINT("state.before-delta");
  if (WEIR_CRASH_DUE("state.delta-torn")) {
    write_state_file(file->descriptor, file->path, bytes.substr(0, bytes.size() / 2));
    die_at_once();
  }
  write_state_file(file->descriptor, file->path, bytes);
  WEIR_CRASH_POINT("state.after-delta");
  StatePiece piece{file->name, file->size, bytes.size(), hash};
  file->size += bytes.size();
  current = file;
  return piece;
}

}  // namespace weir::internal
