#include "weir/cluster/placement.h"

#include <algorithm>

namespace weir {
namespace {

const PlacementCandidate* find(std::span<const PlacementCandidate> alive, WorkerId worker) {
  const auto found = std::ranges::find(alive, worker, &PlacementCandidate::worker);
  return found == alive.end() ? nullptr : &*found;
}

}  // namespace

std::optional<WorkerId> choose_worker(const TaskSpec& task,
                                      std::span<const PlacementCandidate> alive,
                                      std::uint32_t places, bool may_wait) {
  bool wanted_is_alive = false;
  for (const WorkerId preferred : task.preferred) {
    const PlacementCandidate* candidate = find(alive, preferred);
    if (candidate == nullptr) continue;
    if (candidate->idle_slots > 0) return preferred;
    if (task.sticky) return std::nullopt;
    wanted_is_alive = true;
  }
  if (!wanted_is_alive) {
    const auto home = std::ranges::find(alive, task.partition % places, [](const auto& candidate) {
      return candidate.worker.slot;
    });
    if (home != alive.end()) {
      if (home->idle_slots > 0) return home->worker;
      wanted_is_alive = true;
    }
  }
  if (wanted_is_alive && may_wait) return std::nullopt;
  return choose_roomiest(alive);
}

std::optional<WorkerId> choose_roomiest(std::span<const PlacementCandidate> alive) {
  const auto idlest = std::ranges::max_element(alive, {}, &PlacementCandidate::idle_slots);
  if (idlest == alive.end() || idlest->idle_slots == 0) return std::nullopt;
  return idlest->worker;
}

}  // namespace weir
