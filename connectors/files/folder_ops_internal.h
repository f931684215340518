#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace weir::files::internal {

/// What the sink changes in the file system, one call at a time, so that a test can end a driver
/// between any two. Errors are Error(kUnreachable) with path and cause.
class FolderOps {
 public:
  virtual ~FolderOps() = default;

  /// With its parents; may exist.
  virtual void make_directories(const std::string& path) = 0;
  /// Creates or replaces the file; its content is safe against the machine's death.
  virtual void write_file(const std::string& path, std::string_view content) = 0;
  /// Replaces files; false if `to` is a directory with something in it, or `from` is not there.
  virtual bool rename(const std::string& from, const std::string& to) = 0;
  /// What was created, renamed and removed in it is safe against the machine's death.
  virtual void sync_directory(const std::string& path) = 0;
  /// A file, or a directory with all that is in it; may be missing.
  virtual void remove_all(const std::string& path) = 0;

  /// The operating system's.
  static std::shared_ptr<FolderOps> system();
};

/// A file descriptor that is closed.
class OpenFile {
 public:
  explicit OpenFile(int descriptor) : descriptor_(descriptor) {}
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  ~OpenFile();
  int descriptor() const { return descriptor_; }

 private:
  const int descriptor_;
};

/// Throws Error(kUnreachable): "cannot <what> <path>: <errno>".
[[noreturn]] void fail_with_errno(const char* what, const std::string& path);
/// Writes all bytes; throws as above.
void write_all(int descriptor, std::string_view bytes, const std::string& path);
/// The file's content; nothing if there is no such file.
std::optional<std::string> read_file(const std::string& path);

/// Held while it lives: one process at a time.
class FileLock {
 public:
  /// Waits for up to 10 s, then throws Error(kUnreachable).
  explicit FileLock(const std::string& path);

 private:
  OpenFile file_;
};

}  // namespace weir::files::internal
