#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <thread>

#include <fmt/format.h>

#include "weir/connectors/files/folder_ops_internal.h"
#include "weir/core/error.h"

namespace weir::files::internal {

namespace fs = std::filesystem;

namespace {

constexpr std::chrono::seconds kLockLimit{10};
constexpr std::chrono::milliseconds kLockPoll{5};

class SystemFolderOps final : public FolderOps {
 public:
  void make_directories(const std::string& path) override {
    std::error_code error;
    fs::create_directories(path, error);
    if (error) fail("create the directory", path, error);
  }

  void write_file(const std::string& path, std::string_view content) override {
    const OpenFile file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
    if (file.descriptor() < 0) fail_with_errno("create", path);
    write_all(file.descriptor(), content, path);
    if (::fsync(file.descriptor()) != 0) fail_with_errno("sync", path);
  }

  bool rename(const std::string& from, const std::string& to) override {
    if (::rename(from.c_str(), to.c_str()) == 0) return true;
    if (errno == ENOTEMPTY || errno == EEXIST || errno == ENOENT) return false;
    fail_with_errno(("rename " + from + " to").c_str(), to);
  }

  void sync_directory(const std::string& path) override {
    const OpenFile directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (directory.descriptor() < 0) fail_with_errno("open", path);
    if (::fsync(directory.descriptor()) != 0) fail_with_errno("sync", path);
  }

  void remove_all(const std::string& path) override {
    std::error_code error;
    fs::remove_all(path, error);
    if (error) fail("remove", path, error);
  }

 private:
  [[noreturn]] static void fail(const char* what, const std::string& path,
                                const std::error_code& error) {
    throw Error(ErrorCode::kUnreachable,
                fmt::format("cannot {} {}: {}", what, path, error.message()));
  }
};

}  // namespace

std::shared_ptr<FolderOps> FolderOps::system() { return std::make_shared<SystemFolderOps>(); }

OpenFile::~OpenFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void fail_with_errno(const char* what, const std::string& path) {
  throw Error(ErrorCode::kUnreachable,
              fmt::format("cannot {} {}: {}", what, path, std::strerror(errno)));
}

void write_all(int descriptor, std::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail_with_errno("write", path);
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
}

std::optional<std::string> read_file(const std::string& path) {
  const OpenFile file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.descriptor() < 0) {
    if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
    fail_with_errno("open", path);
  }
  std::string content;
  char buffer[4096];
  while (true) {
    const ssize_t got = ::read(file.descriptor(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail_with_errno("read", path);
    if (got == 0) return content;
    content.append(buffer, static_cast<std::size_t>(got));
  }
}

FileLock::FileLock(const std::string& path)
    : file_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666)) {
  if (file_.descriptor() < 0) fail_with_errno("open", path);
  // Held for some milliseconds by whoever works; waiting without limit would hang behind a process
  // that was stopped.
  const auto deadline = std::chrono::steady_clock::now() + kLockLimit;
  while (::flock(file_.descriptor(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) fail_with_errno("lock", path);
    if (std::chrono::steady_clock::now() > deadline) {
      throw Error(ErrorCode::kUnreachable,
                  path + " has been locked by another process for " +
                      std::to_string(kLockLimit.count()) +
                      " s: a driver of this application that does not answer? End it");
    }
    std::this_thread::sleep_for(kLockPoll);
  }
}

}  // namespace weir::files::internal
