#pragma once

#include <string>
#include <vector>

#include "weir/core/print_value.h"
#include "weir/core/time.h"

namespace weir::internal {

/// Writes the whole of a batch's print to standard output in one piece and flushes it.
void print_batch(Time time, const std::vector<std::string>& elements, bool more);

/// "prefix-1000", or "prefix-1000.suffix": a batch's name by its time in milliseconds.
std::string name_of_batch(const std::string& prefix, Time time, const std::string& suffix);

}  // namespace weir::internal
