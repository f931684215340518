#pragma once

#include <string>

namespace weir::tools {

/// `weir checkpoint ls DIR`: what a checkpoint directory holds, at a glance. `output`: "table" or
/// "json". Returns the exit code, as all here: 0, or 6 where data would be lost. Throws Error.
int list_checkpoint(const std::string& directory, const std::string& output);
/// `show`: every group and record of the batch log.
int show_checkpoint(const std::string& directory);
/// `verify`: whether a driver could start from it, with all state that is recorded.
int verify_checkpoint(const std::string& directory, const std::string& output);

}  // namespace weir::tools
