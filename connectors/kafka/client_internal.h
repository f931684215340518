#pragma once

#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "weir/connectors/kafka/handles_internal.h"
#include "weir/connectors/kafka/options.h"

namespace weir::kafka::internal {

/// What a client of `options` is configured with, in the order of setting.
std::vector<std::pair<std::string, std::string>> client_properties(const Options& options);

/// librdkafka's configuration of these properties; throws Error(kInvalidArgument) for an unknown
/// one.
ConfHandle make_conf(const std::vector<std::pair<std::string, std::string>>& properties);

/// One connection to a cluster for reading: librdkafka's handle with its threads, the topics in use
/// and the last complaint about the brokers.
///
/// Threads: every method may be called from any thread. Owns one thread of its own, which wakes
/// fetchers (see `wake_fetcher`).
class Client {
 public:
  explicit Client(const Options& options);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  rd_kafka_t* get() const { return client_.get(); }
  /// The topic's handle; kept, so that librdkafka refreshes its metadata in the background.
  rd_kafka_topic_t* topic(const std::string& name);

  /// Handles what librdkafka reported since the last call.
  void serve() { rd_kafka_poll(client_.get(), 0); }
  /// "; last report: 127.0.0.1:9092/bootstrap: Connect ... refused", or nothing.
  std::string last_report() const;

  /// Makes librdkafka look again at whether the partition should be fetched, and returns at once.
  ///
  /// librdkafka 2.0.2 stops fetching when a queue is full and does not notice that it was drained
  /// before its next idle turn, up to a second later. A request to the partition's leader wakes the
  /// thread that decides. Measured with a reader slower than the network: 1.1 s instead of 4 to 18
  /// s for a million records.
  void wake_fetcher(const std::string& topic, std::int32_t partition);

  /// The partition's first (RD_KAFKA_OFFSET_BEGINNING) or next (RD_KAFKA_OFFSET_END) offset, asked
  /// of its leader. Unlike rd_kafka_query_watermark_offsets, which in 2.0.2 waits for ever when the
  /// broker is gone, it keeps to `timeout`; nothing when there was no answer.
  std::optional<std::int64_t> offset_at(const std::string& topic, std::int32_t partition,
                                        std::int64_t edge, Duration timeout);

 private:
  static void on_error(rd_kafka_t* client, int code, const char* reason, void* self);
  static void on_log(const rd_kafka_t* client, int level, const char* facility, const char* text);
  void wake_fetchers(const std::stop_token& stopped);

  ClientHandle client_;

  mutable std::mutex mutex_;  // guards all below
  std::map<std::string, TopicHandle> topics_;
  std::string last_report_;
  std::vector<std::pair<std::string, std::int32_t>> to_wake_;
  std::condition_variable_any wake_;

  std::jthread waker_;
};

}  // namespace weir::kafka::internal
