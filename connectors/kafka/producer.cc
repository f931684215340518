#include <algorithm>
#include <array>
#include <chrono>

#include "weir/connectors/kafka/client_internal.h"
#include "weir/connectors/kafka/producer_internal.h"
#include "weir/core/error.h"
#include "weir/core/log.h"

namespace weir::kafka::internal {
namespace {

constexpr std::chrono::minutes kFullQueuePatience{5};  // message.timeout.ms ends waits before this
constexpr int kFullQueuePollMs = 50;
constexpr std::chrono::seconds kCloseTimeout{5};
constexpr std::chrono::seconds kAdminTimeout{3};

int to_ms(Duration timeout) {
  return static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(timeout).count());
}

void check(rd_kafka_error_t* error, const std::string& what) {
  if (error == nullptr) return;
  const std::string reason = rd_kafka_error_string(error);
  rd_kafka_error_destroy(error);
  throw Error(ErrorCode::kUnreachable, what + ": " + reason);
}

}  // namespace

Producer::Producer(const std::string& brokers, const Properties& properties) {
  std::vector<std::pair<std::string, std::string>> all = {
      {"client.id", "weir"},
      {"acks", "all"},
      {"enable.idempotence", "true"},
      {"linger.ms", "1"},
      {"socket.nagle.disable", "true"},
      {"queue.buffering.max.messages", "200000"},
      {"reconnect.backoff.ms", "50"},
      {"reconnect.backoff.max.ms", "1000"},
      {"allow.auto.create.topics", "false"},
  };
  all.insert(all.end(), properties.begin(), properties.end());
  all.emplace_back("bootstrap.servers", brokers);
  ConfHandle conf = make_conf(all);
  rd_kafka_conf_set_opaque(conf.get(), this);
  rd_kafka_conf_set_dr_msg_cb(conf.get(), &Producer::on_delivery);
  rd_kafka_conf_set_error_cb(conf.get(), &Producer::on_error);
  rd_kafka_conf_set_log_cb(conf.get(), [](const rd_kafka_t*, int, const char*, const char* text) {
    log_debug(std::string("kafka: ") + text);
  });
  std::array<char, 512> why{};
  client_.reset(rd_kafka_new(RD_KAFKA_PRODUCER, conf.get(), why.data(), why.size()));
  if (!client_) {
    throw Error(ErrorCode::kInvalidArgument,
                std::string("no Kafka producer with these properties: ") + why.data());
  }
  (void)conf.release();  // owned by the client now
}

Producer::~Producer() {
  // Whoever cares has called flush; the rest must not hold up the exit.
  rd_kafka_purge(client_.get(), RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
  rd_kafka_flush(client_.get(), to_ms(kCloseTimeout));
}

int Producer::partitions(const std::string& name, Duration timeout) {
  // All topics, because asking for one may create it.
  const rd_kafka_metadata_t* all = nullptr;
  rd_kafka_resp_err_t error = rd_kafka_metadata(client_.get(), 1, nullptr, &all, to_ms(timeout));
  const MetadataHandle owned(all);
  poll(Duration::zero());
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
    throw Error(ErrorCode::kUnreachable, std::string("Kafka brokers do not answer: ") +
                                             rd_kafka_err2str(error) + last_report());
  }
  for (int i = 0; i < owned->topic_cnt; ++i) {
    if (name != owned->topics[i].topic) continue;
    const rd_kafka_metadata_t* one = nullptr;
    error = rd_kafka_metadata(client_.get(), 0, topic(name), &one, to_ms(timeout));
    const MetadataHandle owned_one(one);
    return owned->topics[i].partition_cnt;
  }
  return 0;
}

void Producer::create_topic(const std::string& name, int partitions, Duration timeout,
                            const Properties& config) {
  std::array<char, 512> why{};
  const NewTopicHandle wanted(
      rd_kafka_NewTopic_new(name.c_str(), partitions, -1, why.data(), why.size()));
  if (!wanted) throw Error(ErrorCode::kInvalidArgument, "topic " + name + ": " + why.data());
  for (const auto& [key, value] : config) {
    rd_kafka_NewTopic_set_config(wanted.get(), key.c_str(), value.c_str());
  }
  const QueueHandle replies(rd_kafka_queue_new(client_.get()));
  rd_kafka_NewTopic_t* const list[] = {wanted.get()};
  rd_kafka_CreateTopics(client_.get(), const_cast<rd_kafka_NewTopic_t**>(list), 1, nullptr,
                        replies.get());
  const EventHandle reply(
      rd_kafka_queue_poll(replies.get(), to_ms(std::min<Duration>(timeout, kAdminTimeout))));
  poll(Duration::zero());
  if (!reply) {
    // The embedded cluster takes no such request, and creates topics by being asked for them.
    const rd_kafka_metadata_t* metadata = nullptr;
    rd_kafka_metadata(client_.get(), 0, topic(name), &metadata, to_ms(timeout));
    const MetadataHandle owned(metadata);
    if (owned && owned->topic_cnt == 1 && owned->topics[0].err == RD_KAFKA_RESP_ERR_NO_ERROR)
      return;
    throw Error(ErrorCode::kUnreachable,
                "topic " + name + " was not created within " + to_string(timeout) + last_report());
  }
  if (rd_kafka_event_error(reply.get()) != RD_KAFKA_RESP_ERR_NO_ERROR) {
    throw Error(ErrorCode::kUnreachable,
                "topic " + name + " was not created: " + rd_kafka_event_error_string(reply.get()));
  }
  std::size_t count = 0;
  const rd_kafka_topic_result_t* const* const results =
      rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(reply.get()), &count);
  const rd_kafka_resp_err_t error = rd_kafka_topic_result_error(results[0]);
  if (error == RD_KAFKA_RESP_ERR_NO_ERROR || error == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS)
    return;
  throw Error(ErrorCode::kInvalidArgument,
              "topic " + name + " was not created: " + rd_kafka_err2str(error));
}

