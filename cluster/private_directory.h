#pragma once

#include <string>

namespace weir {

/// A new directory of mode 0700 for the sockets of one run, removed at destruction. It stands under
/// $TMPDIR, or /tmp where that is not set, cannot be used or is so long that socket paths would not
/// fit; not under $XDG_RUNTIME_DIR, which goes when the user logs out and takes from a run that
/// goes on the means to start workers.
///
/// A run holds a lock on its directory itself. It tells the directories that killed runs of the
/// same user left behind, which are removed on the way, and keeps systemd-tmpfiles from cleaning up
/// one in use. Only sockets with names of ours are ever deleted: a directory that holds anything
/// else stays.
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
  int lock_ = -1;  ///< a descriptor of the directory
};

}  // namespace weir
