#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "weir/core/bytes.h"
#include "weir/core/codecs.h"
#include "weir/core/owned.h"
#include "weir/core/slim_archive.h"

/// The slim archive: how records, blocks, map outputs and messages are written.
///
/// Arithmetic types, enums, strings, chrono types, pair, tuple, optional, variant and the standard
/// containers work out of the box; any other type describes itself once with Boost.Serialization's
/// `serialize(Archive&, unsigned)`, as a public member or as a free function found by its argument.
/// Little-endian, fixed widths, 32-bit length prefixes; no type names, no versions, no pointers, no
/// object tracking: writer and reader are the same binary. (What is kept for later versions of a
/// program goes through Boost's archives, see boost_archive.h.)
namespace weir {

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
