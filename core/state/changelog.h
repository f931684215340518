#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include "weir/core/state/state_files.h"
#include "weir/core/state/state_task.h"

namespace weir::internal {

/// The files that a process appends deltas to, one open per directory: what is appended survives
/// the process, not the machine. A file is only written by who created it; a new one begins when it
/// is full, was removed, or could not be written to. Thread-safe.
///
///     "WEIRCHG1", then the deltas, which only the pieces that name them tell apart
class Changelog {
 public:
  static constexpr std::uint64_t kRollBytes = 16u << 20;

  explicit Changelog(StateFiles files, std::uint64_t roll_bytes = kRollBytes)
      : state_files_(std::move(files)), roll_bytes_(roll_bytes) {}

  /// Throws Error(kUnreachable) with path, bytes and cause.
  StatePiece append(const std::string& directory, std::string_view bytes);

 private:
  const StateFiles state_files_;
  const std::uint64_t roll_bytes_;
  std::mutex mutex_;
  std::map<std::string, StateFiles::Created> files_;  // by directory; guarded by mutex_
};

}  // namespace weir::internal
