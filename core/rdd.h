#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "weir/core/actions.h"
#include "weir/core/function.h"
#include "weir/core/shuffle.h"
#include "weir/core/sources.h"

namespace weir {

namespace internal {

template <class T>
struct PairOf {
  static constexpr bool value = false;
  using Key = void;
  using Value = void;
};
template <class K, class V>
struct PairOf<std::pair<K, V>> {
  static constexpr bool value = true;
  using Key = K;
  using Value = V;
};

}  // namespace internal

#define WEIR_REQUIRE_PAIRS(T)                               \
  static_assert(::weir::internal::PairOf<T>::value,         \
                "this operation is for datasets of pairs: " \
                "map the elements to std::pair(key, value) first")

/// How a dataset becomes files.
struct SaveOptions {
  bool replace = false;  ///< what an earlier save left in the directory goes first
};

/// An immutable, partitioned dataset: a cheap handle on a node of the lineage graph, which is
/// computed when an action asks for it and recomputed when a part is lost.
///
/// Functions given to operators run in workers and must be shippable (see function.h), except where
/// said otherwise. They are called as `const F&` on `const T&`; results are decayed. Elements may
/// be views (string_view and pairs of them), valid until the next chunk; what keeps elements stores
/// their owning form `owned_t<T>`. Handles are thread-safe; actions block the calling thread and
/// throw Error(kJobFailed) when user code fails `weir.task-max-failures` times, Error(kCancelled)
/// when the context stops.
template <class T>
class Rdd {
 public:
  using value_type = T;
  using Key = typename internal::PairOf<T>::Key;  ///< void unless T is a pair
  using Value = typename internal::PairOf<T>::Value;

  explicit Rdd(internal::DatasetPtr<T> dataset) : dataset_(std::move(dataset)) {}
  /// Takes ownership.
  explicit Rdd(internal::Dataset<T>* made) : dataset_(made) {}

  // --- transformations: lazy, narrow unless said otherwise ---

  /// One output `f(x)` per element, order kept. The partitioner is lost.
  template <class F>
  auto map(F f) const {
    WEIR_REQUIRE_SHIPPABLE(F);
    return pipe("map", internal::MapPipe<T, F>{{std::move(f)}});
  }

  /// The elements of the ranges `f(x)` (a std::vector, a view, a std::optional), order kept. Views
  /// from a range that may own what they point to (`split(x, ' ') | std::views::transform(g)`) end
  /// with their range, which costs a chunk for each: rather `map(g)` afterwards.
  template <class F>
  auto flat_map(F f) const {
    WEIR_REQUIRE_SHIPPABLE(F);
    return pipe("flat_map", internal::FlatMapPipe<T, F>{{std::move(f)}});
  }

  /// The elements for which `f(x)` is true. Keeps the partitioner.
  template <class F>
  Rdd filter(F f) const {
    WEIR_REQUIRE_SHIPPABLE(F);
    return pipe("filter", internal::FilterPipe<T, F>{{std::move(f)}}, dataset_->partitioner());
  }

  /// `f(range)` over each partition as a whole: takes a single-pass range of T, returns a range.
  template <class F>
  auto map_partitions(F f) const {
    WEIR_REQUIRE_SHIPPABLE(F);
    return pipe("map_partitions", internal::MapPartitionsPipe<T, F>{{std::move(f)}});
  }

  /// The same with `f(index, range)`, the index of the partition first, from 0.
  template <class F>
  auto map_partitions_with_index(F f) const;
  /// Each partition as one std::vector of owning elements, held in memory.
  auto glom() const;

  /// (f(x), x) for each element, order kept.
  template <class F>
  auto key_by(F f) const;
  /// One (k, all x with f(x) == k) per key: `key_by(f).group_by_key(partitions)`.
  template <class F>
  auto group_by(F f, std::uint32_t partitions = 0) const;

  /// (x, std::int64_t index) for each element: dense, in partition order, from 0. Runs a job that
  /// counts, unless there is one partition.
  auto zip_with_index() const;
  /// (x, std::int64_t id): k, n + k, 2n + k, ... in partition k of n. Without a job.
  auto zip_with_unique_id() const;

