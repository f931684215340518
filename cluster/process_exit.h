#pragma once

#include <string>

namespace weir {

/// How a worker process ended.
struct ProcessExit {
  enum class Kind {
    kExited,      ///< `code` is the exit status
    kSignalled,   ///< `code` is the signal
    kNotStarted,  ///< it never was: `code` is the errno
    kUnknown,     ///< somebody else in the driver waited for it and took the answer
  };
  Kind kind = Kind::kUnknown;
  int code = 0;

  bool operator==(const ProcessExit&) const = default;
};

/// Exit status of a worker that ended by its own decision: the driver fell silent or told it to
/// end, or a part of it broke. No task of it is to blame.
inline constexpr int kWorkerEndedItself = 113;

/// "was killed by signal 11 (Segmentation fault)", "exited with status 3", ...
std::string to_string(const ProcessExit& exit);

/// Whether the code that ran in the process is probably the reason: it crashed on a signal or
/// called exit(). False when the worker ended itself, when somebody sent SIGKILL, SIGTERM or the
/// like, and when nobody knows.
bool is_own_fault(const ProcessExit& exit);

}  // namespace weir
