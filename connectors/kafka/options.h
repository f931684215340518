#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "weir/connectors/kafka/position.h"
#include "weir/core/time.h"

namespace weir::kafka {

/// Where a stream that has no position yet begins.
class StartingPosition {
 public:
  enum class Edge : std::uint8_t { kEarliest, kLatest };

  /// The end of every partition at the time the stream starts; the default.
  StartingPosition() = default;

  /// The oldest record that the brokers still hold.
  static StartingPosition earliest() { return {Edge::kEarliest, {}}; }
  static StartingPosition latest() { return {Edge::kLatest, {}}; }
  /// The given offsets; partitions that are not named begin at `rest`. An offset that the brokers
  /// no longer, or do not yet, have is an error when the stream starts.
  static StartingPosition at(std::vector<PartitionOffset> offsets, Edge rest = Edge::kLatest) {
    return {rest, std::move(offsets)};
  }

  Edge edge() const { return edge_; }
  const std::vector<PartitionOffset>& offsets() const { return offsets_; }

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & edge_ & offsets_;
  }

 private:
  StartingPosition(Edge edge, std::vector<PartitionOffset> offsets)
      : edge_(edge), offsets_(std::move(offsets)) {}

  Edge edge_ = Edge::kLatest;
  std::vector<PartitionOffset> offsets_;
};

/// How to read topics. Serializable: a copy travels to the workers, `properties` included.
struct Options {
  std::string brokers = {};              ///< "host:port", several separated by commas
  std::vector<std::string> topics = {};  ///< all partitions of each
  StartingPosition starting = {};
  /// Records per second taken from each partition at most; 0: no limit. A batch takes rate ×
  /// interval offsets, at least one.
  double max_rate_per_partition = 0;
  /// Properties of librdkafka, passed through: security, sizes, time-outs. Those that exact ranges
  /// hang on (the consumer group's, auto.offset.reset, enable.partition.eof ...) are refused.
  std::map<std::string, std::string> properties = {};

  Duration connect_timeout =
      std::chrono::seconds(10);  ///< until the brokers have answered when starting
  /// How long a batch waits for the brokers to tell the new end, and no longer than a quarter of
  /// its interval; afterwards it gets what is known, and the next batch the rest. The last batch of
  /// a graceful stop waits up to `connect_timeout`.
  Duration latest_timeout = std::chrono::milliseconds(100);
  Duration read_timeout = std::chrono::seconds(30);      ///< a reader without any progress fails
  Duration metadata_refresh = std::chrono::seconds(10);  ///< how soon new partitions are noticed
  /// Fetched ahead of each partition's reader in a worker at most (plus one fetch).
  std::int64_t prefetch_bytes = 8 << 20;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & brokers & topics & starting & max_rate_per_partition & properties & connect_timeout &
        latest_timeout & read_timeout & metadata_refresh & prefetch_bytes;
  }
};

/// Throws Error(kInvalidArgument) that names the option, its value and what to do: no brokers, no
/// or repeated topics, negative rates or time-outs, refused or unknown properties. Asks no broker.
void validate(const Options& options);

}  // namespace weir::kafka
