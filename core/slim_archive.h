#pragma once

#include <concepts>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <string_view>
#include <type_traits>
#include <utility>

#include <boost/serialization/serialization.hpp>

#include "weir/core/bytes.h"
#include "weir/core/error.h"

/// The writer and the reader of the slim archive (see archive.h), and how a type's own description
/// is used. The standard library's types are in codecs.h.
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

/// A type that can be written and read back: see archive.h.
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

namespace internal {

/// Runs a type's own description over an archive.
template <class Archive, class T>
void describe(Archive& archive, T& value) {
  if constexpr (requires { value.serialize(archive, 0U); }) {
    value.serialize(archive, 0U);
  } else {
    boost::serialization::serialize_adl(archive, value, 0U);
  }
}

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
};

}  // namespace internal
}  // namespace weir
