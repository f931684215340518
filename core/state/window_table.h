#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "weir/core/state/keyed_update.h"
#include "weir/core/state/window_slices.h"
#include "weir/core/state/window_totals.h"

/// Windows as state: the slices that a window is made of, one per batch, and per key what makes its
/// aggregate cheap (see window_totals.h). A slice's position is its batch's time in batch
/// intervals.
///
/// The delta of a batch is its slice and what slices do not tell; totals are made again from the
/// slices when the state is restored, in the same order of combination. There are no snapshots:
/// deltas older than the window are not needed.
namespace weir::internal {

/// A key that is in no slice of the window any more and its total.
template <class K, class V>
struct RestingKey {
  std::uint64_t hash = 0;
  K key{};
  V total{};
};

/// New values of the slice `number` of those at a position.
template <class V>
struct TurnedSlice {
  std::int64_t position = 0;
  std::size_t number = 0;
  std::shared_ptr<const SliceValues<V>> values;
};

/// What a batch changed. Shares its slice with the tables that it is folded into.
template <class K, class V, class Total>
class WindowOverlay final : public StateOverlay {
 public:
  using Records = KeyedOverlay<K, Total>;
  using Slice = WindowSlice<K, V>;

  explicit WindowOverlay(Slice slice) : slice_(std::move(slice)) {}

  const Slice& slice() const { return slice_; }
  const Records& records() const { return *records_; }
  void set_records(std::unique_ptr<Records> records) { records_ = std::move(records); }
  /// Slices that this batch turned into suffixes.
  std::vector<TurnedSlice<V>> turned;
  std::vector<RestingKey<K, V>> resting;

  void write(SlimWriter& out) const override {
    const auto& [hashes, keys] = *slice_.keys;
    out & records_->time();
    out & static_cast<std::uint64_t>(keys.size());
    for (std::size_t i = 0; i < keys.size(); ++i) {
      out & hashes[i] & keys[i] & slice_.values->values[i];
    }
    out & static_cast<std::uint64_t>(resting.size());
    for (const auto& [hash, key, total] : resting) out& hash& key& total;
  }
  std::uint64_t keys() const override { return slice_.keys->keys.size(); }
  std::uint64_t bytes() const override {
    std::uint64_t bytes = slice_.bytes() + records_->bytes() + footprint_of_resting();
    for (const auto& slice : turned) bytes += slice.values->bytes();
    return bytes;
  }

 private:
  std::uint64_t footprint_of_resting() const {
    std::uint64_t bytes = resting.capacity() * sizeof(RestingKey<K, V>);
    for (const auto& key : resting) bytes += footprint(key.key) + footprint(key.total);
    return bytes;
  }

  Slice slice_;
  std::unique_ptr<Records> records_;
};

/// `Steps` says how totals follow the slices: see WindowSteps.
template <class Steps>
class WindowTable final : public StateTable {
 public:
  using K = typename Steps::Key;
  using V = typename Steps::Value;
  using Total = typename Steps::Total;
  using Records = KeyedTable<K, Total>;
  using Overlay = WindowOverlay<K, V, Total>;
  using Slices = WindowSlices<K, V>;

  WindowTable(KeyGroups groups, Steps steps) : steps_(std::move(steps)), records_(groups) {}

  void fold(const StateOverlay& overlay) override {
    settle();
    const auto& typed = static_cast<const Overlay&>(overlay);
    records_.fold(typed.records());
    add(typed.slice());
    for (const auto& [position, number, values] : typed.turned) {
      slices_.set_values(position, number, values);
    }
  }

  // Deltas of several writers come one after another, each in the order of batches: nothing can be
  // made of a slice before the deltas of all of them are here.
  void fold_delta(SlimReader& in, const KeyGroups& groups) override {
    const auto time = in.get<std::int64_t>();
    Restored& to = restored_[time];
    for (auto count = in.get<std::uint64_t>(); count > 0; --count) {
      const auto hash = in.get<std::uint64_t>();
      auto key = read_in_place<K>(in);
      V value{};
      in & value;
      if (!groups.owns(hash)) continue;
      to.keys.hashes.push_back(hash);
      to.keys.keys.push_back(to_owned(std::move(key)));
      to.values.values.push_back(std::move(value));
    }
    for (auto count = in.get<std::uint64_t>(); count > 0; --count) {
      RestingKey<K, V> key;
      in & key.hash & key.key & key.total;
      if (groups.owns(key.hash)) to.resting.push_back(std::move(key));
    }
  }

  void write_group(std::uint32_t, SlimWriter&) const override { refuse_snapshots(); }
  void read_group(std::uint32_t, SlimReader&) override { refuse_snapshots(); }
  std::uint64_t keys() const override {
    settle();
    return records_.keys();
  }
  std::uint64_t bytes() const override {
    settle();
    return sizeof *this + records_.bytes() + slices_.bytes();
  }

  /// Makes totals of the deltas that were read. Called before anything is read from the table.
  void settle() const {
    const std::lock_guard lock(settling_);
    if (!restored_.empty()) const_cast<WindowTable*>(this)->make_totals();
  }
  const Records& records() const { return records_; }
  const Slices& slices() const { return slices_; }
  /// Of the newest slice, also if it was empty.
  std::optional<std::int64_t> newest() const { return newest_; }

 private:
  struct Restored {
    SliceKeys<K> keys;
    SliceValues<V> values;
    std::vector<RestingKey<K, V>> resting;
  };

  [[noreturn]] static void refuse_snapshots() {
    throw Error(ErrorCode::kInternal,
                "a window's state is made of its slices: it expires and has no snapshots");
  }

  void add(const WindowSlice<K, V>& slice) {
    newest_ = slice.position;
    slices_.drop_before(slice.position - steps_.blocks().length + 1);
    if (!slice.keys->keys.empty()) slices_.add(slice);
  }

  void make_totals() {
    for (auto at = restored_.begin(); at != restored_.end(); at = restored_.erase(at)) {
      const std::int64_t position = steps_.position_of(Time(Duration(at->first)));
      Restored& piece = at->second;
      if (newest_ && position < *newest_) {
        throw Error(ErrorCode::kCorrupt, "a slice of a window at " + std::to_string(position) +
                                             " was restored after that at " +
                                             std::to_string(*newest_));
      }
      WindowSlice<K, V> slice{position, std::make_shared<SliceKeys<K>>(std::move(piece.keys)),
                              std::make_shared<SliceValues<V>>(std::move(piece.values))};
      const auto from = newest_;
      if (!slice.keys->keys.empty()) slices_.add(slice);
      steps_.advance(records_, *this, from, slice);
      newest_ = position;
      slices_.drop_before(position - steps_.blocks().length + 1);
      for (auto& key : piece.resting) steps_.rest(records_, key);
    }
    records_.recount();
  }

  // What `advance` is given as the slices.
  friend Steps;
  std::vector<WindowSlice<K, V>> slices_at(std::int64_t position) const {
    std::vector<WindowSlice<K, V>> found;
    slices_.append_at(position, found);
    return found;
  }
  void set_values(std::int64_t position, std::size_t number,
                  std::shared_ptr<const SliceValues<V>> values) {
    slices_.set_values(position, number, std::move(values));
  }

  const Steps steps_;
  Records records_;
  Slices slices_;
  std::optional<std::int64_t> newest_;
  mutable std::mutex settling_;
  std::map<std::int64_t, Restored> restored_;  // by time
};

}  // namespace weir::internal
