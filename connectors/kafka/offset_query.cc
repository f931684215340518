#include <algorithm>
#include <chrono>
#include <map>
#include <span>

#include "weir/connectors/kafka/offset_query_internal.h"
#include "weir/connectors/kafka/planning_internal.h"
#include "weir/core/error.h"

namespace weir::kafka::internal {
namespace {

// A topic that was just made may be unknown to the broker that is asked.
constexpr std::chrono::seconds kNewTopicGrace{1};
constexpr std::chrono::milliseconds kOneLeaderTimeout{300};
constexpr int kPauseMs = 50;  // between two questions

int to_ms(Duration timeout) {
  return static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(timeout).count());
}

MetadataHandle metadata_of(Client& client, const std::string& topic, Duration timeout,
                           rd_kafka_resp_err_t& error) {
  const rd_kafka_metadata_t* metadata = nullptr;
  error = rd_kafka_metadata(client.get(), 0, client.topic(topic), &metadata, to_ms(timeout));
  client.serve();
  MetadataHandle owned(metadata);
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) return nullptr;
  if (owned->topic_cnt != 1) {
    error = RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
  } else {
    error = owned->topics[0].err;
  }
  return owned;
}

bool is_passing(rd_kafka_resp_err_t error) {
  return error == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE ||
         error == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
}

// Asks for all of them at once; a request that fails tells nothing of any.
rd_kafka_resp_err_t ask(Client& client, const Position& partitions, Edge edge, Duration timeout,
                        OffsetAnswer& answer) {
  const PartitionListHandle list(
      rd_kafka_topic_partition_list_new(static_cast<int>(partitions.size())));
  for (const PartitionOffset& each : partitions) {
    rd_kafka_topic_partition_list_add(list.get(), each.topic.c_str(), each.partition)->offset =
        static_cast<std::int64_t>(edge);
  }
  const rd_kafka_resp_err_t error =
      rd_kafka_offsets_for_times(client.get(), list.get(), to_ms(timeout));
  client.serve();
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
    answer.trouble = name_of(partitions.front()) +
                     (partitions.size() > 1 ? " and others: " : ": ") + rd_kafka_err2str(error);
    return error;
  }
  for (int i = 0; i < list->cnt; ++i) {
    const rd_kafka_topic_partition_t& told = list->elems[i];
    const PartitionOffset partition{told.topic, told.partition, told.offset};
    if (told.err == RD_KAFKA_RESP_ERR_NO_ERROR && told.offset >= 0) {
      set_offset(answer.offsets, partition);
    } else {
      answer.trouble = name_of(partition) + ": " + rd_kafka_err2str(told.err);
    }
  }
  return RD_KAFKA_RESP_ERR_NO_ERROR;
}

// Topic by topic if there are several, else partition by partition.
std::vector<Position> parts_of(const Position& partitions) {
  const bool by_topic = partitions.front().topic != partitions.back().topic;
  std::vector<Position> parts;
  for (const PartitionOffset& each : partitions) {
    if (!by_topic || parts.empty() || parts.back().front().topic != each.topic) {
      parts.emplace_back();
    }
    parts.back().push_back(each);
  }
  return parts;
}

bool is_silence(rd_kafka_resp_err_t error) {
  return error == RD_KAFKA_RESP_ERR__TIMED_OUT || error == RD_KAFKA_RESP_ERR__TRANSPORT;
}

// Of one leader: asks apart for those that have an error and those that it would hide.
void ask_leader(Client& client, const Position& led, Edge edge, const Deadline& deadline,
                OffsetAnswer& answer) {
  if (deadline.passed()) return;
  const rd_kafka_resp_err_t error =
      ask(client, led, edge, std::min<Duration>(deadline.left(), kOneLeaderTimeout), answer);
  if (error == RD_KAFKA_RESP_ERR_NO_ERROR || is_silence(error) || led.size() == 1) return;
  for (const Position& part : parts_of(led)) ask_leader(client, part, edge, deadline, answer);
}

