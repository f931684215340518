#pragma once

#include <cstdint>
#include <vector>

#include "weir/core/state/state_tracker.h"

namespace weir::internal {

/// What one operator's state is made of, by partition, as a CHECKPOINT records it and the COMMITs
/// behind it add to it.
struct StateLineage {
  std::uint32_t partitions = 0;  ///< 0: nothing is recorded
  StateTracker::Steps steps;

  /// What batch `sequence` changed, in as many pieces as it had partitions: another number than
  /// before means that the steps before belong to other ranges of keys, so each partition takes
  /// over those of all that overlap it. Pieces of length 0 stand for partitions not updated.
  void append(std::uint64_t sequence, const std::vector<StatePiece>& pieces,
              std::uint32_t key_groups);
  /// The same state in another number of partitions.
  void repartition(std::uint32_t to, std::uint32_t key_groups);

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & partitions & steps;
  }
};

}  // namespace weir::internal
