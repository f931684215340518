#pragma once

#include <type_traits>
#include <utility>

#include "weir/core/pipes.h"

namespace weir::internal {

/// Values combined as users of combine_by_key say. The combined value is handed to their functions
/// as an rvalue, so that one taken by value is extended in place and a group of n values costs n
/// steps, not n copies.
template <class V, class Create, class MergeValue, class MergeCombined>
struct CombineAggregator {
  using Combined = owned_t<result_of_t<Create, const V&>>;
  static constexpr bool kCombinesEarly = true;
  static constexpr bool kGathers = true;  // for all we know

  Create create_combined;
  MergeValue merge_one;
  MergeCombined merge_two;

  template <class Value>
  Combined create(Value&& value) const {
    return to_owned(
        std::decay_t<result_of_t<Create, const V&>>(create_combined(std::as_const(value))));
  }
  template <class Value>
  void merge_value(Combined& combined, Value&& value) const {
    combined = to_owned(merge_one(std::move(combined), std::as_const(value)));
  }
  void merge_combined(Combined& combined, Combined&& other) const {
    combined = to_owned(merge_two(std::move(combined), std::move(other)));
  }
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    serialize_function(ar, create_combined);
    serialize_function(ar, merge_one);
    serialize_function(ar, merge_two);
  }
};

}  // namespace weir::internal
