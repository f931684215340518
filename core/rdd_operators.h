#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "weir/core/approx_distinct.h"
#include "weir/core/checkpoint.h"
#include "weir/core/coalesce.h"
#include "weir/core/local_elements.h"
#include "weir/core/piped_process.h"
#include "weir/core/rdd.h"
#include "weir/core/rdd_pair_operators.h"
#include "weir/core/redistribute.h"
#include "weir/core/sampling.h"
#include "weir/core/saved_files.h"
#include "weir/core/sorting.h"
#include "weir/core/source_rdd.h"
#include "weir/core/text_file.h"
#include "weir/core/zip.h"

/// Bodies of Rdd's operators that are datasets of their own or expressions over others, but for
/// those of pairs. Included by rdd.h.
namespace weir {

namespace internal {

/// x becomes (f(x), x).
template <class T, class F>
struct WithKey : FunctionHolder<F> {
  std::pair<result_of_t<F, const T&>, T> operator()(const T& element) const {
    return {this->function(element), element};
  }
};

/// A partition's elements folded onto `zero`: one element per partition.
template <class T, class A, class F>
struct AggregateAction {
  A zero;
  F merge_value;

  A operator()(ChunkStream<T>& input) const {
    A result = zero;
    for (auto chunk = input.next(); !chunk.empty(); chunk = input.next()) {
      for (const T& element : chunk) {
        result = to_owned(merge_value(std::move(result), element));
      }
    }
    return result;
  }
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & zero;
    serialize_function(ar, merge_value);
  }
};

/// The same as an operator.
template <class T, class A, class F>
struct AggregatePipe {
  using Out = A;
  AggregateAction<T, A, F> action;

  struct Stream final : ChunkStream<A> {
    Stream(StreamPtr<T> in, const AggregateAction<T, A, F>& a) : input(std::move(in)), action(a) {}
    ChunkRef<A> next() override {
      out.clear();
      if (input != nullptr) {
        out.emplace_back(action(*input));
        input = nullptr;
      }
      return out.ref();
    }
    StreamPtr<T> input;  // null: at the end
    const AggregateAction<T, A, F>& action;
    ChunkBuffer<A> out;
  };

  StreamPtr<A> operator()(StreamPtr<T> in, const TaskRun&) const {
    return StreamPtr<Out>(new Stream(std::move(in), action));
  }
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & action;
  }
};

/// Of an optional sum, for reductions without a zero.
template <class T, class F>
struct MergeIntoOptional : FunctionHolder<F> {
  template <class More>
  std::optional<owned_t<T>> operator()(std::optional<owned_t<T>> sum, const More& more) const {
    if constexpr (is_optional<More>) {
      if (!more) return sum;
      return sum ? to_owned(this->function(std::as_const(*sum), *more)) : *more;
    } else {
      return sum ? to_owned(this->function(std::as_const(*sum), more)) : to_owned(more);
    }
  }
};

}  // namespace internal

// --- partitions ---

template <class T>
Rdd<owned_t<T>> Rdd<T>::repartition(std::uint32_t partitions) const {
  using Deal = internal::DealInTurn<T>;
  return Rdd<owned_t<T>>(new internal::DealtDataset<Deal>(
      dataset_, "repartition", Deal{internal::require_partitions("repartition", partitions)},
      std::nullopt));
}

template <class T>
Rdd<T> Rdd<T>::coalesce(std::uint32_t partitions) const {
  if (internal::require_partitions("coalesce", partitions) >= num_partitions()) return *this;
  return Rdd(new internal::CoalescedDataset<T>(dataset_, partitions));
}

// --- elements as keys ---

template <class T>
auto Rdd<T>::as_keys() const {
  return map([](const T& element) { return std::pair<T, char>(element, 0); });
}

template <class T>
Rdd<owned_t<T>> Rdd<T>::distinct(std::uint32_t partitions) const {
  return as_keys().reduce_by_key([](char first, char) { return first; }, partitions).keys();
}

