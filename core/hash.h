#pragma once

#include <bit>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>

#include "weir/core/archive.h"

namespace weir {

/// XXH3, 64 bits (https://github.com/Cyan4973/xxHash, doc/xxhash_spec.md).
std::uint64_t hash_bytes(std::string_view bytes, std::uint64_t seed = 0);

/// `hash_bytes` of bytes that come in pieces.
class StreamHash {
 public:
  StreamHash();
  void add(std::string_view bytes);
  std::uint64_t value() const;

 private:
  struct State;
  struct Free {
    void operator()(State* state) const;
  };
  std::unique_ptr<State, Free> state_;
};

/// Specialise with `std::uint64_t operator()(const K&) const` to hash keys of a type by other means
/// than XXH3 of their encoding. Equal keys, and a view and its owning form, must hash alike.
template <class K>
struct hash;

namespace internal {

std::uint64_t hash_word(std::uint64_t word, std::uint64_t seed);

template <class K>
concept HasOwnHash = requires(const K& key) {
  { hash<K>()(key) } -> std::convertible_to<std::uint64_t>;
};

/// The hash of a key: computed once, kept with the record through the shuffle, reused by tables.
template <class K>
std::uint64_t key_hash(const K& key, std::uint64_t seed) {
  if constexpr (HasOwnHash<K>) {
    return hash_word(hash<K>()(key), seed);
  } else if constexpr (!written_as_owned<K>) {
    return key_hash(to_owned(key), seed);
  } else if constexpr (std::is_convertible_v<const K&, std::string_view>) {
    return hash_bytes(key, seed);
  } else if constexpr (std::is_integral_v<K> || std::is_enum_v<K>) {
    return hash_word(static_cast<std::uint64_t>(key), seed);
  } else if constexpr (std::is_floating_point_v<K>) {
    return hash_word(std::bit_cast<std::uint64_t>(static_cast<double>(key) + 0.0), seed);
  } else {
    static_assert(ordered_encoding<K>,
                  "an unordered container cannot be a key: its encoding has no order");
    thread_local SlimWriter writer;
    writer.clear();
    writer.set_normalise_zero(true);
    writer & key;
    return hash_bytes(writer.view(), seed);
  }
}

}  // namespace internal
}  // namespace weir
