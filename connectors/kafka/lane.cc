#include <algorithm>

#include "weir/connectors/kafka/lane_internal.h"
#include "weir/core/error.h"

namespace weir::kafka::internal {
namespace {

// Records between the lane's position and the wanted one that are read and dropped, not restarted
// for.
constexpr std::int64_t kSkippable = 10'000;
// Queues that never held this many need no early wake-up; see wake_fetcher_when_drained().
constexpr std::size_t kLongQueue = 1'000;
// An empty queue for this long, although records must be there, may be a sleeping fetcher.
constexpr int kSuspiciousWaitMs = 3;

}  // namespace

Lane::Lane(std::shared_ptr<Client> client, std::string topic, std::int32_t partition)
    : client_(std::move(client)),
      topic_(std::move(topic)),
      partition_(partition),
      handle_(client_->topic(topic_)) {}

Lane::~Lane() { stop(); }

bool Lane::can_continue(std::int64_t from) const {
  return state_ == State::kFetching && position_ <= from && from - position_ <= kSkippable;
}

void Lane::continue_at(std::int64_t from) {
  if (!can_continue(from)) restart(from);
  position_ = from;
}

void Lane::restart(std::int64_t from) {
  stop();
  queue_.reset(rd_kafka_queue_new(client_->get()));
  if (rd_kafka_consume_start_queue(handle_, partition_, from, queue_.get()) != 0) {
    throw Error(ErrorCode::kInternal, "cannot read Kafka partition " + topic_ + "[" +
                                          std::to_string(partition_) +
                                          "]: " + rd_kafka_err2str(rd_kafka_last_error()));
  }
  state_ = State::kFetching;
  position_ = from;
  known_empty_to_ = from;
  queue_peak_ = 0;
}

void Lane::stop() {
  for (; at_ < end_; ++at_) rd_kafka_message_destroy(pulled_[at_]);
  at_ = end_ = 0;
  if (state_ == State::kStopped) return;
  state_ = State::kStopped;
  rd_kafka_consume_stop(handle_, partition_);
  queue_.reset();
}

rd_kafka_message_t* Lane::front(Duration timeout) {
  if (at_ == end_) {
    wake_fetcher_when_drained();
    if (!refill(0)) {
      const auto milliseconds = std::chrono::ceil<std::chrono::milliseconds>(timeout).count();
      const int first = std::min(static_cast<int>(milliseconds), kSuspiciousWaitMs);
      const int rest = static_cast<int>(milliseconds) - first;
      if (first == 0) return nullptr;
      if (!refill(first)) {
        if (rest == 0) return nullptr;
        client_->wake_fetcher(topic_, partition_);
        if (!refill(rest)) return nullptr;
      }
    }
  }
  return pulled_[at_];
}

MessageHandle Lane::pop() { return MessageHandle(pulled_[at_++]); }

bool Lane::refill(int timeout_ms) {
  at_ = end_ = 0;
  // With a timeout librdkafka waits until it has all that was asked for, so then it is asked for
  // one.
  const ssize_t count = rd_kafka_consume_batch_queue(queue_.get(), timeout_ms, pulled_.data(),
                                                     timeout_ms == 0 ? pulled_.size() : 1);
  if (count > 0) end_ = static_cast<std::size_t>(count);
  return end_ > 0;
}

void Lane::wake_fetcher_when_drained() {
  const std::size_t length = rd_kafka_queue_length(queue_.get());
  queue_peak_ = std::max(queue_peak_, length);
  if (queue_peak_ < kLongQueue || length >= queue_peak_ / 2) return;
  queue_peak_ = length;
  client_->wake_fetcher(topic_, partition_);
}

}  // namespace weir::kafka::internal