// The partitions by their leaders, as the brokers describe them now; enters those that do not
// exist.
std::map<std::int32_t, Position> by_leader(Client& client, const Position& partitions,
                                           const Deadline& deadline, OffsetAnswer& answer) {
  std::map<std::int32_t, Position> leaders;
  for (auto first = partitions.begin(); first != partitions.end();) {
    const std::string& topic = first->topic;
    rd_kafka_resp_err_t error{};
    const MetadataHandle metadata = metadata_of(client, topic, deadline.left(), error);
    const bool topic_unknown = metadata && error == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    for (; first != partitions.end() && first->topic == topic; ++first) {
      const PartitionOffset unknown{topic, first->partition, 0};
      if (topic_unknown) set_offset(answer.unknown, unknown);
      if (!metadata || error != RD_KAFKA_RESP_ERR_NO_ERROR) continue;
      const std::span described(metadata->topics[0].partitions,
                                static_cast<std::size_t>(metadata->topics[0].partition_cnt));
      const auto found = std::find_if(described.begin(), described.end(), [&](const auto& each) {
        return each.id == first->partition;
      });
      if (found == described.end()) {
        set_offset(answer.unknown, unknown);
      } else if (found->leader >= 0) {
        leaders[found->leader].push_back(*first);
      }
    }
  }
  return leaders;
}

}  // namespace

Position partitions_of(Client& client, const std::vector<std::string>& topics,
                       const Deadline& deadline) {
  const Deadline grace(std::min<Duration>(deadline.left(), kNewTopicGrace));
  Position found;
  for (const std::string& topic : topics) {
    while (true) {
      rd_kafka_resp_err_t error{};
      const MetadataHandle metadata = metadata_of(client, topic, deadline.left(), error);
      if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
        for (int i = 0; i < metadata->topics[0].partition_cnt; ++i) {
          set_offset(found, {topic, metadata->topics[0].partitions[i].id, 0});
        }
        break;
      }
      if (metadata && is_passing(error) && !grace.passed()) {
        rd_kafka_poll(client.get(), kPauseMs);
        continue;
      }
      if (metadata && error == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) {
        throw Error(ErrorCode::kInvalidArgument,
                    "Kafka topic \"" + topic + "\" does not exist; create it or correct .topics");
      }
      if (error == RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION) {
        throw Error(ErrorCode::kInvalidArgument,
                    "Kafka topic \"" + topic +
                        "\": the brokers refuse the name; letters, digits, '.', '_' and '-' are "
                        "allowed. Correct .topics");
      }
      if (error == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED) {
        throw Error(ErrorCode::kNotAllowed,
                    "Kafka topic \"" + topic + "\": " + rd_kafka_err2str(error));
      }
      if (metadata && is_passing(error) && !deadline.passed()) {
        rd_kafka_poll(client.get(), kPauseMs);
        continue;
      }
      throw Error(ErrorCode::kUnreachable, "Kafka brokers did not describe topic \"" + topic +
                                               "\" within " + to_string(deadline.timeout()) + ": " +
                                               rd_kafka_err2str(error) + client.last_report());
    }
  }
  return found;
}

OffsetAnswer query_offsets(Client& client, const Position& partitions, Edge edge,
                           const Deadline& deadline) {
  OffsetAnswer answer;
  if (partitions.empty()) return answer;
  ask(client, partitions, edge, deadline.left() / 2, answer);
  if (answer.trouble.empty()) return answer;
  for (const auto& [leader, led] : by_leader(client, partitions, deadline, answer)) {
    ask_leader(client, led, edge, deadline, answer);
  }
  std::erase_if(answer.unknown, [&](const PartitionOffset& each) {
    return offset_of(answer.offsets, each.topic, each.partition).has_value();
  });
  if (answer.offsets.size() == partitions.size()) {
    answer.trouble.clear();
  } else {
    answer.trouble += client.last_report();
  }
  return answer;
}

}  // namespace weir::kafka::internal
