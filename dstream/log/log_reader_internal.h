#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "weir/dstream/log/batch_log.h"
#include "weir/dstream/log/segment_format_internal.h"

namespace weir::internal {

/// A segment as far as it counts.
struct SegmentSummary {
  SegmentId id;
  std::uint64_t end = 0;   ///< bytes
  std::uint64_t last = 0;  ///< highest sequence of an INTENT or COMMIT in it, 0: none
};

/// Which segments there are and which of them are still needed. Used by reader and writer.
struct SegmentLedger {
  std::vector<SegmentSummary> segments;  ///< ascending
  SegmentId checkpoint;                  ///< where the newest CHECKPOINT stands

  /// Takes in that the newest segment holds `entry`.
  void add(const LogEntry& entry);
  /// The first that holds the newest CHECKPOINT, or records of batches after `released`; at least
  /// the newest.
  SegmentId first_needed(std::uint64_t released) const;
  std::uint64_t bytes() const;
};

/// What the next epoch begins with.
struct RecoveredLog {
  std::optional<LogIdentity> identity;  ///< nothing: the log never held anything
  LogHistory history;
  RecordRules rules;
  SegmentLedger ledger;
  std::uint64_t newest_epoch = 0;  ///< that anything was ever created for
  SegmentId newest;                ///< of the segments that there were
  std::uint64_t end_bytes = 0;     ///< size of the last one that counts, with what is bad of it
};

/// Reads without changing anything. Throws as BatchLog::open says.
RecoveredLog read_log(DurableStore& store);

}  // namespace weir::internal
