#pragma once

#include <cstdint>

namespace weir {

/// How the elements of a persisted dataset are kept by the worker that computed them. What does not
/// fit, or is lost with its worker, is computed again, unless it is on the disk or has a second
/// replica. Levels that end in 2 keep a copy on another worker too, if there is one; it is read
/// when the first one is lost.
enum class StorageLevel : std::uint8_t {
  kNone,
  kMemory,            ///< elements; dropped, the least recently used first, when memory is short
  kMemorySerialized,  ///< encoded: smaller, and decoded by each job that reads them
  kDisk,              ///< encoded, in the worker's spill file
  kMemoryAndDisk,     ///< as kMemory, but goes to the disk when memory is short
  kMemory2,
  kMemorySerialized2,
  kDisk2,
  kMemoryAndDisk2,
};

/// "memory-and-disk-2".
const char* to_string(StorageLevel level);

namespace internal {

/// Kept as bytes rather than as elements.
constexpr bool is_serialized(StorageLevel level) {
  return level == StorageLevel::kMemorySerialized || level == StorageLevel::kMemorySerialized2 ||
         level == StorageLevel::kDisk || level == StorageLevel::kDisk2;
}
constexpr bool uses_memory(StorageLevel level) {
  return level != StorageLevel::kNone && level != StorageLevel::kDisk &&
         level != StorageLevel::kDisk2;
}
constexpr bool uses_disk(StorageLevel level) {
  return level == StorageLevel::kDisk || level == StorageLevel::kDisk2 ||
         level == StorageLevel::kMemoryAndDisk || level == StorageLevel::kMemoryAndDisk2;
}
constexpr bool has_replica(StorageLevel level) { return level >= StorageLevel::kMemory2; }

}  // namespace internal
}  // namespace weir