template <class T>
Rdd<owned_t<T>> Rdd<T>::intersection(const Rdd& other, std::uint32_t partitions) const {
  const auto first = [](char one, char) { return one; };
  return as_keys()
      .reduce_by_key(first, partitions)
      .template zip_by_key<internal::PresentKeys>(
          "intersection", other.as_keys().reduce_by_key(first, partitions), partitions)
      .keys();
}

template <class T>
Rdd<owned_t<T>> Rdd<T>::subtract(const Rdd& other, std::uint32_t partitions) const {
  const auto first = [](char one, char) { return one; };
  return as_keys()
      .template zip_by_key<internal::AbsentKeys>(
          "subtract", other.as_keys().reduce_by_key(first, partitions), partitions)
      .keys();
}

// --- partitions as a whole ---

template <class T>
template <class F>
auto Rdd<T>::map_partitions_with_index(F f) const {
  WEIR_REQUIRE_SHIPPABLE(F);
  return pipe("map_partitions_with_index", internal::MapPartitionsPipe<T, F, true>{{std::move(f)}});
}

template <class T>
auto Rdd<T>::glom() const {
  return map_partitions([](auto elements) {
    std::vector<std::vector<owned_t<T>>> all(1);
    for (const T& element : elements) all.front().push_back(to_owned(element));
    return all;
  });
}

template <class T>
auto Rdd<T>::zip_with_index() const {
  std::vector<std::int64_t> firsts(num_partitions(), 0);
  if (firsts.size() > 1) {
    auto counted = internal::all_partitions(*dataset_);
    counted.pop_back();
    const auto counts = internal::run_action(dataset_, internal::CountAction<T>{}, counted);
    for (std::size_t p = 0; p < counts.size(); ++p) firsts[p + 1] = firsts[p] + counts[p];
  }
  return pipe("zip_with_index", internal::NumberPipe<T>{std::move(firsts), 1});
}

template <class T>
auto Rdd<T>::zip_with_unique_id() const {
  std::vector<std::int64_t> firsts(num_partitions());
  for (std::size_t p = 0; p < firsts.size(); ++p) firsts[p] = static_cast<std::int64_t>(p);
  const auto step = static_cast<std::int64_t>(firsts.size());
  return pipe("zip_with_unique_id", internal::NumberPipe<T>{std::move(firsts), step});
}

template <class T>
Rdd<std::string> Rdd<T>::pipe(std::vector<std::string> command) const {
  static_assert(internal::is_printable<T>(), "pipe: give the element type an operator<<");
  return pipe("pipe", internal::ExternalPipe<T>{internal::require_command(std::move(command))});
}

template <class T>
Rdd<std::string> Rdd<T>::pipe(std::string_view command) const {
  return pipe(internal::split_command(command));
}

// --- keys ---

template <class T>
template <class F>
auto Rdd<T>::key_by(F f) const {
  WEIR_REQUIRE_SHIPPABLE(F);
  return pipe("key_by", internal::MapPipe<T, internal::WithKey<T, F>>{{{{std::move(f)}}}});
}

template <class T>
template <class F>
auto Rdd<T>::group_by(F f, std::uint32_t partitions) const {
  WEIR_REQUIRE_SHIPPABLE(F);
  return key_by(internal::checked(std::move(f))).group_by_key(partitions);
}

// --- two datasets ---

template <class T>
template <class U>
auto Rdd<T>::zip(const Rdd<U>& other) const {
  using Zip = internal::PairUp<T, U>;
  internal::require_zippable("zip", *dataset_, *other.dataset());
  return Rdd<typename Zip::Out>(
      new internal::ZippedDataset<Zip>(dataset_, other.dataset(), "zip", Zip{}, std::nullopt));
}

template <class T>
template <class U, class F>
auto Rdd<T>::zip_partitions(const Rdd<U>& other, F f) const {
  WEIR_REQUIRE_SHIPPABLE(F);
  using Zip = internal::ZipPartitions<T, U, F>;
  internal::require_zippable("zip_partitions", *dataset_, *other.dataset());
  return Rdd<typename Zip::Out>(new internal::ZippedDataset<Zip>(
      dataset_, other.dataset(), "zip_partitions", Zip{{std::move(f)}}, std::nullopt));
}

