#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "weir/core/context.h"
#include "weir/core/function.h"
#include "weir/core/owned.h"
#include "weir/core/rdd.h"
#include "weir/core/state/state_spec.h"
#include "weir/dstream/dstream_node.h"
#include "weir/dstream/print.h"
#include "weir/dstream/stream_graph.h"
#include "weir/dstream/update_state_options.h"
#include "weir/dstream/window_options.h"
#include "weir/dstream/write_to.h"

namespace weir {

/// A stream as a sequence of RDDs, one for each of its due times: a cheap handle on a node of its
/// streaming context's graph.
///
/// Functions given to `transform`, `transform_with` and `foreach_rdd` run in the driver, on the
/// thread that runs batches, and may capture anything. All others run in
/// workers and must be shippable (function.h). Operators build the graph only; after `start` they
/// throw Error(kInvalidArgument). Several threads must not build one graph at a time.
template <class T>
class DStream {
 public:
  using value_type = T;

  explicit DStream(std::shared_ptr<internal::TypedStreamNode<T>> node) : node_(std::move(node)) {}

  // --- each element ---

  template <class F>
  auto map(F f) const;
  /// All elements of the ranges that `f` returns.
  template <class F>
  auto flat_map(F f) const;
  template <class F>
  DStream<T> filter(F keep) const;
  /// `f` takes the range of a partition's elements and returns a range.
  template <class F>
  auto map_partitions(F f) const;
  /// Each partition as one vector.
  auto glom() const;
  /// Each batch in `partitions` partitions of about equal size. Shuffles.
  DStream<owned_t<T>> repartition(std::uint32_t partitions) const;

  // --- each batch ---

  /// The stream of the RDDs that `f(rdd)` or `f(rdd, time)` returns.
  template <class F>
  auto transform(F f) const;
  /// The same of two streams: `f(rdd, other)` or `f(rdd, other, time)`.
  template <class U, class F>
  auto transform_with(const DStream<U>& other, F f) const;
  /// Elements of both; they must have the same slide.
  DStream<T> union_with(const DStream<T>& other) const;
  /// The number of elements: one element per batch, 0 for an empty one.
  DStream<std::int64_t> count() const;
  /// All elements reduced to one per batch, none for an empty one. Shuffles.
  template <class F>
  DStream<owned_t<T>> reduce(F f) const;
  /// Distinct elements with their number. Shuffles as `reduce_by_key`.
  auto count_by_value(std::uint32_t partitions = 0) const;

  /// Every `slide`, all elements of the last `length`:
  ///
  ///     length 3, slide 2, at batches     1   2   3   4   5   6
  ///                                    (---2]  |---4---|
  ///                                                |---6---|
  ///
  /// that is (t - length, t] at time t; the first windows have what there is. Both must be
  /// multiples of this stream's slide, which is also the default for `slide`. Persists this stream
  /// in memory.
  DStream<owned_t<T>> window(Duration length) const { return window(length, node_->slide()); }
  DStream<owned_t<T>> window(Duration length, Duration slide) const;

  /// The RDDs of the times from `from` to `to`, both included and both rounded down to this
  /// stream's times, that it keeps, oldest first: those it made for batches in
  /// `StreamingContext::remember`, at least the last one. Called for the batch that runs by a
  /// function of the driver's, also that one. From any thread. Throws Error(kInvalidArgument)
  /// before the stream was started, or if no output operation needs it.
  std::vector<Rdd<T>> slice(Time from, Time to) const { return node_->slice(from, to); }

  // --- pairs ---
  //
  // The operators of Rdd, batch by batch. `partitions` 0: as the batch is spread by key, else the
  // context's default parallelism. They shuffle what is not spread so.

  template <class F>
  auto map_values(F f) const;
  /// (k, x) for each x of the range `f(v)` of each (k, v).
  template <class F>
  auto flat_map_values(F f) const;
  /// Values of equal keys in a batch reduced to one.
  template <class F>
  auto reduce_by_key(F f, std::uint32_t partitions = 0) const;
  /// All values of a key in a batch as a vector.
  auto group_by_key(std::uint32_t partitions = 0) const;
  /// Values of equal keys in a batch combined to one C by `create(v)`, `merge_value(C, v)` and
  /// `merge_combined(C, C)`, see Rdd.
  template <class Create, class MergeValue, class MergeCombined>
  auto combine_by_key(Create create, MergeValue merge_value, MergeCombined merge_combined,
                      std::uint32_t partitions = 0) const;

