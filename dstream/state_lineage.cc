#include "weir/dstream/state_lineage.h"

namespace weir::internal {

void StateLineage::append(std::uint64_t sequence, const std::vector<StatePiece>& pieces,
                          std::uint32_t key_groups) {
  if (pieces.empty()) return;
  repartition(static_cast<std::uint32_t>(pieces.size()), key_groups);
  for (std::size_t p = 0; p < pieces.size(); ++p) {
    if (pieces[p].length != 0) steps[p].push_back({sequence, false, pieces[p]});
  }
}

void StateLineage::repartition(std::uint32_t to, std::uint32_t key_groups) {
  if (to == partitions) return;
  steps = partitions == 0 ? StateTracker::Steps(to) : repartitioned(steps, to, key_groups);
  partitions = to;
}

}  // namespace weir::internal
