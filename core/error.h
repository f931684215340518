#pragma once

#include <stdexcept>
#include <string>

namespace weir {

/// What kind of thing went wrong: what a caller may branch on and what the process's exit code
/// says.
enum class ErrorCode {
  kInvalidArgument,  ///< misuse of an interface or a bad option: exit code 2
  kUnreachable,      ///< a broker, worker or file system could not be reached: exit code 3
  kNotAllowed,       ///< refused by authentication or authorisation: exit code 5
  kDataLoss,         ///< going on would lose or double data: exit code 6
  kJobFailed,        ///< a task failed for good, usually user code: exit code 1
  kStateLost,        ///< kept state is gone; caught by who runs batches, who makes it anew: code 1
  kCancelled,        ///< the context was stopped while the work was running: exit code 1
  kCorrupt,          ///< bytes that fail their checks (frame, archive, file): exit code 1
  kInternal,         ///< a defect of Weir itself: exit code 1
};

/// Ends a thing: misuse, broken I/O, failed user code. Everything a scheduler branches on is data.
/// The message says what happened, the value, the limit and what to do.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}

  ErrorCode code() const { return code_; }

 private:
  ErrorCode code_;
};

/// The process exit code that stands for `code` (see `ErrorCode`).
int exit_code(ErrorCode code);

/// Runs `body` as the whole of a program's `main`: returns its result, or prints what() of an
/// escaping exception to standard error and returns its exit code.
int run_main(int (*body)(int, char**), int argc, char** argv);

/// From now on an Error that nobody catches ends the program as `run_main` does, with its message
/// and exit code and without a core dump. Other exceptions end it as before. Idempotent.
void exit_on_uncaught_errors();

/// "what(): detail" of any in-flight exception, for messages that travel between processes.
std::string describe_current_exception();

}  // namespace weir