  // --- pairs of two streams, which must have the same slide: batches of the same time, see Rdd ---

  /// (k, (all values here, all values in `other`)).
  template <class U>
  auto cogroup(const DStream<U>& other, std::uint32_t partitions = 0) const;
  /// (k, (v, w)); in the outer ones std::optional where a side may be missing. A batch that is
  /// empty on one side is joined as any other. `other`'s batch is held in memory.
  template <class U>
  auto join(const DStream<U>& other, std::uint32_t partitions = 0) const;
  template <class U>
  auto left_outer_join(const DStream<U>& other, std::uint32_t partitions = 0) const;
  template <class U>
  auto right_outer_join(const DStream<U>& other, std::uint32_t partitions = 0) const;
  template <class U>
  auto full_outer_join(const DStream<U>& other, std::uint32_t partitions = 0) const;

  // --- state ---

  /// The state of every key, brought up to date once per batch by `f(values, state)`, or `f(key,
  /// time, values, state)`, which returns the new state or nothing to forget the key: `f(const
  /// std::vector<V>&, std::optional<S>) -> std::optional<S>`. It is called for all keys, with
  /// values or without: a batch costs O(all keys). Each batch's RDD is all keys with their states.
  /// `{.initial, .partitions}`. Shuffles.
  template <class S = void, class F>
  auto update_state_by_key(F f, internal::update_options_t<T, S, F> options = {}) const;
  /// What the spec's function returns for each record (state_spec.h), and `.state_snapshots()`. A
  /// batch costs O(its records and the keys that time out in it). Shuffles.
  template <class F>
  auto map_with_state(StateSpec<F> spec) const;

  // --- windows as state ---

  /// Every `slide`, the values of each key in the last `length` reduced to one; what `window` says
  /// of times and multiples holds. Costs what the batches that enter and leave cost, whatever the
  /// length. `{.length, .slide, .keep, .partitions}`; without a slide: every batch. Shuffles.
  ///
  /// With an inverse, inverse(reduce(a, b), b) == a, what leaves is subtracted; a key stays, even
  /// when nothing of it is left, until `keep(pair)` says no, which it may only of values equal to
  /// the identity.
  template <class F>
  auto reduce_by_key_and_window(F reduce, internal::window_options_t<T> options) const;
  template <class F, class G>
  auto reduce_by_key_and_window(F reduce, G inverse, internal::window_options_t<T> options) const;
  /// All elements of the last `length` reduced to one, none if there are none. Shuffles.
  template <class F>
  DStream<owned_t<T>> reduce_by_window(F reduce, Duration length, Duration slide) const;
  template <class F, class G>
  DStream<owned_t<T>> reduce_by_window(F reduce, G inverse, Duration length, Duration slide) const;
  /// The number of elements of the last `length`, 0 for an empty window.
  DStream<std::int64_t> count_by_window(Duration length, Duration slide) const;
  /// Distinct elements of the last `length` with their number; those that have left are gone.
  /// Without a slide: every batch. Shuffles.
  auto count_by_value_and_window(Duration length, Duration slide = {},
                                 std::uint32_t partitions = 0) const;

  /// Every `slide`, all values of each key in the last `length` as a vector, oldest first. No
  /// state but a `window` of grouped batches: each is shuffled once, and merging them costs what
  /// the window holds. Without a slide: every batch.
  auto group_by_key_and_window(Duration length, Duration slide = {},
                               std::uint32_t partitions = 0) const;

  // --- control ---

