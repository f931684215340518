#pragma once

namespace weir::internal {

/// Enters `local[N]` (N threads of this process, `*` for one per core) into the known masters.
void register_local_runner();

}  // namespace weir::internal
