#pragma once

#include <string>

namespace weir {

/// Messages for whoever operates the program, on standard error, one line each with time and
/// process. Thread-safe. The level shown is set by `--weir.log-level` (debug, info, warning, error,
/// off).
void log_debug(const std::string& message);
void log_info(const std::string& message);
void log_warning(const std::string& message);
void log_error(const std::string& message);

/// Throws Error(kInvalidArgument) for an unknown name.
void set_log_level(const std::string& name);
/// Marks every line of this process, e.g. "worker 1.3".
void set_log_process(const std::string& name);

}  // namespace weir
