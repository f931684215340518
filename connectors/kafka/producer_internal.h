#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "weir/connectors/kafka/handles_internal.h"
#include "weir/core/time.h"

namespace weir::kafka::internal {

/// Sends records and counts what the brokers acknowledged: for tests and generators. Bounded:
/// `send` waits when the client's queue is full. Thread-safe but for `begin`, `commit` and `abort`.
class Producer {
 public:
  using Properties = std::map<std::string, std::string>;
  using Headers = std::vector<std::pair<std::string, std::optional<std::string>>>;

  /// `properties` override the defaults (idempotent, acknowledged by all replicas, 1 ms linger).
  /// Throws Error(kInvalidArgument) for unknown ones. Connects in the background.
  explicit Producer(const std::string& brokers, const Properties& properties = {});
  ~Producer();
  Producer(const Producer&) = delete;
  Producer& operator=(const Producer&) = delete;

  /// Partitions of the topic, 0 if it does not exist. Never creates it. Also warms the topic's
  /// metadata, without which the first record waits a second (librdkafka 2.0.2). Throws
  /// Error(kUnreachable).
  int partitions(const std::string& topic, Duration timeout);
  /// Creates the topic unless it exists. Throws Error(kUnreachable) or what the brokers object to.
  void create_topic(const std::string& topic, int partitions, Duration timeout,
                    const Properties& config = {});

  struct Message {
    std::optional<std::string_view> key;
    std::optional<std::string_view> value;
    std::int32_t partition = RD_KAFKA_PARTITION_UA;  ///< default: by key, else spread
    Headers headers = {};
  };
  /// Queues a record, copying it; waits while the queue is full. Throws Error(kUnreachable) when it
  /// stays full for `message.timeout.ms`, and what the client refuses.
  void send(const std::string& topic, const Message& message);
  /// Serves delivery reports, waiting for one at most `wait`.
  void poll(Duration wait);
  /// Waits until every record was acknowledged or failed; false after `timeout`.
  bool flush(Duration timeout);

  std::int64_t acknowledged() const { return acknowledged_; }
  std::int64_t failed() const { return failed_; }
  /// The first failure's reason, empty when there was none.
  std::string first_failure() const;

  /// Transactions: `transactional.id` must be among the properties. `init` once, before the first.
  void init_transactions(Duration timeout);
  void begin();
  void commit(Duration timeout);
  void abort(Duration timeout);

  rd_kafka_t* get() const { return client_.get(); }

 private:
  static void on_delivery(rd_kafka_t*, const rd_kafka_message_t* message, void* self);
  static void on_error(rd_kafka_t*, int code, const char* reason, void* self);
  rd_kafka_topic_t* topic(const std::string& name);
  std::string last_report() const;

  ClientHandle client_;
  std::atomic<std::int64_t> acknowledged_{0};
  std::atomic<std::int64_t> failed_{0};

  mutable std::mutex mutex_;  // guards all below
  std::map<std::string, TopicHandle> topics_;
  std::string first_failure_;
  std::string last_report_;
};

}  // namespace weir::kafka::internal
