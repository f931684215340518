#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "weir/connectors/kafka/options.h"
#include "weir/connectors/kafka/position.h"
#include "weir/connectors/kafka/record.h"
#include "weir/core/chunk.h"
#include "weir/dstream/source.h"

namespace weir::kafka {

namespace internal {
class Deadline;
}

/// Kafka topics as a replayable source: a batch is a range of offsets of every partition, fixed by
/// the driver and read by workers straight from the brokers, the same records each time.
///
/// There is no consumer group: the stream keeps the positions. The object is serializable (its
/// options are what travels); connections are made on first use and shared by copies. `initial`,
/// `latest` and `stop` are called by one thread of the driver, `read` by any thread of a worker.
class Source {
 public:
  using Position = kafka::Position;
  using Range = kafka::Range;

  Source() = default;
  /// Throws Error(kInvalidArgument) as `validate` does. Asks no broker.
  explicit Source(Options options);

  /// Where a new stream begins: all partitions of the topics at `starting`. Waits for the brokers
  /// up to `connect_timeout`; throws Error(kUnreachable) that says what the client library
  /// reported, and Error(kInvalidArgument) for a topic, partition or offset that does not exist.
  Position initial();

  /// The end of the batch that begins at `from`: the partitions' ends now, of committed
  /// transactions, as far as the rates allow. Partitions that are new since `from` begin at 0.
  ///
  /// One request to each leader (well under a millisecond), on a thread of its own: brokers that do
  /// not answer cost at most `latest_timeout`, then the ends known so far count, a partition
  /// without any stays at `from`, and a warning is logged, at most once a second. The last batch
  /// waits for all ends, up to `connect_timeout` and what the limit grants. Throws Error(kDataLoss)
  /// when an end lies before `from`, or a partition is gone, and several answers say so: the topic
  /// was truncated, deleted or made anew.
  Position latest(const Position& from, const SourceLimit& limit);

  /// One range per Kafka partition of `end`, by topic and partition, empty ranges included:
  /// partition i of every batch is the same Kafka partition.
  std::vector<Range> plan(const Position& from, const Position& end) const;

  /// How many offsets a range has: at least as many as records.
  std::uint64_t records(const Range& range) const {
    return range.empty() ? 0 : static_cast<std::uint64_t>(range.to - range.from);
  }

  /// The records of a range, on a worker. Connections and what was fetched ahead are kept in the
  /// process, so that the next range of the partition continues where this one ended. Errors are
  /// thrown by the stream: Error(kUnreachable) after `read_timeout` without progress,
  /// Error(kDataLoss) for offsets that the brokers no longer hold.
  std::unique_ptr<ChunkStream<Record>> read(const Range& range) const;

  /// Nothing: brokers delete by their own retention, and offsets are not committed to a group.
  void released(const Position&) {}

  /// Closes this process's connections within a few seconds.
  void stop();

  const Options& options() const { return options_; }

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & options_;
  }

 private:
  class Driver;

  Driver& driver(const internal::Deadline& deadline);

  Options options_;
  std::shared_ptr<Driver> driver_;  // made lazily, not serialized
};

}  // namespace weir::kafka
