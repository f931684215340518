#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "weir/core/hash.h"
#include "weir/core/pipes.h"
#include "weir/core/state/fingerprint.h"
#include "weir/core/state/keyed_update.h"
#include "weir/core/state/state_spec.h"

namespace weir::internal {

/// Calls a function for each record with the state of its key. K and V are the stream's, in their
/// owning form. Results are in the order of the records, behind them those of the keys that timed
/// out, in the order of their last updates and, of those at one time, of iteration.
template <class K, class V, class S, class F>
class MapWithStateOperator {
 public:
  using Key = K;
  using Value = V;
  using Aggregator = GroupAggregator<V>;  // nothing is combined: every record counts
  using Table = KeyedTable<K, S>;
  using SnapshotElement = std::pair<K, S>;
  class Update;

 private:
  static constexpr bool kWithTime = StateFunction<F>::kWithTime;

  static auto call(const F& function, Time time, const K& key, std::optional<V> value,
                   State<S>& state) {
    if constexpr (kWithTime) {
      return to_owned(function(time, key, std::move(value), state));
    } else {
      return to_owned(function(key, std::move(value), state));
    }
  }
  using Returned = decltype(call(std::declval<const F&>(), Time(), std::declval<const K&>(),
                                 std::optional<V>(), std::declval<State<S>&>()));
  static_assert(!kWithTime || Optional<Returned>,
                "a map_with_state function that takes the time returns std::optional<E>");
  template <class E>
  struct Result {
    using type = E;
  };
  template <class E>
  struct Result<std::optional<E>> {
    using type = std::conditional_t<kWithTime, E, std::optional<E>>;
  };

 public:
  using Out = typename Result<Returned>::type;

  MapWithStateOperator() = default;
  explicit MapWithStateOperator(const StateSpec<F>& spec)
      : function_(spec.function()), timeout_(spec.timeout()) {
    for (const auto& [key, state] : spec.initial_state()) initial_.emplace_back(key, state);
  }

  Aggregator aggregator() const { return {}; }
  /// The structure of what is kept.
  static std::string fingerprint() { return internal::fingerprint<std::pair<K, S>>(); }
  std::unique_ptr<StateTable> make_table(KeyGroups groups) const {
    return std::make_unique<Table>(groups, timed());
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
    ar & initial_ & timeout_;
    serialize_function(ar, function_);
  }

 private:
  bool timed() const { return timeout_ != Duration::zero(); }

  F function_{};
  std::vector<std::pair<K, S>> initial_;
  Duration timeout_{};  // zero: none
};

/// One batch of one partition.
template <class K, class V, class S, class F>
class MapWithStateOperator<K, V, S, F>::Update {
 public:
  Update(const MapWithStateOperator& op, const StateView& base, const StateBatch& batch)
      : op_(op), batch_(batch), changes_(base, batch) {
    if (!changes_.base().untouched()) return;
    for (const auto& [key, state] : op.initial_) {
      const std::uint64_t hash = key_hash(key, batch.hash_seed);
      if (batch.groups.owns(hash)) changes_.edit(hash, key) = state;
    }
  }

  /// A record. `key` may be a view that lives until this returns.
  template <class Key>
  void add(std::uint64_t hash, Key&& key, V&& value) {
    if (run_.full()) drain();
    changes_.prefetch_change(hash);
    run_.push(hash, std::forward<Key>(key), std::move(value));
  }

  /// The end of the batch: lets keys time out and appends the results.
  std::unique_ptr<StateOverlay> finish(std::vector<Out>& out) {
    drain();
    if (op_.timed()) time_out();
    keys_ = changes_.keys();
    if (out.empty()) {
      out = std::move(out_);
    } else {
      for (auto&& element : out_) out.push_back(std::move(element));
    }
    return changes_.take();
  }
  /// Of the version after the batch, when it is finished.
  std::uint64_t total_keys() const { return keys_; }

 private:
  void drain() {
    run_.drain(changes_, [&](std::uint64_t hash, const K& key, V&& value, const auto& cell) {
      StateAccess<S> access(cell.state, false);
      emit(call(op_.function_, batch_.time, key, std::move(value), access.state()));
      if (access.removed()) {
        changes_.remove(hash, key, cell);
      } else if (access.updated()) {
        changes_.put(hash, key, cell, access.take());
      } else if (op_.timed() && cell.state != nullptr && cell.change == nullptr) {
        changes_.put(hash, key, cell, S(*cell.state));  // a record is an update
      }
    });
  }

  void time_out() {
    for (const auto& due : changes_.base().due(ticks(batch_.time - op_.timeout_))) {
      const K& key = *due.found.key;
      const auto cell = changes_.find(due.hash, key);
      if (cell.change != nullptr) continue;
      StateAccess<S> access(due.found.state, true);
      emit(call(op_.function_, batch_.time, key, std::nullopt, access.state()));
      changes_.remove(due.hash, key, cell);
    }
  }

  void emit(Returned&& result) {
    if constexpr (kWithTime) {
      if (result) out_.push_back(std::move(*result));
    } else {
      out_.push_back(std::move(result));
    }
  }

  const MapWithStateOperator& op_;
  const StateBatch batch_;
  KeyedUpdate<K, S> changes_;
  RecordRun<K, V> run_;
  std::vector<Out> out_;
  std::uint64_t keys_ = 0;
};

/// The operator of a spec over a stream of (K, V), which may be views.
template <class K, class V, class F>
auto map_with_state_operator(const StateSpec<F>& spec) {
  return MapWithStateOperator<owned_t<K>, owned_t<V>, typename StateSpec<F>::StateType, F>(spec);
}

}  // namespace weir::internal
