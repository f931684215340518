#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "weir/core/rdd.h"
#include "weir/core/state/map_with_state.h"
#include "weir/core/state/update_state.h"
#include "weir/core/state/window_state.h"
#include "weir/dstream/dstream.h"
#include "weir/dstream/state_stream.h"

/// Bodies of DStream's stateful operators.
namespace weir {

/// What `map_with_state` returns: the stream of what the function returned, and the state itself.
template <class E, class K, class S>
class MapWithStateDStream : public DStream<E> {
 public:
  MapWithStateDStream(DStream<E> mapped, DStream<std::pair<K, S>> snapshots)
      : DStream<E>(std::move(mapped)), snapshots_(std::move(snapshots)) {}

  /// Each batch, all keys with their state after it; costs O(all keys) where it is used.
  DStream<std::pair<K, S>> state_snapshots() const { return snapshots_; }
  /// As DStream::uid; keeps `state_snapshots`.
  MapWithStateDStream uid(std::string name) const {
    DStream<E>::uid(std::move(name));
    return *this;
  }

 private:
  DStream<std::pair<K, S>> snapshots_;
};

namespace internal {

/// The stream of all keys with their state.
template <class Node>
auto snapshots_of(const std::shared_ptr<Node>& node) {
  auto stream = computed_stream("state_snapshots", node->slide(), {node}, Duration::zero(),
                                [node](Time time) { return node->snapshot(time); });
  stream.node()->shows_state_of(node);
  return stream;
}

}  // namespace internal

template <class T>
template <class S, class F>
auto DStream<T>::update_state_by_key(F f, internal::update_options_t<T, S, F> options) const {
  WEIR_REQUIRE_PAIRS(T);
  WEIR_REQUIRE_SHIPPABLE(F);
  if constexpr (std::is_void_v<S>) WEIR_REQUIRE_UPDATE_FUNCTION(F);
  using K = typename T::first_type;
  using V = typename T::second_type;
  using State = internal::updated_state_t<S, F>;
  using Operator = internal::UpdateStateOperator<owned_t<K>, owned_t<V>, State, F>;
  using Node = internal::StateStreamNode<K, V, Operator>;
  return internal::snapshots_of(Node::make(
      "update_state_by_key", node_, Operator(std::move(f), std::move(options.initial).take()),
      {.partitions = options.partitions, .migrations = options.migrations.all(false)}));
}

namespace internal {

/// The stream of windows as state: updated with every batch of the parent, due every slide.
template <class K, class V, class Operator>
auto windows_of(const char* kind, const std::shared_ptr<TypedStreamNode<std::pair<K, V>>>& parent,
                Operator op, const WindowMeasures& measures, std::uint32_t partitions) {
  using Node = StateStreamNode<K, V, Operator>;
  // Slices come with the parent's slide, deltas are counted in batches.
  const std::uint64_t expires_after =
      op.expires_after() *
      static_cast<std::uint64_t>(parent->slide() / parent->graph()->batch_interval());
  const auto node = Node::make(kind, parent, std::move(op),
                               {.partitions = partitions,
                                .expires_after = expires_after,
                                .shape = " over " + to_string(measures.length)});
  auto stream = computed_stream(kind, measures.slide, {node}, Duration::zero(),
                                [node](Time time) { return *node->rdd_at(time); });
  stream.node()->shows_state_of(node);
  return stream;
}

inline WindowMeasures measures_of(const StreamNode& stream, Duration length, Duration slide) {
  if (slide == Duration::zero()) slide = stream.slide();
  require_window(length, slide, stream);
  return {.length = length, .slide = slide, .interval = stream.slide(), .origin = {}};
}

}  // namespace internal

template <class T>
template <class F>
auto DStream<T>::reduce_by_key_and_window(F reduce, internal::window_options_t<T> options) const {
  WEIR_REQUIRE_PAIRS(T);
  WEIR_REQUIRE_SHIPPABLE(F);
  using K = typename T::first_type;
  using V = typename T::second_type;
  if (options.keep) {
    throw Error(ErrorCode::kInvalidArgument,
                "reduce_by_key_and_window: keep is for windows with an inverse; without one a key "
                "goes when the last batch leaves that it was in");
  }
  const auto measures = internal::measures_of(*node_, options.length, options.slide);
  using Operator = internal::WindowOperator<owned_t<K>, owned_t<V>, F>;
  return internal::windows_of<K, V>("reduce_by_key_and_window", node_,
                                    Operator(measures, std::move(reduce)), measures,
                                    options.partitions);
}

template <class T>
template <class F, class G>
auto DStream<T>::reduce_by_key_and_window(F reduce, G inverse,
                                          internal::window_options_t<T> options) const {
  WEIR_REQUIRE_PAIRS(T);
  WEIR_REQUIRE_SHIPPABLE(F);
  WEIR_REQUIRE_SHIPPABLE(G);
  using K = typename T::first_type;
  using V = typename T::second_type;
  using Keep = Function<bool(const std::pair<owned_t<K>, owned_t<V>>&)>;
  const auto measures = internal::measures_of(*node_, options.length, options.slide);
  using Operator = internal::WindowOperator<owned_t<K>, owned_t<V>, F, G, Keep>;
  if (!options.keep) options.keep = [](const std::pair<owned_t<K>, owned_t<V>>&) { return true; };
  return internal::windows_of<K, V>(
      "reduce_by_key_and_window", node_,
      Operator(measures, std::move(reduce), std::move(inverse), std::move(options.keep)), measures,
      options.partitions);
}

namespace internal {

template <class T>
auto with_one_key(const DStream<T>& stream) {
  return stream.map([](const T& element) { return std::pair<char, T>(0, element); });
}
template <class T>
DStream<T> without_key(const DStream<std::pair<char, T>>& stream) {
  return stream.map([](const std::pair<char, T>& all) { return all.second; });
}

}  // namespace internal

template <class T>
template <class F>
DStream<owned_t<T>> DStream<T>::reduce_by_window(F reduce, Duration length, Duration slide) const {
  WEIR_REQUIRE_SHIPPABLE(F);
  return internal::without_key(internal::with_one_key(*this).reduce_by_key_and_window(
      std::move(reduce), {.length = length, .slide = slide, .partitions = 1}));
}

template <class T>
template <class F, class G>
DStream<owned_t<T>> DStream<T>::reduce_by_window(F reduce, G inverse, Duration length,
                                                 Duration slide) const {
  WEIR_REQUIRE_SHIPPABLE(F);
  WEIR_REQUIRE_SHIPPABLE(G);
  return internal::without_key(internal::with_one_key(*this).reduce_by_key_and_window(
      std::move(reduce), std::move(inverse), {.length = length, .slide = slide, .partitions = 1}));
}

template <class T>
DStream<std::int64_t> DStream<T>::count_by_window(Duration length, Duration slide) const {
  // `count` gives 0 for an empty batch, so there is always something to add.
  return count().reduce_by_window([](std::int64_t a, std::int64_t b) { return a + b; },
                                  [](std::int64_t a, std::int64_t b) { return a - b; }, length,
                                  slide);
}

template <class T>
auto DStream<T>::count_by_value_and_window(Duration length, Duration slide,
                                           std::uint32_t partitions) const {
  using Counted = std::pair<owned_t<T>, std::int64_t>;
  return map([](const T& element) { return std::pair<T, std::int64_t>(element, 1); })
      .reduce_by_key_and_window([](std::int64_t a, std::int64_t b) { return a + b; },
                                [](std::int64_t a, std::int64_t b) { return a - b; },
                                {.length = length,
                                 .slide = slide,
                                 .keep = [](const Counted& counted) { return counted.second != 0; },
                                 .partitions = partitions});
}

template <class T>
template <class F>
auto DStream<T>::map_with_state(StateSpec<F> spec) const {
  WEIR_REQUIRE_PAIRS(T);
  using K = typename T::first_type;
  using V = typename T::second_type;
  auto op = internal::map_with_state_operator<K, V>(spec);
  using Operator = decltype(op);
  using Node = internal::StateStreamNode<K, V, Operator>;
  using State = typename StateSpec<F>::StateType;
  const auto node =
      Node::make("map_with_state", node_, std::move(op),
                 {.partitions = spec.partitions(),
                  .migrations = spec.migrations().all(spec.timeout() != Duration::zero())});
  return MapWithStateDStream<typename Operator::Out, owned_t<K>, State>(
      DStream<typename Operator::Out>(node), internal::snapshots_of(node));
}

}  // namespace weir
