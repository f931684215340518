#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "weir/core/footprint.h"

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

/// The slices of a window that have keys, by ascending position. Batches that were cut at a shorter
/// interval than today's share a position; they are told apart by their number at it.
template <class K, class V>
class WindowSlices {
 public:
  using Slice = WindowSlice<K, V>;

  void append_at(std::int64_t position, std::vector<Slice>& found) const {
    for (std::size_t i = first(position); i < slices_.size(); ++i) {
      if (slices_[i].position != position) break;
      found.push_back(slices_[i]);
    }
  }
  void add(Slice slice) {
    bytes_ += slice.bytes();
    slices_.push_back(std::move(slice));
  }
  /// Does nothing if the slice has left.
  void set_values(std::int64_t position, std::size_t number,
                  std::shared_ptr<const SliceValues<V>> values) {
    const std::size_t at = first(position) + number;
    if (at >= slices_.size() || slices_[at].position != position) return;
    bytes_ -= slices_[at].values->bytes();
    bytes_ += values->bytes();
    slices_[at].values = std::move(values);
  }
  void drop_before(std::int64_t position) {
    while (!slices_.empty() && slices_.front().position < position) {
      bytes_ -= slices_.front().bytes();
      slices_.pop_front();
    }
  }
  std::uint64_t bytes() const { return bytes_ + slices_.size() * sizeof(Slice); }

 private:
  std::size_t first(std::int64_t position) const {
    const auto at =
        std::lower_bound(slices_.begin(), slices_.end(), position,
                         [](const Slice& slice, std::int64_t p) { return slice.position < p; });
    return static_cast<std::size_t>(at - slices_.begin());
  }

  std::deque<Slice> slices_;
  std::uint64_t bytes_ = 0;
};

}  // namespace weir::internal
