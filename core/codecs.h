#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <deque>
#include <list>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

#include <boost/serialization/nvp.hpp>

#include "weir/core/slim_archive.h"

/// How the slim archive (see archive.h) writes the standard library's types.
namespace weir::internal {

template <class T>
struct Codec<boost::serialization::nvp<T>> {
  static void encode(SlimWriter& writer, const boost::serialization::nvp<T>& pair) {
    Codec<std::remove_const_t<T>>::encode(writer, pair.const_value());
  }
  static void decode(SlimReader& reader, const boost::serialization::nvp<T>& pair) {
    Codec<T>::decode(reader, pair.value());
  }
};

template <>
struct Codec<std::string> {
  static void encode(SlimWriter& writer, const std::string& value) {
    writer.put_length(value.size());
    writer.put_bytes(value.data(), value.size());
  }
  static void decode(SlimReader& reader, std::string& value) { value.assign(reader.get_view()); }
};
template <>
inline constexpr bool is_encodable<std::string> = true;

template <>
struct Codec<std::string_view> : ViewCodec<std::string_view> {
  static void encode(SlimWriter& writer, std::string_view value) {
    writer.put_length(value.size());
    writer.put_bytes(value.data(), value.size());
  }
};

template <>
struct Codec<Bytes> {
  static void encode(SlimWriter& writer, const Bytes& value) {
    writer.put_length(value.size());
    writer.put_bytes(value.data(), value.size());
  }
  static void decode(SlimReader& reader, Bytes& value) {
    value = Bytes(std::string(reader.get_view()));
  }
};
template <>
inline constexpr bool is_encodable<Bytes> = true;

template <class Rep, class Period>
struct Codec<std::chrono::duration<Rep, Period>> {
  using T = std::chrono::duration<Rep, Period>;
  static void encode(SlimWriter& writer, const T& value) { writer& value.count(); }
  static void decode(SlimReader& reader, T& value) { value = T(reader.get<Rep>()); }
};
template <class Rep, class Period>
inline constexpr bool is_encodable<std::chrono::duration<Rep, Period>> = true;

template <class C, class D>
struct Codec<std::chrono::time_point<C, D>> {
  using T = std::chrono::time_point<C, D>;
  static void encode(SlimWriter& writer, const T& value) { writer& value.time_since_epoch(); }
  static void decode(SlimReader& reader, T& value) {
    D since{};
    reader & since;
    value = T(since);
  }
};
template <class C, class D>
inline constexpr bool is_encodable<std::chrono::time_point<C, D>> = true;

template <class A, class B>
struct Codec<std::pair<A, B>> {
  static void encode(SlimWriter& writer, const std::pair<A, B>& value) {
    writer & value.first & value.second;
  }
  static void decode(SlimReader& reader, std::pair<A, B>& value) {
    reader & const_cast<std::remove_const_t<A>&>(value.first) & value.second;
  }
};
template <class A, class B>
inline constexpr bool is_encodable<std::pair<A, B>> =
    is_encodable<std::remove_const_t<A>>&& is_encodable<B>;
template <class A, class B>
inline constexpr bool ordered_encoding<std::pair<A, B>> = ordered_encoding<A>&& ordered_encoding<B>;

template <class... Ts>
struct Codec<std::tuple<Ts...>> {
  static void encode(SlimWriter& writer, const std::tuple<Ts...>& value) {
    std::apply([&](const Ts&... parts) { (void)(writer & ... & parts); }, value);
  }
  static void decode(SlimReader& reader, std::tuple<Ts...>& value) {
    std::apply([&](Ts&... parts) { (void)(reader & ... & parts); }, value);
  }
};
template <class... Ts>
inline constexpr bool is_encodable<std::tuple<Ts...>> = (is_encodable<Ts> && ...);
template <class... Ts>
inline constexpr bool ordered_encoding<std::tuple<Ts...>> = (ordered_encoding<Ts> && ...);

template <class T>
struct Codec<std::optional<T>> {
  static void encode(SlimWriter& writer, const std::optional<T>& value) {
    writer & value.has_value();
    if (value) writer & * value;
  }
  static void decode(SlimReader& reader, std::optional<T>& value) {
    bool has = false;
    reader & has;
    value.reset();
    if (has) reader & value.emplace();
  }
};
template <class T>
inline constexpr bool is_encodable<std::optional<T>> = is_encodable<T>;
template <class T>
inline constexpr bool ordered_encoding<std::optional<T>> = ordered_encoding<T>;

template <>
struct Codec<std::monostate> {
  static void encode(SlimWriter&, std::monostate) {}
  static void decode(SlimReader&, std::monostate&) {}
};
template <>
inline constexpr bool is_encodable<std::monostate> = true;

template <class... Ts>
struct Codec<std::variant<Ts...>> {
  using T = std::variant<Ts...>;
  static void encode(SlimWriter& writer, const T& value) {
    writer.put(static_cast<std::uint8_t>(value.index()));
    std::visit([&](const auto& held) { writer& held; }, value);
  }
  static void decode(SlimReader& reader, T& value) {
    const auto index = reader.get<std::uint8_t>();
    if (!decode_at(reader, value, index, std::index_sequence_for<Ts...>())) {
      throw_bad_value("variant index", index);
    }
  }

