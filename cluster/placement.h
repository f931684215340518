#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "weir/core/task.h"

namespace weir {

/// A worker that can be given tasks.
struct PlacementCandidate {
  WorkerId worker;
  std::uint32_t idle_slots = 0;
};

/// Which worker a task goes to now, if any. In this order:
///
/// 1. an idle worker among those that hold its data (`preferred`, best first); a task without any
/// has
///    a home instead, the place `partition modulo places`, so that the same partition of every
///    batch goes to the same worker and finds there what the last one left (caches, connections);
/// 2. none yet, while such a worker is alive but busy and the task `may_wait` for it;
/// 3. the worker with most idle slots.
///
/// A `sticky` task waits for the first of `preferred` that is alive, however long.
std::optional<WorkerId> choose_worker(const TaskSpec& task,
                                      std::span<const PlacementCandidate> alive,
                                      std::uint32_t places, bool may_wait);

/// Where a resident task goes: the worker with most room, so that they are spread evenly; the first
/// of equals.
std::optional<WorkerId> choose_roomiest(std::span<const PlacementCandidate> alive);

}  // namespace weir
