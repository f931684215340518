#include <algorithm>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include "weir/core/error.h"
#include "weir/dstream/log/log_identity_internal.h"
#include "weir/dstream/log/log_reader_internal.h"

namespace weir::internal {
namespace {

constexpr std::uint64_t kLikelyHeaderBytes = 4096;

std::string read_whole(DurableStore& store, SegmentId id) {
  return store.read(path_of(id), 0, std::numeric_limits<std::int64_t>::max());
}

/// Reads a log from its newest bytes backwards to the first that are needed, then forwards.
class LogReader {
 public:
  explicit LogReader(DurableStore& store) : store_(store), ids_(list_segments(store)) {}

  RecoveredLog read() {
    log_.identity = read_identity(store_);
    if (!ids_.empty()) log_.newest = ids_.back();
    log_.newest_epoch = log_.newest.epoch;
    if (!log_.identity) {
      expect_no_groups();
      return std::move(log_);
    }
    find_end();
    find_begin();
    for (const Part& part : parts_) take_in(part);
    if (missing_ && !(*missing_ < first_needed_)) throw_missing(*missing_);
    log_.history.last_sequence = log_.rules.last_sequence();
    return std::move(log_);
  }

 private:
  /// A segment and how much of it counts.
  struct Part {
    SegmentId id;
    std::uint64_t end = kWholeFile;
  };

  std::string file(SegmentId id) const { return store_.name() + "/" + path_of(id); }

  [[noreturn]] void throw_corrupt(SegmentId id, std::uint64_t offset,
                                  const std::string& why) const {
    throw Error(ErrorCode::kCorrupt,
                fmt::format("{}, offset {}: {}; this is not what a crash leaves: restore the file "
                            "from a copy, or begin anew in another directory",
                            file(id), offset, why));
  }
  [[noreturn]] void throw_missing(SegmentId id) const {
    throw Error(ErrorCode::kDataLoss,
                fmt::format("{} is missing though it is still needed: restore it from a copy, or "
                            "begin anew in another directory",
                            file(id)));
  }
  void refuse_newer(SegmentId id, const SegmentScan& scan) const {
    if (scan.newer_format == 0) return;
    throw Error(ErrorCode::kDataLoss,
                fmt::format("{} is written in format {}, and this program knows formats up to {}: "
                            "start it with the newer version of Weir that wrote it",
                            file(id), scan.newer_format, kLogFormat));
  }

  bool exists(SegmentId id) const { return std::binary_search(ids_.begin(), ids_.end(), id); }

  /// The first segment is there before the identity, but no records are.
  void expect_no_groups() const {
    for (const SegmentId id : ids_) {
      const std::string bytes = read_whole(store_, id);
      const SegmentScan scan = scan_segment(id, bytes);
      refuse_newer(id, scan);
      if (scan.groups.empty() && scan.certain.empty() && !find_group(id, bytes, 0)) continue;
      throw Error(
          ErrorCode::kDataLoss,
          fmt::format("{}/{} is missing though {} holds records: restore it from a copy, or "
                      "begin anew in another directory",
                      store_.name(), kIdentityPath, path_of(id)));
    }
  }

  /// The newest segment that counts, and how much of it: only there may bytes be bad.
  void find_end() {
    bool whole = false;  // a segment is synced before the next one of its epoch is created
    SegmentId expected;
    for (std::size_t i = ids_.size(); i-- > 0;) {
      const SegmentId id = ids_[i];
      if (whole && id != expected) throw_missing(expected);
      const SegmentScan scan = scan_segment(id, read_whole(store_, id));
      refuse_newer(id, scan);
      if (!scan.certain.empty() || (whole && !scan.trouble.empty())) {
        throw_corrupt(
            id, scan.good_end,
            fmt::format("{}, and {}", scan.trouble,
                        scan.certain.empty() ? "a later segment was begun" : scan.certain));
      }
      if (!scan.trouble.empty()) {
        log_.history.notes.push_back(fmt::format(
            "{}: the {} bytes from offset {} on are dropped ({}): they were never made durable, "
            "the process or machine died while writing them",
            file(id), scan.size - scan.good_end, scan.good_end, scan.trouble));
      }
      if (scan.header) {
        parts_.push_back({id, scan.good_end});
        log_.end_bytes = scan.size;
        first_needed_ = scan.header->first_needed;
        return;
      }
      whole = id.segment > 1;
      expected = {id.epoch, id.segment - 1};
    }
    if (whole) throw_missing(expected);
    if (ids_.empty()) {
      throw Error(
          ErrorCode::kDataLoss,
          fmt::format("{} has the file {} but no log: restore the folder {} from a copy, or "
                      "begin anew in another directory",
                      store_.name(), kIdentityPath, kLogDirectory));
    }
    throw_corrupt(ids_.front(), 0, "no segment has a good header, though records were written");
  }

