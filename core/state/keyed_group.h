#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "weir/core/aggregation_table.h"
#include "weir/core/prefetch.h"

namespace weir::internal {

/// The entries of one key group: dense (key, state) pairs in the order in which their keys came in,
/// an open-addressing index over them and, where states time out, a list of the entries from the
/// one that was updated longest ago to the newest.
///
/// A removed entry leaves a hole that is closed later; what is left keeps its order, so the order
/// of iteration is a function of the keys that came and went and of nothing else. Entries are named
/// by position; `remove` and `insert` may change positions. There are many groups and each is
/// small, so that growing by half wastes little and never takes long. Not thread-safe; at most
/// 2^31 entries.
template <class K, class S>
class KeyedGroup {
 public:
  using Entry = std::pair<K, S>;
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};

  explicit KeyedGroup(bool timed = false) : timed_(timed) {}

  template <class Key>
  std::uint32_t find(std::uint64_t hash, const Key& key) const {
    const std::size_t slot = find_slot(usable(hash), key);
    return slot == kNoSlot ? kNone : position(index_[slot]);
  }
  /// Hints that `hash` will be looked for soon: first where in the index it is, then its entry,
  /// then what its key owns. Each reads what the one before it fetched.
  void prefetch_index(std::uint64_t hash) const {
    if (!index_.empty()) prefetch(&index_[usable(hash) & mask()]);
  }
  void prefetch_entry(std::uint64_t hash) const {
    const Entry* const entry = first_like(hash);
    if (entry == nullptr) return;
    prefetch(entry);
    prefetch(reinterpret_cast<const char*>(entry + 1) - 1);  // may be in another line
  }
  void prefetch_key(std::uint64_t hash) const {
    if constexpr (requires(const K& key) { key.data(); }) {
      const Entry* const entry = first_like(hash);
      if (entry != nullptr) prefetch(entry->first.data());
    }
  }

  /// Adds a key that is not there; returns its position.
  std::uint32_t insert(std::uint64_t hash, K&& key, S&& state, std::int64_t time) {
    hash = usable(hash);
    if (entries_.size() == entries_.capacity()) make_room();
    if ((entries_.size() + 1) * 4 > index_.size() * 3) rebuild_index(index_.size() * 2);
    const auto at = static_cast<std::uint32_t>(entries_.size());
    entries_.emplace_back(std::move(key), std::move(state));
    hashes_.push_back(hash);
    put_in_index(hash, at);
    ++live_;
    if (timed_) {
      links_.push_back({time, kNone, kNone});
      link_newest(at);
    }
    return at;
  }

  /// Notes that an entry was updated, at a time not before that of any other.
  void touch(std::uint32_t at, std::int64_t time) {
    if (!timed_) return;
    unlink(at);
    links_[at].time = time;
    link_newest(at);
  }

  void remove(std::uint64_t hash, std::uint32_t at) {
    hash = usable(hash);
    std::size_t slot = hash & mask();
    while (position(index_[slot]) != at) slot = (slot + 1) & mask();
    free_slot(slot);
    if (timed_) unlink(at);
    entries_[at] = Entry();
    hashes_[at] = kHole;
    --live_;
    if (entries_.size() - live_ > live_ / 2 + kFewHoles) close_holes();
  }

  void reserve(std::uint32_t entries) {
    if (entries <= entries_.capacity()) return;
    entries_.reserve(entries);
    hashes_.reserve(entries);
    if (timed_) links_.reserve(entries);
    std::size_t size = kFewSlots;
    while (std::size_t{entries} * 4 > size * 3) size *= 2;
    if (size > index_.size()) rebuild_index(size);
  }

  /// Positions in [0, end()) that are not holes are the entries, in order.
  std::uint32_t end() const { return static_cast<std::uint32_t>(entries_.size()); }
  bool is_hole(std::uint32_t at) const { return hashes_[at] == kHole; }
  std::uint64_t hash(std::uint32_t at) const { return hashes_[at]; }
  const Entry& entry(std::uint32_t at) const { return entries_[at]; }
  S& state(std::uint32_t at) { return entries_[at].second; }
  std::uint32_t size() const { return live_; }

  /// Of a timed group: the entry that was updated longest ago, the one after it, and when.
  std::uint32_t oldest() const { return oldest_; }
  std::uint32_t newer(std::uint32_t at) const { return links_[at].newer; }
  std::int64_t time(std::uint32_t at) const { return timed_ ? links_[at].time : 0; }
  /// Gives entries that were inserted in another order than that of their times theirs.
  void sort_by_time() {
    if (!timed_) return;
    std::vector<std::uint32_t> order;
    order.reserve(live_);
    for (std::uint32_t at = 0; at < end(); ++at) {
      if (!is_hole(at)) order.push_back(at);
    }
    std::stable_sort(order.begin(), order.end(),
                     [&](auto a, auto b) { return links_[a].time < links_[b].time; });
    link_all(order);
  }

  /// Of memory held, without what keys and states own.
  std::size_t bytes() const {
    return entries_.capacity() * sizeof(Entry) + hashes_.capacity() * sizeof(std::uint64_t) +
           index_.capacity() * sizeof(std::uint64_t) + links_.capacity() * sizeof(Link);
  }

