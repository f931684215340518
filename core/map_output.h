#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "weir/core/hash.h"
#include "weir/core/slim_archive.h"
#include "weir/core/task_run.h"

namespace weir::internal {

/// What a map task writes: one piece per reducer. Pieces that outgrow the task's share of memory go
/// to the worker's disk, whenever they do, and are put together at the end; what a piece holds does
/// not depend on it. Used by the task's thread.
class MapOutputWriter {
 public:
  MapOutputWriter(TaskRun& run, std::uint32_t reducers);

  /// Where the next record for the reducer is to be written.
  SlimWriter& piece(std::uint32_t reducer) { return pieces_[reducer].writer; }
  /// To be called now and then, after every chunk, say.
  void spill_if_full();
  /// Keeps the output and says what to announce: pieces that are small enough travel inline.
  Done finish(std::uint32_t map_partition);

 private:
  /// All pieces as they were when memory was short.
  using SpilledPieces = std::vector<HeldBytes>;

  struct Piece {
    SlimWriter writer;
    std::optional<StreamHash> hash;  ///< of a large one, unless it is to be compressed
    std::size_t hashed = 0;          ///< of what the writer has now
  };

  void spill();
  void hash_new(Piece& piece) const;
  /// All of one reducer's.
  Bytes assemble(std::uint32_t reducer);

  TaskRun& run_;
  std::vector<Piece> pieces_;
  std::vector<SpilledPieces> spilled_;
};

}  // namespace weir::internal
