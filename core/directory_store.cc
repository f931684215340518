#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <span>
#include <utility>

#include <fmt/format.h>

#include "weir/core/crash_point.h"
#include "weir/core/durable_store.h"
#include "weir/core/error.h"
#include "weir/core/store_path_internal.h"
#include "weir/core/time.h"

namespace weir {
namespace {

using internal::check_store_directory;
using internal::check_store_path;
using internal::parent_of;

constexpr mode_t kFileMode = 0600;
constexpr mode_t kDirectoryMode = 0700;
constexpr const char* kLockName = "LOCK";

[[noreturn]] void fail(const std::string& what, const std::string& path) {
  const int cause = errno;
  std::string advice;
  if (cause == ENOSPC || cause == EDQUOT) advice = "; free space and start again";
  if (cause == EIO) advice = "; check the disk before anything is started on it again";
  throw Error(ErrorCode::kUnreachable,
              fmt::format("cannot {} {}: {}{}", what, path, std::strerror(cause), advice));
}

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  ~Descriptor() {
    if (number_ >= 0) close(number_);
  }
  int get() const { return number_; }
  explicit operator bool() const { return number_ >= 0; }

 private:
  int number_;
};

Descriptor open_file(const std::string& path, int flags) {
  int number = -1;
  do {
    number = open(path.c_str(), flags | O_CLOEXEC, kFileMode);
  } while (number < 0 && errno == EINTR);
  return Descriptor(number);
}

void write_all(int file, std::string_view bytes, const std::string& path) {
  std::string_view left = bytes;
  while (!left.empty()) {
    const ssize_t written = ::write(file, left.data(), left.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail(fmt::format("write {} of {} bytes to", left.size(), bytes.size()), path);
    left.remove_prefix(static_cast<std::size_t>(written));
  }
}

/// EINTR aside, never tried again: see DurableFile.
void sync_data(int file, const std::string& path) {
  int result = 0;
  do {
    result = fdatasync(file);
  } while (result != 0 && errno == EINTR);
  if (result != 0) fail("sync", path);
}

void sync_directory_at(const std::string& path) {
  const Descriptor directory = open_file(path, O_RDONLY | O_DIRECTORY);
  if (!directory) fail("open the directory", path);
  if (fsync(directory.get()) != 0) fail("sync the directory", path);
}

/// Where the one above exists.
void make_directory(const std::string& path) {
  if (mkdir(path.c_str(), kDirectoryMode) != 0 && errno != EEXIST) fail("make the directory", path);
}

/// With all that are missing above it, each made durable in the one above.
void make_directories(const std::string& path) {
  if (path.empty()) return;
  struct stat info {};
  if (stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) return;
  const std::string above = std::filesystem::path(path).parent_path().string();
  if (above != path) make_directories(above);
  if (mkdir(path.c_str(), kDirectoryMode) != 0) {
    if (errno == EEXIST && stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) return;
    fail("make the directory", path);
  }
  sync_directory_at(above.empty() ? "." : above);
}

class PosixFile final : public DurableFile {
 public:
  PosixFile(std::string path, Descriptor file) : path_(std::move(path)), file_(std::move(file)) {}

  void append(std::string_view bytes) override {
    expect_usable();
    poisoned_ = true;  // unless all of it succeeds
    write_all(file_.get(), bytes, path_);
    size_ += bytes.size();
    poisoned_ = false;
  }

  void sync() override {
    expect_usable();
    poisoned_ = true;
    sync_data(file_.get(), path_);
    poisoned_ = false;
  }

  std::uint64_t size() const override { return size_; }

  bool is_removed() const override {
    struct stat info {};
    return fstat(file_.get(), &info) != 0 || info.st_nlink == 0;
  }

 private:
  void expect_usable() const {
    if (!poisoned_) return;
    throw Error(ErrorCode::kUnreachable,
                fmt::format("{} is not written any more: writing or syncing it failed before, and "
                            "what is on the disk behind its last sync is not known",
                            path_));
  }

  const std::string path_;
  const Descriptor file_;
  std::uint64_t size_ = 0;
  bool poisoned_ = false;
};

class PosixReader final : public DurableReader {
 public:
  PosixReader(std::string path, Descriptor file) : path_(std::move(path)), file_(std::move(file)) {}

  std::uint64_t size() const override {
    const off_t end = lseek(file_.get(), 0, SEEK_END);  // cheaper than fstat
    if (end < 0) fail("look at", path_);
    return static_cast<std::uint64_t>(end);
  }

  std::size_t read(std::uint64_t offset, std::span<char> to) override {
    std::size_t filled = 0;
    while (filled < to.size()) {
      const ssize_t got = pread(file_.get(), to.data() + filled, to.size() - filled,
                                static_cast<off_t>(offset + filled));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) fail(fmt::format("read at offset {} of", offset + filled), path_);
      if (got == 0) break;
      filled += static_cast<std::size_t>(got);
    }
    return filled;
  }

 private:
  const std::string path_;
  const Descriptor file_;
};

class PosixLock final : public StoreLock {
 public:
  explicit PosixLock(Descriptor file) : file_(std::move(file)) {}
  /// A child between fork and exec may still share the descriptor, so closing is not enough.
  ~PosixLock() override { flock(file_.get(), LOCK_UN); }

 private:
  const Descriptor file_;
};

std::string whoever_we_are() {
  std::array<char, 256> host{};
  gethostname(host.data(), host.size() - 1);
  return fmt::format("{} {} since {}", getpid(), host.data(), to_string(Clock::system().now()));
}

class DirectoryStore final : public DurableStore {
 public:
  DirectoryStore(std::string root, bool is_ours) : root_(std::move(root)), is_ours_(is_ours) {}

