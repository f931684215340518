#include "weir/core/aggregation_table.h"

namespace weir::internal {

void HashIndex::reserve(std::size_t entries) {
  hashes_.reserve(entries);
  while (entries * 4 > words_.size() * 3) grow();
}

void HashIndex::grow() {
  constexpr std::size_t kFirst = 64;
  const std::size_t size = words_.empty() ? kFirst : words_.size() * 2;
  words_.assign(size, 0);
  mask_ = size - 1;
  for (std::size_t i = 0; i < hashes_.size(); ++i) {
    std::size_t slot = hashes_[i] & mask_;
    while (words_[slot] != 0) slot = (slot + 1) & mask_;
    words_[slot] = (hashes_[i] & kTagMask) | (i + 1);
  }
}

}  // namespace weir::internal
