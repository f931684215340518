#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <vector>

namespace weir::kafka {

/// The next offset to read of one Kafka partition.
struct PartitionOffset {
  std::string topic;
  std::int32_t partition = 0;
  std::int64_t offset = 0;

  auto operator<=>(const PartitionOffset&) const = default;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & topic & partition & offset;
  }
};

/// How far a stream has come: the next offset of every partition of its topics, sorted by topic and
/// partition, each partition once.
using Position = std::vector<PartitionOffset>;

/// What one task reads: offsets [from, to) of one Kafka partition. Offsets are not dense
/// (compaction, transactions), so a range may hold fewer records than to - from, even none.
struct Range {
  std::string topic;
  std::int32_t partition = 0;
  std::int64_t from = 0;
  std::int64_t to = 0;

  bool empty() const { return from >= to; }
  bool operator==(const Range&) const = default;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & topic & partition & from & to;
  }
};

/// "lines[3]", for messages.
std::string name_of(const PartitionOffset& partition);
/// "lines[3] [100, 250)", for messages.
std::string describe(const Range& range);

}  // namespace weir::kafka