 private:
  struct Link {
    std::int64_t time;
    std::uint32_t older;
    std::uint32_t newer;
  };
  static constexpr std::uint64_t kHole = 0;
  static constexpr std::uint64_t kTagMask = 0xFFFFFFFF00000000U;
  static constexpr std::size_t kNoSlot = ~std::size_t{0};
  static constexpr std::size_t kFewSlots = 8;
  static constexpr std::uint32_t kFewHoles = 8;

  static std::uint64_t usable(std::uint64_t hash) { return hash == kHole ? 1 : hash; }
  static std::uint32_t position(std::uint64_t word) { return static_cast<std::uint32_t>(word) - 1; }
  std::size_t mask() const { return index_.size() - 1; }

  template <class Key>
  std::size_t find_slot(std::uint64_t hash, const Key& key) const {
    if (index_.empty()) return kNoSlot;
    const std::uint64_t tag = hash & kTagMask;
    for (std::size_t slot = hash & mask(); index_[slot] != 0; slot = (slot + 1) & mask()) {
      const std::uint64_t word = index_[slot];
      if ((word & kTagMask) == tag && same_key(entries_[position(word)].first, key)) return slot;
    }
    return kNoSlot;
  }

  /// With the tag of `hash`: nearly always the one.
  const Entry* first_like(std::uint64_t hash) const {
    if (index_.empty()) return nullptr;
    hash = usable(hash);
    for (std::size_t slot = hash & mask(); index_[slot] != 0; slot = (slot + 1) & mask()) {
      if ((index_[slot] & kTagMask) == (hash & kTagMask)) return &entries_[position(index_[slot])];
    }
    return nullptr;
  }

  void put_in_index(std::uint64_t hash, std::uint32_t at) {
    std::size_t slot = hash & mask();
    while (index_[slot] != 0) slot = (slot + 1) & mask();
    index_[slot] = (hash & kTagMask) | (std::uint64_t{at} + 1);
  }
  void rebuild_index(std::size_t size) {
    std::vector<std::uint64_t>(std::max(size, kFewSlots), 0).swap(index_);
    for (std::uint32_t at = 0; at < end(); ++at) {
      if (!is_hole(at)) put_in_index(hashes_[at], at);
    }
  }
  // Words behind a freed slot move up where that brings them nearer to their home, so that a search
  // may go on ending at the first free slot.
  void free_slot(std::size_t hole) {
    for (std::size_t next = (hole + 1) & mask(); index_[next] != 0; next = (next + 1) & mask()) {
      const std::size_t home = hashes_[position(index_[next])] & mask();
      if (((next - home) & mask()) < ((next - hole) & mask())) continue;
      index_[hole] = index_[next];
      hole = next;
    }
    index_[hole] = 0;
  }

  void make_room() {
    if (live_ < entries_.size() - entries_.size() / 8) return close_holes();
    const std::size_t wanted = entries_.size() + entries_.size() / 2 + 4;
    entries_.reserve(wanted);
    hashes_.reserve(wanted);
    if (timed_) links_.reserve(wanted);
  }

  void close_holes() {
    std::vector<std::uint32_t> order;
    order.reserve(timed_ ? live_ : 0);
    for (auto at = timed_ ? oldest_ : kNone; at != kNone; at = links_[at].newer) {
      order.push_back(at);
    }
    std::vector<std::uint32_t> moved(timed_ ? entries_.size() : 0);
    std::vector<Entry> entries;
    std::vector<std::uint64_t> hashes;
    std::vector<Link> links;
    entries.reserve(live_ + live_ / 4 + 4);
    hashes.reserve(entries.capacity());
    links.reserve(timed_ ? entries.capacity() : 0);
    for (std::uint32_t at = 0; at < end(); ++at) {
      if (is_hole(at)) continue;
      if (timed_) {
        moved[at] = static_cast<std::uint32_t>(entries.size());
        links.push_back(links_[at]);
      }
      entries.push_back(std::move(entries_[at]));
      hashes.push_back(hashes_[at]);
    }
    entries_ = std::move(entries);
    hashes_ = std::move(hashes);
    links_ = std::move(links);
    std::size_t size = kFewSlots;
    while (entries_.capacity() * 4 > size * 3) size *= 2;
    rebuild_index(size);
    for (auto& at : order) at = moved[at];
    if (timed_) link_all(order);
  }

  void unlink(std::uint32_t at) {
    const auto [time, older, newer] = links_[at];
    (older == kNone ? oldest_ : links_[older].newer) = newer;
    (newer == kNone ? newest_ : links_[newer].older) = older;
  }
  void link_newest(std::uint32_t at) {
    links_[at].older = newest_;
    links_[at].newer = kNone;
    (newest_ == kNone ? oldest_ : links_[newest_].newer) = at;
    newest_ = at;
  }
  void link_all(const std::vector<std::uint32_t>& order) {
    oldest_ = newest_ = kNone;
    for (const auto at : order) link_newest(at);
  }

  std::vector<Entry> entries_;
  std::vector<std::uint64_t> hashes_;
  std::vector<std::uint64_t> index_;  // tag of the hash above, position + 1 below; 0: free
  std::vector<Link> links_;           // of timed groups only
  std::uint32_t oldest_ = kNone;
  std::uint32_t newest_ = kNone;
  std::uint32_t live_ = 0;
  bool timed_;
};

}  // namespace weir::internal
