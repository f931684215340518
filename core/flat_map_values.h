#pragma once

#include <iterator>
#include <optional>
#include <ranges>
#include <utility>

#include "weir/core/pipes.h"

/// flat_map_values is flat_map with a function whose ranges pair each element with the key.
namespace weir::internal {

/// The elements of a range with a key before each, which must outlive it.
template <class K, class Range>
class KeyedRange {
 public:
  using Element = std::ranges::range_value_t<Range>;

  class iterator {
   public:
    using value_type = std::pair<K, Element>;
    using difference_type = std::ptrdiff_t;
    using iterator_concept = std::input_iterator_tag;

    iterator(const K* key, std::ranges::iterator_t<Range> at) : key_(key), at_(std::move(at)) {}

    /// Moves the element out of a range that owns it: it is looked at once.
    value_type operator*() const {
      if constexpr (std::ranges::view<Range>) {
        return value_type(*key_, *at_);
      } else {
        return value_type(*key_, std::ranges::iter_move(at_));
      }
    }
    iterator& operator++() {
      ++at_;
      return *this;
    }
    void operator++(int) { ++at_; }
    bool is_at(const std::ranges::sentinel_t<Range>& end) const { return at_ == end; }

   private:
    const K* key_;
    std::ranges::iterator_t<Range> at_;
  };
  struct sentinel {
    std::ranges::sentinel_t<Range> end;
    friend bool operator==(const iterator& it, const sentinel& s) { return it.is_at(s.end); }
  };

  KeyedRange(const K& key, Range range) : key_(&key), range_(std::move(range)) {}

  iterator begin() { return iterator(key_, std::ranges::begin(range_)); }
  sentinel end() { return {std::ranges::end(range_)}; }

 private:
  const K* key_;
  Range range_;
};

template <class K, class Range>
inline constexpr bool elements_end_with_range<KeyedRange<K, Range>> =
    elements_end_with_range<Range>;

template <class K, class V, class F>
struct KeyedRangeOf : FunctionHolder<F> {
  using Range = result_of_t<F, const V&>;

  auto operator()(const std::pair<K, V>& element) const {
    if constexpr (is_optional<Range>) {
      using Made = std::pair<K, typename Range::value_type>;
      Range made = this->function(element.second);
      return made ? std::optional<Made>(std::in_place, element.first, *std::move(made))
                  : std::nullopt;
    } else {
      return KeyedRange<K, Range>(element.first, this->function(element.second));
    }
  }
};

template <class K, class V, class F>
using FlatMapValuesPipe = FlatMapPipe<std::pair<K, V>, KeyedRangeOf<K, V, F>>;

}  // namespace weir::internal
