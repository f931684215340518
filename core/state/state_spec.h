#pragma once

#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "weir/core/error.h"
#include "weir/core/function.h"
#include "weir/core/owned.h"
#include "weir/core/state/signature.h"
#include "weir/core/state/state_migration.h"
#include "weir/core/time.h"

/// What `map_with_state` is told: the function, and what else there is to say about its state.
namespace weir {

namespace internal {
template <class S>
class StateAccess;
}

/// The state of one key, lent to a `map_with_state` function for one call. Misuse throws
/// Error(kInvalidArgument): `get` without a state, `update` or `remove` after `remove` or while the
/// state is timing out.
template <class S>
class State {
 public:
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  bool exists() const { return current_ != nullptr; }
  /// Until the next `update` or `remove`.
  const S& get() const {
    if (current_ == nullptr) refuse("get: the key has no state; ask exists() or get_optional()");
    return *current_;
  }
  std::optional<S> get_optional() const {
    if (current_ == nullptr) return std::nullopt;
    return *current_;
  }
  void update(S state) {
    require_changeable("update");
    updated_ = std::move(state);
    current_ = &*updated_;
  }
  /// The key is forgotten after this call.
  void remove() {
    require_changeable("remove");
    removed_ = true;
    current_ = nullptr;
  }
  /// Whether this is the call that tells of the state's end: without a value; afterwards the state
  /// is removed.
  bool is_timing_out() const { return timing_out_; }

 private:
  friend class internal::StateAccess<S>;

  State(const S* current, bool timing_out) : current_(current), timing_out_(timing_out) {}

  [[noreturn]] static void refuse(const std::string& why) {
    throw Error(ErrorCode::kInvalidArgument, "State::" + why);
  }
  void require_changeable(const char* what) const {
    if (timing_out_) {
      refuse(std::string(what) + ": the state is timing out and is removed after this call; ask " +
             "is_timing_out() first");
    }
    if (removed_) refuse(std::string(what) + ": the state was removed in this call");
  }

  const S* current_;
  std::optional<S> updated_;
  bool removed_ = false;
  bool timing_out_;
};

namespace internal {

/// The operator's side of a `State`.
template <class S>
class StateAccess {
 public:
  StateAccess(const S* current, bool timing_out) : state_(current, timing_out) {}

  State<S>& state() { return state_; }
  bool removed() const { return state_.removed_; }
  bool updated() const { return state_.updated_.has_value() && !state_.removed_; }
  S take() { return std::move(*state_.updated_); }

 private:
  State<S> state_;
};

template <class Parameter>
struct StateParameter {};
template <class S>
struct StateParameter<State<S>&> {
  using type = S;
};

/// What the parameters of a `map_with_state` function say.
template <class All>
struct StateFunctionTypes {
  static constexpr bool kValid = false;
  static constexpr bool kWithTime = false;
  using Key = int;
  using Value = int;
  using StateType = int;
};
template <class K, class V, class S>
requires(Optional<std::decay_t<V>>) struct StateFunctionTypes<Parameters<K, V, State<S>&>> {
  static constexpr bool kValid = true;
  static constexpr bool kWithTime = false;
  using Key = owned_t<K>;
  using Value = owned_t<typename OptionalValue<std::decay_t<V>>::type>;
  using StateType = S;
};
template <class T, class K, class V, class S>
requires(
    std::is_same_v<std::decay_t<T>, Time>) struct StateFunctionTypes<Parameters<T, K, V, State<S>&>>
    : StateFunctionTypes<Parameters<K, V, State<S>&>> {
  static constexpr bool kWithTime = true;
};

template <class F>
struct StateFunction : StateFunctionTypes<void> {};
template <SpelledOut F>
struct StateFunction<F> : StateFunctionTypes<typename ParametersOf<F>::type> {};

}  // namespace internal

/// The parameter types of a state function must be spelled out, because the type of the state is
/// deduced from them.
#define WEIR_REQUIRE_STATE_FUNCTION(F)                                                          \
  static_assert(::weir::internal::StateFunction<F>::kValid,                                     \
                "map_with_state takes f(const K&, std::optional<V>, weir::State<S>&) -> E or "  \
                "f(weir::Time, const K&, std::optional<V>, weir::State<S>&) -> "                \
                "std::optional<E>, with every parameter type spelled out (no auto): the state " \
                "type S is deduced from them")

/// A `map_with_state` function and its options:
///
///     StateSpec([](const std::string& user, std::optional<int> clicks, State<int>& total) { ... })
///         .timeout(30min).partitions(8)
///
/// The function is called for each record, `f(const K&, optional<V>, State<S>&) -> E`, and E is
/// what the stream gets; or `f(Time, const K&, optional<V>, State<S>&) -> optional<E>` with the
/// batch's time, and the stream gets what it returns some of. It runs in workers.
template <class F>
class StateSpec {
 public:
  using Types = internal::StateFunction<F>;
  using Key = typename Types::Key;
  using StateType = typename Types::StateType;
  using Initial = std::vector<std::pair<Key, StateType>>;

  explicit StateSpec(F function) : function_(std::move(function)) {
    WEIR_REQUIRE_SHIPPABLE(F);
    WEIR_REQUIRE_STATE_FUNCTION(F);
  }

  /// What there is before the first batch. Not used when the state comes from a checkpoint.
  StateSpec& initial_state(Initial initial) {
    initial_ = std::move(initial);
    return *this;
  }
  /// The pairs of an RDD, which are collected at once.
  template <class Pairs>
  requires requires(const Pairs& pairs) {
    { pairs.collect() } -> std::convertible_to<Initial>;
  }
  StateSpec& initial_state(const Pairs& rdd) { return initial_state(Initial(rdd.collect())); }
  /// A key that had no record for so long, by batch times, is told of by one last call, in the
  /// batch at whose time that is so, and removed. Throws Error(kInvalidArgument) unless positive.
  StateSpec& timeout(Duration idle) {
    if (idle <= Duration::zero()) {
      throw Error(ErrorCode::kInvalidArgument,
                  "the timeout of a state is " + to_string(idle) + ": it must be positive");
    }
    timeout_ = idle;
    return *this;
  }
  /// What becomes of states of another type that a former program left: `f(const Old&)` or
  /// `f(const Key&, const Old&)` returns a StateType; see StateMigrations.
  template <class G>
  StateSpec& migrate(G f) {
    migrations_.from(std::move(f));
    return *this;
  }
  /// Of the state; default: the context's parallelism. Throws Error(kInvalidArgument) if 0.
  StateSpec& partitions(std::uint32_t count) {
    if (count == 0) {
      throw Error(ErrorCode::kInvalidArgument, "a state cannot have 0 partitions: give at least 1");
    }
    partitions_ = count;
    return *this;
  }

  const F& function() const { return function_; }
  const Initial& initial_state() const { return initial_; }
  Duration timeout() const { return timeout_; }  ///< zero: none
  const StateMigrations<Key, StateType>& migrations() const { return migrations_; }
  std::uint32_t partitions() const { return partitions_; }  ///< 0: the context's parallelism

 private:
  F function_;
  Initial initial_;
  Duration timeout_{};
  StateMigrations<Key, StateType> migrations_;
  std::uint32_t partitions_ = 0;
};

}  // namespace weir
