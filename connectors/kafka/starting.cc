#include "weir/connectors/kafka/offset_query_internal.h"
#include "weir/connectors/kafka/planning_internal.h"
#include "weir/connectors/kafka/starting_internal.h"
#include "weir/core/error.h"

namespace weir::kafka::internal {
namespace {

constexpr int kPauseMs = 50;  // between two questions

// The edge of every partition: asks again until all have answered.
Position edges_of(Client& client, const Position& partitions, Edge edge, const Options& options,
                  const Deadline& deadline) {
  while (true) {
    OffsetAnswer answer = query_offsets(client, partitions, edge, deadline);
    if (answer.offsets.size() == partitions.size()) return std::move(answer.offsets);
    if (deadline.passed()) {
      throw Error(ErrorCode::kUnreachable,
                  "Kafka brokers " + options.brokers +
                      " did not tell the offsets to start from: " + answer.trouble);
    }
    rd_kafka_poll(client.get(), kPauseMs);
  }
}

void require_held(const PartitionOffset& wanted, std::int64_t low, std::int64_t high) {
  if (wanted.offset >= low && wanted.offset <= high) return;
  throw Error(ErrorCode::kInvalidArgument,
              "kafka::Options: .starting: offset " + std::to_string(wanted.offset) + " of " +
                  wanted.topic + "[" + std::to_string(wanted.partition) +
                  "] is not there: the brokers hold [" + std::to_string(low) + ", " +
                  std::to_string(high) + ")");
}

}  // namespace

Position starting_position(Client& client, const Position& partitions, const Options& options,
                           const Deadline& deadline) {
  const StartingPosition& starting = options.starting;
  const Edge edge =
      starting.edge() == StartingPosition::Edge::kEarliest ? Edge::kBeginning : Edge::kEnd;
  Position begin = edges_of(client, partitions, edge, options, deadline);
  if (starting.offsets().empty()) return begin;

  const Position low = edges_of(client, partitions, Edge::kBeginning, options, deadline);
  const Position high = edges_of(client, partitions, Edge::kEnd, options, deadline);
  for (const PartitionOffset& wanted : starting.offsets()) {
    const auto from = offset_of(low, wanted.topic, wanted.partition);
    const auto to = offset_of(high, wanted.topic, wanted.partition);
    if (!from || !to) {
      throw Error(ErrorCode::kInvalidArgument, "kafka::Options: .starting names " + wanted.topic +
                                                   "[" + std::to_string(wanted.partition) +
                                                   "], which does not exist");
    }
    require_held(wanted, *from, *to);
    set_offset(begin, wanted);
  }
  return begin;
}

}  // namespace weir::kafka::internal
