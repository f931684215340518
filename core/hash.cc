#include "weir/core/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace weir {

std::uint64_t hash_bytes(std::string_view bytes, std::uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

namespace internal {

std::uint64_t hash_word(std::uint64_t word, std::uint64_t seed) {
  return XXH3_64bits_withSeed(&word, sizeof word, seed);
}

}  // namespace internal
}  // namespace weir
