#pragma once

#include <cstddef>
#include <vector>

#include "weir/core/storage/block.h"
#include "weir/core/task_run.h"

namespace weir::internal {

/// Encodes elements part by part and holds the parts, in memory or on the worker's disk. Used by
/// the task's thread.
class HeldEncoder {
 public:
  HeldEncoder(TaskRun& run, bool to_disk, std::size_t part_bytes = kChunkBytes)
      : run_(run), to_disk_(to_disk), encoder_(part_bytes) {}

  /// Throws Error(kUnreachable) if the disk is full.
  template <class T>
  void add(const T& element) {
    encoder_.add(element);
    if (encoder_.full_parts() != 0) hold(encoder_.take_full());
  }
  /// All parts; to be called once.
  std::vector<HeldBytes> finish();

 private:
  void hold(std::vector<Bytes> parts);

  TaskRun& run_;
  const bool to_disk_;
  ElementEncoder encoder_;
  std::vector<HeldBytes> held_;
};

}  // namespace weir::internal
