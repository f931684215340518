#pragma once

#include <cstdint>
#include <type_traits>
#include <utility>

#include "weir/core/function_value.h"
#include "weir/core/time.h"

namespace weir {

template <class K, class V>
struct WindowOptions {
  Duration length{};
  Duration slide{};  ///< zero: that of the stream
  /// With an inverse: whether a key stays that has this value; empty: all stay.
  Function<bool(const std::pair<K, V>&)> keep = {};
  std::uint32_t partitions = 0;  ///< of the state; 0: the context's default parallelism
};

namespace internal {

template <class T>
struct WindowOptionsOf {
  using type = WindowOptions<T, T>;  // refused by the operator
};
template <class K, class V>
struct WindowOptionsOf<std::pair<K, V>> {
  using type = WindowOptions<owned_t<K>, owned_t<V>>;
};
template <class T>
using window_options_t = typename WindowOptionsOf<T>::type;

}  // namespace internal
}  // namespace weir