rd_kafka_topic_t* Producer::topic(const std::string& name) {
  const std::lock_guard lock(mutex_);
  TopicHandle& found = topics_[name];
  if (!found) found.reset(rd_kafka_topic_new(client_.get(), name.c_str(), nullptr));
  return found.get();
}

void Producer::send(const std::string& name, const Message& message) {
  rd_kafka_headers_t* headers = nullptr;
  if (!message.headers.empty()) {
    headers = rd_kafka_headers_new(message.headers.size());
    for (const auto& [key, value] : message.headers) {
      rd_kafka_header_add(headers, key.data(), static_cast<ssize_t>(key.size()),
                          value ? value->data() : nullptr,
                          value ? static_cast<ssize_t>(value->size()) : 0);
    }
  }
  static char nothing = 0;  // an empty value is a pointer to no bytes, a null value no pointer
  const auto pointer = [](const std::optional<std::string_view>& text) -> void* {
    if (!text) return nullptr;
    return text->data() == nullptr ? &nothing : const_cast<char*>(text->data());
  };
  const auto size = [](const std::optional<std::string_view>& text) {
    return text ? text->size() : std::size_t{0};
  };
  void* const key = pointer(message.key);
  void* const value = pointer(message.value);
  const std::size_t key_size = size(message.key);
  const std::size_t value_size = size(message.value);
  rd_kafka_topic_t* const handle = topic(name);
  const auto give_up = std::chrono::steady_clock::now() + kFullQueuePatience;
  while (true) {
    const rd_kafka_resp_err_t error = rd_kafka_producev(
        client_.get(), RD_KAFKA_V_RKT(handle), RD_KAFKA_V_PARTITION(message.partition),
        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_KEY(key, key_size),
        RD_KAFKA_V_VALUE(value, value_size), RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END);
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR) return;
    if (error == RD_KAFKA_RESP_ERR__QUEUE_FULL && std::chrono::steady_clock::now() < give_up) {
      rd_kafka_poll(client_.get(), kFullQueuePollMs);
      continue;
    }
    if (headers != nullptr) rd_kafka_headers_destroy(headers);
    throw Error(ErrorCode::kUnreachable, "record for topic " + name + " refused: " +
                                             rd_kafka_err2str(error) + last_report());
  }
}

void Producer::poll(Duration wait) { rd_kafka_poll(client_.get(), to_ms(wait)); }

bool Producer::flush(Duration timeout) {
  return rd_kafka_flush(client_.get(), to_ms(timeout)) == RD_KAFKA_RESP_ERR_NO_ERROR;
}

std::string Producer::first_failure() const {
  const std::lock_guard lock(mutex_);
  return first_failure_;
}

std::string Producer::last_report() const {
  const std::lock_guard lock(mutex_);
  return last_report_.empty() ? "" : "; last report: " + last_report_;
}

void Producer::init_transactions(Duration timeout) {
  check(rd_kafka_init_transactions(client_.get(), to_ms(timeout)), "init_transactions");
}

void Producer::begin() { check(rd_kafka_begin_transaction(client_.get()), "begin_transaction"); }

void Producer::commit(Duration timeout) {
  check(rd_kafka_commit_transaction(client_.get(), to_ms(timeout)), "commit_transaction");
}

void Producer::abort(Duration timeout) {
  check(rd_kafka_abort_transaction(client_.get(), to_ms(timeout)), "abort_transaction");
}

void Producer::on_delivery(rd_kafka_t*, const rd_kafka_message_t* message, void* self) {
  auto& producer = *static_cast<Producer*>(self);
  if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
    ++producer.acknowledged_;
    return;
  }
  if (++producer.failed_ == 1) {
    const std::lock_guard lock(producer.mutex_);
    producer.first_failure_ = rd_kafka_err2str(message->err);
  }
}

void Producer::on_error(rd_kafka_t*, int code, const char* reason, void* self) {
  auto& producer = *static_cast<Producer*>(self);
  const std::lock_guard lock(producer.mutex_);
  if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN && !producer.last_report_.empty()) return;
  producer.last_report_ = reason;
}

}  // namespace weir::kafka::internal
