#pragma once

#include <cstdint>
#include <initializer_list>
#include <type_traits>
#include <utility>
#include <vector>

#include "weir/core/rdd.h"
#include "weir/core/state/state_migration.h"
#include "weir/core/state/update_state.h"

namespace weir {

/// What a state holds before the first batch: pairs of the driver's, or those of an RDD, which are
/// collected at once. Not used when the state comes from a checkpoint.
template <class K, class S>
class InitialState {
 public:
  using Pair = std::pair<K, S>;

  InitialState() = default;
  InitialState(std::vector<Pair> pairs) : pairs_(std::move(pairs)) {}  // NOLINT
  InitialState(std::initializer_list<Pair> pairs) : pairs_(pairs) {}   // NOLINT
  InitialState(const Rdd<Pair>& pairs) : pairs_(pairs.collect()) {}    // NOLINT

  std::vector<Pair> take() && { return std::move(pairs_); }

 private:
  std::vector<Pair> pairs_;
};

template <class K, class S>
struct UpdateStateOptions {
  InitialState<K, S> initial = {};
  std::uint32_t partitions = 0;  ///< of the state; 0: the context's default parallelism
  /// From the types that the state had in earlier versions of the program.
  StateMigrations<K, S> migrations = {};
};

namespace internal {

template <class S, class F>
struct UpdatedStateOr {
  using type = S;
};
template <class F>
struct UpdatedStateOr<void, F> {
  using type = char;  // refused by the operator
};
template <UpdateFunction F>
struct UpdatedStateOr<void, F> : UpdatedState<F> {};

/// The state's type: as given, or as the function says.
template <class S, class F>
using updated_state_t = typename UpdatedStateOr<S, F>::type;

template <class T>
struct PairKey {
  using type = T;  // refused by the operator
};
template <class K, class V>
struct PairKey<std::pair<K, V>> {
  using type = owned_t<K>;
};

template <class T, class S, class F>
using update_options_t = UpdateStateOptions<typename PairKey<T>::type, updated_state_t<S, F>>;

}  // namespace internal
}  // namespace weir
