#pragma once

#include <cstdint>

namespace weir::kafka::internal {

/// Decides what belongs to [from, to) of a partition whose offsets rise but are not dense: pure
/// bookkeeping of one read.
///
/// The range is complete at the first of: the record before `to` was taken; a record at or past
/// `to` came (it belongs to the next range); the partition's end was reported at or past `to`. The
/// last is the only sign when the tail of the range is transaction markers, aborted or compacted
/// records.
class RangeCursor {
 public:
  enum class Verdict {
    kTake,   ///< the next record of the range
    kStale,  ///< before the position: delivered already, or from a fetch that began too early
    kPast,   ///< at or past the end: keep it for the next range; this one is complete
  };

  RangeCursor(std::int64_t from, std::int64_t to) : position_(from), to_(to) {}

  Verdict on_record(std::int64_t offset) {
    if (offset < position_) return Verdict::kStale;
    if (offset >= to_) {
      position_ = to_;
      return Verdict::kPast;
    }
    position_ = offset + 1;
    return Verdict::kTake;
  }

  /// The partition holds nothing more before `offset`.
  void on_end_of_partition(std::int64_t offset) {
    if (offset > position_) position_ = offset < to_ ? offset : to_;
  }

  bool complete() const { return position_ >= to_; }
  /// Everything before it was delivered or does not exist.
  std::int64_t position() const { return position_; }
  std::int64_t to() const { return to_; }

 private:
  std::int64_t position_;
  std::int64_t to_;
};

}  // namespace weir::kafka::internal
