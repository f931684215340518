#include "weir/core/number_range.h"

#include <algorithm>

#include "weir/core/dataset.h"
#include "weir/core/error.h"

namespace weir::internal {
namespace {

/// Wraps as two's complement does, so that no step overflows on the way to a number that does not.
std::int64_t stepped(std::int64_t first, std::int64_t step, std::uint64_t times) {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(first) +
                                   static_cast<std::uint64_t>(step) * times);
}

std::uint64_t length(std::int64_t begin, std::int64_t end, std::int64_t step) {
  if (step > 0 ? begin >= end : begin <= end) return 0;
  const auto from = static_cast<std::uint64_t>(begin);
  const auto to = static_cast<std::uint64_t>(end);
  const std::uint64_t distance = step > 0 ? to - from : from - to;
  const std::uint64_t by =
      step > 0 ? static_cast<std::uint64_t>(step) : 0 - static_cast<std::uint64_t>(step);
  return (distance - 1) / by + 1;
}

class RangeStream final : public ChunkStream<std::int64_t> {
 public:
  explicit RangeStream(const RangePiece& piece) : piece_(piece) {}

  ChunkRef<std::int64_t> next() override {
    out_.clear();
    const std::uint64_t size = std::min<std::uint64_t>(kChunkElements, piece_.count - at_);
    out_.append(size, [&](std::size_t i) { return stepped(piece_.first, piece_.step, at_ + i); });
    at_ += size;
    return out_.ref();
  }

 private:
  const RangePiece piece_;
  std::uint64_t at_ = 0;
  ChunkBuffer<std::int64_t> out_;
};

}  // namespace

std::vector<RangePiece> plan_range(std::int64_t begin, std::int64_t end, std::int64_t step,
                                   std::uint32_t partitions) {
  if (step == 0) throw Error(ErrorCode::kInvalidArgument, "range: the step must not be 0");
  const std::uint64_t n = require_partitions("range", partitions);
  const std::uint64_t all = length(begin, end, step);
  // i * all / n without the overflow of the product.
  const auto start = [&](std::uint64_t i) { return all / n * i + all % n * i / n; };
  std::vector<RangePiece> pieces;
  for (std::uint64_t i = 0; i < n; ++i) {
    pieces.push_back({stepped(begin, step, start(i)), step, start(i + 1) - start(i)});
  }
  return pieces;
}

std::unique_ptr<ChunkStream<std::int64_t>> read_range(const RangePiece& piece) {
  return std::make_unique<RangeStream>(piece);
}

}  // namespace weir::internal
