#pragma once

#include <string>
#include <utility>
#include <vector>

#include "weir/connectors/kafka/client_internal.h"
#include "weir/connectors/kafka/deadline_internal.h"
#include "weir/connectors/kafka/position.h"

/// Questions to the brokers, answered on the calling thread. All block up to their deadline.
namespace weir::kafka::internal {

/// All partitions of the topics, as a position whose offsets are 0. Throws Error(kUnreachable) when
/// no broker answers in time and Error(kInvalidArgument) for a topic that does not exist or cannot.
Position partitions_of(Client& client, const std::vector<std::string>& topics,
                       const Deadline& deadline);

enum class Edge : std::int64_t {
  kEnd = RD_KAFKA_OFFSET_END,
  kBeginning = RD_KAFKA_OFFSET_BEGINNING
};

/// What the brokers said, and why it is not everything.
struct OffsetAnswer {
  Position offsets;     ///< of the partitions that were answered for
  std::string trouble;  ///< empty when all were
  Position unknown;     ///< partitions that the brokers' metadata say do not exist; offsets 0
};

/// The first or the next offset of each partition: one request to each leader, all at once. The end
/// is that of committed transactions (the last stable offset) unless `isolation.level` says
/// otherwise. That takes at most half of the time; when it fails, leaders are asked one after the
/// other, so that one that is down takes only its own partitions with it, and what a leader refuses
/// is asked for topic by topic and partition by partition: the library turns one partition's error
/// into one of the whole request.
///
/// rd_kafka_offsets_for_times passes its "timestamps" on unchanged, and -1 and -2 are what the
/// ListOffsets protocol means by end and beginning; unlike rd_kafka_query_watermark_offsets it is
/// one request for any number of partitions.
OffsetAnswer query_offsets(Client& client, const Position& partitions, Edge edge,
                           const Deadline& deadline);

}  // namespace weir::kafka::internal
