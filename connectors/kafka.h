#pragma once

#include <utility>

#include "weir/connectors/kafka/options.h"
#include "weir/connectors/kafka/record.h"
#include "weir/connectors/kafka/source.h"
#include "weir/dstream/streaming_context.h"

namespace weir::kafka {

/// The records of Kafka topics, read without a receiver: each batch owns a range of offsets of
/// every partition, workers read their ranges straight from the brokers, and a repeated task reads
/// exactly the same records. One partition of the stream's RDDs is one Kafka partition.
///
///     auto lines = kafka::direct_stream(
///         stream, {.brokers = "localhost:9092", .topics = {"lines"}});
///
/// Throws Error(kInvalidArgument) for options that make no sense; brokers are first asked when the
/// streaming context starts.
inline DStream<Record> direct_stream(const StreamingContext& stream, Options options) {
  return stream.source_stream(Source(std::move(options)));
}

}  // namespace weir::kafka
