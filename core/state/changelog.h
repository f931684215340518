#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "weir/core/state/state_task.h"

namespace weir::internal {

/// Creates a file that does not exist, `<directory>/<prefix><16 random hex digits><suffix>`, and
/// the directory where its parent exists. `name` receives the last part, the result is a
/// descriptor. Throws Error(kUnreachable) with path and cause.
int create_state_file(const std::string& directory, const std::string& prefix,
                      const std::string& suffix, std::string& name);

/// Writes all of `bytes` with one write(2). Throws Error(kUnreachable) with path, bytes and cause.
void write_state_file(int descriptor, const std::string& path, std::string_view bytes);

/// The files that a process appends deltas to, one open per directory: what is appended survives
/// the process, not the machine. A file is only written by who created it; a new one begins when it
/// is full, was removed, or could not be written to. Thread-safe.
///
///     "WEIRCHG1", then the deltas, which only the pieces that name them tell apart
class Changelog {
 public:
  explicit Changelog(std::uint64_t roll_bytes = 16u << 20) : roll_bytes_(roll_bytes) {}

  /// Throws Error(kUnreachable) with path, bytes and cause.
  StatePiece append(const std::string& directory, std::string_view bytes);

 private:
  struct File;

  const std::uint64_t roll_bytes_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<File>> files_;  // by directory; guarded by mutex_
};

}  // namespace weir::internal
