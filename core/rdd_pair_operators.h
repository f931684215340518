#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "weir/core/cogroup.h"
#include "weir/core/combine.h"
#include "weir/core/flat_map_values.h"
#include "weir/core/join.h"
#include "weir/core/partitioners.h"
#include "weir/core/rdd.h"
#include "weir/core/redistribute.h"
#include "weir/core/sampling.h"
#include "weir/core/sorting.h"

/// Bodies of Rdd's operators of pairs. Included by rdd.h.
namespace weir {

#define WEIR_REQUIRE_SAME_KEYS(T, U)                                                          \
  static_assert(!::weir::internal::PairOf<T>::value || !::weir::internal::PairOf<U>::value || \
                    std::is_same_v<owned_t<typename ::weir::internal::PairOf<T>::Key>,        \
                                   owned_t<typename ::weir::internal::PairOf<U>::Key>>,       \
                "the keys of both datasets must have one type (views: the same owned form): " \
                "map one of them to std::pair(key, value) with the other's")

namespace internal {

template <class T, class U>
inline constexpr bool have_same_keys = false;
template <class K, class V, class L, class W>
inline constexpr bool have_same_keys<std::pair<K, V>, std::pair<L, W>> =
    std::is_same_v<owned_t<K>, owned_t<L>>;

template <class K, class V, class W>
using InnerJoin = JoinZip<K, V, W, false, false>;
template <class K, class V, class W>
using LeftOuterJoin = JoinZip<K, V, W, true, false>;
template <class K, class V, class W>
using RightOuterJoin = JoinZip<K, V, W, false, true>;
template <class K, class V, class W>
using FullOuterJoin = JoinZip<K, V, W, true, true>;
template <class K, class V, class>
using PresentKeys = MatchZip<K, V, true>;
template <class K, class V, class>
using AbsentKeys = MatchZip<K, V, false>;

}  // namespace internal

// --- pairs ---

template <class T>
auto Rdd<T>::partition_by(std::uint32_t partitions) const {
  WEIR_REQUIRE_PAIRS(T);
  if constexpr (internal::PairOf<T>::value) {
    const auto partitioner = internal::choose_partitioner("partition_by", partitions, *dataset_);
    return Rdd<owned_t<T>>(
        internal::spread_by_key<Key, Value>(dataset_, "partition_by", partitioner));
  }
}

template <class T>
template <class By>
requires std::is_class_v<By>
auto Rdd<T>::partition_by(By by) const {
  WEIR_REQUIRE_PAIRS(T);
  if constexpr (internal::PairOf<T>::value) {
    if constexpr (std::is_same_v<By, HashPartitioner>) {
      return partition_by(by.partitions);
    } else if constexpr (std::is_same_v<By, RangePartitioner>) {
      const auto key = [](const T& element) { return element.first; };
      return deal("partition_by", range_deal("partition_by", key, by.ascending, by.partitions));
    } else {
      using F = decltype(by.partition_of);
      WEIR_REQUIRE_SHIPPABLE(F);
      return deal("partition_by", internal::DealByFunction<T, F>{
                                      {std::move(by.partition_of)},
                                      internal::require_partitions("partition_by", by.partitions)});
    }
  }
}

/// By a rule of its own.
template <class T>
template <class Deal>
auto Rdd<T>::deal(const char* operation, Deal deal) const {
  const internal::Partitioner partitioner{.partitions = deal.pieces(),
                                          .rule = internal::rule_of(deal)};
  if constexpr (is_owned<T>) {
    if (dataset_->partitioner() == partitioner) return *this;
  }
  return Rdd<owned_t<T>>(
      new internal::DealtDataset<Deal>(dataset_, operation, std::move(deal), partitioner));
}

template <class T>
template <class F>
auto Rdd<T>::flat_map_values(F f) const {
  WEIR_REQUIRE_PAIRS(T);
  WEIR_REQUIRE_SHIPPABLE(F);
  if constexpr (internal::PairOf<T>::value) {
    return pipe("flat_map_values", internal::FlatMapValuesPipe<Key, Value, F>{{{{std::move(f)}}}},
                dataset_->partitioner());
  }
}

template <class T>
auto Rdd<T>::keys() const {
  WEIR_REQUIRE_PAIRS(T);
  if constexpr (internal::PairOf<T>::value) {
    return map([](const T& element) { return element.first; });
  }
}

template <class T>
auto Rdd<T>::values() const {
  WEIR_REQUIRE_PAIRS(T);
  if constexpr (internal::PairOf<T>::value) {
    return map([](const T& element) { return element.second; });
  }
}

template <class T>
template <class Create, class MergeValue, class MergeCombined>
auto Rdd<T>::combine_by_key(Create create, MergeValue merge_value, MergeCombined merge_combined,
                            std::uint32_t partitions) const {
  WEIR_REQUIRE_PAIRS(T);
  WEIR_REQUIRE_SHIPPABLE(Create);
  WEIR_REQUIRE_SHIPPABLE(MergeValue);
  WEIR_REQUIRE_SHIPPABLE(MergeCombined);
  if constexpr (internal::PairOf<T>::value) {
    return combine("combine_by_key",
                   internal::CombineAggregator<Value, Create, MergeValue, MergeCombined>{
                       std::move(create), std::move(merge_value), std::move(merge_combined)},
                   partitions);
  }
}

template <class T>
template <class C, class MergeValue, class MergeCombined>
auto Rdd<T>::aggregate_by_key(C zero, MergeValue merge_value, MergeCombined merge_combined,
                              std::uint32_t partitions) const {
  WEIR_REQUIRE_PAIRS(T);
  WEIR_REQUIRE_SHIPPABLE(MergeValue);
  WEIR_REQUIRE_SHIPPABLE(MergeCombined);
  if constexpr (internal::PairOf<T>::value) {
    auto merge = internal::checked(std::move(merge_value));
    auto create = weir::bind(std::move(zero), merge);
    return combine_by_key(std::move(create), std::move(merge),
                          internal::checked(std::move(merge_combined)), partitions);
  }
}

template <class T>
template <class F>
auto Rdd<T>::fold_by_key(owned_t<std::conditional_t<internal::PairOf<T>::value, Value, int>> zero,
                         F f, std::uint32_t partitions) const {
  WEIR_REQUIRE_PAIRS(T);
  WEIR_REQUIRE_SHIPPABLE(F);
  if constexpr (internal::PairOf<T>::value) {
    const auto fold = internal::checked(std::move(f));
    return aggregate_by_key(std::move(zero), fold, fold, partitions);
  }
}

// --- two datasets of pairs ---

template <class T>
template <template <class K, class V, class W> class Stream, class U>
auto Rdd<T>::zip_by_key(const char* operation, const Rdd<U>& other,
                        std::uint32_t partitions) const {
  WEIR_REQUIRE_PAIRS(T);
  WEIR_REQUIRE_PAIRS(U);
  WEIR_REQUIRE_SAME_KEYS(T, U);
  if constexpr (internal::have_same_keys<T, U>) {
    using Zipped = Stream<owned_t<Key>, owned_t<Value>, owned_t<typename U::second_type>>;
    const auto partitioner =
        internal::choose_partitioner(operation, partitions, *dataset_, &*other.dataset());
    using Zip = internal::KeyedZip<Zipped>;
    return Rdd<typename Zipped::Out>(new internal::ZippedDataset<Zip>(
        internal::spread_by_key(dataset_, operation, partitioner),
        internal::spread_by_key(other.dataset(), operation, partitioner), operation, Zip{},
        partitioner));
  }
}

template <class T>
template <class U>
auto Rdd<T>::cogroup(const Rdd<U>& other, std::uint32_t partitions) const {
  return zip_by_key<internal::CogroupZip>("cogroup", other, partitions);
}

template <class T>
template <class U>
auto Rdd<T>::join(const Rdd<U>& other, std::uint32_t partitions) const {
  return zip_by_key<internal::InnerJoin>("join", other, partitions);
}

template <class T>
template <class U>
auto Rdd<T>::left_outer_join(const Rdd<U>& other, std::uint32_t partitions) const {
  return zip_by_key<internal::LeftOuterJoin>("left_outer_join", other, partitions);
}

template <class T>
template <class U>
auto Rdd<T>::right_outer_join(const Rdd<U>& other, std::uint32_t partitions) const {
  return zip_by_key<internal::RightOuterJoin>("right_outer_join", other, partitions);
}

template <class T>
template <class U>
auto Rdd<T>::full_outer_join(const Rdd<U>& other, std::uint32_t partitions) const {
  return zip_by_key<internal::FullOuterJoin>("full_outer_join", other, partitions);
}

template <class T>
template <class U>
auto Rdd<T>::subtract_by_key(const Rdd<U>& other, std::uint32_t partitions) const {
  WEIR_REQUIRE_PAIRS(U);
  if constexpr (internal::PairOf<U>::value) {
    return zip_by_key<internal::AbsentKeys>(
        "subtract_by_key", other.map_values([](const typename U::second_type&) { return char(); }),
        partitions);
  }
}

// --- samples ---

template <class T>
template <class Fractions>
Rdd<T> Rdd<T>::sample_by_key(bool with_replacement, const Fractions& fractions,
                             std::optional<std::uint64_t> seed) const {
  WEIR_REQUIRE_PAIRS(T);
  if constexpr (internal::PairOf<T>::value) {
    internal::StratifiedPipe<T> sample;
    sample.with_replacement = with_replacement;
    sample.seed = internal::seed_or_random(seed);
    for (const auto& [key, fraction] : fractions) {
      internal::require_fraction("sample_by_key", fraction, !with_replacement);
      sample.add(owned_t<Key>(key), fraction);
    }
    return pipe("sample_by_key", std::move(sample), dataset_->partitioner());
  }
}

// --- order ---

template <class T>
auto Rdd<T>::sort_by_key(bool ascending, std::uint32_t partitions) const {
  WEIR_REQUIRE_PAIRS(T);
  if constexpr (internal::PairOf<T>::value) {
    return sort_by([](const T& element) { return element.first; }, ascending, partitions);
  }
}

template <class T>
template <class By>
auto Rdd<T>::repartition_and_sort_within_partitions(By partitions) const {
  WEIR_REQUIRE_PAIRS(T);
  if constexpr (internal::PairOf<T>::value) {
    const auto spread = partition_by(partitions);
    using Stored = owned_t<T>;
    const auto key = [](const Stored& element) { return element.first; };
    return spread.pipe("repartition_and_sort_within_partitions",
                       internal::SortPipe<Stored, std::decay_t<decltype(key)>>{{key}, {}},
                       spread.dataset()->partitioner());
  }
}

// --- actions on pairs ---

template <class T>
template <class K>
auto Rdd<T>::lookup(const K& key) const {
  WEIR_REQUIRE_PAIRS(T);
  if constexpr (internal::PairOf<T>::value) {
    const owned_t<Key> wanted(key);
    auto partitions = internal::all_partitions(*dataset_);
    if (const auto& by = dataset_->partitioner(); by && by->rule == 0) {
      const std::uint64_t seed = by->seed != 0 ? by->seed : alive_engine()->hash_seed();
      partitions = {by->partition_of(internal::key_hash(wanted, seed))};
    }
    const auto found = filter(weir::bind(wanted, [](const owned_t<Key>& k, const T& element) {
                         return internal::same_key(k, element.first);
                       })).values();
    std::vector<owned_t<Value>> all;
    for (auto& part :
         internal::run_action(found.dataset(), internal::CollectAction<Value>{}, partitions)) {
      for (auto&& value : part) all.push_back(std::move(value));
    }
    return all;
  }
}

template <class T>
auto Rdd<T>::count_by_key() const {
  WEIR_REQUIRE_PAIRS(T);
  if constexpr (internal::PairOf<T>::value) {
    return map_values([](const Value&) { return std::int64_t{1}; })
        .reduce_by_key([](std::int64_t a, std::int64_t b) { return a + b; })
        .collect_as_map();
  }
}

template <class T>
auto Rdd<T>::collect_as_map() const {
  WEIR_REQUIRE_PAIRS(T);
  if constexpr (internal::PairOf<T>::value) {
    std::map<owned_t<Key>, owned_t<Value>> all;
    for (auto& part : run(internal::CollectAction<T>{})) {
      for (auto& [key, value] : part) all.insert_or_assign(std::move(key), std::move(value));
    }
    return all;
  }
}

template <class T>
template <class F>
auto Rdd<T>::reduce_by_key_locally(F f) const {
  WEIR_REQUIRE_PAIRS(T);
  WEIR_REQUIRE_SHIPPABLE(F);
  if constexpr (internal::PairOf<T>::value) {
    using Aggregator = internal::ReduceAggregator<Value, F>;
    const Aggregator aggregator{{f}};
    const auto reduced =
        pipe("reduce_by_key_locally", internal::CombinePipe<Key, Value, Aggregator>{aggregator});
    std::map<owned_t<Key>, owned_t<Value>> all;
    for (auto& [key, value] : reduced.collect()) {
      const auto [at, is_new] = all.try_emplace(std::move(key), std::move(value));
      if (!is_new) aggregator.merge_value(at->second, std::move(value));
    }
    return all;
  }
}

}  // namespace weir