  /// (x, y) for the elements at the same place of both, which must have as many partitions and
  /// elements in each: else Error(kInvalidArgument) here, or a failed job.
  template <class U>
  auto zip(const Rdd<U>& other) const;
  /// `f(range, range)` over both datasets' partitions of one index; returns a range. Throws
  /// Error(kInvalidArgument) unless there are as many.
  template <class U, class F>
  auto zip_partitions(const Rdd<U>& other, F f) const;
  /// (x, y) for each x here and each y of `other`: n * m partitions, of each of which the right
  /// side is held in memory.
  template <class U>
  auto cartesian(const Rdd<U>& other) const;

  /// The lines that an external program writes to its standard output, one process per partition:
  /// it is given the elements as `print` shows them, one per line, on its standard input, and is
  /// found as a shell would, but not run by one. What it writes to standard error goes to the
  /// worker's. Throws Error(kInvalidArgument) for no command; a program that cannot be started, is
  /// killed, or ends with another status than 0 fails the task with it.
  Rdd<std::string> pipe(std::vector<std::string> command) const;
  /// The same, of words that are separated by white space.
  Rdd<std::string> pipe(std::string_view command) const;

  /// Each element with probability `fraction`, order kept; with replacement: as many times as a
  /// Poisson distribution with that mean says. Partitions computed again are the same. Without a
  /// seed: another sample for each call. Throws Error(kInvalidArgument) for a fraction that is
  /// none.
  Rdd sample(bool with_replacement, double fraction,
             std::optional<std::uint64_t> seed = std::nullopt) const;
  /// Disjoint samples that together are all, of the weights' shares of the elements.
  std::vector<Rdd> random_split(const std::vector<double>& weights,
                                std::optional<std::uint64_t> seed = std::nullopt) const;

  /// The elements in the order of `f(x)`, equal ones in the order of the input, in `partitions`
  /// partitions (0: as many as here) of about equal size by ranges of f(x), which needs `<` and
  /// must be serializable. Runs a job that samples when there are several, and shuffles; a
  /// partition is held in memory, and `f` is called for each comparison in it.
  template <class F>
  Rdd<owned_t<T>> sort_by(F f, bool ascending = true, std::uint32_t partitions = 0) const;

  /// Both datasets' elements, duplicates kept: partitions in a row, or index by index where both
  /// have the same partitioner.
  Rdd union_with(const Rdd& other) const {
    return Rdd(new internal::UnionDataset<T>(alive_engine(),
                                             std::vector{dataset_.base(), other.dataset_.base()}));
  }

  /// The elements in `partitions` (at least 1) partitions of about equal size: dealt in turn, so
  /// their order is lost but deterministic. Shuffles; to get fewer, `coalesce` need not.
  Rdd<owned_t<T>> repartition(std::uint32_t partitions) const;
  /// The elements in at most `partitions` (at least 1) partitions, order kept: neighbours are
  /// joined, nothing is shuffled. The partitioner is lost.
  Rdd coalesce(std::uint32_t partitions) const;

  /// Each element once, of those that are equal. Shuffles, after dropping what is equal within a
  /// partition. Elements are what keys are (`==`, serializable), also in the next two.
  Rdd<owned_t<T>> distinct(std::uint32_t partitions = 0) const;
  /// Each element once that both datasets have. Shuffles as `distinct`, both.
  Rdd<owned_t<T>> intersection(const Rdd& other, std::uint32_t partitions = 0) const;
  /// The elements that `other` has not, duplicates kept. Shuffles both; `other`'s distinct elements
  /// of a partition are held in memory.
  Rdd<owned_t<T>> subtract(const Rdd& other, std::uint32_t partitions = 0) const;

  // --- transformations of pairs ---
  //
  // `partitions` is of the result; what is spread by key over so many is not shuffled again. 0: as
  // the input that is spread by key over the most partitions, see choose_partitioner; if none is,
  // the context's default parallelism.