  /// From the end back over the segments of an epoch, and on where that epoch's predecessor ends.
  void find_begin() {
    while (first_needed_ < parts_.back().id) {
      const Part& later = parts_.back();
      Part before{{later.id.epoch, later.id.segment - 1}, kWholeFile};
      if (later.id.segment == 1) {
        const SegmentHeader header = header_of(later.id);
        before = {header.predecessor, header.predecessor_end};
        if (before.id.epoch == 0) break;
      }
      if (!exists(before.id)) {
        missing_ = before.id;
        break;
      }
      parts_.push_back(before);
    }
    std::reverse(parts_.begin(), parts_.end());
  }

  SegmentHeader header_of(SegmentId id) const {
    SegmentScan scan = scan_segment(id, store_.read(path_of(id), 0, kLikelyHeaderBytes));
    if (!scan.header) scan = scan_segment(id, read_whole(store_, id));
    if (!scan.header) throw_corrupt(id, 0, scan.trouble);
    return std::move(*scan.header);
  }

  void take_in(const Part& part) {
    const std::string bytes = read_whole(store_, part.id);
    const SegmentScan scan = scan_segment(part.id, bytes, part.end);
    refuse_newer(part.id, scan);
    if (!scan.trouble.empty()) throw_corrupt(part.id, scan.good_end, scan.trouble);
    if (part.end != kWholeFile && bytes.size() < part.end) {
      throw_corrupt(part.id, bytes.size(),
                    fmt::format("the file ends here, but {} bytes of it were accepted", part.end));
    }
    take_in_header(*scan.header);
    if (part.id.segment == 1) log_.rules.begin_epoch();
    log_.ledger.segments.push_back({part.id, scan.good_end, 0});
    for (const Group& group : scan.groups) {
      for (const LogEntry& entry : group.entries) take_in(part.id, group, entry);
    }
  }

  void take_in_header(const SegmentHeader& header) {
    if (header.application != log_.identity->application) {
      throw Error(
          ErrorCode::kDataLoss,
          fmt::format("{}, offset 0: it belongs to application {}, and {}/{} says {}: files "
                      "of two logs are mixed",
                      file(header.id), header.application, store_.name(), kIdentityPath,
                      log_.identity->application));
    }
    if (log_.ledger.segments.empty()) {
      log_.rules = header.rules;
    } else if (log_.rules != header.rules) {
      throw_corrupt(header.id, 0, "it does not continue the records of the segment before");
    }
    first_needed_ = std::max(first_needed_, header.first_needed);
  }

  void take_in(SegmentId id, const Group& group, const LogEntry& entry) {
    std::string wrong;
    if (const auto* record = std::get_if<LogRecord>(&entry)) {
      wrong = log_.rules.accept(record->kind, record->sequence);
    } else {
      const auto& release = std::get<ReleaseRecord>(entry);
      wrong = log_.rules.accept_release(release.sequence);
      first_needed_ = std::max(first_needed_, release.first_needed);
    }
    if (!wrong.empty()) throw_corrupt(id, group.offset, wrong);
    log_.ledger.add(entry);
    keep(entry);
  }

  void keep(const LogEntry& entry) {
    LogHistory& history = log_.history;
    const auto* record = std::get_if<LogRecord>(&entry);
    const std::uint64_t released = log_.rules.released();
    if (record == nullptr) {
      const auto is_released = [&](const LogRecord& kept) { return kept.sequence <= released; };
      std::erase_if(history.intents, is_released);
      std::erase_if(history.commits, is_released);
    } else if (record->kind == LogRecord::Kind::kCheckpoint) {
      history.checkpoint = *record;
    } else if (record->sequence > released) {
      const bool is_intent = record->kind == LogRecord::Kind::kIntent;
      auto& records = is_intent ? history.intents : history.commits;
      const auto place = std::upper_bound(
          records.begin(), records.end(), record->sequence,
          [](std::uint64_t sequence, const LogRecord& kept) { return sequence < kept.sequence; });
      records.insert(place, *record);  // at the end, unless COMMITs overtake one another
    }
  }

  DurableStore& store_;
  const std::vector<SegmentId> ids_;
  std::vector<Part> parts_;
  SegmentId first_needed_;
  std::optional<SegmentId> missing_;
  RecoveredLog log_;
};

}  // namespace

void SegmentLedger::add(const LogEntry& entry) {
  SegmentSummary& newest = segments.back();
  const auto* record = std::get_if<LogRecord>(&entry);
  if (record == nullptr) return;
  if (record->kind == LogRecord::Kind::kCheckpoint) {
    checkpoint = newest.id;
  } else {
    newest.last = std::max(newest.last, record->sequence);
  }
}

SegmentId SegmentLedger::first_needed(std::uint64_t released) const {
  for (const SegmentSummary& segment : segments) {
    if (segment.id == checkpoint || segment.last > released) return segment.id;
  }
  return segments.back().id;
}

std::uint64_t SegmentLedger::bytes() const {
  std::uint64_t sum = 0;
  for (const SegmentSummary& segment : segments) sum += segment.end;
  return sum;
}

RecoveredLog read_log(DurableStore& store) { return LogReader(store).read(); }

}  // namespace weir::internal
