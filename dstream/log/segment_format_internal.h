#pragma once

#include <compare>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "weir/core/codecs.h"
#include "weir/dstream/log/batch_log.h"
#include "weir/dstream/log/record_rules_internal.h"

/// The bytes of a segment: a header, then groups. README.md has the layout and what it is good for.
namespace weir::internal {

constexpr std::uint32_t kLogFormat = 1;
constexpr const char* kLogDirectory = "log";
/// What every version of the format begins a segment with: magic, version, length, checksum.
constexpr std::size_t kHeaderPrefixBytes = 20;
constexpr std::size_t kGroupPrefixBytes = 24;
constexpr std::uint64_t kWholeFile = std::numeric_limits<std::uint64_t>::max();

/// Ordered as they were begun. {0, 0}: none.
struct SegmentId {
  std::uint64_t epoch = 0;
  std::uint64_t segment = 0;  ///< from 1 in each epoch

  auto operator<=>(const SegmentId&) const = default;
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & epoch & segment;
  }
};

/// "log/00000003-000001.log".
std::string path_of(SegmentId id);
/// Of a file's name in the log's directory; nothing if it is not a segment's.
std::optional<SegmentId> parse_segment_name(std::string_view name);
/// All segments that there are, ascending.
std::vector<SegmentId> list_segments(DurableStore& store);

/// What is known when a segment begins, so that it can be the first one that is left.
struct SegmentHeader {
  SegmentId id;
  std::string application;
  SegmentId predecessor;              ///< of the epoch: where the one before it ends
  std::uint64_t predecessor_end = 0;  ///< bytes of that segment that count
  SegmentId first_needed;             ///< earlier ones may be gone
  RecordRules rules;                  ///< state behind the segment before

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & id & application & predecessor & predecessor_end & first_needed & rules;
  }
};

/// Batches up to `sequence`, and segments before `first_needed`, are not needed any more.
struct ReleaseRecord {
  std::uint64_t sequence = 0;
  SegmentId first_needed;
};
using LogEntry = std::variant<LogRecord, ReleaseRecord>;

std::string encode_header(const SegmentHeader& header);
/// A group that will stand at `offset`, when `durable` bytes of its segment are.
std::string encode_group(SegmentId id, std::uint64_t offset, std::uint64_t durable,
                         const std::vector<LogEntry>& entries);

struct Group {
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
  std::uint64_t durable = 0;
  std::vector<LogEntry> entries;
};

/// What a segment's bytes say.
struct SegmentScan {
  std::optional<SegmentHeader> header;
  std::vector<Group> groups;
  std::uint64_t good_end = 0;  ///< header and groups up to here are good
  std::uint64_t size = 0;      ///< bytes looked at
  std::string trouble;         ///< what is wrong at good_end, "" if all is good
  /// The trouble cannot be the tail of a crash: something says that those bytes were durable.
  std::string certain;
  std::uint32_t newer_format = 0;  ///< of the header, 0: one that is known
};

/// Looks at the first `limit` bytes, or at all.
SegmentScan scan_segment(SegmentId id, std::string_view bytes, std::uint64_t limit = kWholeFile);
/// The first good group from `from` on, behind bad bytes.
std::optional<Group> find_group(SegmentId id, std::string_view bytes, std::uint64_t from);

}  // namespace weir::internal