  /// (k, f(v)) for each (k, v), order kept. Keeps the partitioner.
  template <class F>
  auto map_values(F f) const {
    WEIR_REQUIRE_PAIRS(T);
    WEIR_REQUIRE_SHIPPABLE(F);
    if constexpr (internal::PairOf<T>::value) {
      return pipe("map_values", internal::MapValuesPipe<Key, Value, F>{{std::move(f)}},
                  dataset_->partitioner());
    }
  }

  /// (k, x) for each x of the range `f(v)` of each (k, v), order kept; what `flat_map` says of
  /// ranges holds. Keeps the partitioner.
  template <class F>
  auto flat_map_values(F f) const;
  /// k, or v, for each (k, v), order kept.
  auto keys() const;
  auto values() const;

  /// The pairs, equal keys in one partition: in the order of the input's partitions. Shuffles.
  auto partition_by(std::uint32_t partitions = 0) const;
  /// The same by a HashPartitioner, RangePartitioner or CustomPartitioner; what is spread by an
  /// equal one is not shuffled again.
  template <class By>
  requires std::is_class_v<By>
  auto partition_by(By by) const;

  /// Each pair with the probability that `fractions` gives its key, else 0; with replacement, as
  /// many times as a Poisson distribution with that mean says. As `sample`; keeps the partitioner.
  template <class Fractions>
  Rdd sample_by_key(bool with_replacement, const Fractions& fractions,
                    std::optional<std::uint64_t> seed = std::nullopt) const;

  /// `sort_by` the key.
  auto sort_by_key(bool ascending = true, std::uint32_t partitions = 0) const;
  /// `partition_by`, each partition sorted by key, equal keys in the order of the input's
  /// partitions.
  template <class By = std::uint32_t>
  auto repartition_and_sort_within_partitions(By partitions = {}) const;

  /// One (k, v) per key, v the reduction of its values by `f(v, v) -> v`, which must be associative
  /// and commutative. Shuffles, combining before.
  template <class F>
  auto reduce_by_key(F f, std::uint32_t partitions = 0) const {
    WEIR_REQUIRE_PAIRS(T);
    WEIR_REQUIRE_SHIPPABLE(F);
    if constexpr (internal::PairOf<T>::value) {
      return combine("reduce_by_key", internal::ReduceAggregator<Value, F>{{std::move(f)}},
                     partitions);
    }
  }
  /// One (k, c) per key: `create(v) -> C` of its first value in a partition, `merge_value(C, v) ->
  /// C` of each further one, `merge_combined(C, C) -> C` of those of several partitions, in their
  /// order. The merges are given the C so far as an rvalue: take it by value, extend it and return
  /// it. Shuffles, combining before.
  template <class Create, class MergeValue, class MergeCombined>
  auto combine_by_key(Create create, MergeValue merge_value, MergeCombined merge_combined,
                      std::uint32_t partitions = 0) const;
  /// The same, each key's C beginning as `zero` in each partition that has it.
  template <class C, class MergeValue, class MergeCombined>
  auto aggregate_by_key(C zero, MergeValue merge_value, MergeCombined merge_combined,
                        std::uint32_t partitions = 0) const;
  /// One (k, v) per key: its values folded by `f(v, v) -> v` onto `zero`, in each partition that
  /// has it, so it should be neutral; then the results as they are. Shuffles, combining before.
  template <class F>
  auto fold_by_key(owned_t<std::conditional_t<internal::PairOf<T>::value, Value, int>> zero, F f,
                   std::uint32_t partitions = 0) const;

  /// One (k, all values of k) per key, the values in the order of the input's partitions. Shuffles
  /// every record; prefer reduce_by_key where values can be combined.
  auto group_by_key(std::uint32_t partitions = 0) const {
    WEIR_REQUIRE_PAIRS(T);
    if constexpr (internal::PairOf<T>::value) {
      return combine("group_by_key", internal::GroupAggregator<Value>{}, partitions);
    }
  }

  // --- transformations of two datasets of pairs ---
  //
  // Keys match when their owned forms do, which must be of one type. Both datasets are shuffled,
  // unless they are spread alike: both by key over as many partitions. The result is, too. Joins
  // hold a partition of the right side, `other`, in memory and stream this one.

