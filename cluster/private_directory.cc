#include "weir/cluster/private_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <system_error>
#include <vector>

#include <fmt/format.h>

#include "weir/core/error.h"

namespace weir {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPrefix = "weir-";
constexpr const char* kLockName = "lock";
constexpr std::size_t kLongestSocketPath = sizeof(sockaddr_un::sun_path) - 1;
constexpr std::time_t kNewSeconds = 60;  // younger ones may not have got their lock yet

std::vector<std::string> candidates() {
  std::vector<std::string> bases;
  const char* runtime = std::getenv("XDG_RUNTIME_DIR");
  if (runtime != nullptr && *runtime == '/') bases.emplace_back(runtime);
  bases.emplace_back("/tmp");
  return bases;
}

/// The lock of a directory, or -1 if somebody else has it.
int take_lock(const std::string& directory, int flags) {
  const std::string path = directory + "/" + kLockName;
  const int lock = open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
  if (lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) == 0) return lock;
  if (lock >= 0) close(lock);
  return -1;
}

bool is_abandoned(const std::string& directory) {
  struct stat info {};
  if (lstat(directory.c_str(), &info) != 0 || !S_ISDIR(info.st_mode) || info.st_uid != geteuid() ||
      std::time(nullptr) - info.st_mtime < kNewSeconds) {
    return false;
  }
  if (access((directory + "/" + kLockName).c_str(), F_OK) != 0) return true;
  const int lock = take_lock(directory, 0);
  if (lock >= 0) close(lock);
  return lock >= 0;
}

void remove_abandoned(const std::string& base) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(base, ignored)) {
    const std::string path = entry.path().string();
    if (entry.path().filename().string().rfind(kPrefix, 0) == 0 && is_abandoned(path)) {
      fs::remove_all(path, ignored);
    }
  }
}

}  // namespace

PrivateDirectory::PrivateDirectory(std::size_t longest_name) {
  std::string trouble;
  for (const std::string& base : candidates()) {
    remove_abandoned(base);
    std::string path = base + "/" + kPrefix + "XXXXXX";
    if (path.size() + 1 + longest_name > kLongestSocketPath) {
      trouble = fmt::format("{} is too long: a socket path has at most {} characters", base,
                            kLongestSocketPath);
      continue;
    }
    if (mkdtemp(path.data()) == nullptr) {  // makes it with mode 0700
      trouble = fmt::format("cannot make a directory in {}: {}", base, std::strerror(errno));
      continue;
    }
    path_ = path;
    lock_ = take_lock(path_, O_CREAT | O_EXCL);
    if (lock_ >= 0) return;
    trouble = fmt::format("cannot make a file in {}: {}", path_, std::strerror(errno));
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  throw Error(ErrorCode::kUnreachable, "no place for the sockets of worker processes: " + trouble);
}

PrivateDirectory::~PrivateDirectory() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
  close(lock_);
}

}  // namespace weir
