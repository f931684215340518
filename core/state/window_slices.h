#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "weir/core/state/footprint.h"

namespace weir::internal {

/// The keys of one slice: what one batch brought, in the order in which it did.
template <class K>
struct SliceKeys {
  std::vector<std::uint64_t> hashes;
  std::vector<K> keys;

  std::uint64_t bytes() const {
    return footprint(keys) + hashes.capacity() * sizeof(std::uint64_t);
  }
};

/// One value per key of a slice: its partial aggregate or, when the slice has been turned into
/// suffixes, the aggregate of later slices of its block, where `present`.
template <class V>
struct SliceValues {
  std::vector<V> values;
  std::vector<bool> present;  // empty: all

  const V* at(std::size_t i) const { return present.empty() || present[i] ? &values[i] : nullptr; }
  std::uint64_t bytes() const { return footprint(values) + present.capacity() / 8; }
};

template <class K, class V>
struct WindowSlice {
  std::int64_t position = 0;
  std::shared_ptr<const SliceKeys<K>> keys;
  std::shared_ptr<const SliceValues<V>> values;

  std::uint64_t bytes() const { return keys->bytes() + values->bytes(); }
};

/// The slices of a window that have keys, by ascending position.
template <class K, class V>
class WindowSlices {
 public:
  using Slice = WindowSlice<K, V>;

  const Slice* find(std::int64_t position) const {
    const auto at = lower_bound(position);
    return at != slices_.end() && at->position == position ? &*at : nullptr;
  }
  void add(Slice slice) {
    bytes_ += slice.bytes();
    slices_.push_back(std::move(slice));
  }
  /// Does nothing if the slice has left.
  void set_values(std::int64_t position, std::shared_ptr<const SliceValues<V>> values) {
    const auto at = slices_.begin() + (lower_bound(position) - slices_.begin());
    if (at == slices_.end() || at->position != position) return;
    bytes_ -= at->values->bytes();
    bytes_ += values->bytes();
    at->values = std::move(values);
  }
  void drop_before(std::int64_t position) {
    while (!slices_.empty() && slices_.front().position < position) {
      bytes_ -= slices_.front().bytes();
      slices_.pop_front();
    }
  }
  std::uint64_t bytes() const { return bytes_ + slices_.size() * sizeof(Slice); }

 private:
  auto lower_bound(std::int64_t position) const {
    return std::lower_bound(slices_.begin(), slices_.end(), position,
                            [](const Slice& slice, std::int64_t p) { return slice.position < p; });
  }

  std::deque<Slice> slices_;
  std::uint64_t bytes_ = 0;
};

}  // namespace weir::internal
