#include "weir/core/storage/storage_level.h"

namespace weir {

const char* to_string(StorageLevel level) {
  switch (level) {
    case StorageLevel::kNone: return "none";
    case StorageLevel::kMemory: return "memory";
    case StorageLevel::kMemorySerialized: return "memory-serialized";
    case StorageLevel::kDisk: return "disk";
    case StorageLevel::kMemoryAndDisk: return "memory-and-disk";
    case StorageLevel::kMemory2: return "memory-2";
    case StorageLevel::kMemorySerialized2: return "memory-serialized-2";
    case StorageLevel::kDisk2: return "disk-2";
    case StorageLevel::kMemoryAndDisk2: return "memory-and-disk-2";
  }
  return "?";
}

}  // namespace weir
