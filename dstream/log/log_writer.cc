#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "weir/core/crash_point.h"
#include "weir/core/error.h"
#include "weir/core/store_path_internal.h"
#include "weir/dstream/log/log_identity_internal.h"
#include "weir/dstream/log/log_writer_internal.h"

namespace weir::internal {
namespace {

/// A segment that is smaller is not left for a new one only so that it can be removed.
constexpr std::uint64_t kWorthLeaving = 1u << 20;

[[noreturn]] void throw_taken_over(DurableStore& store, std::uint64_t epoch) {
  throw Error(ErrorCode::kNotAllowed,
              fmt::format("the batch log in {} was taken over by epoch {}: another driver of this "
                          "application was started; end this one",
                          store.name(), epoch));
}

}  // namespace

LogWriter::LogWriter(std::shared_ptr<DurableStore> store, const LogIdentity& fresh,
                     const RecoveredLog& recovered, std::uint64_t segment_bytes)
    : store_(std::move(store)),
      segment_bytes_(segment_bytes),
      identity_(recovered.identity.value_or(fresh)),
      rules_(recovered.rules),
      ledger_(recovered.ledger) {
  rules_.begin_epoch();
  const SegmentId first{recovered.newest_epoch + 1, 1};
  if (recovered.identity) {
    // What the new epoch accepts has to survive: it may only be in the page cache so far.
    const SegmentSummary& last = ledger_.segments.back();
    predecessor_ = last.id;
    predecessor_end_ = last.end;
    store_->sync_file(path_of(predecessor_));
    store_->sync_directory(kLogDirectory);
    store_->sync_directory(parent_of(kIdentityPath));
    ledger_.segments.push_back({first, 0, 0});
    first_needed_ = ledger_.first_needed(rules_.released());
    ledger_.segments.pop_back();
  } else {
    first_needed_ = first;
  }
  WEIR_CRASH_POINT("log.before-epoch");
  file_ = create(first);
  // The older driver, should there be one, has seen that file before it acknowledges anything more.
  expect_unchanged(recovered);
  begin_segment(first);
  // The identity comes after the first segment, so that one without the other means a loss.
  if (!recovered.identity) write_identity(*store_, identity_);
  WEIR_CRASH_POINT("log.epoch-begun");
  remove_released();
}

void LogWriter::expect_newest_epoch() { internal::expect_newest_epoch(*store_, epoch()); }

/// Where locks do not hold: what was acknowledged since the log was read would be ignored.
void LogWriter::expect_unchanged(const RecoveredLog& recovered) const {
  SegmentId newest;
  for (const SegmentId id : list_segments(*store_)) {
    if (id.epoch <= recovered.newest_epoch) newest = id;
  }
  const bool same_end = recovered.identity ? store_->size(path_of(predecessor_)) ==
                                                 static_cast<std::int64_t>(recovered.end_bytes)
                                           : store_->size(kIdentityPath) < 0;
  if (newest == recovered.newest && same_end) return;
  throw Error(ErrorCode::kNotAllowed,
              fmt::format("{}/{} was written to while it was read: another driver of this "
                          "application is running although the lock was free; end it, then start "
                          "again",
                          store_->name(), path_of(newest)));
}

std::unique_ptr<DurableFile> LogWriter::create(SegmentId id) {
  auto file = store_->create(path_of(id));
  if (!file) throw_taken_over(*store_, list_segments(*store_).back().epoch);
  WEIR_CRASH_POINT("log.segment-created");
  return file;
}

void LogWriter::begin_segment(SegmentId id) {
  append(encode_header(
      {id, identity_.application, predecessor_, predecessor_end_, first_needed_, rules_}));
  WEIR_CRASH_POINT("log.header-written");
  file_->sync();
  WEIR_CRASH_POINT("log.header-synced");
  store_->sync_directory(kLogDirectory);
  WEIR_CRASH_POINT("log.segment-begun");
  durable_ = file_->size();
  durable_first_needed_ = first_needed_;
  ledger_.segments.push_back({id, durable_, 0});
  has_new_checkpoint_ = wants_roll_ = false;
}

void LogWriter::append(std::string_view bytes) {
  if (WEIR_CRASH_DUE("log.append-torn")) {
    file_->append(bytes.substr(0, bytes.size() / 2));
    die_at_once();
  }
  file_->append(bytes);
}

void LogWriter::roll() {
  sync();  // only an epoch's newest segment may end badly
  const SegmentId next{epoch(), file_id().segment + 1};
  file_ = create(next);
  begin_segment(next);
}

void LogWriter::write(std::vector<LogRecord> records, std::uint64_t release) {
  if (wants_roll_ || file_->size() >= segment_bytes_) roll();
  std::vector<LogEntry> entries;
  entries.reserve(records.size() + 1);
  for (LogRecord& record : records) {
    rules_.accept(record.kind, record.sequence);
    entries.emplace_back(std::move(record));
    ledger_.add(entries.back());
    const auto& added = std::get<LogRecord>(entries.back());
    if (added.kind == LogRecord::Kind::kCheckpoint) has_new_checkpoint_ = true;
  }
  if (release > rules_.released()) {
    rules_.accept_release(release);
    first_needed_ = std::max(first_needed_, ledger_.first_needed(release));
    entries.emplace_back(ReleaseRecord{release, first_needed_});
  }
  const std::string bytes = encode_group(file_id(), file_->size(), durable_, entries);
  WEIR_CRASH_POINT("log.before-write");
  append(bytes);
  WEIR_CRASH_POINT("log.after-write");
  ledger_.segments.back().end = file_->size();
  if (std::holds_alternative<ReleaseRecord>(entries.back()) && has_new_checkpoint_ &&
      file_->size() > kWorthLeaving) {
    wants_roll_ = true;
  }
}

void LogWriter::sync() {
  if (!has_unsynced()) return;
  file_->sync();
  WEIR_CRASH_POINT("log.after-sync");
  durable_ = file_->size();
  durable_first_needed_ = first_needed_;
}

void LogWriter::remove_released() {
  if (!(removed_before_ < durable_first_needed_)) return;
  expect_newest_epoch();
  for (const SegmentId id : list_segments(*store_)) {
    if (!(id < durable_first_needed_)) break;
    WEIR_CRASH_POINT("log.before-remove");
    store_->remove(path_of(id));
    WEIR_CRASH_POINT("log.after-remove");
  }
  std::erase_if(ledger_.segments,
                [&](const SegmentSummary& segment) { return segment.id < durable_first_needed_; });
  removed_before_ = durable_first_needed_;
}

void expect_newest_epoch(DurableStore& store, std::uint64_t epoch) {
  const std::vector<SegmentId> ids = list_segments(store);
  if (!ids.empty() && ids.back().epoch > epoch) throw_taken_over(store, ids.back().epoch);
}

}  // namespace weir::internal
