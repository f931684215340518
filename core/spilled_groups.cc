#include "weir/core/spilled_groups.h"

#include <fmt/format.h>

#include "weir/core/error.h"

namespace weir::internal {

void throw_group_too_large(const std::string& key, std::uint64_t bytes, std::uint64_t budget) {
  throw Error(
      ErrorCode::kJobFailed,
      fmt::format("what is kept of {} takes {} bytes of memory; a task may use {}. Combine "
                  "its values instead of collecting them (reduce_by_key, aggregate_by_key), "
                  "or give workers more memory (--weir.memory)",
                  key, bytes, budget));
}

}  // namespace weir::internal
