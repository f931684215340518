#pragma once

#include <atomic>
#include <compare>
#include <cstdint>
#include <functional>
#include <limits>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "weir/core/storage/spill_file.h"
#include "weir/core/storage/storage_level.h"
#include "weir/core/task.h"

namespace weir {

/// A stored partition: elements in memory behind an untyped face. Immutable; thread-safe.
class Block {
 public:
  virtual ~Block() = default;
  /// Bytes of memory held, an estimate where elements own memory of their own.
  virtual std::uint64_t size_bytes() const = 0;
  /// The elements as the slim archive writes their vector, to cross a process boundary.
  virtual Bytes encode() const = 0;
  /// The elements one after another, in parts of whole ones: what a serialized block is.
  virtual std::vector<Bytes> encode_elements() const = 0;
};

/// A persisted partition in the form in which it is kept: elements, or else encoded parts.
struct StoredElements {
  std::shared_ptr<const Block> block;
  std::vector<HeldBytes> parts;

  std::uint64_t size_bytes() const;  ///< in memory and on the disk
};

/// What one worker keeps between tasks: blocks of persisted datasets, map outputs and the values of
/// broadcasts, until the driver releases them; in memory up to a limit. What was used least
/// recently makes room for what comes: map outputs, and blocks whose level says so, go to the
/// spill file, other blocks are dropped, to be computed again. Values of broadcasts stay.
///
/// Thread-safe. Writing and reading the disk does not hold up others.
class BlockStore {
 public:
  struct Options {
    std::uint64_t memory_limit = std::numeric_limits<std::uint64_t>::max();
    SpillFile::Options spill;
  };
  BlockStore() : BlockStore(Options()) {}
  explicit BlockStore(Options options);

  enum class Kept {
    kYes,
    kNoRoom,     ///< it will have to be computed again
    kCancelled,  ///< the attempt was given up, so nobody would free it
  };

  // Whoever gives up an attempt sets `cancelled` and may then release what it writes to: of what
  // comes later nothing is kept.

  /// Keeps a block unless one is there already (two attempts of one task make equal blocks) that it
  /// is not to replace. One that does not fit even when others have made room goes to the disk, or
  /// is not kept, as its level says; blocks of its own dataset are not dropped for it.
  Kept put_block(DatasetId dataset, std::uint32_t partition, StoredElements elements,
                 StorageLevel level, const std::atomic<bool>& cancelled, bool replace = false);
  std::optional<StoredElements> block(DatasetId dataset, std::uint32_t partition);
  void release_dataset(DatasetId dataset);

  /// Keeps one map task's output, one piece per reducer; a later attempt's output replaces it.
  /// False if the attempt is cancelled. Throws Error(kUnreachable) if memory is short and it cannot
  /// be written to the disk.
  bool put_map_output(ShuffleId shuffle, std::uint32_t map_partition, std::vector<HeldBytes> pieces,
                      const std::atomic<bool>& cancelled);
  bool put_map_output(ShuffleId shuffle, std::uint32_t map_partition,
                      const std::vector<Bytes>& pieces, const std::atomic<bool>& cancelled);
  std::optional<HeldBytes> map_output(ShuffleId shuffle, std::uint32_t map_partition,
                                      std::uint32_t reduce_partition);
  void release_shuffle(ShuffleId shuffle);
  /// Only the outputs of map partitions before `map_partition`.
  void release_outputs_before(ShuffleId shuffle, std::uint32_t map_partition);

  struct SharedValue {
    std::shared_ptr<const void> value;
    std::uint64_t bytes = 0;  ///< what it is accounted for
  };
  /// The one value that is kept under this id, a broadcast's, until `release_shuffle`. The first
  /// who asks makes it, while others wait; what `make` throws leaves nothing behind.
  std::shared_ptr<const void> shared_value(ShuffleId id, const std::function<SharedValue()>& make);

  /// For what tasks hold that does not fit into memory.
  SpillFile& spill_file() { return *spill_; }

  struct Usage {
    std::uint64_t memory = 0;   ///< bytes of all that is kept there
    std::uint64_t disk = 0;     ///< bytes in the spill file, tasks' too
    std::uint64_t dropped = 0;  ///< blocks that made room, ever
    std::uint64_t spilled = 0;  ///< blocks and map outputs that went to the disk, ever
  };
  Usage usage() const;

 private:
  enum class Kind : std::uint8_t { kBlock, kMapOutput };
  struct Key {
    Kind kind = Kind::kBlock;
    std::uint64_t of = 0;  ///< a DatasetId or a ShuffleId
    std::uint32_t partition = 0;

    auto operator<=>(const Key&) const = default;
  };
  using Recent = std::list<Key>;
  struct Entry {
    StoredElements elements;  // a map output's pieces are its parts
    StorageLevel level = StorageLevel::kNone;
    std::uint64_t memory = 0;
    std::uint64_t version = 0;             // of its content; none is used twice
    std::optional<Recent::iterator> used;  // in recent_, if it could make room
  };
  struct SharedEntry {
    std::mutex making;
    SharedValue value;        // guarded by making
    std::uint64_t bytes = 0;  // accounted; guarded by mutex_
  };
  using Entries = std::map<Key, Entry>;
  using Lock = std::unique_lock<std::mutex>;

  void set(Entries::iterator at, StoredElements elements);
  void touch(Entry& entry);
  Entries::iterator erase(Entries::iterator at);
  void erase_all(Kind kind, std::uint64_t of, std::uint32_t end);
  bool make_room(Lock& lock, std::uint64_t bytes, std::optional<DatasetId> not_of);
  void move_to_disk(Lock& lock, const Key& key);

  const Options options_;
  const std::shared_ptr<SpillFile> spill_;

  mutable std::mutex mutex_;  // guards what follows; may be locked while a `making` is
  Entries entries_;
  Recent recent_;  // the least recently used first
  std::map<ShuffleId, std::shared_ptr<SharedEntry>> shared_;
  std::uint64_t memory_ = 0;
  std::uint64_t last_version_ = 0;
  std::uint64_t dropped_ = 0;
  std::uint64_t spilled_ = 0;
};

}  // namespace weir
