#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "weir/connectors/kafka/client_internal.h"

namespace weir::kafka::internal {

/// One partition being fetched through one client: the stream of its records from some offset on,
/// in the background and ahead of the reader. It outlives the ranges that are read through it, so
/// that [a, b) and then [b, c) cost no new start and c's records may already be here.
///
/// Uses librdkafka's simple consumer: partitions are independent, there is no consumer group, and a
/// restart is a stop and a start (2-3 ms) whose stale records the library itself drops by version.
/// Threads: one at a time (whoever took it from the pool).
class Lane {
 public:
  Lane(std::shared_ptr<Client> client, std::string topic, std::int32_t partition);
  ~Lane();
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  bool serves(const std::string& topic, std::int32_t partition) const {
    return partition == partition_ && topic == topic_;
  }
  Client& client() const { return *client_; }

  /// Makes the next records those from `from` on: continues where that is possible, else restarts.
  void continue_at(std::int64_t from);
  /// Fetches anew from `from`; what was fetched ahead is dropped.
  void restart(std::int64_t from);
  /// Ends fetching and drops what was fetched ahead.
  void stop();

  std::int64_t position() const { return position_; }
  /// Has nothing that a restart would drop.
  bool stopped() const { return state_ == State::kStopped; }
  /// Whether `continue_at(from)` needs no restart.
  bool can_continue(std::int64_t from) const;

  /// The next message (a record, the end of the partition or an error), waiting for it at most
  /// `timeout`; null: none came. Stays there until `pop`.
  rd_kafka_message_t* front(Duration timeout);
  MessageHandle pop();

  /// Everything before it was read or does not exist; the reader says so when it is done with a
  /// range.
  void set_position(std::int64_t position) { position_ = position; }
  /// The furthest reported end of the partition: no record lies between the position and it, unless
  /// one is still to come.
  std::int64_t known_empty_to() const { return known_empty_to_; }
  void set_known_empty_to(std::int64_t offset) { known_empty_to_ = offset; }

 private:
  enum class State { kStopped, kFetching };

  bool refill(int timeout_ms);
  void wake_fetcher_when_drained();

  static constexpr std::size_t kPulled = 128;

  const std::shared_ptr<Client> client_;
  const std::string topic_;
  const std::int32_t partition_;
  rd_kafka_topic_t* const handle_;  // owned by the client
  QueueHandle queue_;               // one per start, so that nothing of an earlier one is seen

  State state_ = State::kStopped;
  std::int64_t position_ = 0;
  std::int64_t known_empty_to_ = 0;
  // [at_, end_) were taken from the queue and not popped.
  std::array<rd_kafka_message_t*, kPulled> pulled_{};
  std::size_t at_ = 0;
  std::size_t end_ = 0;
  std::size_t queue_peak_ = 0;
};

}  // namespace weir::kafka::internal
