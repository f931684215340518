#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "weir/dstream/log/log_reader_internal.h"

namespace weir::internal {

/// Writes one epoch of a log: which bytes go where, and when what is synced or removed. One thread
/// at a time.
class LogWriter {
 public:
  /// Begins the epoch after what was read, durably: from then on earlier epochs are fenced. Throws
  /// Error(kNotAllowed) if another process does so at this moment. After an error of any method
  /// nothing may be written any more.
  LogWriter(std::shared_ptr<DurableStore> store, const LogIdentity& fresh,
            const RecoveredLog& recovered, std::uint64_t segment_bytes);

  const LogIdentity& identity() const { return identity_; }
  std::uint64_t epoch() const { return file_id().epoch; }
  std::uint64_t bytes() const { return ledger_.bytes(); }
  bool has_unsynced() const { return file_->size() != durable_; }

  /// One group of these, which keep the rules; with `release`, and that behind them.
  void write(std::vector<LogRecord> records, std::uint64_t release);
  void sync();
  /// Throws Error(kNotAllowed) if a newer epoch was begun. Only what was written before this is
  /// known to the newer driver, so nothing is acknowledged that was not followed by it.
  void expect_newest_epoch();
  /// Removes the segments that were released, as far as that is durable.
  void remove_released();

 private:
  SegmentId file_id() const { return ledger_.segments.back().id; }
  void expect_unchanged(const RecoveredLog& recovered) const;
  std::unique_ptr<DurableFile> create(SegmentId id);
  void begin_segment(SegmentId id);
  void append(std::string_view bytes);
  void roll();

  const std::shared_ptr<DurableStore> store_;
  const std::uint64_t segment_bytes_;
  LogIdentity identity_;
  SegmentId predecessor_;
  std::uint64_t predecessor_end_ = 0;
  RecordRules rules_;  ///< of what was written
  SegmentLedger ledger_;
  std::unique_ptr<DurableFile> file_;
  std::uint64_t durable_ = 0;        ///< bytes of the file
  bool has_new_checkpoint_ = false;  ///< since the file was begun
  bool wants_roll_ = false;
  SegmentId first_needed_;
  SegmentId durable_first_needed_;
  SegmentId removed_before_;
};

/// Throws Error(kNotAllowed) if the store holds a newer epoch.
void expect_newest_epoch(DurableStore& store, std::uint64_t epoch);

}  // namespace weir::internal
