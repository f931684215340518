#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace weir {

/// The form in which an element is kept. Elements may be views inside a stage; whatever keeps them
/// (keyed operators, state, persist, collect, a shuffle) stores this form.
///
/// A type that holds views specialises it: `type` names the owning form, which is constructible
/// from the view. Types without views need nothing.
template <class T>
struct owned {
  using type = T;
};

template <class T>
using owned_t = typename owned<std::decay_t<T>>::type;

template <>
struct owned<std::string_view> {
  using type = std::string;
};
template <>
struct owned<const char*> {
  using type = std::string;
};
template <>
struct owned<char*> {
  using type = std::string;
};
template <class T, std::size_t N>
struct owned<std::span<T, N>> {
  using type = std::vector<owned_t<std::remove_const_t<T>>>;
};
template <class A, class B>
struct owned<std::pair<A, B>> {
  using type = std::pair<owned_t<A>, owned_t<B>>;
};
template <class... Ts>
struct owned<std::tuple<Ts...>> {
  using type = std::tuple<owned_t<Ts>...>;
};
template <class T>
struct owned<std::optional<T>> {
  using type = std::optional<owned_t<T>>;
};
template <class T>
struct owned<std::vector<T>> {
  using type = std::vector<owned_t<T>>;
};

/// `value` in its owning form; moves when it is already owned and given as an rvalue.
template <class T>
owned_t<T> to_owned(T&& value);

/// Whether T is its own owning form.
template <class T>
inline constexpr bool is_owned = std::is_same_v<owned_t<T>, std::decay_t<T>>;

namespace internal {

template <class T>
struct OwnedMaker {
  template <class V>
  static owned_t<T> make(V&& value) {
    return owned_t<T>(std::forward<V>(value));
  }
};
template <class T, std::size_t N>
struct OwnedMaker<std::span<T, N>> {
  static owned_t<std::span<T, N>> make(const std::span<T, N>& value) {
    owned_t<std::span<T, N>> made;
    made.reserve(value.size());
    for (const auto& element : value) made.push_back(to_owned(element));
    return made;
  }
};
template <class A, class B>
struct OwnedMaker<std::pair<A, B>> {
  template <class V>
  static owned_t<std::pair<A, B>> make(V&& value) {
    return {to_owned(std::forward<V>(value).first), to_owned(std::forward<V>(value).second)};
  }
};
template <class... Ts>
struct OwnedMaker<std::tuple<Ts...>> {
  template <class V>
  static owned_t<std::tuple<Ts...>> make(V&& value) {
    return std::apply(
        [](auto&&... parts) {
          return owned_t<std::tuple<Ts...>>(to_owned(std::forward<decltype(parts)>(parts))...);
        },
        std::forward<V>(value));
  }
};
template <class T>
struct OwnedMaker<std::optional<T>> {
  template <class V>
  static owned_t<std::optional<T>> make(V&& value) {
    if (!value) return std::nullopt;
    return to_owned(*std::forward<V>(value));
  }
};
template <class T>
struct OwnedMaker<std::vector<T>> {
  static owned_t<std::vector<T>> make(const std::vector<T>& value) {
    owned_t<std::vector<T>> made;
    made.reserve(value.size());
    for (const auto& element : value) made.push_back(to_owned(element));
    return made;
  }
};

}  // namespace internal

template <class T>
owned_t<T> to_owned(T&& value) {
  if constexpr (is_owned<T>) {
    return std::forward<T>(value);
  } else {
    return internal::OwnedMaker<std::decay_t<T>>::make(std::forward<T>(value));
  }
}

}  // namespace weir
