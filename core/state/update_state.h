#pragma once

#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <ranges>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "weir/core/hash.h"
#include "weir/core/pipes.h"
#include "weir/core/state/fingerprint.h"
#include "weir/core/state/keyed_update.h"
#include "weir/core/state/signature.h"

/// The kernel of `update_state_by_key`.
namespace weir::internal {

/// The state type of an update function, from its last parameter; not there if that is not spelled
/// out as std::optional<S>.
template <class F>
struct UpdatedState {};
template <class F>
requires(SpelledOut<F>&& ParametersOf<F>::type::kCount >= 2) struct UpdatedState<F>
    : OptionalValue<std::decay_t<
          typename ParametersOf<F>::type::template at<ParametersOf<F>::type::kCount - 1>>> {
};

template <class F>
concept UpdateFunction = requires {
  typename UpdatedState<F>::type;
};

/// First statement of `update_state_by_key` without a given state type.
#define WEIR_REQUIRE_UPDATE_FUNCTION(F)                                                   \
  static_assert(                                                                          \
      ::weir::internal::UpdateFunction<F>,                                                \
      "update_state_by_key takes f(const std::vector<V>&, std::optional<S>) -> "          \
      "std::optional<S> or f(const K&, weir::Time, const std::vector<V>&, "               \
      "std::optional<S>) -> std::optional<S>, with every parameter type spelled out (no " \
      "auto), or the state type given: update_state_by_key<S>(f)")

/// Whether == tells that a state is what it was: not of what has floating-point numbers in it,
/// where -0.0 == 0.0, nor of containers of what has no ==, which they do not tell.
template <class T>
inline constexpr bool tells_equal =
    std::equality_comparable<T> && !std::is_floating_point_v<T> && !std::ranges::range<T>;
template <>
inline constexpr bool tells_equal<std::string> = true;
template <class A, class B>
inline constexpr bool tells_equal<std::pair<A, B>> = tells_equal<A>&& tells_equal<B>;
template <class... Ts>
inline constexpr bool tells_equal<std::tuple<Ts...>> = (tells_equal<Ts> && ...);
template <class T>
inline constexpr bool tells_equal<std::optional<T>> = tells_equal<T>;
template <class T, class A>
inline constexpr bool tells_equal<std::vector<T, A>> = tells_equal<T>;

/// Calls `f(values, state)`, or `f(key, time, values, state)`, for every key that has a state or
/// values in the batch; nothing removes the state. Costs O(all keys) per batch, by its contract.
/// It has no results of its own: the stream's elements are the snapshot. K and V are the stream's,
/// in their owning form.
template <class K, class V, class S, class F>
class UpdateStateOperator {
 public:
  using Key = K;
  using Value = V;
  using Aggregator = GroupAggregator<V>;
  using Table = KeyedTable<K, S>;
  using SnapshotElement = std::pair<K, S>;
  using Out = SnapshotElement;
  class Update;

  UpdateStateOperator() = default;
  explicit UpdateStateOperator(F function, std::vector<std::pair<K, S>> initial = {})
      : function_(std::move(function)), initial_(std::move(initial)) {}

  Aggregator aggregator() const { return {}; }
  /// The structure of what is kept.
  static std::string fingerprint() { return internal::fingerprint<std::pair<K, S>>(); }
  std::unique_ptr<StateTable> make_table(KeyGroups groups) const {
    return std::make_unique<Table>(groups);
  }
  /// The base must outlive the update.
  Update begin(const StateView& base, const StateBatch& batch) const {
    return Update(*this, base, batch);
  }
  /// The view's table and overlays must outlive the stream.
  StreamPtr<SnapshotElement> snapshot(const StateView& view) const {
    return StreamPtr(new KeyedSnapshotStream<K, S>(view));
  }

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & initial_;
    serialize_function(ar, function_);
  }

 private:
  F function_{};
  std::vector<std::pair<K, S>> initial_;
};

/// One batch of one partition.
template <class K, class V, class S, class F>
class UpdateStateOperator<K, V, S, F>::Update {
 public:
  Update(const UpdateStateOperator& op, const StateView& base, const StateBatch& batch)
      : op_(op), batch_(batch), changes_(base, batch) {
    if (!changes_.base().untouched()) return;
    for (const auto& [key, state] : op.initial_) {
      const std::uint64_t hash = key_hash(key, batch.hash_seed);
      if (batch.groups.owns(hash)) changes_.edit(hash, key) = state;
    }
    initial_keys_ = changes_.overlay().changes().size();
  }

  /// A record. `key` may be a view that lives until this returns.
  template <class Key>
  void add(std::uint64_t hash, Key&& key, V&& value) {
    auto& values =
        values_.find_or_insert(hash, std::forward<Key>(key), [] { return Values(); }).first->second;
    values.all.push_back(std::move(value));
  }

  /// Appends nothing.
  std::unique_ptr<StateOverlay> finish(std::vector<Out>&) {
    for (auto cursor = changes_.base().cursor(); cursor.next();) {
      const S& before = cursor.state();
      auto after = call(cursor.key(), values_.find(cursor.hash(), cursor.key()), before);
      if (after && !unchanged(before, *after)) {
        changes_.put(cursor.hash(), cursor.key(), {&cursor.key(), &before, nullptr, true},
                     std::move(*after));
      } else if (!after) {
        changes_.remove(cursor.hash(), cursor.key(), {&cursor.key(), &before, nullptr, true});
      }
    }
    auto& initial = changes_.overlay().changes();
    for (std::size_t i = 0; i < initial_keys_; ++i) {
      auto& [key, change] = initial.entries()[i];
      change.state = call(key, values_.find(initial.hashes()[i], key), std::move(change.state));
    }
    for (std::size_t i = 0; i < values_.size(); ++i) {
      auto& entry = values_.entries()[i];
      if (entry.second.used) continue;
      if (auto state = call(entry.first, &entry, std::nullopt)) {
        changes_.put(values_.hashes()[i], entry.first, {}, std::move(*state));
      }
    }
    keys_ = changes_.keys();
    return changes_.take();
  }
  /// Of the version after the batch, when it is finished.
  std::uint64_t total_keys() const { return keys_; }

 private:
  struct Values {
    std::vector<V> all;
    bool used = false;
  };

  static bool unchanged(const S& before, const S& after) {
    if constexpr (tells_equal<S>) {
      return before == after;
    } else {
      return false;
    }
  }

  std::optional<S> call(const K& key, typename AggregationTable<K, Values>::Entry* entry,
                        std::optional<S> state) {
    static const std::vector<V> kNone;
    if (entry != nullptr) entry->second.used = true;
    const std::vector<V>& values = entry == nullptr ? kNone : entry->second.all;
    if constexpr (std::is_invocable_v<const F&, const std::vector<V>&, std::optional<S>>) {
      return op_.function_(values, std::move(state));
    } else {
      return op_.function_(key, batch_.time, values, std::move(state));
    }
  }

  const UpdateStateOperator& op_;
  const StateBatch batch_;
  KeyedUpdate<K, S> changes_;
  AggregationTable<K, Values> values_;
  std::size_t initial_keys_ = 0;
  std::uint64_t keys_ = 0;
};

}  // namespace weir::internal
