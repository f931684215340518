#pragma once

#include <optional>
#include <string>
#include <vector>

#include "weir/connectors/kafka/position.h"
#include "weir/core/time.h"

/// What the driver decides about ranges: pure functions of positions.
namespace weir::kafka::internal {

/// How much one batch may take.
struct BatchLimit {
  Duration interval{};
  double max_rate_per_partition = 0;                  ///< records/s, 0: no limit
  std::optional<double> max_records_per_second = {};  ///< of all partitions together
};

/// Offsets that a rate allows in `interval`: at least 1, so that a slow rate does not stop a
/// stream.
std::int64_t allowance(double records_per_second, Duration interval);

/// Splits `total` over partitions in proportion to their lags and never above them; rests go to the
/// largest lags, then the first partitions.
std::vector<std::int64_t> share_by_lag(const std::vector<std::int64_t>& lags, std::int64_t total);

/// The end of the next batch: every partition of `from` and of `known_ends`, as far as the ends
/// allow and the limit permits. A partition that `from` lacks is new and begins at 0; one whose
/// known end lies before its position, or is not known, stays where it is.
Position next_end(const Position& from, const Position& known_ends, const BatchLimit& limit);

/// One range per partition of `end`, in its order, empty ones included: partition i of every batch
/// is the same Kafka partition, which keeps placement and prefetching sticky.
std::vector<Range> ranges_between(const Position& from, const Position& end);

/// Those of `known_ends` that lie before the position in `from`, which only a truncated or
/// re-created topic explains.
Position ends_before_position(const Position& from, const Position& known_ends);

/// The offset of a partition in a sorted position.
std::optional<std::int64_t> offset_of(const Position& position, const std::string& topic,
                                      std::int32_t partition);
/// Enters or replaces an offset, keeping the order.
void set_offset(Position& position, const PartitionOffset& entry);

}  // namespace weir::kafka::internal
