#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <concepts>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <limits>
#include <list>
#include <map>
#include <memory>
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
#include <boost/serialization/serialization.hpp>

#include "weir/core/bytes.h"
#include "weir/core/error.h"
#include "weir/core/owned.h"

/// The slim archive: how records, blocks, map outputs and messages are written.
///
/// Arithmetic types, enums, strings, chrono types, pair, tuple, optional, variant and the standard
/// containers work out of the box; any other type describes itself once with Boost.Serialization's
/// `serialize(Archive&, unsigned)`, as a public member or as a free function found by its argument.
/// Little-endian, fixed widths, 32-bit length prefixes; no type names, no versions, no pointers, no
/// object tracking: writer and reader are the same binary. (What is kept for later versions of a
/// program goes through Boost's archives, see boost_archive.h.)
namespace weir {

/// Specialise as true for a type whose `serialize` is private (with `boost::serialization::access`
/// as a friend) or stands in namespace boost::serialization, where it cannot be detected.
template <class T>
inline constexpr bool declared_serializable = false;

class SlimWriter;
class SlimReader;

namespace internal {

template <class T>
struct Codec;  // encode(writer, value), decode(reader, value)

template <class T, class Archive>
concept SelfDescribing = std::is_class_v<T> &&(
    declared_serializable<T> ||
    requires(T & value, Archive& archive) { value.serialize(archive, 0U); } ||
    requires(T & value, Archive& archive) { serialize(archive, value, 0U); });

template <class T>
inline constexpr bool is_encodable =
    std::is_arithmetic_v<T> || std::is_enum_v<T> || SelfDescribing<T, SlimWriter>;

/// False for what must not be a key.
template <class T>
inline constexpr bool ordered_encoding = true;

[[noreturn]] void throw_truncated(std::size_t wanted, std::size_t left);
[[noreturn]] void throw_bad_value(const char* what, std::uint64_t value);
[[noreturn]] void throw_too_long(std::size_t size);
[[noreturn]] void throw_left_over(std::size_t left);
[[noreturn]] void throw_empty_elements();
void put_without_padding(SlimWriter& writer, long double value);

}  // namespace internal

/// A type that can be written and read back: see the top of this file.
template <class T>
concept Serializable = internal::is_encodable<T>;

/// Writes values one after another into one contiguous buffer. Not thread-safe.
class SlimWriter {
 public:
  using is_saving = std::true_type;
  using is_loading = std::false_type;

  template <class T>
  SlimWriter& operator&(const T& value) {
    internal::Codec<T>::encode(*this, value);
    return *this;
  }
  template <class T>
  SlimWriter& operator<<(const T& value) {
    return *this & value;
  }

  SlimWriter() = default;
  SlimWriter(SlimWriter&& other) noexcept
      : buffer_(std::move(other.buffer_)),
        size_(std::exchange(other.size_, 0)),
        capacity_(std::exchange(other.capacity_, 0)),
        normalise_zero_(other.normalise_zero_) {}

  /// `size` writable bytes at the end.
  char* extend(std::size_t size) {
    if (capacity_ - size_ < size) reserve(size);
    char* at = buffer_.get() + size_;
    size_ += size;
    return at;
  }
  /// Makes room for `size` more bytes.
  void reserve(std::size_t size);
  template <class T>
  void put(const T& value) requires std::is_trivially_copyable_v<T> {
    std::memcpy(extend(sizeof value), &value, sizeof value);
  }
  void put_bytes(const void* data, std::size_t size) {
    if (size != 0) std::memcpy(extend(size), data, size);
  }
  void put_length(std::size_t size) {
    if (size > std::numeric_limits<std::uint32_t>::max()) internal::throw_too_long(size);
    put(static_cast<std::uint32_t>(size));
  }

  std::string_view view() const { return {buffer_.get(), size_}; }
  std::size_t size() const { return size_; }
  void clear() { size_ = 0; }
  /// The bytes written, without copying them; the writer is empty afterwards.
  Bytes take();

  /// Keys: -0.0 is written as 0.0, so that equal keys have equal bytes.
  void set_normalise_zero(bool on) { normalise_zero_ = on; }
  bool normalise_zero() const { return normalise_zero_; }

 private:
  struct Free {
    void operator()(char* memory) const { std::free(memory); }
  };
  std::unique_ptr<char, Free> buffer_;  // malloc's, so that it can grow in place
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
  bool normalise_zero_ = false;
};

/// Reads what a `SlimWriter` wrote. Every read is checked against the bytes that are left;
/// malformed input throws Error(kCorrupt), and a length alone never makes it allocate more than a
/// few times the input's size.
class SlimReader {
 public:
  using is_saving = std::false_type;
  using is_loading = std::true_type;

  explicit SlimReader(std::string_view bytes) : at_(bytes.data()), end_(at_ + bytes.size()) {}

  template <class T>
  SlimReader& operator&(T&& value) {
    internal::Codec<std::decay_t<T>>::decode(*this, value);
    return *this;
  }
  template <class T>
  SlimReader& operator>>(T&& value) {
    return *this & value;
  }

  const char* take(std::size_t size) {
    if (left() < size) internal::throw_truncated(size, left());
    return std::exchange(at_, at_ + size);
  }
  template <class T>
  T get() requires std::is_trivially_copyable_v<T> {
    T value;
    std::memcpy(&value, take(sizeof value), sizeof value);
    return value;
  }
  /// A string's bytes, where they are.
  std::string_view get_view() {
    const std::size_t size = get_length();
    return {take(size), size};
  }
  /// A count of elements, each of which takes at least `element_size` bytes.
  std::size_t get_length(std::size_t element_size = 1) {
    const auto length = get<std::uint32_t>();
    if (length > left() / element_size) internal::throw_truncated(length * element_size, left());
    return length;
  }

