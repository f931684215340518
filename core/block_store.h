#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "weir/core/task.h"

namespace weir {

/// A stored partition: elements in memory behind an untyped face. Immutable; thread-safe.
class Block {
 public:
  virtual ~Block() = default;
  /// Bytes of memory held, an estimate where elements own memory of their own.
  virtual std::uint64_t size_bytes() const = 0;
  /// The elements as the slim archive writes them, to cross a process boundary.
  virtual Bytes encode() const = 0;
};

/// What one worker keeps between tasks: blocks of persisted datasets and map outputs, until the
/// driver releases them. Thread-safe.
class BlockStore {
 public:
  // Whoever gives up an attempt sets `cancelled` and may then release what it writes to: of what
  // comes later nothing is kept.

  /// Keeps `block` unless one is there already (two attempts of one task make equal blocks) that it
  /// is not to replace. False if the attempt is cancelled.
  bool put_block(DatasetId dataset, std::uint32_t partition, std::shared_ptr<const Block> block,
                 const std::atomic<bool>& cancelled, bool replace = false);
  std::shared_ptr<const Block> block(DatasetId dataset, std::uint32_t partition) const;
  void release_dataset(DatasetId dataset);

  /// Keeps one map task's output, one piece per reducer; a later attempt's output replaces it.
  bool put_map_output(ShuffleId shuffle, std::uint32_t map_partition, std::vector<Bytes> pieces,
                      const std::atomic<bool>& cancelled);
  std::optional<Bytes> map_output(ShuffleId shuffle, std::uint32_t map_partition,
                                  std::uint32_t reduce_partition) const;
  void release_shuffle(ShuffleId shuffle);
  /// Only the outputs of map partitions before `map_partition`.
  void release_outputs_before(ShuffleId shuffle, std::uint32_t map_partition);

  /// Bytes of all that is kept.
  std::uint64_t size_bytes() const;

 private:
  mutable std::mutex mutex_;
  std::map<std::pair<DatasetId, std::uint32_t>, std::shared_ptr<const Block>> blocks_;
  std::map<std::pair<ShuffleId, std::uint32_t>, std::vector<Bytes>> outputs_;
  std::uint64_t bytes_ = 0;
};

}  // namespace weir