  std::string name() const override { return root_; }

  std::unique_ptr<DurableFile> create(const std::string& path) override {
    check_store_path(path);
    if (is_ours_) {
      make_directories(full(parent_of(path)));
    } else {
      make_directory(full(parent_of(path)));
    }
    Descriptor file = open_file(full(path), O_WRONLY | O_CREAT | O_EXCL | O_APPEND);
    if (!file) {
      if (errno == EEXIST) return nullptr;
      fail("create", full(path));
    }
    return std::make_unique<PosixFile>(full(path), std::move(file));
  }

  std::unique_ptr<DurableReader> open(const std::string& path) override {
    check_store_path(path);
    Descriptor file = open_file(full(path), O_RDONLY);
    if (!file) {
      if (errno == ENOENT) return nullptr;
      fail("open", full(path));
    }
    return std::make_unique<PosixReader>(full(path), std::move(file));
  }

  std::int64_t size(const std::string& path) override {
    check_store_path(path);
    struct stat info {};
    if (stat(full(path).c_str(), &info) == 0) return info.st_size;
    if (errno == ENOENT || errno == ENOTDIR) return -1;
    fail("look at", full(path));
  }

  std::vector<std::string> list(const std::string& directory) override {
    check_store_directory(directory);
    const std::string path = full(directory);
    const std::unique_ptr<DIR, int (*)(DIR*)> opened(opendir(path.c_str()), &closedir);
    if (!opened) {
      if (errno == ENOENT || errno == ENOTDIR) return {};
      fail("list", path);
    }
    std::vector<std::string> names;
    errno = 0;
    while (const dirent* entry = readdir(opened.get())) {
      bool is_file = entry->d_type == DT_REG;
      if (entry->d_type == DT_UNKNOWN) {
        struct stat info {};
        is_file = fstatat(dirfd(opened.get()), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) == 0 &&
                  S_ISREG(info.st_mode);
      }
      if (is_file) names.emplace_back(entry->d_name);
      errno = 0;
    }
    if (errno != 0) fail("list", path);
    std::sort(names.begin(), names.end());
    return names;
  }

  void remove(const std::string& path) override {
    check_store_path(path);
    if (unlink(full(path).c_str()) != 0 && errno != ENOENT) fail("remove", full(path));
  }

  void replace(const std::string& path, std::string_view content) override {
    check_store_path(path);
    const std::lock_guard lock(replacing_);  // the unfinished file has one name
    const std::string directory = parent_of(path);
    make_directories(full(directory));
    const std::string unfinished = full(path) + ".tmp";
    {
      const Descriptor file = open_file(unfinished, O_WRONLY | O_CREAT | O_TRUNC);
      if (!file) fail("create", unfinished);
      write_all(file.get(), content, unfinished);
      WEIR_CRASH_POINT("store.replace-written");
      sync_data(file.get(), unfinished);
    }
    WEIR_CRASH_POINT("store.replace-before-rename");
    if (rename(unfinished.c_str(), full(path).c_str()) != 0) fail("rename to", full(path));
    WEIR_CRASH_POINT("store.replace-before-directory-sync");
    sync_directory_at(full(directory));
    WEIR_CRASH_POINT("store.replaced");
  }

  void sync_file(const std::string& path) override {
    check_store_path(path);
    const Descriptor file = open_file(full(path), O_RDONLY);
    if (!file) fail("open", full(path));
    sync_data(file.get(), full(path));
  }

  void sync_directory(const std::string& directory) override {
    check_store_directory(directory);
    sync_directory_at(full(directory));
  }

  std::unique_ptr<StoreLock> lock() override {
    const std::string path = full(kLockName);
    Descriptor file = open_file(path, O_RDWR | O_CREAT);
    if (!file) fail("open", path);
    if (flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK) fail("lock", path);
      std::array<char, 512> holder{};
      const ssize_t got = pread(file.get(), holder.data(), holder.size(), 0);
      throw Error(ErrorCode::kNotAllowed,
                  fmt::format("{} is in use by process {}: stop that one first, or use another "
                              "directory",
                              root_,
                              got > 0 ? std::string(holder.data(), static_cast<std::size_t>(got))
                                      : "that has not yet said who it is"));
    }
    // For the message of the next one only; the file stays, because a removed one could be locked
    // by two at once.
    if (ftruncate(file.get(), 0) != 0) fail("write", path);
    write_all(file.get(), whoever_we_are(), path);
    return std::make_unique<PosixLock>(std::move(file));
  }

 private:
  std::string full(const std::string& path) const {
    return path.empty() ? root_ : root_ + "/" + path;
  }

  const std::string root_;  // absolute
  const bool is_ours_;
  std::mutex replacing_;
};

}  // namespace

std::unique_ptr<DurableStore> open_directory_store(const std::string& directory) {
  check_crash_environment();
  if (directory.empty()) {
    throw Error(ErrorCode::kInvalidArgument, "the store's directory has an empty name");
  }
  const auto refuse = [&](const std::string& why) -> void {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("cannot keep a store in {}: {}", directory, why));
  };
  std::string root = std::filesystem::absolute(directory).lexically_normal().string();
  while (root.size() > 1 && root.back() == '/') root.pop_back();
  try {
    make_directories(root);
  } catch (const Error& error) {
    refuse(error.what());
  }
  if (access(root.c_str(), R_OK | W_OK | X_OK) != 0) refuse(std::strerror(errno));
  return std::make_unique<DirectoryStore>(std::move(root), true);
}

std::unique_ptr<DurableStore> directory_store_at(const std::string& directory) {
  return std::make_unique<DirectoryStore>(directory, false);
}

}  // namespace weir