template <class T>
template <class U>
auto Rdd<T>::cartesian(const Rdd<U>& other) const {
  const std::uint64_t partitions = std::uint64_t{num_partitions()} * other.num_partitions();
  using Pairs = internal::CartesianDataset<T, U>;
  return Rdd<typename Pairs::Out>(
      new Pairs(dataset_, other.dataset(),
                partitions == 0 ? 0 : internal::require_partitions("cartesian", partitions)));
}

// --- samples ---

template <class T>
Rdd<T> Rdd<T>::sample(bool with_replacement, double fraction,
                      std::optional<std::uint64_t> seed) const {
  internal::require_fraction("sample", fraction, !with_replacement);
  const std::uint64_t fixed = internal::seed_or_random(seed);
  if (with_replacement) return pipe("sample", internal::ResamplePipe<T>{fraction, fixed});
  return pipe("sample", internal::SamplePipe<T>{0, fraction, fixed}, dataset_->partitioner());
}

template <class T>
std::vector<Rdd<T>> Rdd<T>::random_split(const std::vector<double>& weights,
                                         std::optional<std::uint64_t> seed) const {
  const std::uint64_t fixed = internal::seed_or_random(seed);
  std::vector<Rdd> parts;
  for (const auto& [from, end] : internal::shares_of(weights)) {
    parts.push_back(
        pipe("random_split", internal::SamplePipe<T>{from, end, fixed}, dataset_->partitioner()));
  }
  return parts;
}

template <class T>
std::vector<owned_t<T>> Rdd<T>::take_sample(bool with_replacement, std::size_t n,
                                            std::optional<std::uint64_t> seed) const {
  std::uint64_t fixed = internal::seed_or_random(seed);
  const auto total = static_cast<std::uint64_t>(n == 0 ? 0 : count());
  if (total == 0) return {};
  const std::uint64_t wanted = with_replacement ? n : std::min<std::uint64_t>(n, total);
  std::mt19937_64 random(fixed);
  std::vector<owned_t<T>> taken;
  do {  // nearly always once
    taken =
        sample(with_replacement, internal::fraction_for(wanted, total, with_replacement), fixed++)
            .collect();
  } while (taken.size() < wanted);
  std::shuffle(taken.begin(), taken.end(), random);
  taken.resize(wanted);
  return taken;
}

// --- order ---

/// Samples the keys for the bounds.
template <class T>
template <class F>
auto Rdd<T>::range_deal(const char* operation, F key, bool ascending,
                        std::uint32_t partitions) const {
  internal::DealByRange<T, F> deal{
      .partitions = internal::require_partitions(
          operation, partitions != 0 ? partitions : std::max(1U, num_partitions())),
      .bounds = {},
      .order = {ascending},
      .key = key};
  if (deal.partitions > 1 && num_partitions() > 0) {
    constexpr std::uint64_t kKeysPerPartition = 60;  // of the result
    const std::uint64_t keys = kKeysPerPartition * deal.partitions / num_partitions() + 1;
    deal.bounds = internal::range_bounds(run(internal::ReservoirAction<T, F>{key, keys}),
                                         deal.partitions, deal.order);
  }
  return deal;
}

template <class T>
template <class F>
Rdd<owned_t<T>> Rdd<T>::sort_by(F f, bool ascending, std::uint32_t partitions) const {
  WEIR_REQUIRE_SHIPPABLE(F);
  using Deal = internal::DealByRange<T, F>;
  using Stored = owned_t<T>;
  Deal deal = range_deal("sort_by", f, ascending, partitions);
  const internal::KeyOrder order = deal.order;
  const Rdd<Stored> dealt(
      new internal::DealtDataset<Deal>(dataset_, "sort_by", std::move(deal), std::nullopt));
  return dealt.pipe("sort_by", internal::SortPipe<Stored, F>{{std::move(f)}, order});
}

