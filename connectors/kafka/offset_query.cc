#include <algorithm>
#include <chrono>
#include <map>

#include "weir/connectors/kafka/offset_query_internal.h"
#include "weir/connectors/kafka/planning_internal.h"
#include "weir/core/error.h"

namespace weir::kafka::internal {
namespace {

using std::chrono::steady_clock;

// A topic that was just made may be unknown to the broker that is asked.
constexpr std::chrono::seconds kNewTopicGrace{1};
constexpr std::chrono::milliseconds kOneLeaderTimeout{300};
constexpr int kPauseMs = 50;  // between two questions

int to_ms(Duration timeout) {
  return static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(timeout).count());
}

class Deadline {
 public:
  explicit Deadline(Duration timeout) : at_(steady_clock::now() + timeout) {}
  Duration left() const {
    return std::max(Duration::zero(),
                    std::chrono::duration_cast<Duration>(at_ - steady_clock::now()));
  }
  bool passed() const { return left() == Duration::zero(); }

 private:
  steady_clock::time_point at_;
};

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

bool says_unknown(rd_kafka_resp_err_t error) {
  return error == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
         error == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION || error == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC;
}

void ask(Client& client, const Position& partitions, Edge edge, Duration timeout,
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
    answer.trouble = rd_kafka_err2str(error);
    if (says_unknown(error)) {
      answer.unknown.insert(answer.unknown.end(), partitions.begin(), partitions.end());
    }
    return;
  }
  for (int i = 0; i < list->cnt; ++i) {
    const rd_kafka_topic_partition_t& told = list->elems[i];
    if (told.err == RD_KAFKA_RESP_ERR_NO_ERROR && told.offset >= 0) {
      set_offset(answer.offsets, {told.topic, told.partition, told.offset});
      continue;
    }
    answer.trouble = std::string(told.topic) + "[" + std::to_string(told.partition) +
                     "]: " + rd_kafka_err2str(told.err);
    if (says_unknown(told.err)) {
      answer.unknown.push_back({told.topic, told.partition, 0});
    }
  }
}

std::map<std::int32_t, Position> by_leader(Client& client, const Position& partitions,
                                           const Deadline& deadline) {
  std::map<std::int32_t, Position> leaders;
  for (auto first = partitions.begin(); first != partitions.end();) {
    const std::string& topic = first->topic;
    rd_kafka_resp_err_t error{};
    const MetadataHandle metadata = metadata_of(client, topic, deadline.left(), error);
    for (; first != partitions.end() && first->topic == topic; ++first) {
      if (!metadata || error != RD_KAFKA_RESP_ERR_NO_ERROR) continue;
      const rd_kafka_metadata_topic_t& described = metadata->topics[0];
      for (int i = 0; i < described.partition_cnt; ++i) {
        if (described.partitions[i].id == first->partition && described.partitions[i].leader >= 0) {
          leaders[described.partitions[i].leader].push_back(*first);
        }
      }
    }
  }
  return leaders;
}

}  // namespace

Position partitions_of(Client& client, const std::vector<std::string>& topics, Duration timeout) {
  const Deadline deadline(timeout);
  const Deadline grace(std::min<Duration>(timeout, kNewTopicGrace));
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
      if (error == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED) {
        throw Error(ErrorCode::kNotAllowed,
                    "Kafka topic \"" + topic + "\": " + rd_kafka_err2str(error));
      }
      if (metadata && is_passing(error) && !deadline.passed()) {
        rd_kafka_poll(client.get(), kPauseMs);
        continue;
      }
      throw Error(ErrorCode::kUnreachable, "Kafka brokers did not describe topic \"" + topic +
                                               "\" within " + to_string(timeout) + ": " +
                                               rd_kafka_err2str(error) + client.last_report());
    }
  }
  return found;
}

OffsetAnswer query_offsets(Client& client, const Position& partitions, Edge edge,
                           Duration timeout) {
  OffsetAnswer answer;
  if (partitions.empty()) return answer;
  ask(client, partitions, edge, timeout, answer);
  if (answer.trouble.empty() || !answer.offsets.empty()) return answer;
  const Deadline more(timeout);
  for (const auto& [leader, led] : by_leader(client, partitions, more)) {
    if (more.passed()) break;
    ask(client, led, edge, std::min<Duration>(more.left(), kOneLeaderTimeout), answer);
  }
  answer.trouble += client.last_report();
  return answer;
}

}  // namespace weir::kafka::internal
