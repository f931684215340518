#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "weir/core/state/keyed_version.h"

namespace weir::internal {

/// A batch's changes to keyed state while they are made: reads through them to the version below.
/// Used by one thread; the base must outlive it.
template <class K, class S>
class KeyedUpdate {
 public:
  using Version = KeyedVersion<K, S>;
  using Overlay = KeyedOverlay<K, S>;

  /// What is known of a key, until the next change.
  struct Cell {
    const K* key = nullptr;            ///< if it is there, or was before this batch
    const S* state = nullptr;          ///< if it is there
    KeyedChange<S>* change = nullptr;  ///< if this batch changed it
    bool in_base = false;              ///< else whether it was there before
  };

  /// Of a key among those that this batch changed.
  using ChangePlace = std::uint32_t;
  static constexpr ChangePlace kUnchanged = ~ChangePlace{0};

  KeyedUpdate(const StateView& base, const StateBatch& batch)
      : base_(base), overlay_(std::make_unique<Overlay>(batch.time)) {}
  KeyedUpdate(Version base, Time time)
      : base_(std::move(base)), overlay_(std::make_unique<Overlay>(time)) {}

  const Version& base() const { return base_; }
  Overlay& overlay() { return *overlay_; }

  template <class Key>
  Cell find(std::uint64_t hash, const Key& key) {
    return find(hash, key, place_of(hash, key));
  }

  /// The steps of `find` for many keys at once, so that their cache misses overlap: the next step
  /// for all of them, then the next. What is in the base is fetched only for keys that this batch
  /// has not changed yet.
  void prefetch_change(std::uint64_t hash) const { overlay_->changes().prefetch(hash); }
  template <class Key>
  ChangePlace prefetch_index(std::uint64_t hash, const Key& key) const {
    const ChangePlace place = place_of(hash, key);
    if (place == kUnchanged) base_.table().prefetch_index(hash);
    return place;
  }
  /// Both at once, for keys that are hardly ever among the changes.
  void prefetch_index(std::uint64_t hash) const {
    prefetch_change(hash);
    base_.table().prefetch_index(hash);
  }
  void prefetch_entry(std::uint64_t hash, ChangePlace place = kUnchanged) const {
    if (place == kUnchanged) base_.table().prefetch_entry(hash);
  }
  void prefetch_key(std::uint64_t hash, ChangePlace place) const {
    if (place == kUnchanged) base_.table().prefetch_key(hash);
  }
  /// `place`: what `prefetch_index` said, also if others were changed since.
  template <class Key>
  Cell find(std::uint64_t hash, const Key& key, ChangePlace place) {
    if (place == kUnchanged) place = place_of(hash, key);
    if (place != kUnchanged) {
      auto& [changed, change] = overlay_->changes().entries()[place];
      return {&changed, change.state ? &*change.state : nullptr, &change, change.existed};
    }
    const auto found = base_.find(hash, key);
    return {found.key, found.state, nullptr, static_cast<bool>(found)};
  }

  /// `cell` is what `find` said of the key.
  template <class Key>
  void put(std::uint64_t hash, Key&& key, const Cell& cell, S&& state) {
    if (cell.change != nullptr) {
      cell.change->state = std::move(state);
    } else {
      insert(hash, std::forward<Key>(key), {std::move(state), cell.in_base});
    }
  }
  template <class Key>
  void remove(std::uint64_t hash, Key&& key, const Cell& cell) {
    if (cell.change != nullptr) {
      cell.change->state.reset();
    } else if (cell.in_base) {
      insert(hash, std::forward<Key>(key), {std::nullopt, true});
    }
  }

  /// The state of a key, copied from the base or made if it is not there, to be changed in place
  /// until the next call.
  template <class Key>
  S& edit(std::uint64_t hash, const Key& key) {
    if (auto* entry = overlay_->changes().find(hash, key)) {
      auto& state = entry->second.state;
      return state ? *state : state.emplace();
    }
    const auto found = base_.find(hash, key);
    return *insert(hash, key, {found ? *found.state : S(), static_cast<bool>(found)}).state;
  }
  template <class Key>
  void erase(std::uint64_t hash, const Key& key) {
    remove(hash, key, find(hash, key));
  }

  /// Of the version with these changes.
  std::uint64_t keys() const {
    return base_.keys() + static_cast<std::uint64_t>(overlay_->more_keys());
  }
  std::unique_ptr<Overlay> take() { return std::move(overlay_); }

 private:
  template <class Key>
  ChangePlace place_of(std::uint64_t hash, const Key& key) const {
    const auto& changes = std::as_const(*overlay_).changes();
    const auto* entry = changes.find(hash, key);
    return entry == nullptr ? kUnchanged
                            : static_cast<ChangePlace>(entry - changes.entries().data());
  }
  template <class Key>
  KeyedChange<S>& insert(std::uint64_t hash, Key&& key, KeyedChange<S> change) {
    return overlay_->changes()
        .find_or_insert(hash, std::forward<Key>(key), [&] { return std::move(change); })
        .first->second;
  }

  const Version base_;
  std::unique_ptr<Overlay> overlay_;
};

/// Records held back a little, so that the cache misses of looking up their keys overlap. Keys that
/// are views are copied: they need not outlive the call.
template <class K, class V, std::size_t kSize = 64>
class RecordRun {
 public:
  template <class Key>
  void push(std::uint64_t hash, Key&& key, V&& value) {
    Slot& slot = slots_[size_++];
    slot.hash = hash;
    slot.value = std::move(value);
    if constexpr (std::is_same_v<K, std::string>) {
      slot.key.assign(std::string_view(key));  // which keeps its memory for the next one
    } else {
      slot.key = to_owned(std::forward<Key>(key));
    }
  }
  bool full() const { return size_ == kSize; }

  /// `apply(hash, key, value, cell)` in the order in which the records came, `cell` being what
  /// `changes.find` says. `prefetch_change` was called for each.
  template <class S, class Apply>
  void drain(KeyedUpdate<K, S>& changes, const Apply& apply) {
    const std::span slots(slots_.data(), std::exchange(size_, 0));
    for (Slot& slot : slots) slot.place = changes.prefetch_index(slot.hash, slot.key);
    for (const Slot& slot : slots) changes.prefetch_entry(slot.hash, slot.place);
    if constexpr (!owns_nothing<K>) {
      for (const Slot& slot : slots) changes.prefetch_key(slot.hash, slot.place);
    }
    for (Slot& slot : slots) {
      apply(slot.hash, std::as_const(slot.key), std::move(slot.value),
            changes.find(slot.hash, slot.key, slot.place));
    }
  }

 private:
  struct Slot {
    std::uint64_t hash = 0;
    std::uint32_t place = 0;
    K key{};
    V value{};
  };
  std::array<Slot, kSize> slots_;
  std::size_t size_ = 0;
};

}  // namespace weir::internal
