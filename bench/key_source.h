#pragma once

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "weir/dstream/source.h"

/// Keys that a stateful stream is fed with: all once, then a share of them with every batch.
namespace weir::bench {

struct Piece {
  std::uint64_t first = 0;  ///< key
  std::uint64_t step = 1;
  std::uint64_t count = 0;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & first & step & count;
  }
};

/// Sixteen bytes, in one piece.
using Key = std::array<std::uint64_t, 2>;
inline Key key_of(std::uint64_t number) { return {number * 0x9E3779B97F4A7C15U, number}; }

/// The first batch gives every key once; the later ones `records` records over one key in a
/// hundred, another hundredth each time. In two partitions.
class KeySource {
 public:
  KeySource() = default;
  KeySource(std::uint64_t keys, std::uint64_t records) : keys_(keys), records_(records) {}

  std::uint64_t initial() { return 0; }
  std::uint64_t latest(std::uint64_t from, const SourceLimit&) { return from + 1; }
  std::vector<Piece> plan(std::uint64_t from, std::uint64_t) const {
    if (from == 0) return {{0, 2, keys_ / 2}, {1, 2, keys_ / 2}};
    const std::uint64_t offset = from % 100;
    return {{offset, 100, records_ / 2}, {offset, 100, records_ / 2}};
  }
  std::vector<std::pair<Key, std::int64_t>> read(const Piece& piece) const {
    std::vector<std::pair<Key, std::int64_t>> records;
    records.reserve(piece.count);
    std::uint64_t key = piece.first;
    for (std::uint64_t i = 0; i < piece.count; ++i) {
      records.emplace_back(key_of(key), 1);
      key += piece.step;
      if (key >= keys_) key = piece.first;
    }
    return records;
  }
  void released(std::uint64_t) {}

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & keys_ & records_;
  }

 private:
  std::uint64_t keys_ = 0;
  std::uint64_t records_ = 0;
};

}  // namespace weir::bench
