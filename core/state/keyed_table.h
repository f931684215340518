#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "weir/core/archive.h"
#include "weir/core/footprint.h"
#include "weir/core/state/keyed_group.h"
#include "weir/core/state/state_table.h"

/// State per key: the table of a partition and what a batch changed in it.
///
/// The order of iteration is that of groups and, within one, that in which the keys came in: a key
/// that is updated stays where it is, one that was gone after a batch and comes back goes to the
/// end. It does not depend on which versions are folded, nor on whether the table was restored.
namespace weir::internal {

inline std::int64_t ticks(Time time) { return time.time_since_epoch().count(); }

/// What a batch made of a key's state.
template <class S>
struct KeyedChange {
  std::optional<S> state;  ///< none: removed
  bool existed = false;    ///< in the version before
};

/// The keys that a batch changed, in the order in which it did so first.
template <class K, class S>
class KeyedOverlay final : public StateOverlay {
 public:
  explicit KeyedOverlay(Time time) : time_(ticks(time)) {}

  AggregationTable<K, KeyedChange<S>>& changes() { return changes_; }
  const AggregationTable<K, KeyedChange<S>>& changes() const { return changes_; }
  /// Of the batch, in microseconds: when all of these keys were updated.
  std::int64_t time() const { return time_; }
  /// How many more keys there are than before the batch.
  std::int64_t more_keys() const {
    std::int64_t more = 0;
    for (const auto& [key, change] : changes_.entries()) {
      more += int{change.state.has_value()} - int{change.existed};
    }
    return more;
  }

  void write(SlimWriter& out) const override {
    out & time_;
    out & keys();
    for (std::size_t i = 0; i < changes_.entries().size(); ++i) {
      const auto& [key, change] = changes_.entries()[i];
      if (!change.state && !change.existed) continue;
      out.put(changes_.hashes()[i]);
      out & key & change.state;
    }
  }
  std::uint64_t keys() const override {
    std::uint64_t keys = 0;
    for (const auto& [key, change] : changes_.entries()) {
      keys += static_cast<std::uint64_t>(change.state || change.existed);
    }
    return keys;
  }
  std::uint64_t bytes() const override {
    std::uint64_t bytes = changes_.entries().capacity() * (sizeof(Change) + 2 * sizeof(time_));
    if constexpr (!owns_nothing<K> || !owns_nothing<S>) {
      for (const auto& [key, change] : changes_.entries()) {
        bytes += footprint(key) + footprint(change.state);
      }
    }
    return bytes;
  }

 private:
  using Change = typename AggregationTable<K, KeyedChange<S>>::Entry;

  std::int64_t time_;
  AggregationTable<K, KeyedChange<S>> changes_;
};

template <class K, class S>
class KeyedTable final : public StateTable {
 public:
  using Group = KeyedGroup<K, S>;

  /// `timed`: knows when each key was updated, which costs 16 bytes for each.
  explicit KeyedTable(KeyGroups groups, bool timed = false)
      : range_(groups), timed_(timed), groups_(groups.end - groups.begin, Group(timed)) {}

  void fold(const StateOverlay& overlay) override {
    const auto& typed = static_cast<const KeyedOverlay<K, S>&>(overlay);
    const auto& entries = typed.changes().entries();
    const auto& hashes = typed.changes().hashes();
    begin_batch(typed.time());
    for (std::size_t i = 0; i < entries.size(); ++i) {
      if (i + kAhead < entries.size()) prefetch_index(hashes[i + kAhead]);
      if (i + kAhead / 2 < entries.size()) prefetch_entry(hashes[i + kAhead / 2]);
      auto state = entries[i].second.state;
      apply(hashes[i], entries[i].first, std::move(state));
    }
  }

  void fold_delta(SlimReader& in, const KeyGroups& groups) override {
    std::int64_t time = 0;
    std::uint64_t count = 0;
    in & time & count;
    begin_batch(time);
    for (std::uint64_t i = 0; i < count; ++i) {
      const auto hash = in.get<std::uint64_t>();
      auto key = read_in_place<K>(in);
      std::optional<S> state;
      in & state;
      if (groups.owns(hash)) apply(hash, key, std::move(state));
    }
  }

  void write_group(std::uint32_t group, SlimWriter& out) const override {
    const Group& from = groups_[group - range_.begin];
    out & timed_ & time_ & from.size();
    for (std::uint32_t at = 0; at < from.end(); ++at) {
      if (from.is_hole(at)) continue;
      out.put(from.hash(at));
      if (timed_) out.put(from.time(at));
      out & from.entry(at).first & from.entry(at).second;
    }
  }

  void read_group(std::uint32_t group, SlimReader& in) override {
    bool timed = false;
    std::int64_t latest = 0;
    std::uint32_t count = 0;
    in & timed & latest & count;
    begin_batch(latest);
    const bool owned = range_.begin <= group && group < range_.end;
    Group* to = owned ? &groups_[group - range_.begin] : nullptr;
    constexpr std::size_t kLeast = sizeof(std::uint64_t) + min_encoded_size<std::pair<K, S>>;
    if (owned && count <= in.left() / kLeast) to->reserve(count);
    for (std::uint32_t i = 0; i < count; ++i) {
      const auto hash = in.get<std::uint64_t>();
      // Where states did not time out when this was written, they begin to do so now.
      const auto time = timed ? in.get<std::int64_t>() : latest;
      std::pair<K, S> entry;
      in & entry.first & entry.second;
      if (!owned) continue;
      require_group(hash, group);
      owned_bytes_ += footprint(entry.first) + footprint(entry.second);
      to->insert(hash, std::move(entry.first), std::move(entry.second), time);
      ++keys_;
    }
    if (owned) to->sort_by_time();
  }

