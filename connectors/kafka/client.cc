#include <algorithm>
#include <array>

#include "weir/connectors/kafka/client_internal.h"
#include "weir/core/error.h"
#include "weir/core/log.h"

namespace weir::kafka::internal {
namespace {

constexpr std::chrono::milliseconds kWakeTimeout{500};
constexpr int kSyslogWarning = 4;

}  // namespace

std::vector<std::pair<std::string, std::string>> client_properties(const Options& options) {
  std::vector<std::pair<std::string, std::string>> properties = {
      {"client.id", "weir"},
      {"enable.auto.commit", "false"},
      {"enable.auto.offset.store", "false"},
      {"auto.offset.reset", "error"},
      {"enable.partition.eof", "true"},
      {"allow.auto.create.topics", "false"},
      {"isolation.level", "read_committed"},
      {"check.crcs", "true"},
      {"fetch.min.bytes", "1"},
      {"fetch.wait.max.ms", "10"},
      {"fetch.error.backoff.ms", "50"},
      {"reconnect.backoff.ms", "50"},
      {"reconnect.backoff.max.ms", "1000"},
      {"socket.keepalive.enable", "true"},
      {"socket.nagle.disable", "true"},
      {"topic.metadata.refresh.fast.interval.ms", "100"},
      {"queued.min.messages", "100000"},
      {"queued.max.messages.kbytes",
       std::to_string(std::max<std::int64_t>(1, options.prefetch_bytes / 1024))},
  };
  for (const auto& [name, value] : options.properties) properties.emplace_back(name, value);
  properties.emplace_back("bootstrap.servers", options.brokers);
  return properties;
}

ConfHandle make_conf(const std::vector<std::pair<std::string, std::string>>& properties) {
  ConfHandle conf(rd_kafka_conf_new());
  std::array<char, 512> why{};
  for (const auto& [name, value] : properties) {
    if (rd_kafka_conf_set(conf.get(), name.c_str(), value.c_str(), why.data(), why.size()) !=
        RD_KAFKA_CONF_OK) {
      throw Error(ErrorCode::kInvalidArgument,
                  "Kafka property " + name + " was refused by librdkafka: " + why.data());
    }
  }
  return conf;
}

Client::Client(const Options& options) {
  ConfHandle conf = make_conf(client_properties(options));
  rd_kafka_conf_set_opaque(conf.get(), this);
  rd_kafka_conf_set_error_cb(conf.get(), &Client::on_error);
  rd_kafka_conf_set_log_cb(conf.get(), &Client::on_log);
  std::array<char, 512> why{};
  client_.reset(rd_kafka_new(RD_KAFKA_CONSUMER, conf.get(), why.data(), why.size()));
  if (!client_) {
    throw Error(ErrorCode::kInvalidArgument,
                std::string("no Kafka client with these properties: ") + why.data());
  }
  (void)conf.release();  // owned by the client now
  waker_ = std::jthread([this](const std::stop_token& stopped) { wake_fetchers(stopped); });
}

Client::~Client() {
  waker_.request_stop();
  waker_.join();
}

rd_kafka_topic_t* Client::topic(const std::string& name) {
  const std::lock_guard lock(mutex_);
  TopicHandle& topic = topics_[name];
  if (!topic) {
    topic.reset(rd_kafka_topic_new(client_.get(), name.c_str(), nullptr));
    if (!topic) {
      topics_.erase(name);
      throw Error(ErrorCode::kInvalidArgument,
                  "Kafka topic \"" + name + "\": " + rd_kafka_err2str(rd_kafka_last_error()));
    }
  }
  return topic.get();
}

std::string Client::last_report() const {
  const std::lock_guard lock(mutex_);
  return last_report_.empty() ? "" : "; last report: " + last_report_;
}

void Client::wake_fetcher(const std::string& topic, std::int32_t partition) {
  {
    const std::lock_guard lock(mutex_);
    std::pair wanted(topic, partition);
    if (std::find(to_wake_.begin(), to_wake_.end(), wanted) != to_wake_.end()) return;
    to_wake_.push_back(std::move(wanted));
  }
  wake_.notify_one();
}

void Client::wake_fetchers(const std::stop_token& stopped) {
  std::unique_lock lock(mutex_);
  while (wake_.wait(lock, stopped, [this] { return !to_wake_.empty(); })) {
    const auto [topic, partition] = to_wake_.front();
    lock.unlock();
    offset_at(topic, partition, RD_KAFKA_OFFSET_END, kWakeTimeout);
    lock.lock();
    to_wake_.erase(to_wake_.begin());
  }
}

std::optional<std::int64_t> Client::offset_at(const std::string& topic, std::int32_t partition,
                                              std::int64_t edge, Duration timeout) {
  const PartitionListHandle list(rd_kafka_topic_partition_list_new(1));
  rd_kafka_topic_partition_t& asked =
      *rd_kafka_topic_partition_list_add(list.get(), topic.c_str(), partition);
  asked.offset = edge;
  const auto milliseconds = std::chrono::ceil<std::chrono::milliseconds>(timeout);
  const rd_kafka_resp_err_t error =
      rd_kafka_offsets_for_times(client_.get(), list.get(), static_cast<int>(milliseconds.count()));
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR || asked.err != RD_KAFKA_RESP_ERR_NO_ERROR ||
      asked.offset < 0) {
    return std::nullopt;
  }
  return asked.offset;
}

void Client::on_error(rd_kafka_t*, int code, const char* reason, void* self) {
  auto& client = *static_cast<Client*>(self);
  const char* const name = rd_kafka_err2name(static_cast<rd_kafka_resp_err_t>(code));
  log_debug(std::string("kafka: ") + reason + " (" + name + ")");
  // "All brokers are down" follows the report that says why; keep the latter.
  const std::lock_guard lock(client.mutex_);
  if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN && !client.last_report_.empty()) return;
  client.last_report_ = reason;
}

void Client::on_log(const rd_kafka_t*, int level, const char* facility, const char* text) {
  // Connection failures come through on_error as well, and the caller decides how loud they are.
  const std::string line = std::string("kafka: ") + facility + ": " + text;
  if (level < kSyslogWarning - 1) {
    log_error(line);
  } else {
    log_debug(line);
  }
}

}  // namespace weir::kafka::internal
