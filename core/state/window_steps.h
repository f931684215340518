#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "weir/core/function.h"
#include "weir/core/state/window_table.h"

namespace weir::internal {

/// A window's measures. `interval` is that of the batches that bring the slices; `length` and
/// `slide` are multiples of it. Results are due where `slide` divides the time since `origin`.
struct WindowMeasures {
  Duration length{};
  Duration slide{};
  Duration interval{};
  Time origin{};

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & length & slide & interval & origin;
  }
};

/// Stands for an inverse that there is not.
struct NoInverse {};
/// The `keep` that was not given.
struct KeepAll {
  template <class Pair>
  bool operator()(const Pair&) const {
    return true;
  }
};

/// What a window does at each batch, as a value: its measures and functions.
template <class K, class V, class Reduce, class Inverse, class Keep>
class WindowSteps {
 public:
  using Key = K;
  using Value = V;
  using Total = std::conditional_t<std::is_same_v<Inverse, NoInverse>, BlockTotals<V, Reduce>,
                                   RunningTotal<V, Reduce, Inverse>>;
  using Slice = WindowSlice<K, V>;
  using Resting = std::vector<RestingKey<K, V>>;

  WindowSteps() = default;
  WindowSteps(WindowMeasures measures, Reduce reduce, Inverse inverse, Keep keep)
      : measures_(measures),
        reduce_(std::move(reduce)),
        inverse_(std::move(inverse)),
        keep_(std::move(keep)) {}

  WindowBlocks blocks() const { return {measures_.length / measures_.interval}; }
  /// Of the slice that a batch is part of, which covers (position - 1, position] in intervals.
  std::int64_t position_of(Time time) const {
    const Duration since = time.time_since_epoch();
    return since / measures_.interval + int{since % measures_.interval > Duration::zero()};
  }
  void set_origin(Time origin) { measures_.origin = origin; }
  bool due(Time time) const {
    return (time - measures_.origin) % measures_.slide == Duration::zero();
  }
  const Reduce& reduce() const { return reduce_; }
  void combine(V& value, const V& other) const {
    value = to_owned(reduce_(std::as_const(value), other));
  }
  bool keeps(const std::pair<K, V>& element) const { return keep_(element); }

  /// Brings the totals from the slice at `from` (none: the first) to `slice`. `records` offers
  /// edit, erase and prefetch_*, `slices` slices_at and set_values. Keys that are in no slice any
  /// more and stay are appended to `resting`.
  template <class Records, class Slices>
  void advance(Records& records, Slices& slices, std::optional<std::int64_t> from,
               const Slice& slice, Resting* resting = nullptr) const {
    if (from) {  // positions without a batch: until all has left that was there
      const std::int64_t last = std::min(slice.position - 1, *from + blocks().length + 1);
      for (std::int64_t at = *from + 1; at <= last; ++at) {
        turn(records, slices, at);
        leave(records, slices, at, resting);
      }
    }
    for_each(records, slice, [&](std::size_t i, std::uint64_t hash, const K& key) {
      records.edit(hash, key).enter(reduce_, blocks(), slice.position, slice.values->values[i]);
    });
    if (from == slice.position) return;  // the position was gone to by another slice
    turn(records, slices, slice.position);
    leave(records, slices, slice.position, resting);
  }

  /// A key that rested when a restored slice was written.
  template <class Records>
  void rest(Records& records, const RestingKey<K, V>& key) const {
    if constexpr (Total::kRests) {
      Total& total = records.edit(key.hash, key.key);
      if (total.slices != 0) return;
      total.total = key.total;
      total.exists = true;
    }
  }

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & measures_;
    serialize_function(ar, reduce_);
    serialize_function(ar, inverse_);
    serialize_function(ar, keep_);
  }

 private:
  template <class Records, class Use>
  static void for_each(const Records& records, const Slice& slice, const Use& use) {
    constexpr std::size_t kAhead = 16;
    const auto& [hashes, keys] = *slice.keys;
    for (std::size_t i = 0; i < keys.size(); ++i) {
      if (i + kAhead < keys.size()) records.prefetch_index(hashes[i + kAhead]);
      if (i + kAhead / 2 < keys.size()) records.prefetch_entry(hashes[i + kAhead / 2]);
      use(i, hashes[i], keys[i]);
    }
  }

  // The slice as far from the end of the block before as `at` is from the beginning of its own.
  template <class Records, class Slices>
  void turn(Records& records, Slices& slices, std::int64_t at) const {
    if constexpr (Total::kSuffixes) {
      if (blocks().length == 1) return;
      const std::int64_t begin = blocks().begin(blocks().of(at));
      const auto found = slices.slices_at(begin - 1 - (at - begin));
      for (std::size_t number = found.size(); number-- > 0;) {
        const Slice& slice = found[number];
        auto turned = std::make_shared<SliceValues<V>>();
        turned->values.reserve(slice.keys->keys.size());
        turned->present.reserve(slice.keys->keys.size());
        for_each(records, slice, [&](std::size_t i, std::uint64_t hash, const K& key) {
          auto behind =
              records.edit(hash, key).turn(reduce_, blocks(), at, slice.values->values[i]);
          turned->present.push_back(behind.has_value());
          turned->values.push_back(behind ? std::move(*behind) : V());
        });
        slices.set_values(slice.position, number, std::move(turned));
      }
    }
  }

  template <class Records, class Slices>
  void leave(Records& records, Slices& slices, std::int64_t at, Resting* resting) const {
    for (const Slice& slice : slices.slices_at(at - blocks().length)) {
      for_each(records, slice, [&](std::size_t i, std::uint64_t hash, const K& key) {
        Total& total = records.edit(hash, key);
        if constexpr (Total::kRests) {
          total.leave(inverse_, blocks(), at, slice.values->at(i));
          if (total.slices != 0) return;
          if (keeps({key, total.total})) {
            if (resting != nullptr) resting->push_back({hash, key, total.total});
          } else {
            records.erase(hash, key);
          }
        } else {
          total.leave(reduce_, blocks(), at, slice.values->at(i));
          if (total.slices == 0) records.erase(hash, key);
        }
      });
    }
  }

  WindowMeasures measures_;
  Reduce reduce_{};
  Inverse inverse_{};
  Keep keep_{};
};

}  // namespace weir::internal
