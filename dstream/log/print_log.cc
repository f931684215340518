#include <algorithm>
#include <optional>
#include <string>

#include <fmt/format.h>

#include "weir/core/error.h"
#include "weir/dstream/log/batch_log.h"
#include "weir/dstream/log/log_identity_internal.h"
#include "weir/dstream/log/log_reader_internal.h"

namespace weir {
namespace {

using internal::Group;
using internal::LogEntry;
using internal::SegmentId;
using internal::SegmentScan;
using Out = std::function<void(const std::string&)>;

const char* name_of(LogRecord::Kind kind) {
  switch (kind) {
    case LogRecord::Kind::kIntent: return "INTENT";
    case LogRecord::Kind::kCommit: return "COMMIT";
    case LogRecord::Kind::kCheckpoint: return "CHECKPOINT";
  }
  return "unknown kind of record";
}

void print_entry(const LogEntry& entry, const Out& out) {
  if (const auto* record = std::get_if<LogRecord>(&entry)) {
    out(fmt::format("    {} {} at {}", name_of(record->kind), record->sequence,
                    to_string(record->time)));
    for (const LogSection& section : record->sections) {
      out(fmt::format("      {} version {}: {} bytes", section.name, section.version,
                      section.bytes.size()));
    }
  } else {
    const auto& release = std::get<internal::ReleaseRecord>(entry);
    out(fmt::format("    released up to {}, needed from {} on", release.sequence,
                    path_of(release.first_needed)));
  }
}

/// How much of a segment counts, as far as that could be found out.
std::optional<std::uint64_t> accepted(const std::optional<internal::RecoveredLog>& log,
                                      SegmentId id) {
  if (!log) return std::nullopt;
  for (const internal::SegmentSummary& segment : log->ledger.segments) {
    if (segment.id == id) return segment.end;
  }
  return 0;
}

void print_group(const Group& group, const std::optional<std::uint64_t>& end, const Out& out) {
  out(fmt::format("  offset {}: group of {} bytes, {} durable before it{}", group.offset,
                  group.bytes, group.durable,
                  end && group.offset >= *end ? ", does not count" : ""));
  for (const LogEntry& entry : group.entries) print_entry(entry, out);
}

void print_segment(DurableStore& store, SegmentId id, const std::optional<std::uint64_t>& end,
                   const Out& out) {
  const std::string path = path_of(id);
  const std::string bytes =
      store.read(path, 0, static_cast<std::uint64_t>(std::max<std::int64_t>(0, store.size(path))));
  const SegmentScan scan = scan_segment(id, bytes);
  out(fmt::format("{}: epoch {}, segment {}, {} bytes", path, id.epoch, id.segment, bytes.size()));
  if (const auto& header = scan.header) {
    const std::string before =
        header->predecessor.epoch == 0
            ? "begins a log"
            : fmt::format("continues {} at offset {}", path_of(header->predecessor),
                          header->predecessor_end);
    out(fmt::format(
        "  offset 0: header, application {}, the epoch {}, needed from {} on, {}",
        header->application, before, path_of(header->first_needed),
        header->rules.last_sequence() == 0
            ? "no batches before it"
            : fmt::format("batches up to {} before it", header->rules.last_sequence())));
  }
  for (const Group& group : scan.groups) print_group(group, end, out);
  if (scan.trouble.empty()) return;
  out(fmt::format("  offset {}: bad bytes ({}){}", scan.good_end, scan.trouble,
                  scan.certain.empty() ? "" : "; " + scan.certain));
  std::uint64_t from = scan.good_end;
  while (const auto group = internal::find_group(id, bytes, from)) {
    print_group(*group, end, out);
    from = group->offset + group->bytes;
  }
}

}  // namespace

bool print_log(DurableStore& store, const Out& out) {
  std::optional<internal::RecoveredLog> log;
  std::string trouble;
  try {
    log = internal::read_log(store);
  } catch (const Error& error) {
    trouble = error.what();
  }
  try {
    if (const auto identity = internal::read_identity(store)) {
      out(fmt::format("{}: application {}, hash seed {}, {} key groups", internal::kIdentityPath,
                      identity->application, identity->hash_seed, identity->key_groups));
    }
  } catch (const Error&) {  // is the trouble
  }
  for (const SegmentId id : internal::list_segments(store)) {
    try {
      print_segment(store, id, accepted(log, id), out);
    } catch (const Error& error) {  // removed meanwhile, or the disk fails
      out(fmt::format("{}: {}", path_of(id), error.what()));
      if (log) trouble = error.what();
    }
  }
  if (log) {
    for (const std::string& note : log->history.notes) out("note: " + note);
  }
  if (!trouble.empty()) out("bad: " + trouble);
  return trouble.empty();
}

}  // namespace weir