 private:
  template <std::size_t... I>
  static bool decode_at(SlimReader& reader, T& value, std::size_t index,
                        std::index_sequence<I...>) {
    return ((I == index ? (reader & value.template emplace<I>(), true) : false) || ...);
  }
};
template <class... Ts>
inline constexpr bool is_encodable<std::variant<Ts...>> = (is_encodable<Ts> && ...);

/// Values whose bytes in memory are their encoding, so that runs of them are copied whole.
template <class T>
inline constexpr bool is_flat = (std::is_arithmetic_v<T> && !std::is_same_v<T, bool> &&
                                 !std::is_floating_point_v<T>) ||
                                std::is_enum_v<T>;

/// The fewest bytes that a value takes, at least 1: bounds what a count can make a reader allocate.
template <class T>
inline constexpr std::size_t min_encoded_size = std::is_arithmetic_v<T> || std::is_enum_v<T>
                                                    ? sizeof(T)
                                                    : 1;
template <>
inline constexpr std::size_t min_encoded_size<std::string> = 4;
template <class T, class A>
inline constexpr std::size_t min_encoded_size<std::vector<T, A>> = 4;
template <class A, class B>
inline constexpr std::size_t min_encoded_size<std::pair<A, B>> =
    min_encoded_size<std::remove_const_t<A>> + min_encoded_size<B>;

template <class Range>
void encode_elements(SlimWriter& writer, const Range& range) {
  constexpr std::size_t kSample = 16;
  writer.put_length(std::size(range));
  const std::size_t before = writer.size();
  std::size_t written = 0;
  for (const auto& element : range) {
    writer & element;
    if (++written == kSample) {  // room for the rest, judged by the first ones
      writer.reserve((writer.size() - before) * (std::size(range) / kSample) / 8 * 9);
    }
  }
  if (!std::empty(range) && writer.size() == before) throw_empty_elements();
}

/// A count alone makes a reader allocate at most this many times the bytes that are left.
inline constexpr std::size_t kMostBlownUp = 8;

template <class T, class A>
struct Codec<std::vector<T, A>> {
  static void encode(SlimWriter& writer, const std::vector<T, A>& value) {
    if constexpr (is_flat<T>) {
      writer.put_length(value.size());
      writer.put_bytes(value.data(), value.size() * sizeof(T));
    } else if constexpr (std::is_same_v<T, bool>) {
      writer.put_length(value.size());
      for (const bool element : value) writer& element;
    } else {
      encode_elements(writer, value);
    }
  }
  static void decode(SlimReader& reader, std::vector<T, A>& value) {
    const std::size_t size = reader.get_length(min_encoded_size<T>);
    value.clear();
    if constexpr (is_flat<T>) {
      const char* from = reader.take(size * sizeof(T));  // get_length checked the product
      value.resize(size);
      if (size != 0) std::memcpy(value.data(), from, size * sizeof(T));
    } else {
      value.reserve(std::min(size, kMostBlownUp * reader.left() / sizeof(T) + 1));
      for (std::size_t i = 0; i < size; ++i) {
        if constexpr (std::is_same_v<T, bool>) {
          bool element = false;
          reader & element;
          value.push_back(element);
        } else {
          reader & value.emplace_back();
        }
      }
    }
  }
};
template <class T, class A>
inline constexpr bool is_encodable<std::vector<T, A>> = is_encodable<T>;
template <class T, class A>
inline constexpr bool ordered_encoding<std::vector<T, A>> = ordered_encoding<T>;

template <class T, std::size_t N>
struct Codec<std::span<T, N>> : ViewCodec<std::span<T, N>> {
  static void encode(SlimWriter& writer, const std::span<T, N>& value) {
    encode_elements(writer, value);
  }
};

template <class T, std::size_t N>
struct Codec<std::array<T, N>> {
  static void encode(SlimWriter& writer, const std::array<T, N>& value) {
    for (const T& element : value) writer& element;
  }
  static void decode(SlimReader& reader, std::array<T, N>& value) {
    for (T& element : value) reader& element;
  }
};
template <class T, std::size_t N>
inline constexpr bool is_encodable<std::array<T, N>> = is_encodable<T>;

/// Containers that are filled by inserting at the end.
template <class Container, class Element>
struct InsertCodec {
  static void encode(SlimWriter& writer, const Container& value) { encode_elements(writer, value); }
  static void decode(SlimReader& reader, Container& value) {
    const std::size_t size = reader.get_length();
    value.clear();
    for (std::size_t i = 0; i < size; ++i) {
      Element element{};
      reader & element;
      value.insert(value.end(), std::move(element));
    }
  }
};

#define WEIR_SEQUENCE_CODEC(container)                                \
  template <class T, class A>                                         \
  struct Codec<container<T, A>> : InsertCodec<container<T, A>, T> {}; \
  template <class T, class A>                                         \
  inline constexpr bool is_encodable<container<T, A>> = is_encodable<T>
WEIR_SEQUENCE_CODEC(std::deque);
WEIR_SEQUENCE_CODEC(std::list);
#undef WEIR_SEQUENCE_CODEC

#define WEIR_SET_CODEC(container, ordered)                                        \
  template <class K, class... Rest>                                               \
  struct Codec<container<K, Rest...>> : InsertCodec<container<K, Rest...>, K> {}; \
  template <class K, class... Rest>                                               \
  inline constexpr bool is_encodable<container<K, Rest...>> = is_encodable<K>;    \
  template <class K, class... Rest>                                               \
  inline constexpr bool ordered_encoding<container<K, Rest...>> = ordered
WEIR_SET_CODEC(std::set, true);
WEIR_SET_CODEC(std::multiset, true);
WEIR_SET_CODEC(std::unordered_set, false);
WEIR_SET_CODEC(std::unordered_multiset, false);
#undef WEIR_SET_CODEC

#define WEIR_MAP_CODEC(container, ordered)                         \
  template <class K, class V, class... Rest>                       \
  struct Codec<container<K, V, Rest...>>                           \
      : InsertCodec<container<K, V, Rest...>, std::pair<K, V>> {}; \
  template <class K, class V, class... Rest>                       \
  inline constexpr bool is_encodable<container<K, V, Rest...>> =   \
      is_encodable<K>&& is_encodable<V>;                           \
  template <class K, class V, class... Rest>                       \
  inline constexpr bool ordered_encoding<container<K, V, Rest...>> = ordered
WEIR_MAP_CODEC(std::map, true);
WEIR_MAP_CODEC(std::multimap, true);
WEIR_MAP_CODEC(std::unordered_map, false);
WEIR_MAP_CODEC(std::unordered_multimap, false);
#undef WEIR_MAP_CODEC

}  // namespace weir::internal
