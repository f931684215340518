#include "weir/core/storage/held_encoder.h"

#include <utility>

namespace weir::internal {

std::vector<HeldBytes> HeldEncoder::finish() {
  hold(encoder_.take());
  return std::move(held_);
}

void HeldEncoder::hold(std::vector<Bytes> parts) {
  for (Bytes& part : parts) {
    held_.push_back(to_disk_ ? run_.spill(part) : HeldBytes(std::move(part)));
  }
}

}  // namespace weir::internal
