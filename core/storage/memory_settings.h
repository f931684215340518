#pragma once

#include <cstdint>
#include <string>

#include "weir/core/config.h"
#include "weir/core/storage/block_store.h"

namespace weir {

/// How much memory a worker uses, how it saves some, and where it puts the rest. Half of the memory
/// is for what is kept between tasks (blocks, map outputs, broadcasts), half for what tasks hold:
/// the same share for each slot, so that what a task spills is a function of its input. Not
/// counted: the program, a few chunks per operator, elements that user code holds, and state.
struct MemorySettings {
  /// Throws Error(kInvalidArgument) that names a setting outside its range.
  static MemorySettings from(const Config& config, std::uint32_t workers, std::uint32_t slots);

  std::uint64_t store_bytes = 0;
  std::uint64_t task_bytes = 0;
  std::string spill_dir;
  std::uint64_t spill_limit = 0;
  bool compress = false;  ///< map outputs, in memory, on the disk and on their way

  BlockStore::Options store_options() const { return {store_bytes, {spill_dir, spill_limit}}; }

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & store_bytes & task_bytes & spill_dir & spill_limit & compress;
  }
};

/// Of this machine, or what the process's control group may use of it.
std::uint64_t machine_memory();

}  // namespace weir
