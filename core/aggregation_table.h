#pragma once

#include <algorithm>
#include <cstdint>
#include <ranges>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "weir/core/footprint.h"
#include "weir/core/owned.h"
#include "weir/core/prefetch.h"

namespace weir::internal {

/// Whether a key equals another in its view form. The standard compares pairs and ranges of one
/// type only.
template <class A, class B>
bool same_key(const A& a, const B& b) {
  if constexpr (std::is_same_v<A, B> || std::is_convertible_v<const A&, std::string_view>) {
    return a == b;
  } else if constexpr (requires { std::tuple_size<A>::value; }) {
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
      return (same_key(std::get<I>(a), std::get<I>(b)) && ...);
    }
    (std::make_index_sequence<std::tuple_size_v<A>>());
  } else if constexpr (requires { a.has_value(), *a, b.has_value(), *b; }) {
    return a.has_value() == b.has_value() && (!a.has_value() || same_key(*a, *b));
  } else if constexpr (std::ranges::input_range<const A> && std::ranges::input_range<const B>) {
    return std::ranges::equal(a, b, [](const auto& x, const auto& y) { return same_key(x, y); });
  } else if constexpr (requires { a == b; }) {
    return a == b;
  } else {
    return a == to_owned(b);
  }
}

/// Finds numbered entries by their hashes: the open-addressing index of a table, words of (hash
/// tag, entry), which knows nothing of the entries but their hashes. Not thread-safe.
class HashIndex {
 public:
  /// No entry.
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);

  /// Where an entry of that hash may be, or a new one can be put. Only with `room` for it.
  struct Place {
    std::size_t slot = 0;
    std::size_t entry = kNone;  ///< of the same tag; kNone: the place is free
  };
  Place first(std::uint64_t hash) const { return at(hash, hash & mask_); }
  Place next(std::uint64_t hash, const Place& place) const {
    return at(hash, (place.slot + 1) & mask_);
  }
  /// Puts a new entry, numbered as they come, into a free place.
  void put(std::uint64_t hash, const Place& place) {
    hashes_.push_back(hash);
    words_[place.slot] = (hash & kTagMask) | hashes_.size();
  }

  /// Makes room for one more entry, so that places that were found before are void.
  void make_room() {
    if ((hashes_.size() + 1) * 4 > words_.size() * 3) grow();
  }
  void reserve(std::size_t entries);

  void prefetch(std::uint64_t hash) const {
    if (!words_.empty()) internal::prefetch(&words_[hash & mask_]);
  }
  bool empty() const { return hashes_.empty(); }
  const std::vector<std::uint64_t>& hashes() const { return hashes_; }
  /// Memory that it takes.
  std::size_t bytes() const { return (hashes_.capacity() + words_.size()) * sizeof(std::uint64_t); }

 private:
  static constexpr std::uint64_t kTagMask = 0xFFFFFFFF00000000U;
  static constexpr std::uint64_t kEntryMask = 0xFFFFFFFFU;  // 1-based; 0: the slot is free

  /// The next place from `slot` on that may be the one.
  Place at(std::uint64_t hash, std::size_t slot) const {
    const std::uint64_t tag = hash & kTagMask;
    for (;; slot = (slot + 1) & mask_) {
      const std::uint64_t word = words_[slot];
      if (word == 0) return {slot, kNone};
      if ((word & kTagMask) == tag) return {slot, (word & kEntryMask) - 1};
    }
  }
  void grow();

  std::vector<std::uint64_t> hashes_;
  std::vector<std::uint64_t> words_;
  std::size_t mask_ = 0;
};

/// A hash table that iterates in insertion order: dense (key, value) entries, and an index of their
/// hashes. Iteration order is therefore a function of the input and never of the seed or of memory,
/// and the entries can be handed on as a chunk without copying. Keys are looked up by view and
/// owned only when they are inserted. Not thread-safe. At most 2^32 - 2 entries.
template <class K, class V>
class AggregationTable {
 public:
  using Entry = std::pair<K, V>;

  AggregationTable() = default;

  /// The entry of `key`, or a new one made of to_owned(key) and `make()`. The second part tells
  /// whether it is new. `hash` is the key's hash, computed once and kept.
  template <class Key, class Make>
  std::pair<Entry*, bool> find_or_insert(std::uint64_t hash, Key&& key, Make&& make) {
    index_.make_room();
    for (auto place = index_.first(hash);; place = index_.next(hash, place)) {
      if (place.entry == HashIndex::kNone) {
        entries_.emplace_back(to_owned(std::forward<Key>(key)), make());
        index_.put(hash, place);
        return {&entries_.back(), true};
      }
      Entry& entry = entries_[place.entry];
      if (same_key(entry.first, key)) return {&entry, false};
    }
  }

  /// The entry of `key`, or null.
  template <class Key>
  const Entry* find(std::uint64_t hash, const Key& key) const {
    if (index_.empty()) return nullptr;
    for (auto place = index_.first(hash); place.entry != HashIndex::kNone;
         place = index_.next(hash, place)) {
      const Entry& entry = entries_[place.entry];
      if (same_key(entry.first, key)) return &entry;
    }
    return nullptr;
  }
  template <class Key>
  Entry* find(std::uint64_t hash, const Key& key) {
    return const_cast<Entry*>(std::as_const(*this).find(hash, key));
  }

  /// Hint that `key`'s hash will be asked for soon.
  void prefetch(std::uint64_t hash) const { index_.prefetch(hash); }

  /// Entries in insertion order; their hashes in the same order.
  std::vector<Entry>& entries() { return entries_; }
  const std::vector<Entry>& entries() const { return entries_; }
  const std::vector<std::uint64_t>& hashes() const { return index_.hashes(); }
  std::size_t size() const { return entries_.size(); }

  /// Memory that it takes, with what `add_owned` was told of keys and values.
  std::size_t bytes() const {
    return entries_.capacity() * sizeof(Entry) + index_.bytes() + owned_;
  }
  /// Keys and values own so much more.
  void add_owned(std::size_t bytes) { owned_ += bytes; }

  void reserve(std::size_t entries) {
    entries_.reserve(entries);
    index_.reserve(entries);
  }

 private:
  std::vector<Entry> entries_;
  HashIndex index_;
  std::size_t owned_ = 0;
};

/// What a key or value adds to a table that it gets into.
template <class T>
std::size_t table_growth(const T& value) {
  if constexpr (owns_nothing<T>) {
    return 0;
  } else {
    return footprint(value);
  }
}

}  // namespace weir::internal
