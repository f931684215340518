#pragma once

#include <cstddef>
#include <ranges>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

#include "weir/core/archive.h"

namespace weir::internal {

/// Adds up what the fields of a self-describing type own: an archive for its `serialize`.
class FootprintArchive;

/// Bytes that a value owns outside itself, estimated: the heap memory of strings, containers and of
/// the fields of types that describe themselves.
template <class T>
std::size_t footprint(const T& value);

class FootprintArchive {
 public:
  using is_saving = std::true_type;
  using is_loading = std::false_type;

  template <class T>
  FootprintArchive& operator&(const T& value) {
    bytes_ += footprint(value);
    return *this;
  }
  template <class T>
  FootprintArchive& operator<<(const T& value) {
    return *this & value;
  }
  std::size_t bytes() const { return bytes_; }

 private:
  std::size_t bytes_ = 0;
};

/// Whether values of a type own nothing outside themselves.
template <class T>
inline constexpr bool owns_nothing = std::is_trivially_copyable_v<T>;
template <class A, class B>
inline constexpr bool owns_nothing<std::pair<A, B>> = owns_nothing<A>&& owns_nothing<B>;
template <class... Ts>
inline constexpr bool owns_nothing<std::tuple<Ts...>> = (owns_nothing<Ts> && ...);

template <class T>
std::size_t footprint(const T& value) {
  constexpr std::size_t kNode = 4 * sizeof(void*);  // what a node of a list, tree or hash map adds
  if constexpr (owns_nothing<T>) {
    return 0;
  } else if constexpr (std::is_same_v<T, std::string>) {
    static const std::size_t inside = std::string().capacity();
    return value.capacity() > inside ? value.capacity() + 1 : 0;
  } else if constexpr (requires { std::variant_size<T>::value; }) {
    return value.valueless_by_exception()
               ? 0
               : std::visit([](const auto& held) { return footprint(held); }, value);
  } else if constexpr (requires { value.has_value(), *value; }) {
    return value.has_value() ? footprint(*value) : 0;
  } else if constexpr (requires { std::tuple_size<T>::value; }) {
    return std::apply([](const auto&... parts) { return (footprint(parts) + ... + 0); }, value);
  } else if constexpr (std::ranges::input_range<const T>) {
    using Element = std::ranges::range_value_t<const T>;
    std::size_t bytes = 0;
    if constexpr (requires { value.capacity(); }) {
      bytes = value.capacity() * sizeof(Element);
    } else {
      bytes = std::size(value) * (sizeof(Element) + kNode);
    }
    if constexpr (!owns_nothing<Element>) {
      for (const auto& element : value) bytes += footprint(element);
    }
    return bytes;
  } else if constexpr (SelfDescribing<T, FootprintArchive>) {
    FootprintArchive archive;
    describe(archive, const_cast<T&>(value));
    return archive.bytes();
  } else {
    return 0;
  }
}

}  // namespace weir::internal