template <class T>
template <class Less>
std::vector<owned_t<T>> Rdd<T>::take_ordered(std::size_t n, Less less) const {
  WEIR_REQUIRE_SHIPPABLE(Less);
  std::vector<owned_t<T>> first;
  for (auto& part : run(internal::TakeOrderedAction<T, Less>{n, less})) {
    const auto middle = static_cast<std::ptrdiff_t>(first.size());
    std::ranges::move(part, std::back_inserter(first));
    std::inplace_merge(first.begin(), first.begin() + middle, first.end(), less);
    if (first.size() > n) first.resize(n);
  }
  return first;
}

template <class T>
template <class Less>
std::vector<owned_t<T>> Rdd<T>::top(std::size_t n, Less less) const {
  WEIR_REQUIRE_SHIPPABLE(Less);
  return take_ordered(n, internal::Reversed<Less>{std::move(less)});
}

template <class T>
template <class Less>
owned_t<T> Rdd<T>::least(const char* action, Less less) const {
  std::optional<owned_t<T>> result;
  for (auto& part : run(internal::LeastAction<T, Less>{{less}})) {
    if (part && (!result || less(*part, *result))) result = std::move(part);
  }
  if (!result) internal::throw_empty(action);
  return std::move(*result);
}

template <class T>
template <class Less>
owned_t<T> Rdd<T>::min(Less less) const {
  WEIR_REQUIRE_SHIPPABLE(Less);
  return least("min", std::move(less));
}

template <class T>
template <class Less>
owned_t<T> Rdd<T>::max(Less less) const {
  WEIR_REQUIRE_SHIPPABLE(Less);
  return least("max", internal::Reversed<Less>{std::move(less)});
}

// --- files ---

template <class T>
template <class Action>
void Rdd<T>::save(const char* operation, const std::string& directory, bool replaced) const {
  const std::string path = std::filesystem::absolute(directory).string();
  internal::begin_saving(operation, path, replaced);
  run(Action{path}, true);
  internal::finish_saving(path);
}

template <class T>
void Rdd<T>::save_as_text_file(const std::string& directory, SaveOptions options) const {
  static_assert(internal::is_printable<T>(),
                "save_as_text_file: give the element type an operator<<");
  save<internal::SaveTextAction>("save_as_text_file", directory, options.replace);
}

template <class T>
void Rdd<T>::save_as_object_file(const std::string& directory, SaveOptions options) const {
  internal::require_storable<owned_t<T>>();
  save<internal::SaveObjectsAction<T>>("save_as_object_file", directory, options.replace);
}

// --- one value of all elements ---

template <class T>
template <class A, class MergeValue, class MergeCombined>
A Rdd<T>::aggregate(A zero, MergeValue merge_value, MergeCombined merge_combined) const {
  WEIR_REQUIRE_SHIPPABLE(MergeValue);
  A result = zero;
  for (auto& part : run(internal::AggregateAction<T, A, MergeValue>{zero, merge_value})) {
    result = to_owned(merge_combined(std::move(result), std::move(part)));
  }
  return result;
}

template <class T>
template <class F>
owned_t<T> Rdd<T>::fold(owned_t<T> zero, F f) const {
  return aggregate(std::move(zero), f, f);
}

