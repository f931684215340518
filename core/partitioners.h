#pragma once

#include <cstdint>
#include <type_traits>
#include <utility>

#include "weir/core/hash.h"
#include "weir/core/redistribute.h"
#include "weir/core/sorting.h"

/// Rules by which `partition_by` spreads pairs.
namespace weir {

/// By the hash of the key: what every operator by key does by itself.
struct HashPartitioner {
  std::uint32_t partitions = 0;  ///< 0: see Rdd's operators of pairs
};

/// By ranges of keys, in their order from partition to partition, of about equal numbers of pairs:
/// a job samples the dataset for the bounds. Keys need `<`.
struct RangePartitioner {
  std::uint32_t partitions = 0;  ///< 0: as many as the dataset has
  bool ascending = true;
};

/// As a function says: `partition_of(key)` is an integer from 0, below `partitions`; others fail
/// the task. Equal keys must get the same one. Two datasets that were spread by one function with
/// equal captured values, over as many partitions, are spread alike.
template <class F>
struct CustomPartitioner {
  std::uint32_t partitions = 1;
  F partition_of;
};
template <class F>
CustomPartitioner(int, F) -> CustomPartitioner<F>;
template <class F>
CustomPartitioner(std::uint32_t, F) -> CustomPartitioner<F>;

namespace internal {

[[noreturn]] void throw_no_such_partition(std::int64_t partition, std::uint32_t partitions);

/// A deal (see redistribute.h).
template <class T, class F>
struct DealByFunction : FunctionHolder<F> {
  using In = T;
  std::uint32_t partitions = 1;

  std::uint32_t pieces() const { return partitions; }
  auto start(const TaskRun&, std::uint32_t) const {
    return [this](const T& element) {
      const auto partition = static_cast<std::int64_t>(this->function(element.first));
      if (partition < 0 || partition >= partitions) throw_no_such_partition(partition, partitions);
      return static_cast<std::uint32_t>(partition);
    };
  }
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    FunctionHolder<F>::serialize(ar, 0);
    ar & partitions;
  }
};

/// Its address tells the type of a deal. Not constant, lest linkers fold what is equal.
template <class Deal>
inline char deal_tag = 0;

/// What names the rule by which the deal spreads keys, in this process; never 0.
template <class Deal>
std::uint64_t rule_of(const Deal& deal) {
  SlimWriter captured;
  captured.put(reinterpret_cast<std::uintptr_t>(&deal_tag<Deal>));
  write_function(captured, deal);
  return hash_bytes(captured.view()) | 1;
}

}  // namespace internal
}  // namespace weir