  /// (k, (all values here, all values in `other`)) for each key of either, values in the order of
  /// the input's partitions. Holds both sides of a partition in memory.
  template <class U>
  auto cogroup(const Rdd<U>& other, std::uint32_t partitions = 0) const;
  /// (k, (v, w)) for each (k, v) here and each (k, w) in `other`.
  template <class U>
  auto join(const Rdd<U>& other, std::uint32_t partitions = 0) const;
  /// (k, (v, std::optional<W>)): as `join`, and (k, (v, nullopt)) if `other` has no k.
  template <class U>
  auto left_outer_join(const Rdd<U>& other, std::uint32_t partitions = 0) const;
  /// (k, (std::optional<V>, w)): as `join`, and (k, (nullopt, w)) if k is only in `other`.
  template <class U>
  auto right_outer_join(const Rdd<U>& other, std::uint32_t partitions = 0) const;
  /// (k, (std::optional<V>, std::optional<W>)): as `join`, and what either side has alone.
  template <class U>
  auto full_outer_join(const Rdd<U>& other, std::uint32_t partitions = 0) const;
  /// (k, v) for each (k, v) whose key `other` has not, duplicates kept.
  template <class U>
  auto subtract_by_key(const Rdd<U>& other, std::uint32_t partitions = 0) const;

  // --- actions: run a job ---

  /// All elements, in partition order.
  std::vector<owned_t<T>> collect() const {
    std::vector<owned_t<T>> all;
    for (auto& part : run(internal::CollectAction<T>{})) {
      for (auto&& element : part) all.push_back(std::move(element));
    }
    return all;
  }

  /// The elements one by one, as a single-pass range: each partition is computed by a job of its
  /// own when it is reached, so the driver holds one at a time. Persist what is dear to compute.
  auto to_local_iterator() const;

  std::int64_t count() const {
    std::int64_t sum = 0;
    for (const std::int64_t part : run(internal::CountAction<T>{})) sum += part;
    return sum;
  }

  /// The reduction of all elements by `f(t, t) -> t`, associative; partitions are combined in
  /// order, on the calling thread. Throws Error(kInvalidArgument) if there are none.
  template <class F>
  owned_t<T> reduce(F f) const {
    WEIR_REQUIRE_SHIPPABLE(F);
    std::optional<owned_t<T>> result;
    for (auto& part : run(internal::ReduceAction<T, F>{{f}})) {
      if (!part) continue;
      if (result) {
        result = to_owned(std::as_const(f)(std::as_const(*result), std::as_const(*part)));
      } else {
        result = std::move(part);
      }
    }
    if (!result) internal::throw_empty("reduce");
    return std::move(*result);
  }

  /// The same, reduced in `depth` levels of tasks instead of on the calling thread alone: for many
  /// partitions with large results. `f` must be commutative too.
  template <class F>
  owned_t<T> tree_reduce(F f, int depth = 2) const;
  /// The elements of each partition folded onto `zero` by `merge_value(A, x) -> A`, and these by
  /// `merge_combined(A, A) -> A` onto `zero` again, in partition order on the calling thread, where
  /// `merge_combined` may capture anything. The A so far is given as an rvalue.
  template <class A, class MergeValue, class MergeCombined>
  A aggregate(A zero, MergeValue merge_value, MergeCombined merge_combined) const;
  /// The same with one function of two elements.
  template <class F>
  owned_t<T> fold(owned_t<T> zero, F f) const;
  /// As `aggregate` in `depth` levels of tasks; `zero` counts once for each partition only, and
  /// `merge_combined`, which must be commutative, is shipped.
  template <class A, class MergeValue, class MergeCombined>
  A tree_aggregate(A zero, MergeValue merge_value, MergeCombined merge_combined,
                   int depth = 2) const;
  /// How often each element is there, a std::map (elements need `<`) in the driver's memory.
  auto count_by_value() const;

  /// How many different elements there are, about: with a relative standard deviation of
  /// `relative_deviation`, by HyperLogLog (Flajolet et al. 2007, with Ertl's estimator, 2017), each
  /// task holding (1.04 / deviation)^2 bytes. Throws Error(kInvalidArgument) unless it is 0.002 to
  /// 0.4.
  std::int64_t count_approx_distinct(double relative_deviation = 0.05) const;

