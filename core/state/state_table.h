#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "weir/core/slim_archive.h"
#include "weir/core/time.h"

/// What a worker keeps of one partition of one stateful operator, behind an untyped face. The typed
/// classes behind it are the operators' (see keyed_state.h, window_state.h); the versions, the
/// files and the restoring are the state store's (state_store.h).
///
/// A *version* is the state after one batch. The newest version that cannot be asked for again is a
/// *table*; each later one is an *overlay* over the version before it: what one batch changed. The
/// overlay as bytes is the changelog's *delta*.
namespace weir::internal {

/// Which keys a partition owns: a contiguous range of a fixed number of ranges of hashes.
struct KeyGroups {
  std::uint32_t total = 512;  ///< of the application; a power of two
  std::uint32_t begin = 0;    ///< first owned
  std::uint32_t end = 512;    ///< after the last owned

  bool operator==(const KeyGroups&) const = default;

  /// By the high bits.
  static std::uint32_t group_of(std::uint64_t hash, std::uint32_t total) {
    __extension__ using Wide = unsigned __int128;
    return static_cast<std::uint32_t>((static_cast<Wide>(hash) * total) >> 64);
  }
  std::uint32_t group_of(std::uint64_t hash) const { return group_of(hash, total); }
  bool owns(std::uint64_t hash) const {
    const std::uint32_t group = group_of(hash);
    return begin <= group && group < end;
  }
  /// Partition p of n owns the groups g with g * n / total == p.
  static std::uint32_t partition_of(std::uint64_t hash, std::uint32_t partitions,
                                    std::uint32_t total) {
    return static_cast<std::uint32_t>(std::uint64_t{group_of(hash, total)} * partitions / total);
  }
  static KeyGroups of_partition(std::uint32_t partition, std::uint32_t partitions,
                                std::uint32_t total) {
    const auto first = [&](std::uint64_t p) {
      return static_cast<std::uint32_t>((p * total + partitions - 1) / partitions);
    };
    return {total, first(partition), first(std::uint64_t{partition} + 1)};
  }

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & total & begin & end;
  }
};

/// What one batch changed. Immutable once made.
class StateOverlay {
 public:
  virtual ~StateOverlay() = default;
  /// The delta: every entry carries its key's hash, so that it can be read into a table that owns
  /// other groups.
  virtual void write(SlimWriter& out) const = 0;
  virtual std::uint64_t keys() const = 0;   ///< entries
  virtual std::uint64_t bytes() const = 0;  ///< of memory held, estimated
};

/// A version as a whole.
class StateTable {
 public:
  virtual ~StateTable() = default;
  /// Makes the overlay's version this table's. The overlay was made over this version.
  virtual void fold(const StateOverlay& overlay) = 0;
  /// Reads a delta, keeping only entries in `groups`, all of which this table owns. Throws
  /// Error(kCorrupt).
  virtual void fold_delta(SlimReader& in, const KeyGroups& groups) = 0;
  /// Writes the entries of one owned group, and reads what was written, of any group. Called for
  /// each group in turn, also while other threads read the table, never while one folds.
  virtual void write_group(std::uint32_t group, SlimWriter& out) const = 0;
  virtual void read_group(std::uint32_t group, SlimReader& in) = 0;
  virtual std::uint64_t keys() const = 0;
  virtual std::uint64_t bytes() const = 0;  ///< of memory held, estimated
};

/// A version to read: the table and the overlays above it, oldest first.
struct StateView {
  const StateTable* table = nullptr;
  std::span<const StateOverlay* const> overlays;
};

/// What an operator is told about the batch it updates its state in.
struct StateBatch {
  std::uint64_t sequence = 0;
  Time time{};
  std::uint64_t hash_seed = 0;
  KeyGroups groups;
};

}  // namespace weir::internal
