#include "weir/core/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace weir {

std::uint64_t hash_bytes(std::string_view bytes, std::uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

struct StreamHash::State {
  XXH3_state_t xxh;
};

void StreamHash::Free::operator()(State* state) const { delete state; }

StreamHash::StreamHash() : state_(new State) { XXH3_64bits_reset(&state_->xxh); }

void StreamHash::add(std::string_view bytes) {
  XXH3_64bits_update(&state_->xxh, bytes.data(), bytes.size());
}

std::uint64_t StreamHash::value() const { return XXH3_64bits_digest(&state_->xxh); }

namespace internal {

std::uint64_t hash_word(std::uint64_t word, std::uint64_t seed) {
  return XXH3_64bits_withSeed(&word, sizeof word, seed);
}

}  // namespace internal
}  // namespace weir