  /// The same keys in the same order, as old as they are, with `convert(key, state)`.
  template <class T, class F>
  KeyedTable<K, T> converted(const F& convert) const {
    KeyedTable<K, T> to(range_, timed_);
    to.begin_batch(time_);
    to.keys_ = keys_;
    for (std::size_t i = 0; i < groups_.size(); ++i) {
      const Group& group = groups_[i];
      to.groups_[i].reserve(group.size());
      for (std::uint32_t at = 0; at < group.end(); ++at) {
        if (group.is_hole(at)) continue;
        const auto& [key, state] = group.entry(at);
        to.groups_[i].insert(group.hash(at), K(key), convert(key, state),
                             timed_ ? group.time(at) : time_);
      }
      to.groups_[i].sort_by_time();
    }
    to.recount();
    return to;
  }

  std::uint64_t keys() const override { return keys_; }
  std::uint64_t bytes() const override {
    std::uint64_t bytes = sizeof *this + groups_.capacity() * sizeof(Group) + owned_bytes_;
    for (const Group& group : groups_) bytes += group.bytes();
    return bytes;
  }

  const KeyGroups& range() const { return range_; }
  /// By its number among all groups.
  const Group& group(std::uint32_t number) const { return groups_[number - range_.begin]; }
  bool timed() const { return timed_; }
  /// Whether no batch has changed it yet: the empty version.
  bool untouched() const { return time_ == kNever; }

  void prefetch_index(std::uint64_t hash) const {
    const Group* group = group_of(hash);
    if (group != nullptr) group->prefetch_index(hash);
  }
  void prefetch_entry(std::uint64_t hash) const {
    const Group* group = group_of(hash);
    if (group != nullptr) group->prefetch_entry(hash);
  }
  void prefetch_key(std::uint64_t hash) const {
    const Group* group = group_of(hash);
    if (group != nullptr) group->prefetch_key(hash);
  }
  template <class Key>
  const std::pair<K, S>* find(std::uint64_t hash, const Key& key) const {
    const Group* group = group_of(hash);
    const auto at = group == nullptr ? Group::kNone : group->find(hash, key);
    return at == Group::kNone ? nullptr : &group->entry(at);
  }

  /// The state of a key, made if it is not there, to be changed in place until the next call. What
  /// keys and states own is wrong in `bytes()` until `recount()`.
  template <class Key>
  S& edit(std::uint64_t hash, const Key& key) {
    Group& group = groups_[range_.group_of(hash) - range_.begin];
    auto at = group.find(hash, key);
    if (at == Group::kNone) {
      at = group.insert(hash, to_owned(key), S(), time_);
      ++keys_;
    }
    return group.state(at);
  }
  /// Does nothing if it is not there.
  template <class Key>
  void erase(std::uint64_t hash, const Key& key) {
    apply(hash, key, std::nullopt);
  }
  void recount() {
    owned_bytes_ = 0;
    for (const Group& group : groups_) {
      for (std::uint32_t at = 0; at < group.end(); ++at) {
        owned_bytes_ += footprint(group.entry(at).first) + footprint(group.entry(at).second);
      }
    }
  }

 private:
  template <class, class>
  friend class KeyedTable;

  static constexpr std::size_t kAhead = 16;
  static constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::min();

  void begin_batch(std::int64_t time) { time_ = std::max(time_, time); }

  const Group* group_of(std::uint64_t hash) const {
    const std::uint32_t number = range_.group_of(hash) - range_.begin;  // wraps below the range
    return number < groups_.size() ? &groups_[number] : nullptr;
  }

  template <class Key>
  void apply(std::uint64_t hash, const Key& key, std::optional<S>&& state) {
    Group& group = groups_[range_.group_of(hash) - range_.begin];
    const auto at = group.find(hash, key);
    if (at == Group::kNone) {
      if (!state) return;
      K owned = to_owned(key);
      owned_bytes_ += footprint(owned) + footprint(*state);
      group.insert(hash, std::move(owned), std::move(*state), time_);
      ++keys_;
      return;
    }
    const auto& entry = group.entry(at);
    owned_bytes_ -= footprint(entry.second);
    if (state) {
      owned_bytes_ += footprint(*state);
      group.state(at) = std::move(*state);
      group.touch(at, time_);
    } else {
      owned_bytes_ -= footprint(entry.first);
      group.remove(hash, at);
      --keys_;
    }
  }

  void require_group(std::uint64_t hash, std::uint32_t group) const {
    if (range_.group_of(hash) == group) return;
    throw Error(ErrorCode::kCorrupt,
                "a snapshot of state has a key of group " + std::to_string(range_.group_of(hash)) +
                    " among those of group " + std::to_string(group) + " of " +
                    std::to_string(range_.total) + ": it was written with other key groups");
  }

  KeyGroups range_;
  bool timed_;
  std::int64_t time_ = kNever;  // of the newest batch
  std::uint64_t keys_ = 0;
  std::uint64_t owned_bytes_ = 0;
  std::vector<Group> groups_;
};

}  // namespace weir::internal
