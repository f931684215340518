#pragma once

namespace weir::internal {

/// What a process that was started as a worker does instead of the user's program: serves tasks
/// until its driver tells it to end or is gone, and never returns then. Returns at once in any
/// other process.
void serve_as_worker();

}  // namespace weir::internal
