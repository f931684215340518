#include "weir/cluster/private_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <vector>

#include <fmt/format.h>

#include "weir/cluster/worker_boot.h"
#include "weir/core/error.h"

namespace weir {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPrefix = "weir-run-";
constexpr std::size_t kLongestSocketPath = sizeof(sockaddr_un::sun_path) - 1;

std::vector<std::string> candidates() {
  std::vector<std::string> bases;
  const char* temporary = std::getenv("TMPDIR");
  if (temporary != nullptr && *temporary == '/') bases.emplace_back(temporary);
  bases.emplace_back("/tmp");
  return bases;
}

/// A descriptor of a directory of this user's, locked; -1 if it is none, or somebody else has the
/// lock.
int lock_directory(const std::string& path) {
  const int directory = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (directory < 0) return -1;
  struct stat info {};
  if (fstat(directory, &info) == 0 && info.st_uid == geteuid() &&
      flock(directory, LOCK_EX | LOCK_NB) == 0) {
    return directory;
  }
  close(directory);
  return -1;
}

/// Removes a directory that we have locked, if it holds nothing but sockets of ours.
void remove_run(const std::string& path, int directory) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(path, ignored)) {
    const std::string name = entry.path().filename().string();
    if (is_socket_name(name) && entry.is_socket(ignored)) unlinkat(directory, name.c_str(), 0);
  }
  rmdir(path.c_str());
}

void remove_abandoned(const std::string& base) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(base, ignored)) {
    if (!entry.path().filename().string().starts_with(kPrefix)) continue;
    const std::string path = entry.path().string();
    const int directory = lock_directory(path);
    if (directory < 0) continue;
    remove_run(path, directory);
    close(directory);
  }
}

}  // namespace

PrivateDirectory::PrivateDirectory(std::size_t longest_name) {
  std::string trouble;
  for (const std::string& base : candidates()) {
    remove_abandoned(base);
    const std::string pattern = fs::path(base) / fmt::format("{}XXXXXX", kPrefix);
    if (pattern.size() + 1 + longest_name > kLongestSocketPath) {
      trouble = fmt::format("{} is too long: a socket path has at most {} characters", base,
                            kLongestSocketPath);
      continue;
    }
    // Another run may take a new one for abandoned before it is locked, and remove it: then again.
    for (int attempt = 0; attempt < 10; ++attempt) {
      path_ = pattern;
      if (mkdtemp(path_.data()) == nullptr) {  // makes it with mode 0700
        trouble = fmt::format("cannot make a directory in {}: {}", base, std::strerror(errno));
        break;
      }
      lock_ = lock_directory(path_);
      struct stat info {};
      if (lock_ >= 0 && fstat(lock_, &info) == 0 && info.st_nlink > 0) return;
      trouble = fmt::format("cannot lock a directory in {}: {}", base, std::strerror(errno));
      if (lock_ >= 0) close(lock_);
      rmdir(path_.c_str());
    }
  }
  throw Error(ErrorCode::kUnreachable, "no place for the sockets of worker processes: " + trouble);
}

PrivateDirectory::~PrivateDirectory() {
  remove_run(path_, lock_);
  close(lock_);
}

}  // namespace weir
