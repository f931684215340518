#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "weir/core/chunk.h"

namespace weir::internal {

/// `count` numbers from `first` on, `step` apart.
struct RangePiece {
  std::int64_t first = 0;
  std::int64_t step = 1;
  std::uint64_t count = 0;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & first & step & count;
  }
};

/// See Context::range.
std::vector<RangePiece> plan_range(std::int64_t begin, std::int64_t end, std::int64_t step,
                                   std::uint32_t partitions);
std::unique_ptr<ChunkStream<std::int64_t>> read_range(const RangePiece& piece);

}  // namespace weir::internal
