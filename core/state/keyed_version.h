#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <tuple>
#include <utility>
#include <vector>

#include "weir/core/dataset.h"
#include "weir/core/state/keyed_table.h"

namespace weir::internal {

/// A version of keyed state to read: the table and the overlays above it. Borrows them;
/// thread-safe.
template <class K, class S>
class KeyedVersion {
 public:
  using Table = KeyedTable<K, S>;
  using Overlay = KeyedOverlay<K, S>;

  /// A key and its state, where they are; nulls if there is no such key.
  struct Found {
    const K* key = nullptr;
    const S* state = nullptr;
    explicit operator bool() const { return key != nullptr; }
  };

  explicit KeyedVersion(const StateView& view)
      : KeyedVersion(static_cast<const Table&>(*view.table), {}) {
    for (const auto* overlay : view.overlays) {
      overlays_.push_back(static_cast<const Overlay*>(overlay));
    }
  }
  KeyedVersion(const Table& table, std::vector<const Overlay*> overlays)
      : table_(&table), overlays_(std::move(overlays)) {}

  const Table& table() const { return *table_; }
  const std::vector<const Overlay*>& overlays() const { return overlays_; }
  /// Whether it is the version before the first batch.
  bool untouched() const { return overlays_.empty() && table_->untouched(); }
  std::uint64_t keys() const {
    auto keys = static_cast<std::int64_t>(table_->keys());
    for (const auto* overlay : overlays_) keys += overlay->more_keys();
    return static_cast<std::uint64_t>(keys);
  }

  template <class Key>
  Found find(std::uint64_t hash, const Key& key) const {
    for (std::size_t i = overlays_.size(); i-- > 0;) {
      const auto* entry = overlays_[i]->changes().find(hash, key);
      if (entry == nullptr) continue;
      if (!entry->second.state) return {};
      return {&entry->first, &*entry->second.state};
    }
    const auto* entry = table_->find(hash, key);
    if (entry == nullptr) return {};
    return {&entry->first, &entry->second};
  }

  /// Every key in the order of iteration (see keyed_table.h), one at a time:
  ///     for (auto cursor = version.cursor(); cursor.next();) use(cursor.key(), cursor.state());
  class Cursor;
  Cursor cursor() const { return cursor(table_->range().begin, table_->range().end); }
  /// Only of groups in [first, last), which are owned.
  Cursor cursor(std::uint32_t first, std::uint32_t last) const {
    return Cursor(*this, first, last);
  }

  /// A key that was last updated at `time`; sorts by that and then by the order of iteration.
  struct Due {
    std::int64_t time;
    std::tuple<std::uint32_t, std::size_t, std::size_t> place;
    std::uint64_t hash;
    Found found;
  };
  /// The keys of a timed table that were last updated at `until` or before. The work goes with
  /// their number and with what the overlays changed.
  std::vector<Due> due(std::int64_t until) const {
    std::vector<Due> all;
    const KeyGroups& range = table_->range();
    for (std::uint32_t number = range.begin; number < range.end; ++number) {
      const auto& group = table_->group(number);
      for (auto at = group.oldest(); at != Table::Group::kNone && group.time(at) <= until;
           at = group.newer(at)) {
        const auto& entry = group.entry(at);
        if (newest_change(0, group.hash(at), entry.first) != nullptr) continue;
        all.push_back(
            {group.time(at), {number, 0, at}, group.hash(at), {&entry.first, &entry.second}});
      }
    }
    for (std::size_t i = 0; i < overlays_.size(); ++i) {
      const auto& changes = overlays_[i]->changes();
      if (overlays_[i]->time() > until) break;
      for (std::size_t j = 0; j < changes.entries().size(); ++j) {
        const auto& [key, change] = changes.entries()[j];
        const std::uint64_t hash = changes.hashes()[j];
        if (!change.state || newest_change(i + 1, hash, key) != nullptr) continue;
        all.push_back({overlays_[i]->time(), place(i, j), hash, {&key, &*change.state}});
      }
    }
    std::sort(all.begin(), all.end(), [](const Due& a, const Due& b) {
      return std::tie(a.time, a.place) < std::tie(b.time, b.place);
    });
    return all;
  }

 private:
  using Changes = AggregationTable<K, KeyedChange<S>>;

  const KeyedChange<S>* newest_change(std::size_t from, std::uint64_t hash, const K& key) const {
    for (std::size_t i = overlays_.size(); i-- > from;) {
      const auto* entry = overlays_[i]->changes().find(hash, key);
      if (entry != nullptr) return &entry->second;
    }
    return nullptr;
  }

