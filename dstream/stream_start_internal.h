#pragma once

#include <cstdint>
#include <functional>
#include <utility>

#include "weir/dstream/batch_journal.h"
#include "weir/dstream/batch_records.h"
#include "weir/dstream/stream_parts_internal.h"

namespace weir::internal {

/// What a driver does before its first batch: declares the state, gives inputs and sinks back what
/// an earlier driver recorded, and refuses to go on where something would be lost or doubled. Used
/// by the thread that starts the stream.
class StreamStart {
 public:
  /// Borrows the parts.
  explicit StreamStart(const StreamParts& parts) : parts_(parts) {}

  /// Where the stream goes on; inputs are started and sinks opened. Throws; then inputs have to be
  /// stopped.
  Recovery run(BatchJournal::Callbacks callbacks) const;

 private:
  void attach_states() const;
  Recovery recover(BatchJournal::Callbacks callbacks) const;
  void begin(const Recovery& recovery) const;
  void require_windows_have(const Recovery& recovery) const;
  /// Returns the newest batch that any sink holds.
  std::uint64_t open_sinks(const Recovery& recovery) const;

  const StreamParts& parts_;
};

}  // namespace weir::internal
