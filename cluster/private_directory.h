#pragma once

#include <string>

namespace weir {

/// A new directory of mode 0700 for the sockets of one run, removed with all it holds at
/// destruction. It stands under $XDG_RUNTIME_DIR, or /tmp where that is not set, cannot be used or
/// is so long that socket paths would not fit. Directories that killed runs of the same user left
/// behind are removed on the way: a run holds a lock in its own.
class PrivateDirectory {
 public:
  /// `longest_name` is the length of the longest socket name in it. Throws Error(kUnreachable).
  explicit PrivateDirectory(std::size_t longest_name);
  ~PrivateDirectory();
  PrivateDirectory(const PrivateDirectory&) = delete;
  PrivateDirectory& operator=(const PrivateDirectory&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
  int lock_ = -1;
};

}  // namespace weir
