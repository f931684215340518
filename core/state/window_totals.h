#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <utility>

#include "weir/core/owned.h"

/// What is kept of a key beside the slices of a window, so that its aggregate over the window costs
/// the same at every slide: one kind for functions with an inverse, one for all others.
namespace weir::internal {

/// How a window of `length` slices is cut into blocks: slice p is in block p / size, and a window
/// reaches over the end of one block, a whole one and the beginning of a third. Depends on nothing
/// but positions, so that values are combined in the same order after a restore.
struct WindowBlocks {
  std::int64_t length = 1;

  std::int64_t size() const { return length < 2 ? 1 : length / 2; }
  std::int64_t of(std::int64_t position) const {
    const std::int64_t block = position / size();
    return block - int{position % size() < 0};
  }
  std::int64_t begin(std::int64_t block) const { return block * size(); }
};

/// With an inverse: the total runs along; what enters is added, what leaves is subtracted. The
/// total stays when the last slice with the key has left: nobody but `keep` knows that it is
/// nothing.
template <class V, class Reduce, class Inverse>
struct RunningTotal {
  static constexpr bool kRests = true;      // a key stays when it is in no slice any more
  static constexpr bool kSuffixes = false;  // whether slices are turned into suffixes

  V total{};
  std::uint32_t slices = 0;  // of the window that have the key
  bool exists = false;

  void enter(const Reduce& reduce, const WindowBlocks&, std::int64_t, const V& value) {
    total = exists ? to_owned(reduce(std::as_const(total), value)) : value;
    exists = true;
    ++slices;
  }
  void leave(const Inverse& inverse, const WindowBlocks&, std::int64_t, const V* value) {
    total = to_owned(inverse(std::as_const(total), *value));
    --slices;
  }
  std::optional<V> result(const Reduce&, const WindowBlocks&, std::int64_t) const { return total; }

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & total & slices & exists;
  }
};

/// Without an inverse: while block b fills, the window is
///
///     block b-2            block b-1          block b
///     [ left | in it ]     [ whole ]          [ entered | to come ]
///              oldest   +   middle        +    newest               = the result
///
/// and, slice by slice from its end, block b-1 is turned into suffixes for when it is the one that
/// leaves. So each slice is looked at three times: when it enters, once in between and when it
/// leaves, and no slide does more than another. This is two stacks with the flip spread out, as in
/// DABA (Tangwongsan, Hirzel, Schneider: In-order sliding-window aggregation in worst-case constant
/// time, VLDB Journal 30, 2021), with blocks at fixed positions so that no state of the algorithm
/// needs to be kept, and with the slices as the queue, so that only keys that are in a slice cost.
template <class V, class Reduce>
struct BlockTotals {
  static constexpr bool kRests = false;
  static constexpr bool kSuffixes = true;

  enum Part : std::uint8_t { kOldest, kMiddle, kNewest, kSuffix };

  std::array<V, 4> parts{};
  std::int64_t block = 0;  // of the slice in which it was last up to date
  std::uint32_t slices = 0;
  std::uint8_t present = 0;  // a bit for each part

  bool has(Part part) const { return (present >> part & 1) != 0; }
  void set(Part part, V value) {
    parts[part] = std::move(value);
    present = static_cast<std::uint8_t>(present | 1 << part);
  }
  void clear(Part part) {
    parts[part] = V();
    present = static_cast<std::uint8_t>(present & ~(1 << part));
  }
  void move(Part from, Part to) {
    clear(to);
    if (has(from)) set(to, std::move(parts[from]));
    clear(from);
  }

  void go_to(std::int64_t to) {
    if (slices == 0 || to - block > 3) {  // nothing of it is left
      for (const Part part : {kOldest, kMiddle, kNewest, kSuffix}) clear(part);
      block = to;
    }
    for (; block < to; ++block) {
      move(kSuffix, kOldest);
      move(kNewest, kMiddle);
    }
  }

  void enter(const Reduce& reduce, const WindowBlocks& blocks, std::int64_t at, const V& value) {
    go_to(blocks.of(at));
    set(kNewest, has(kNewest) ? to_owned(reduce(std::as_const(parts[kNewest]), value)) : value);
    ++slices;
  }
  /// Takes in a slice's value of the block before that of `at`; returns the suffix behind it.
  std::optional<V> turn(const Reduce& reduce, const WindowBlocks& blocks, std::int64_t at,
                        const V& value) {
    go_to(blocks.of(at));
    if (!has(kSuffix)) {
      set(kSuffix, value);
      return std::nullopt;
    }
    V behind = parts[kSuffix];
    set(kSuffix, to_owned(reduce(value, std::as_const(parts[kSuffix]))));
    return behind;
  }
  /// `behind`: the suffix behind the slice that leaves when `at` enters.
  void leave(const Reduce&, const WindowBlocks& blocks, std::int64_t at, const V* behind) {
    go_to(blocks.of(at));
    --slices;
    if (blocks.of(at - blocks.length) != blocks.of(at) - 2)
      return;  // its block has left as a whole
    if (behind != nullptr) {
      set(kOldest, *behind);
    } else {
      clear(kOldest);
    }
  }
  std::optional<V> result(const Reduce& reduce, const WindowBlocks& blocks, std::int64_t at) const {
    const std::int64_t behind = blocks.of(at) - block;
    if (behind > 1) return std::nullopt;
    std::optional<V> sum;
    const auto add = [&](Part part) {
      if (has(part)) sum = sum ? to_owned(reduce(std::as_const(*sum), parts[part])) : parts[part];
    };
    if (blocks.length > 1) add(behind == 0 ? kOldest : kSuffix);
    if (blocks.length > 1) add(behind == 0 ? kMiddle : kNewest);
    if (behind == 0) add(kNewest);
    return sum;
  }

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & parts & block & slices & present;
  }
};

}  // namespace weir::internal