  std::size_t left() const { return static_cast<std::size_t>(end_ - at_); }
  bool at_end() const { return at_ == end_; }
  void expect_end() const {
    if (!at_end()) internal::throw_left_over(left());
  }

 private:
  const char* at_;
  const char* end_;
};

/// `value` as the slim archive writes it.
template <class T>
std::string encode(const T& value) {
  SlimWriter writer;
  writer & value;
  return std::string(writer.view());
}
template <class T>
Bytes encode_bytes(const T& value) {
  SlimWriter writer;
  writer & value;
  return writer.take();
}

/// The value that `bytes` hold, all of them. Throws Error(kCorrupt).
template <class T>
T decode(std::string_view bytes) {
  T value{};
  SlimReader reader(bytes);
  reader & value;
  reader.expect_end();
  return value;
}

namespace internal {

template <class>
inline constexpr bool refused = false;

/// Views are written but not read: nobody would know what they point into. (`read_in_place` is for
/// bytes that are known to stay.)
template <class T>
struct ViewCodec {
  template <class Reader>
  static void decode(Reader&, T&) {
    static_assert(
        refused<Reader>,
        "a type that holds views (std::string_view, std::span) cannot be stored: give it "
        "an owning form and specialise weir::owned, or hold a std::string or std::vector");
  }
};

template <class T>
struct Codec {
  static_assert(!std::is_pointer_v<T>, "pointers are not serialized: send what they point to");
  static_assert(std::is_pointer_v<T> || is_encodable<T>,
                "this type is not serializable: give it a public member `template <class Archive> "
                "void serialize(Archive& ar, unsigned)` that lists its fields with ar & field");

  static void encode(SlimWriter& writer, const T& value) {
    if constexpr (std::is_same_v<T, bool>) {
      writer.put(static_cast<std::uint8_t>(value));
    } else if constexpr (std::is_same_v<T, long double>) {
      put_without_padding(writer, writer.normalise_zero() ? value + T{0} : value);
    } else if constexpr (std::is_floating_point_v<T>) {
      writer.put(writer.normalise_zero() ? value + T{0} : value);
    } else if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T>) {
      writer.put(value);
    } else {
      describe(writer, const_cast<T&>(value));  // serialize() takes both directions, so no const
    }
  }

  static void decode(SlimReader& reader, T& value) {
    if constexpr (std::is_same_v<T, bool>) {
      const auto byte = reader.get<std::uint8_t>();
      if (byte > 1) throw_bad_value("bool", byte);
      value = byte != 0;
    } else if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T>) {
      value = reader.get<T>();
    } else {
      describe(reader, value);
    }
  }

 private:
  template <class Archive>
  static void describe(Archive& archive, T& value) {
    if constexpr (requires { value.serialize(archive, 0U); }) {
      value.serialize(archive, 0U);
    } else {
      boost::serialization::serialize_adl(archive, value, 0U);
    }
  }
};

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

/// A value read where the bytes outlive it: strings as views into them.
template <class T>
struct InPlace {
  using type = T;
  static type read(SlimReader& reader) {
    T value{};
    reader & value;
    return value;
  }
};
template <>
struct InPlace<std::string> {
  using type = std::string_view;
  static type read(SlimReader& reader) { return reader.get_view(); }
};
template <class A, class B>
struct InPlace<std::pair<A, B>> {
  using type = std::pair<typename InPlace<A>::type, typename InPlace<B>::type>;
  static type read(SlimReader& reader) {
    auto first = InPlace<A>::read(reader);
    return {std::move(first), InPlace<B>::read(reader)};
  }
};
template <class T>
typename InPlace<T>::type read_in_place(SlimReader& reader) {
  return InPlace<T>::read(reader);
}

/// Whether a value is written as its owning form is, so that it need not be made one for that.
template <class T>
inline constexpr bool written_as_owned = is_owned<T>;
template <>
inline constexpr bool written_as_owned<std::string_view> = true;
template <class T, std::size_t N>
inline constexpr bool written_as_owned<std::span<T, N>> = written_as_owned<std::remove_const_t<T>>;
template <class A, class B>
inline constexpr bool written_as_owned<std::pair<A, B>> = written_as_owned<A>&& written_as_owned<B>;
template <class... Ts>
inline constexpr bool written_as_owned<std::tuple<Ts...>> = (written_as_owned<Ts> && ...);
template <class T>
inline constexpr bool written_as_owned<std::optional<T>> = written_as_owned<T>;
template <class T>
inline constexpr bool written_as_owned<std::vector<T>> = written_as_owned<T>;

/// Writes what to_owned(value) is, without making it where that can be spared.
template <class T>
void write_owned(SlimWriter& writer, const T& value) {
  if constexpr (written_as_owned<T>) {
    writer & value;
  } else {
    writer & to_owned(value);
  }
}

/// Does not compile for a type that cannot be read back, such as one with a view in it: stated by
/// whatever keeps values.
template <class T>
void require_storable() {
  (void)static_cast<void (*)(SlimReader&, T&)>(&Codec<T>::decode);
}

}  // namespace internal
}  // namespace weir
