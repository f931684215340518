#pragma once

#include <charconv>
#include <optional>
#include <ostream>
#include <ranges>
#include <sstream>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "weir/core/time.h"

/// How elements are shown to people: by `DStream::print`, in text files.
namespace weir {

namespace internal {

template <class T>
concept Streamable = requires(std::ostream& out, const T& value) {
  out << value;
};
template <class T>
concept TupleLike = requires {
  std::tuple_size<T>::value;
};
template <class T>
inline constexpr bool is_std_optional = false;
template <class T>
inline constexpr bool is_std_optional<std::optional<T>> = true;

/// Whether `print_value` takes a T.
template <class T>
constexpr bool is_printable() {
  if constexpr (std::is_convertible_v<const T&, std::string_view> || std::is_arithmetic_v<T> ||
                std::is_convertible_v<const T&, Duration> ||
                std::is_convertible_v<const T&, Time> || Streamable<T>) {
    return true;
  } else if constexpr (is_std_optional<T>) {
    return is_printable<typename T::value_type>();
  } else if constexpr (std::ranges::input_range<const T>) {
    return is_printable<std::ranges::range_value_t<const T>>();
  } else if constexpr (TupleLike<T>) {
    return []<std::size_t... I>(std::index_sequence<I...>) {
      return (is_printable<std::remove_const_t<std::tuple_element_t<I, T>>>() && ...);
    }
    (std::make_index_sequence<std::tuple_size_v<T>>());
  } else {
    return false;
  }
}

}  // namespace internal

/// Writes a value for people: text as it is, numbers in the shortest exact form, bytes (int8_t,
/// uint8_t) as numbers, true and false, a type's own operator<<, (a,b) for pairs and tuples, [a, b]
/// for other ranges, the value or "none" for optionals, durations as 250ms.
template <class T>
void print_value(std::ostream& out, const T& value) {
  if constexpr (std::is_convertible_v<const T&, std::string_view>) {
    out << std::string_view(value);
  } else if constexpr (std::is_same_v<T, bool>) {
    out << (value ? "true" : "false");
  } else if constexpr (std::is_same_v<T, signed char> || std::is_same_v<T, unsigned char>) {
    out << static_cast<int>(value);
  } else if constexpr (std::is_floating_point_v<T>) {
    char text[128];
    out << std::string_view(text, std::to_chars(text, text + sizeof text, value).ptr);
  } else if constexpr (std::is_convertible_v<const T&, Duration> ||
                       std::is_convertible_v<const T&, Time>) {
    if constexpr (std::is_convertible_v<const T&, Duration>) {
      out << to_string(Duration(value));
    } else {
      out << to_string(Time(value));
    }
  } else if constexpr (internal::Streamable<T>) {
    out << value;
  } else if constexpr (internal::is_std_optional<T>) {
    if (value) {
      print_value(out, *value);
    } else {
      out << "none";
    }
  } else if constexpr (std::ranges::input_range<const T>) {
    out << '[';
    const char* separator = "";
    for (const auto& element : value) {
      out << std::exchange(separator, ", ");
      print_value(out, static_cast<const std::ranges::range_value_t<const T>&>(element));
    }
    out << ']';
  } else {
    static_assert(internal::TupleLike<T>, "print: give the element type an operator<<");
    out << '(';
    std::apply(
        [&](const auto&... parts) {
          const char* separator = "";
          ((out << std::exchange(separator, ","), print_value(out, parts)), ...);
        },
        value);
    out << ')';
  }
}

template <class T>
std::string printed(const T& value) {
  std::ostringstream out;
  print_value(out, value);
  return std::move(out).str();
}

}  // namespace weir