  /// Keeps the RDDs' elements from their first use until no window needs them any more. RDDs that
  /// are persisted already (by who made them) stay as they are.
  DStream<T> persist(StorageLevel level = StorageLevel::kMemory) const {
    node_->persist(level);
    return *this;
  }
  DStream<T> cache() const { return persist(); }
  /// Has a CHECKPOINT made at least this often, a multiple of the slide: what a restart that finds
  /// no changelog has to run again is at most that old. One CHECKPOINT holds the state of all
  /// streams, so the shortest interval counts, `weir.checkpoint-interval` among them. Streams
  /// without state need none of their own: their batches are made again from the input.
  DStream<T> checkpoint(Duration interval) const {
    internal::require_multiple("checkpoint interval", interval, "the slide", node_->slide());
    node_->graph()->checkpoint(interval);
    return *this;
  }

  /// Names this stream's input positions or state in the checkpoint, so that they are found again
  /// however the program around it changes: 1 to 64 letters, digits, '-' or '_', unique among the
  /// inputs and among the stateful operators. Without one they are known by kind and order. Throws
  /// Error(kInvalidArgument).
  DStream<T> uid(std::string name) const {
    node_->set_uid(std::move(name));
    return *this;
  }

  // --- output operations ---

  /// Calls `f(rdd)` or `f(rdd, time)` for each batch; RDD actions in it do the work. An exception
  /// ends the stream.
  template <class F>
  void foreach_rdd(F f) const {
    add_output("foreach_rdd", std::move(f));
  }
  /// Writes the first `n` elements of each batch to standard output (print.h), and "..." if there
  /// are more.
  void print(std::size_t n = 10) const;

  /// Each batch as a directory of files, see Rdd::save_as_text_file: "prefix-1000", or
  /// "prefix-1000.suffix", 1000 being the batch time in milliseconds since the epoch. A batch that
  /// is run again replaces what it left; until its "_SUCCESS" is there, it is not whole. For
  /// batches that appear at once and never twice, `write_to` a files::Sink.
  void save_as_text_files(std::string prefix, std::string suffix = {}) const;
  void save_as_object_files(std::string prefix, std::string suffix = {}) const;

  /// Writes each batch to a sink (core/sink.h), once: a batch that is run again after a failure or
  /// a restart is not written again, if that is what the sink guarantees.
  template <class S>
  void write_to(S sink, WriteOptions options = {}) const;

  const std::shared_ptr<internal::TypedStreamNode<T>>& node() const { return node_; }

 private:
  template <class U>
  friend class DStream;

  template <class F>
  auto per_batch(const char* operation, F f) const;
  template <class U, class F>
  auto with_other(const char* operation, const DStream<U>& other, F f) const;
  template <class F>
  void add_output(const char* name, F f,
                  std::shared_ptr<const internal::StreamSink> sink = nullptr) const;

