#include <algorithm>
#include <chrono>

#include "weir/connectors/kafka/range_stream_internal.h"

namespace weir::kafka::internal {
namespace {

using std::chrono::steady_clock;

constexpr std::size_t kChunkBytes = 1 << 20;
constexpr std::chrono::milliseconds kWaitSlice{100};  // how soon a cancelled task notices
constexpr std::chrono::seconds kWatermarksTimeout{2};
constexpr int kMaxRestarts = 3;

const TaskContext* current_task() {
  try {
    return &TaskContext::current();
  } catch (const Error&) {
    return nullptr;  // used outside a task: tests, tools
  }
}

// A null key or value stays apart from an empty one, for which librdkafka may give any pointer.
std::string_view view_of(const void* data, std::size_t size) {
  return data == nullptr ? std::string_view()
                         : std::string_view(static_cast<const char*>(data), size);
}

Time timestamp_of(const rd_kafka_message_t& message) {
  rd_kafka_timestamp_type_t type = RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
  const std::int64_t milliseconds = rd_kafka_message_timestamp(&message, &type);
  if (type == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE) return {};
  return Time(std::chrono::milliseconds(milliseconds));
}

// Whether the library goes on by itself after reporting this, so that waiting is right.
bool passes_by_itself(rd_kafka_resp_err_t code) {
  switch (code) {
    case RD_KAFKA_RESP_ERR__TRANSPORT:
    case RD_KAFKA_RESP_ERR__RESOLVE:
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION:
    case RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT:
    case RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION:
    case RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR:
    case RD_KAFKA_RESP_ERR_UNKNOWN: return true;
    default: return false;
  }
}

ErrorCode code_of(rd_kafka_resp_err_t code) {
  switch (code) {
    case RD_KAFKA_RESP_ERR__BAD_MSG:
    case RD_KAFKA_RESP_ERR__BAD_COMPRESSION:
    case RD_KAFKA_RESP_ERR_INVALID_MSG: return ErrorCode::kCorrupt;
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED: return ErrorCode::kNotAllowed;
    default: return ErrorCode::kUnreachable;
  }
}

}  // namespace

RangeStream::RangeStream(const Options& options, const Range& range)
    : read_timeout_(options.read_timeout),
      range_(range),
      cursor_(range.from, range.to),
      task_(current_task()) {
  if (range_.empty()) return;
  lane_ = LanePool::borrow(LanePool::of(options), range_.topic, range_.partition, range_.from);
  cursor_.on_end_of_partition(lane_->known_empty_to());
}

RangeStream::~RangeStream() {
  if (lane_) lane_->set_position(cursor_.position());
}

ChunkRef<Record> RangeStream::next() {
  release_chunk();
  while (!cursor_.complete() && !chunk_full()) {
    rd_kafka_message_t* const front = lane_->front(Duration::zero());
    if (front == nullptr) {
      if (records_.size() > 0) break;
      wait_for_message();
      continue;
    }
    if (front->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
      on_event(*lane_->pop());
      continue;
    }
    switch (cursor_.on_record(front->offset)) {
      case RangeCursor::Verdict::kTake: take(lane_->pop()); break;
      case RangeCursor::Verdict::kStale: lane_->pop(); break;
      case RangeCursor::Verdict::kPast: break;  // stays in the lane, for the next range
    }
  }
  return records_.ref();
}

void RangeStream::release_chunk() {
  records_.clear();
  headers_.clear();
  messages_.clear();
  chunk_bytes_ = 0;
}

bool RangeStream::chunk_full() const {
  return messages_.size() >= kChunkElements || chunk_bytes_ >= kChunkBytes;
}

void RangeStream::wait_for_message() {
  const auto started = steady_clock::now();
  const bool came = lane_->front(kWaitSlice) != nullptr;
  waited_ += std::chrono::duration_cast<Duration>(steady_clock::now() - started);
  if (came) return;
  lane_->client().serve();
  if (task_ != nullptr && task_->cancelled()) fail(ErrorCode::kCancelled, "reading was cancelled");
  if (waited_ < read_timeout_) return;
  std::int64_t low = -1;
  std::int64_t end = -1;
  rd_kafka_get_watermark_offsets(lane_->client().get(), range_.topic.c_str(), range_.partition,
                                 &low, &end);
  fail(ErrorCode::kUnreachable, "no progress for " + to_string(read_timeout_) + " at offset " +
                                    std::to_string(cursor_.position()) + "; last known end " +
                                    std::to_string(end) +
                                    (last_event_.empty() ? "" : "; last error: " + last_event_) +
                                    lane_->client().last_report());
}

void RangeStream::take(MessageHandle message) {
  waited_ = Duration::zero();
  chunk_bytes_ += message->len + message->key_len;
  Record& record = records_.emplace_back();
  record.topic = range_.topic;
  record.partition = range_.partition;
  record.offset = message->offset;
  record.timestamp = timestamp_of(*message);
  record.key = view_of(message->key, message->key_len);
  record.value = view_of(message->payload, message->len);
  record.headers = headers_of(*message);
  messages_.push_back(std::move(message));
}

std::span<const Header> RangeStream::headers_of(rd_kafka_message_t& message) {
  rd_kafka_headers_t* given = nullptr;
  if (rd_kafka_message_headers(&message, &given) != RD_KAFKA_RESP_ERR_NO_ERROR) return {};
  std::vector<Header>& headers = headers_.emplace_back();
  const char* name = nullptr;
  const void* value = nullptr;
  std::size_t size = 0;
  for (std::size_t i = 0;
       rd_kafka_header_get_all(given, i, &name, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR; ++i) {
    headers.push_back({name, view_of(value, size)});
  }
  return std::span(headers);
}

void RangeStream::on_event(const rd_kafka_message_t& event) {
  if (event.err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
    lane_->set_known_empty_to(std::max(lane_->known_empty_to(), event.offset));
    cursor_.on_end_of_partition(event.offset);
    return;
  }
  const std::string reason = rd_kafka_message_errstr(&event);
  if (event.err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET) {
    on_offset_gone(reason);
  } else if (passes_by_itself(event.err)) {
    last_event_ = reason;
  } else {
    fail(code_of(event.err), "at offset " + std::to_string(cursor_.position()) + ": " + reason);
  }
}

void RangeStream::on_offset_gone(const std::string& reason) {
  Client& client = lane_->client();
  const auto low = client.offset_at(range_.topic, range_.partition, RD_KAFKA_OFFSET_BEGINNING,
                                    kWatermarksTimeout);
  const auto high =
      client.offset_at(range_.topic, range_.partition, RD_KAFKA_OFFSET_END, kWatermarksTimeout);
  const std::int64_t wanted = cursor_.position();
  if (low && high && (wanted < *low || wanted > *high)) {
    fail(ErrorCode::kDataLoss,
         "offset " + std::to_string(wanted) + " is gone: the brokers hold [" +
             std::to_string(*low) + ", " + std::to_string(*high) +
             "). Retention was shorter than the delay of this stream, or the topic was made anew");
  }
  // A report of an earlier start of this lane, or of a leader that was not yet up to date.
  last_event_ = reason;
  if (++restarts_ > kMaxRestarts) {
    fail(ErrorCode::kUnreachable, "at offset " + std::to_string(wanted) + ": " + reason);
  }
  lane_->restart(wanted);
}

void RangeStream::fail(ErrorCode code, const std::string& what) {
  lane_->stop();  // a repeated attempt begins afresh
  throw Error(code, "Kafka range " + describe(range_) + ": " + what);
}

}  // namespace weir::kafka::internal