template <class T>
template <class A, class MergeValue, class MergeCombined>
A Rdd<T>::tree_aggregate(A zero, MergeValue merge_value, MergeCombined merge_combined,
                         int depth) const {
  WEIR_REQUIRE_SHIPPABLE(MergeValue);
  WEIR_REQUIRE_SHIPPABLE(MergeCombined);
  auto parts = pipe("tree_aggregate",
                    internal::AggregatePipe<T, A, MergeValue>{{zero, std::move(merge_value)}});
  std::uint32_t left = num_partitions();
  if (left == 0) return zero;
  const double root = std::pow(left, 1.0 / std::max(depth, 1));
  const std::uint32_t fan_in = std::max(2U, static_cast<std::uint32_t>(std::ceil(root)));
  while (left > fan_in + (left + fan_in - 1) / fan_in) {
    left = (left + fan_in - 1) / fan_in;
    parts = parts
                .map_partitions_with_index(
                    weir::bind(left,
                               [](std::uint32_t groups, std::uint32_t index, auto elements) {
                                 std::vector<std::pair<std::uint32_t, A>> keyed;
                                 for (const A& each : elements)
                                   keyed.emplace_back(index % groups, each);
                                 return keyed;
                               }))
                .reduce_by_key(internal::checked(merge_combined), left)
                .values();
  }
  return parts.reduce(std::move(merge_combined));
}

template <class T>
template <class F>
owned_t<T> Rdd<T>::tree_reduce(F f, int depth) const {
  WEIR_REQUIRE_SHIPPABLE(F);
  const internal::MergeIntoOptional<T, F> merge{{std::move(f)}};
  auto result = tree_aggregate(std::optional<owned_t<T>>(), merge, merge, depth);
  if (!result) internal::throw_empty("tree_reduce");
  return std::move(*result);
}

template <class T>
auto Rdd<T>::to_local_iterator() const {
  return LocalElements<T>(dataset_);
}

template <class T>
std::int64_t Rdd<T>::count_approx_distinct(double relative_deviation) const {
  const std::uint32_t precision = internal::HyperLogLog::precision_for(relative_deviation);
  internal::HyperLogLog all(precision);
  for (const auto& part : run(internal::SketchAction<T>{precision})) all.merge(part);
  return std::llround(all.estimate());
}

template <class T>
auto Rdd<T>::count_by_value() const {
  return as_keys()
      .map_values([](char) { return std::int64_t{1}; })
      .reduce_by_key([](std::int64_t a, std::int64_t b) { return a + b; })
      .collect_as_map();
}

// --- lineage ---

template <class T>
Rdd<T> Rdd<T>::checkpoint() const {
  static_assert(is_owned<T>, "checkpoint: map the elements' views to owning values first");
  internal::require_storable<T>();
  const auto engine = alive_engine();
  if (is_checkpointed()) return *this;
  const std::string path = engine->checkpoint_path(id());
  const std::weak_ptr<internal::DatasetBase> weak = dataset_.base();
  engine->add_checkpoint(dataset_.base(), [weak, path] {
    const auto dataset = weak.lock();
    if (dataset == nullptr) return;
    const Rdd whole(internal::DatasetPtr<T>::of(dataset));
    whole.template save<internal::SaveObjectsAction<T>>("checkpoint", path, true);
    dataset->cut_lineage(read_partitions(dataset->engine(), fn<&internal::read_objects<T>>,
                                         internal::data_files("checkpoint", path), "checkpoint")
                             .dataset()
                             .base());
  });
  return *this;
}

template <class T>
Rdd<T> Rdd<T>::local_checkpoint() const {
  const auto engine = alive_engine();
  if (is_checkpointed()) return *this;
  if (dataset_->storage_level() == StorageLevel::kNone) persist(StorageLevel::kMemoryAndDisk);
  if (!internal::uses_disk(dataset_->storage_level())) {
    throw Error(ErrorCode::kInvalidArgument,
                std::string("local_checkpoint: the dataset is persisted as ") +
                    to_string(dataset_->storage_level()) +
                    ", which drops what does not fit into memory, and it could not be computed "
                    "again; persist it on the disk too");
  }
  const std::weak_ptr<internal::DatasetBase> weak = dataset_.base();
  engine->add_checkpoint(dataset_.base(), [weak] {
    const auto dataset = weak.lock();
    if (dataset == nullptr) return;
    const Rdd whole(internal::DatasetPtr<T>::of(dataset));
    whole.count();  // the job may have computed some partitions only
    dataset->cut_lineage(Rdd(new internal::StoredOnlyDataset<T>(*whole.dataset_)).dataset().base());
  });
  return *this;
}

}  // namespace weir
