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

/// A hash table that iterates in insertion order: dense (key, value) entries, their hashes beside
/// them, and an open-addressing index of (hash tag, entry) words. Iteration order is therefore a
/// function of the input and never of the seed or of memory, and the entries can be handed on as a
/// chunk without copying. Keys are looked up by view and owned only when they are inserted.
/// Not thread-safe. At most 2^32 - 2 entries.
template <class K, class V>
class AggregationTable {
 public:
  using Entry = std::pair<K, V>;

  AggregationTable() = default;

  /// The entry of `key`, or a new one made of to_owned(key) and `make()`. The second part tells
  /// whether it is new. `hash` is the key's hash, computed once and kept.
  template <class Key, class Make>
  std::pair<Entry*, bool> find_or_insert(std::uint64_t hash, Key&& key, Make&& make) {
    if ((entries_.size() + 1) * 4 > index_.size() * 3) grow();
    const std::uint64_t tag = hash & kTagMask;
    for (std::size_t slot = hash & mask_;; slot = (slot + 1) & mask_) {
      const std::uint64_t word = index_[slot];
      if (word == 0) {
        entries_.emplace_back(to_owned(std::forward<Key>(key)), make());
        hashes_.push_back(hash);
        index_[slot] = tag | entries_.size();
        return {&entries_.back(), true};
      }
      if ((word & kTagMask) == tag) {
        Entry& entry = entries_[(word & kEntryMask) - 1];
        if (same_key(entry.first, key)) return {&entry, false};
      }
    }
  }

  /// The entry of `key`, or null.
  template <class Key>
  const Entry* find(std::uint64_t hash, const Key& key) const {
    if (index_.empty()) return nullptr;
    const std::uint64_t tag = hash & kTagMask;
    for (std::size_t slot = hash & mask_; index_[slot] != 0; slot = (slot + 1) & mask_) {
      if ((index_[slot] & kTagMask) != tag) continue;
      const Entry& entry = entries_[(index_[slot] & kEntryMask) - 1];
      if (same_key(entry.first, key)) return &entry;
    }
    return nullptr;
  }
  template <class Key>
  Entry* find(std::uint64_t hash, const Key& key) {
    return const_cast<Entry*>(std::as_const(*this).find(hash, key));
  }

  /// Hint that `key`'s hash will be asked for soon.
  void prefetch(std::uint64_t hash) const {
    if (!index_.empty()) internal::prefetch(&index_[hash & mask_]);
  }

  /// Entries in insertion order; their hashes in the same order.
  std::vector<Entry>& entries() { return entries_; }
  const std::vector<Entry>& entries() const { return entries_; }
  const std::vector<std::uint64_t>& hashes() const { return hashes_; }
  std::size_t size() const { return entries_.size(); }

  /// Memory that it takes, with what `add_owned` was told of keys and values.
  std::size_t bytes() const {
    return entries_.capacity() * sizeof(Entry) +
           (hashes_.capacity() + index_.size()) * sizeof(std::uint64_t) + owned_;
  }
  /// Keys and values own so much more.
  void add_owned(std::size_t bytes) { owned_ += bytes; }

  void reserve(std::size_t entries) {
    entries_.reserve(entries);
    hashes_.reserve(entries);
    while (entries * 4 > index_.size() * 3) grow();
  }

 private:
  static constexpr std::uint64_t kTagMask = 0xFFFFFFFF00000000U;
  static constexpr std::uint64_t kEntryMask = 0xFFFFFFFFU;  // 1-based; 0: the slot is free

  void grow() {
    const std::size_t size = index_.empty() ? 64 : index_.size() * 2;
    index_.assign(size, 0);
    mask_ = size - 1;
    for (std::size_t i = 0; i < hashes_.size(); ++i) {
      std::size_t slot = hashes_[i] & mask_;
      while (index_[slot] != 0) slot = (slot + 1) & mask_;
      index_[slot] = (hashes_[i] & kTagMask) | (i + 1);
    }
  }

  std::vector<Entry> entries_;
  std::vector<std::uint64_t> hashes_;
  std::vector<std::uint64_t> index_;
  std::size_t mask_ = 0;
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
