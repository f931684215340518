#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

/// Sinks: where a stream's results go exactly once. Knows no streams; a sink is a duck-typed class
/// (see `Sink`) that `DStream::write_to` makes an output of.
namespace weir {

/// Names one batch's output to one sink. The sink stores it with the data.
struct CommitId {
  std::string application;     ///< kept by the checkpoint, over all restarts
  std::string sink;            ///< uid of the sink in the application
  std::uint64_t sequence = 0;  ///< of the batch
  std::uint64_t epoch = 0;     ///< of the driver: a lower one is a driver that was replaced
  std::uint64_t intent = 0;    ///< hash of the batch's INTENT: of the input it owns

  bool operator==(const CommitId&) const = default;
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & application & sink & sequence & epoch & intent;
  }
};

enum class CommitPoint : std::uint8_t {
  kDriver,  ///< tasks prepare, the driver publishes all of a batch at once
  kTask,    ///< each task is a transaction that carries the CommitId
};

/// What a sink guarantees about a batch that is written again, as events show it.
enum class SinkGuarantee : std::uint8_t {
  kExactlyOnce,  ///< a batch that is there is not written again
  kAtLeastOnce,
};

}  // namespace weir
