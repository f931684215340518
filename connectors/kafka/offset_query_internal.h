#pragma once

#include <string>
#include <utility>
#include <vector>

#include "weir/connectors/kafka/client_internal.h"
#include "weir/connectors/kafka/position.h"

/// Questions to the brokers, answered on the calling thread. All block up to their timeout.
namespace weir::kafka::internal {

/// All partitions of the topics, as a position whose offsets are 0. Throws Error(kUnreachable) when
/// no broker answers in time and Error(kInvalidArgument) for a topic that does not exist.
Position partitions_of(Client& client, const std::vector<std::string>& topics, Duration timeout);

enum class Edge : std::int64_t {
  kEnd = RD_KAFKA_OFFSET_END,
  kBeginning = RD_KAFKA_OFFSET_BEGINNING
};

/// What the brokers said, and why it is not everything.
struct OffsetAnswer {
  Position offsets;                      ///< of the partitions that were answered for
  std::string trouble;                   ///< empty when all were
  std::vector<PartitionOffset> unknown;  ///< partitions that the brokers say do not exist
};

/// The first or the next offset of each partition: one request to each leader, all at once. The end
/// is that of committed transactions (the last stable offset) unless `isolation.level` says
/// otherwise. When that fails, leaders are asked one after the other, so that one that is down
/// takes only its own partitions with it.
///
/// rd_kafka_offsets_for_times passes its "timestamps" on unchanged, and -1 and -2 are what the
/// ListOffsets protocol means by end and beginning; unlike rd_kafka_query_watermark_offsets it is
/// one request for any number of partitions.
OffsetAnswer query_offsets(Client& client, const Position& partitions, Edge edge, Duration timeout);

}  // namespace weir::kafka::internal
