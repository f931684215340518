#include "weir/cluster/process_exit.h"

#include <csignal>
#include <cstring>

#include <fmt/format.h>

namespace weir {

std::string to_string(const ProcessExit& exit) {
  switch (exit.kind) {
    case ProcessExit::Kind::kExited:
      if (exit.code == kWorkerEndedItself) return "ended itself; standard error says why";
      return exit.code == 127 ? "exited with status 127 (its executable could not be run, or a "
                                "library is missing)"
                              : fmt::format("exited with status {}", exit.code);
    case ProcessExit::Kind::kSignalled:
      return fmt::format("was killed by signal {} ({})", exit.code, strsignal(exit.code));
    case ProcessExit::Kind::kNotStarted:
      return fmt::format("could not be started: {}", std::strerror(exit.code));
    case ProcessExit::Kind::kUnknown:
      return "ended, with a status that the program itself collected";
  }
  return "?";
}

bool is_own_fault(const ProcessExit& exit) {
  if (exit.kind == ProcessExit::Kind::kExited) return exit.code != kWorkerEndedItself;
  if (exit.kind != ProcessExit::Kind::kSignalled) return false;
  switch (exit.code) {
    case SIGKILL:
    case SIGTERM:
    case SIGINT:
    case SIGHUP:
    case SIGQUIT: return false;
    default: return true;
  }
}

}  // namespace weir