  /// The first n elements in the order of `less`, sorted; equal ones in no order. Each task holds
  /// n.
  template <class Less = std::less<>>
  std::vector<owned_t<T>> take_ordered(std::size_t n, Less less = {}) const;
  /// The last n, the last one first.
  template <class Less = std::less<>>
  std::vector<owned_t<T>> top(std::size_t n, Less less = {}) const;
  /// The first or the last in the order of `less`. Throw Error(kInvalidArgument) if there is none.
  template <class Less = std::less<>>
  owned_t<T> min(Less less = {}) const;
  template <class Less = std::less<>>
  owned_t<T> max(Less less = {}) const;
  bool is_empty() const { return take(1).empty(); }
  /// The first one in partition order; as `take`. Throws Error(kInvalidArgument) if there is none.
  owned_t<T> first() const {
    auto found = take(1);
    if (found.empty()) internal::throw_empty("first");
    return std::move(found.front());
  }
  /// Exactly n random elements (all of them, if there are fewer; with replacement, each may come
  /// again) in random order. Counts first. Without a seed: others for each call.
  std::vector<owned_t<T>> take_sample(bool with_replacement, std::size_t n,
                                      std::optional<std::uint64_t> seed = std::nullopt) const;

  /// The first n elements in partition order. Reads one partition, then four times as many each
  /// time until there are enough.
  std::vector<owned_t<T>> take(std::size_t n) const {
    std::vector<owned_t<T>> taken;
    const std::uint32_t all = dataset_->num_partitions();
    std::uint32_t next = 0;
    for (std::uint32_t step = 1; taken.size() < n && next < all; step *= 4) {
      std::vector<std::uint32_t> partitions;
      for (; next < all && partitions.size() < step; ++next) partitions.push_back(next);
      for (auto& part :
           internal::run_action(dataset_, internal::TakeAction<T>{n - taken.size()}, partitions)) {
        for (auto&& element : part) {
          if (taken.size() < n) taken.push_back(std::move(element));
        }
      }
    }
    return taken;
  }

  /// Of pairs: the values of `key`, in partition order. Computes one partition if the dataset is
  /// spread by key, else all.
  template <class K>
  auto lookup(const K& key) const;
  /// Of pairs, std::maps by key (which must have `<`) in the driver's memory: the number of pairs
  /// with it, shuffled as `reduce_by_key`;
  auto count_by_key() const;
  /// its last value in partition order;
  auto collect_as_map() const;
  /// its values reduced by `f(v, v) -> v`, associative and commutative: in each partition, then, in
  /// their order, on the calling thread. No shuffle.
  template <class F>
  auto reduce_by_key_locally(F f) const;

  /// Calls `f(x)` on the worker for its effects: at least once per element, for a task may be
  /// retried.
  template <class F>
  void foreach (F f) const {
    WEIR_REQUIRE_SHIPPABLE(F);
    run(internal::ForeachAction<T, F>{{std::move(f)}}, true);
  }

  /// Calls `f(range)` once per partition on the worker; at least once, as `foreach`.
  template <class F>
  void foreach_partition(F f) const {
    WEIR_REQUIRE_SHIPPABLE(F);
    run(internal::ForeachPartitionAction<T, F>{{std::move(f)}}, true);
  }

  /// Each partition as a file "part-00000" and so on of lines, as `print` shows elements; a line
  /// end within one is written as it is. Then "_SUCCESS" says that all are there. Files are synced;
  /// driver and workers must see the directory, which must not exist, under the same path. Throws
  /// Error(kInvalidArgument) if it does.
  void save_as_text_file(const std::string& directory, SaveOptions options = {}) const;
  /// The same with the elements' encoding, for `Context::object_file`.
  void save_as_object_file(const std::string& directory, SaveOptions options = {}) const;

  // --- control ---

  /// Keeps the elements where they are first computed, for later jobs, as the level says. What is
  /// lost is recomputed. T must be constructible from owned_t<T>. Throws Error(kInvalidArgument) if
  /// the dataset has another level already.
  Rdd persist(StorageLevel level = StorageLevel::kMemory) const {
    dataset_->persist(level,
                      std::unique_ptr<const internal::StageNode>(
                          level == StorageLevel::kNone ? nullptr : new internal::KeptDataset<T>()));
    return *this;
  }
  Rdd cache() const { return persist(); }

