#pragma once

#include <functional>
#include <memory>

namespace weir::internal {

/// Turns SIGINT and SIGTERM into calls, on a thread of its own. One per process at a time.
///
/// The second signal restores what the signals did before, so that a third one ends a process that
/// does not stop.
class StopSignals {
 public:
  /// `on_signal(name, count)` must not block. Null if another object has the signals already.
  static std::unique_ptr<StopSignals> catch_them(
      std::function<void(const char* name, int count)> on_signal);

  /// Restores the signals' former handlers.
  virtual ~StopSignals() = default;
};

}  // namespace weir::internal
