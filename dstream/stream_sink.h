#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "weir/core/sink.h"

namespace weir::internal {

/// A sink of a stream, as the loop that runs batches sees it: the typed half is in write_to.h. Used
/// by the thread that starts the stream and then by the one that runs batches.
class StreamSink {
 public:
  virtual ~StreamSink() = default;

  /// Unique in the streaming context.
  virtual const std::string& uid() const = 0;
  /// Fences drivers of lower epochs; throws if the sink is another application's. `most_partitions`
  /// of those that commit for themselves had a batch before, as far as that is known.
  virtual void open(const CommitId& driver, std::uint32_t most_partitions) = 0;
  /// The newest batch that it holds something of, as of `open` or the last batch written.
  virtual std::optional<CommitId> last_committed() = 0;
  /// Removes what it holds of batches after `sequence`, if it is a sink that can.
  virtual void take_back(std::uint64_t sequence) = 0;
  /// How many partitions that commit for themselves a batch has that is cut now. Its INTENT records
  /// it, since some of them may be all that is written of the batch. 0: the driver commits.
  virtual std::uint32_t partitions() const = 0;
  virtual SinkGuarantee guarantee() const = 0;
  /// Set before each batch's outputs run: what its commit carries, and its `partitions` as
  /// recorded; 0: as now.
  virtual void begin_batch(const CommitId& id, std::uint32_t partitions) = 0;
};

}  // namespace weir::internal