  /// Frees the stored elements.
  Rdd unpersist() const {
    dataset_->persist(StorageLevel::kNone, nullptr);
    return *this;
  }

  /// Once the next job that computes the dataset has ended, a job writes it to files in the
  /// directory of `Context::set_checkpoint_dir` and its lineage is cut: from then on it is read
  /// from there, and what it was made from is freed. It is computed twice unless it is persisted.
  /// Durable: files are synced. Throws Error(kInvalidArgument) if no directory is set; if the
  /// files cannot be written, so does the action, and the lineage stays.
  Rdd checkpoint() const;
  /// The same without files: persists the dataset, on the disk too if it has no level, and cuts its
  /// lineage. What a lost worker held of it cannot be had again: jobs that need it fail.
  Rdd local_checkpoint() const;
  /// Whether the lineage has been cut.
  bool is_checkpointed() const { return dataset_->is_checkpointed(); }

  /// How the elements are spread by key; nothing if they are not, or not known to be.
  const std::optional<internal::Partitioner>& partitioner() const {
    return dataset_->partitioner();
  }
  /// The lineage as text, a line per dataset, those behind a shuffle further in: partitions,
  /// operation or name, id, and level if it is persisted.
  std::string to_debug_string() const { return internal::describe_lineage(*dataset_); }

  std::uint32_t num_partitions() const { return dataset_->num_partitions(); }
  /// Unique within the context.
  DatasetId id() const { return dataset_->id(); }
  std::string name() const { return dataset_->name(); }
  Rdd set_name(std::string name) const {
    dataset_->set_name(std::move(name));
    return *this;
  }

  const internal::DatasetPtr<T>& dataset() const { return dataset_; }

  /// A narrow operator made of a pipe (see pipes.h): what the row-wise operators above are.
  template <class Pipe>
  Rdd<typename Pipe::Out> pipe(const char* operation, Pipe pipe,
                               std::optional<internal::Partitioner> partitioner = {}) const {
    return Rdd<typename Pipe::Out>(
        new internal::PipeDataset<T, Pipe>(dataset_, operation, std::move(pipe), partitioner));
  }

 private:
  template <class U>
  friend class Rdd;

  std::shared_ptr<Engine> alive_engine() const {
    auto engine = dataset_->engine();
    if (engine == nullptr) {
      throw Error(ErrorCode::kCancelled, "the dataset's context no longer exists");
    }
    return engine;
  }

  template <class Aggregator>
  auto combine(const char* operation, Aggregator aggregator, std::uint32_t partitions) const {
    using Out = std::pair<owned_t<Key>, typename Aggregator::Combined>;
    const auto partitioner = internal::choose_partitioner(operation, partitions, *dataset_);
    if (dataset_->partitioner() == partitioner) {
      return pipe(operation, internal::CombinePipe<Key, Value, Aggregator>{std::move(aggregator)},
                  partitioner);
    }
    return Rdd<Out>(new internal::ShuffledDataset<Key, Value, Aggregator>(
        dataset_, operation, partitioner, std::move(aggregator)));
  }

  template <class Deal>
  auto deal(const char* operation, Deal deal) const;
  template <class F>
  auto range_deal(const char* operation, F key, bool ascending, std::uint32_t partitions) const;
  template <template <class K, class V, class W> class Zip, class U>
  auto zip_by_key(const char* operation, const Rdd<U>& other, std::uint32_t partitions) const;
  auto as_keys() const;

  template <class Less>
  owned_t<T> least(const char* action, Less less) const;
  template <class Action>
  void save(const char* operation, const std::string& directory, bool replaced) const;
  template <class Action>
  auto run(Action action, bool has_effects = false) const {
    return internal::run_action(dataset_, std::move(action), internal::all_partitions(*dataset_),
                                has_effects);
  }

  internal::DatasetPtr<T> dataset_;
};

}  // namespace weir

#include "weir/core/rdd_operators.h"
#include "weir/core/rdd_pair_operators.h"