  std::shared_ptr<internal::TypedStreamNode<T>> node_;
};

namespace internal {

template <class R>
inline constexpr bool is_rdd = false;
template <class T>
inline constexpr bool is_rdd<Rdd<T>> = true;

/// For a std::function, which wants to copy: the driver's functions may hold what cannot be copied.
template <class F>
auto copyable(F f) {
  return [held = std::make_shared<F>(std::move(f))](Time time) { return (*held)(time); };
}

/// `f(rdds...)` or `f(rdds..., time)`, whichever there is.
template <class F, class... Rdds>
decltype(auto) call_per_batch(F& f, Time time, const Rdds&... rdds) {
  if constexpr (std::is_invocable_v<F&, const Rdds&..., Time>) {
    return f(rdds..., time);
  } else {
    static_assert(std::is_invocable_v<F&, const Rdds&...>,
                  "the function must take the batch's RDDs, and may take a weir::Time after them");
    return f(rdds...);
  }
}

/// Every operator's node: `make(time)` gives the RDD.
template <class Make>
auto computed_stream(const char* operation, Duration slide,
                     std::vector<std::shared_ptr<StreamNode>> parents, Duration reach, Make make) {
  using Result = std::decay_t<std::invoke_result_t<Make&, Time>>;
  static_assert(is_rdd<Result>, "the function must return an Rdd");
  using T = typename Result::value_type;
  auto graph = parents.front()->graph();
  return DStream<T>(std::make_shared<ComputedStreamNode<T>>(
      std::move(graph), operation, slide, std::move(parents), reach, copyable(std::move(make))));
}

}  // namespace internal

template <class T>
template <class F>
auto DStream<T>::per_batch(const char* operation, F f) const {
  return internal::computed_stream(operation, node_->slide(), {node_}, Duration::zero(),
                                   [parent = node_, f = std::move(f)](Time time) mutable {
                                     return internal::call_per_batch(f, time,
                                                                     *parent->rdd_at(time));
                                   });
}

template <class T>
template <class F>
auto DStream<T>::transform(F f) const {
  return per_batch("transform", std::move(f));
}

template <class T>
template <class U, class F>
auto DStream<T>::with_other(const char* operation, const DStream<U>& other, F f) const {
  internal::require_combinable(operation, {node_, other.node()});
  return internal::computed_stream(
      operation, node_->slide(), {node_, other.node()}, Duration::zero(),
      [left = node_, right = other.node(), f = std::move(f)](Time time) mutable {
        return internal::call_per_batch(f, time, *left->rdd_at(time), *right->rdd_at(time));
      });
}

template <class T>
template <class U, class F>
auto DStream<T>::transform_with(const DStream<U>& other, F f) const {
  return with_other("transform_with", other, std::move(f));
}

template <class T>
DStream<T> DStream<T>::union_with(const DStream<T>& other) const {
  return with_other("union_with", other,
                    [](const Rdd<T>& a, const Rdd<T>& b) { return a.union_with(b); });
}

template <class T>
template <class F>
auto DStream<T>::map(F f) const {
  WEIR_REQUIRE_SHIPPABLE(F);
  return per_batch("map",
                   [f = internal::checked(std::move(f))](const Rdd<T>& rdd) { return rdd.map(f); });
}

template <class T>
template <class F>
auto DStream<T>::flat_map(F f) const {
  WEIR_REQUIRE_SHIPPABLE(F);
  return per_batch("flat_map", [f = internal::checked(std::move(f))](const Rdd<T>& rdd) {
    return rdd.flat_map(f);
  });
}

template <class T>
template <class F>
DStream<T> DStream<T>::filter(F keep) const {
  WEIR_REQUIRE_SHIPPABLE(F);
  return per_batch("filter", [keep = internal::checked(std::move(keep))](const Rdd<T>& rdd) {
    return rdd.filter(keep);
  });
}

template <class T>
template <class F>
auto DStream<T>::map_partitions(F f) const {
  WEIR_REQUIRE_SHIPPABLE(F);
  return per_batch("map_partitions", [f = internal::checked(std::move(f))](const Rdd<T>& rdd) {
    return rdd.map_partitions(f);
  });
}

template <class T>
template <class F>
auto DStream<T>::map_values(F f) const {
  WEIR_REQUIRE_PAIRS(T);
  WEIR_REQUIRE_SHIPPABLE(F);
  return per_batch("map_values", [f = internal::checked(std::move(f))](const Rdd<T>& rdd) {
    return rdd.map_values(f);
  });
}

template <class T>
template <class F>
auto DStream<T>::reduce_by_key(F f, std::uint32_t partitions) const {
  WEIR_REQUIRE_PAIRS(T);
  WEIR_REQUIRE_SHIPPABLE(F);
  return per_batch("reduce_by_key",
                   [f = internal::checked(std::move(f)), partitions](const Rdd<T>& rdd) {
                     return rdd.reduce_by_key(f, partitions);
                   });
}

template <class T>
auto DStream<T>::group_by_key(std::uint32_t partitions) const {
  WEIR_REQUIRE_PAIRS(T);
  return per_batch("group_by_key",
                   [partitions](const Rdd<T>& rdd) { return rdd.group_by_key(partitions); });
}

template <class T>
template <class F>
auto DStream<T>::flat_map_values(F f) const {
  WEIR_REQUIRE_PAIRS(T);
  WEIR_REQUIRE_SHIPPABLE(F);
  return per_batch("flat_map_values", [f = internal::checked(std::move(f))](const Rdd<T>& rdd) {
    return rdd.flat_map_values(f);
  });
}

template <class T>
template <class Create, class MergeValue, class MergeCombined>
auto DStream<T>::combine_by_key(Create create, MergeValue merge_value, MergeCombined merge_combined,
                                std::uint32_t partitions) const {
  WEIR_REQUIRE_PAIRS(T);
  WEIR_REQUIRE_SHIPPABLE(Create);
  WEIR_REQUIRE_SHIPPABLE(MergeValue);
  WEIR_REQUIRE_SHIPPABLE(MergeCombined);
  return per_batch("combine_by_key", [create = internal::checked(std::move(create)),
                                      merge_value = internal::checked(std::move(merge_value)),
                                      merge_combined = internal::checked(std::move(merge_combined)),
                                      partitions](const Rdd<T>& rdd) {
    return rdd.combine_by_key(create, merge_value, merge_combined, partitions);
  });
}

template <class T>
template <class U>
auto DStream<T>::cogroup(const DStream<U>& other, std::uint32_t partitions) const {
  return with_other("cogroup", other, [partitions](const Rdd<T>& left, const Rdd<U>& right) {
    return left.cogroup(right, partitions);
  });
}

template <class T>
template <class U>
auto DStream<T>::join(const DStream<U>& other, std::uint32_t partitions) const {
  return with_other("join", other, [partitions](const Rdd<T>& left, const Rdd<U>& right) {
    return left.join(right, partitions);
  });
}

template <class T>
template <class U>
auto DStream<T>::left_outer_join(const DStream<U>& other, std::uint32_t partitions) const {
  return with_other("left_outer_join", other,
                    [partitions](const Rdd<T>& left, const Rdd<U>& right) {
                      return left.left_outer_join(right, partitions);
                    });
}

template <class T>
template <class U>
auto DStream<T>::right_outer_join(const DStream<U>& other, std::uint32_t partitions) const {
  return with_other("right_outer_join", other,
                    [partitions](const Rdd<T>& left, const Rdd<U>& right) {
                      return left.right_outer_join(right, partitions);
                    });
}

template <class T>
template <class U>
auto DStream<T>::full_outer_join(const DStream<U>& other, std::uint32_t partitions) const {
  return with_other("full_outer_join", other,
                    [partitions](const Rdd<T>& left, const Rdd<U>& right) {
                      return left.full_outer_join(right, partitions);
                    });
}

template <class T>
DStream<owned_t<T>> DStream<T>::repartition(std::uint32_t partitions) const {
  internal::require_partitions("repartition", partitions);
  return per_batch("repartition",
                   [partitions](const Rdd<T>& rdd) { return rdd.repartition(partitions); });
}

template <class T>
auto DStream<T>::glom() const {
  return per_batch("glom", [](const Rdd<T>& rdd) { return rdd.glom(); });
}

template <class T>
template <class F>
DStream<owned_t<T>> DStream<T>::reduce(F f) const {
  WEIR_REQUIRE_SHIPPABLE(F);
  return per_batch("reduce", [f = internal::checked(std::move(f))](const Rdd<T>& rdd) {
    return rdd.map([](const T& element) { return std::pair<char, T>(0, element); })
        .reduce_by_key(f, 1)
        .map([](const std::pair<char, owned_t<T>>& all) { return all.second; });
  });
}

template <class T>
DStream<std::int64_t> DStream<T>::count() const {
  using Part = std::pair<char, std::int64_t>;
  Context& context = node_->graph()->context();
  return per_batch("count", [&context](const Rdd<T>& rdd) {
    // One zero more, so that there is always a sum.
    return rdd
        .map_partitions([](auto elements) {
          std::int64_t size = 0;
          for ([[maybe_unused]] const T& element : elements) ++size;
          return std::vector<Part>{{0, size}};
        })
        .union_with(context.parallelize(std::vector<Part>{{0, 0}}, 1))
        .reduce_by_key([](std::int64_t a, std::int64_t b) { return a + b; }, 1)
        .map([](const Part& all) { return all.second; });
  });
}

template <class T>
auto DStream<T>::count_by_value(std::uint32_t partitions) const {
  return per_batch("count_by_value", [partitions](const Rdd<T>& rdd) {
    return rdd.map([](const T& element) { return std::pair<T, std::int64_t>(element, 1); })
        .reduce_by_key([](std::int64_t a, std::int64_t b) { return a + b; }, partitions);
  });
}

template <class T>
DStream<owned_t<T>> DStream<T>::window(Duration length, Duration slide) const {
  if constexpr (!is_owned<T>) {
    return map([](const T& element) { return to_owned(element); }).window(length, slide);
  } else {
    Context& context = node_->graph()->context();
    const Duration step = node_->slide();
    internal::require_window(length, slide, *node_);
    if (node_->storage_level() == StorageLevel::kNone) persist();
    return internal::computed_stream(
        "window", slide, {node_}, length, [parent = node_, &context, length, step](Time time) {
          std::vector<Rdd<T>> rdds;
          for (Time at = time - length + step; at <= time; at += step) {
            if (auto rdd = parent->rdd_at(at)) rdds.push_back(*std::move(rdd));
          }
          if (rdds.empty()) return context.template empty_rdd<T>();
          return context.union_of(std::move(rdds));
        });
  }
}

template <class T>
auto DStream<T>::group_by_key_and_window(Duration length, Duration slide,
                                         std::uint32_t partitions) const {
  WEIR_REQUIRE_PAIRS(T);
  using K = owned_t<typename T::first_type>;
  using Values = std::vector<owned_t<typename T::second_type>>;
  const auto windows =
      group_by_key(partitions).window(length, slide == Duration::zero() ? node_->slide() : slide);
  // Batches are spread alike, so merging them does not shuffle.
  return windows.per_batch("group_by_key_and_window",
                           [partitions](const Rdd<std::pair<K, Values>>& rdd) {
                             const auto append = [](Values all, const Values& more) {
                               all.insert(all.end(), more.begin(), more.end());
                               return all;
                             };
                             return rdd.combine_by_key([](const Values& values) { return values; },
                                                       append, append, partitions);
                           });
}

template <class T>
template <class F>
void DStream<T>::add_output(const char* name, F f,
                            std::shared_ptr<const internal::StreamSink> sink) const {
  auto run = [stream = node_, f = std::move(f)](Time time) mutable {
    internal::call_per_batch(f, time, *stream->rdd_at(time));
  };
  node_->graph()->add_output({name, node_, internal::copyable(std::move(run)), std::move(sink)});
}

template <class T>
template <class S>
void DStream<T>::write_to(S sink, WriteOptions options) const {
  static_assert(Sink<S, T>, "the sink does not offer what weir::Sink of this element asks for");
  const auto graph = node_->graph();
  if (options.uid.empty()) options.uid = "sink-" + std::to_string(graph->sinks().size());
  const auto typed = std::make_shared<internal::TypedSink<T, S>>(
      std::move(options.uid), std::move(sink), options.partitions,
      graph->context().default_parallelism());
  graph->add_sink(typed);
  add_output(
      "write_to", [typed](const Rdd<T>& rdd) { typed->run(rdd); }, typed);
}

template <class T>
void DStream<T>::save_as_text_files(std::string prefix, std::string suffix) const {
  add_output("save_as_text_files", [prefix = std::move(prefix), suffix = std::move(suffix)](
                                       const Rdd<T>& rdd, Time time) {
    rdd.save_as_text_file(internal::name_of_batch(prefix, time, suffix), {.replace = true});
  });
}

template <class T>
void DStream<T>::save_as_object_files(std::string prefix, std::string suffix) const {
  add_output("save_as_object_files", [prefix = std::move(prefix), suffix = std::move(suffix)](
                                         const Rdd<T>& rdd, Time time) {
    rdd.save_as_object_file(internal::name_of_batch(prefix, time, suffix), {.replace = true});
  });
}

template <class T>
void DStream<T>::print(std::size_t n) const {
  add_output("print", [n](const Rdd<T>& rdd, Time time) {
    const auto elements = rdd.take(n + 1);
    std::vector<std::string> shown;
    for (std::size_t i = 0; i < elements.size() && i < n; ++i) {
      shown.push_back(printed(static_cast<const owned_t<T>&>(elements[i])));
    }
    internal::print_batch(time, shown, elements.size() > n);
  });
}

}  // namespace weir
