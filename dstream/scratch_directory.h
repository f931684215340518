#pragma once

#include <string>

namespace weir::internal {

/// A folder of this process's own, mode 0700, in $TMPDIR or /tmp; removed with its content at the
/// end. Where changes of state are kept when there is no checkpoint directory, so that they survive
/// a worker.
class ScratchDirectory {
 public:
  /// Throws Error(kUnreachable).
  ScratchDirectory();
  ~ScratchDirectory();
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace weir::internal
