#pragma once

#include <cstddef>
#include <deque>
#include <span>
#include <string>
#include <vector>

#include "weir/connectors/kafka/lane_pool_internal.h"
#include "weir/connectors/kafka/options.h"
#include "weir/connectors/kafka/position.h"
#include "weir/connectors/kafka/range_cursor_internal.h"
#include "weir/connectors/kafka/record.h"
#include "weir/core/chunk.h"
#include "weir/core/error.h"
#include "weir/core/task_run.h"

namespace weir::kafka::internal {

/// The records of one range, in chunks of up to `kChunkElements` records or about a MiB. They are
/// views onto librdkafka's messages, which live until the next chunk is asked for.
///
/// `next` throws Error(kUnreachable) after `read_timeout` without progress, Error(kDataLoss) when
/// the brokers no longer have an offset, Error(kCorrupt) for records that fail their checksum.
class RangeStream final : public ChunkStream<Record> {
 public:
  RangeStream(const Options& options, const Range& range);
  ~RangeStream() override;

  ChunkRef<Record> next() override;

 private:
  void release_chunk();
  bool chunk_full() const;
  void wait_for_message();
  void take(MessageHandle message);
  std::span<const Header> headers_of(rd_kafka_message_t& message);
  void on_event(const rd_kafka_message_t& event);
  void on_offset_gone(const std::string& reason);
  [[noreturn]] void fail(ErrorCode code, const std::string& what);

  const Duration read_timeout_;
  const Range range_;
  RangeCursor cursor_;
  LanePool::Loan lane_;  // before the messages, which must go first

  std::vector<MessageHandle> messages_;  // of the current chunk
  std::size_t chunk_bytes_ = 0;
  ChunkBuffer<Record> records_;
  std::deque<std::vector<Header>> headers_;  // of those records that have any
  std::string last_event_;  // an error that may pass, for the message if it does not
  Duration waited_{};       // since the last record
  int restarts_ = 0;
  const TaskContext* const task_;  // null outside a task
};

}  // namespace weir::kafka::internal