  // Where the key of change j of overlay i came in: the group, the overlay (0: the table) and the
  // place in it.
  std::tuple<std::uint32_t, std::size_t, std::size_t> place(std::size_t i, std::size_t j) const {
    const auto& changes = overlays_[i]->changes();
    const std::uint64_t hash = changes.hashes()[j];
    const K& key = changes.entries()[j].first;
    const std::uint32_t number = table_->range().group_of(hash);
    for (++i; i-- > 0;) {
      const auto& entries = overlays_[i]->changes().entries();
      const auto* entry = overlays_[i]->changes().find(hash, key);
      if (entry == nullptr || entry->second.existed) continue;
      return {number, i + 1, static_cast<std::size_t>(entry - entries.data())};
    }
    return {number, 0, table_->group(number).find(hash, key)};
  }

  const Table* table_;
  std::vector<const Overlay*> overlays_;
};

template <class K, class S>
class KeyedVersion<K, S>::Cursor {
 public:
  Cursor(const KeyedVersion& version, std::uint32_t first, std::uint32_t last)
      : version_(&version), group_(first), last_(last) {
    for (std::size_t i = 0; i < version.overlays_.size(); ++i) {
      const Changes& changes = version.overlays_[i]->changes();
      for (std::size_t j = 0; j < changes.entries().size(); ++j) {
        const auto& change = changes.entries()[j].second;
        if (change.existed || !change.state) continue;
        const std::uint32_t number = version.table_->range().group_of(changes.hashes()[j]);
        if (first <= number && number < last) added_.push_back({number, i, j});
      }
    }
    std::sort(added_.begin(), added_.end());
  }

  bool next() {
    for (; group_ < last_; ++group_, at_ = 0) {
      const auto& group = version_->table_->group(group_);
      while (at_ < group.end()) {
        const std::uint32_t at = at_++;
        if (group.is_hole(at)) continue;
        const auto& entry = group.entry(at);
        if (settle(0, group.hash(at), entry.first, entry.second)) return true;
      }
      while (added_at_ < added_.size() && std::get<0>(added_[added_at_]) == group_) {
        const auto [number, i, j] = added_[added_at_++];
        const Changes& changes = version_->overlays_[i]->changes();
        const auto& [key, change] = changes.entries()[j];
        if (settle(i + 1, changes.hashes()[j], key, *change.state)) return true;
      }
    }
    return false;
  }

  std::uint32_t group() const { return group_; }
  std::uint64_t hash() const { return hash_; }
  const K& key() const { return *key_; }
  const S& state() const { return *state_; }

 private:
  // Whether a key that came in before overlay `from` is still there, and as what.
  bool settle(std::size_t from, std::uint64_t hash, const K& key, const S& state) {
    hash_ = hash;
    key_ = &key;
    state_ = &state;
    for (std::size_t i = from; i < version_->overlays_.size(); ++i) {
      const auto* entry = version_->overlays_[i]->changes().find(hash, key);
      if (entry == nullptr) continue;
      if (!entry->second.state) return false;  // if it came back, then as a new one
      state_ = &*entry->second.state;
    }
    return true;
  }

  const KeyedVersion* version_;
  std::vector<std::tuple<std::uint32_t, std::size_t, std::size_t>> added_;  // group, overlay, entry
  std::size_t added_at_ = 0;
  std::uint32_t group_;
  std::uint32_t last_;
  std::uint32_t at_ = 0;
  std::uint64_t hash_ = 0;
  const K* key_ = nullptr;
  const S* state_ = nullptr;
};

/// All (key, state) pairs of a version, in the order of iteration, as owned elements. The view's
/// table and overlays must outlive the stream.
template <class K, class S>
class KeyedSnapshotStream final : public ChunkStream<std::pair<K, S>> {
 public:
  explicit KeyedSnapshotStream(const StateView& view)
      : version_(view), cursor_(version_.cursor()) {}

  ChunkRef<std::pair<K, S>> next() override {
    out_.clear();
    while (!out_.full() && !ended_) {
      ended_ = !cursor_.next();
      if (!ended_) out_.emplace_back(cursor_.key(), cursor_.state());
    }
    return out_.ref();
  }

 private:
  const KeyedVersion<K, S> version_;
  typename KeyedVersion<K, S>::Cursor cursor_;
  bool ended_ = false;
  ChunkBuffer<std::pair<K, S>> out_;
};

}  // namespace weir::internal
