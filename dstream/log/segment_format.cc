#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#include <fmt/format.h>

#include "weir/core/archive.h"
#include "weir/core/error.h"
#include "weir/core/hash.h"
#include "weir/dstream/log/segment_format_internal.h"

namespace weir::internal {
namespace {

constexpr std::string_view kHeaderMagic = "WLOG";
constexpr std::string_view kGroupMagic = "WGRP";
constexpr std::uint8_t kReleaseKind = 4;  // behind those of LogRecord::Kind

/// Bytes that were meant for another file or another place do not pass.
std::uint64_t checksum(SegmentId id, std::uint64_t offset, std::uint64_t extra,
                       std::string_view payload) {
  const std::array<std::uint64_t, 5> place{id.epoch, id.segment, offset, extra, payload.size()};
  return hash_bytes(payload, hash_bytes({reinterpret_cast<const char*>(place.data()),
                                         sizeof(std::uint64_t) * place.size()}));
}

void put_entry(SlimWriter& out, const LogEntry& entry) {
  if (const auto* record = std::get_if<LogRecord>(&entry)) {
    out & record->kind & record->sequence & record->time;
    out.put_length(record->sections.size());
    for (const LogSection& section : record->sections) {
      out & section.name & section.version & section.bytes;
    }
  } else {
    const auto& release = std::get<ReleaseRecord>(entry);
    out & kReleaseKind & release.sequence & release.first_needed;
  }
}

LogEntry get_entry(SlimReader& in) {
  const auto kind = in.get<std::uint8_t>();
  if (kind == kReleaseKind) {
    ReleaseRecord release;
    in & release.sequence & release.first_needed;
    return release;
  }
  LogRecord record;
  record.kind = static_cast<LogRecord::Kind>(kind);
  in & record.sequence & record.time;
  record.sections.resize(in.get_length(12));  // a name's length, a version, a length
  for (LogSection& section : record.sections) {
    in & section.name & section.version & section.bytes;
  }
  return record;
}

std::vector<LogEntry> decode_entries(std::string_view payload) {
  SlimReader in(payload);
  std::vector<LogEntry> entries;
  while (!in.at_end()) entries.push_back(get_entry(in));
  return entries;
}

template <class T>
T number_at(std::string_view bytes, std::size_t offset) {
  T value{};
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

/// A group's frame without its entries: its payload, if the bytes at `offset` are one.
struct Frame {
  std::uint64_t durable = 0;
  std::string_view payload;
};
std::optional<Frame> frame_at(SegmentId id, std::string_view bytes, std::uint64_t offset) {
  const std::string_view rest = bytes.substr(offset);
  if (rest.size() < kGroupPrefixBytes || !rest.starts_with(kGroupMagic)) return std::nullopt;
  const auto length = number_at<std::uint32_t>(rest, 4);
  if (length > rest.size() - kGroupPrefixBytes) return std::nullopt;
  const Frame frame{number_at<std::uint64_t>(rest, 16), rest.substr(kGroupPrefixBytes, length)};
  if (checksum(id, offset, frame.durable, frame.payload) != number_at<std::uint64_t>(rest, 8)) {
    return std::nullopt;
  }
  return frame;
}

/// The header, or in `scan` what is wrong with it.
void scan_header(SegmentId id, std::string_view bytes, SegmentScan& scan) {
  if (bytes.size() < kHeaderPrefixBytes || !bytes.starts_with(kHeaderMagic)) {
    scan.trouble = "not the header of a segment";
    return;
  }
  const auto version = number_at<std::uint32_t>(bytes, 4);
  const auto length = number_at<std::uint32_t>(bytes, 8);
  if (length > bytes.size() - kHeaderPrefixBytes) {
    scan.trouble = "the segment's header is cut off";
    return;
  }
  const std::string_view payload = bytes.substr(kHeaderPrefixBytes, length);
  if (checksum(id, 0, version, payload) != number_at<std::uint64_t>(bytes, 12)) {
    scan.trouble = "the segment's header does not have its checksum";
    return;
  }
  if (version > kLogFormat) {
    scan.newer_format = version;
    scan.trouble = fmt::format("written in format {}", version);
    return;
  }
  try {
    auto header = decode<SegmentHeader>(payload);
    if (header.id != id) throw Error(ErrorCode::kCorrupt, "it is another segment's");
    scan.header = std::move(header);
    scan.good_end = kHeaderPrefixBytes + length;
  } catch (const Error& error) {
    scan.trouble = fmt::format("the segment's header cannot be read: {}", error.what());
    scan.certain = "it has its checksum";
  }
}

}  // namespace

std::string path_of(SegmentId id) {
  return fmt::format("{}/{:08}-{:06}.log", kLogDirectory, id.epoch, id.segment);
}

std::optional<SegmentId> parse_segment_name(std::string_view name) {
  SegmentId id;
  const char* const end = name.data() + name.size();
  const auto [dash, bad_epoch] = std::from_chars(name.data(), end, id.epoch);
  if (bad_epoch != std::errc() || dash == end) return std::nullopt;
  const auto [dot, bad_segment] = std::from_chars(dash + 1, end, id.segment);
  if (bad_segment != std::errc() || id.epoch == 0 || id.segment == 0) return std::nullopt;
  if (path_of(id) != fmt::format("{}/{}", kLogDirectory, name)) return std::nullopt;
  return id;
}

std::vector<SegmentId> list_segments(DurableStore& store) {
  std::vector<SegmentId> ids;
  for (const std::string& name : store.list(kLogDirectory)) {
    if (const auto id = parse_segment_name(name)) ids.push_back(*id);
  }
  std::sort(ids.begin(), ids.end());  // names longer than usual sort wrongly
  return ids;
}

std::string encode_header(const SegmentHeader& header) {
  const std::string payload = encode(header);
  SlimWriter out;
  out.put_bytes(kHeaderMagic.data(), kHeaderMagic.size());
  out.put(kLogFormat);
  out.put_length(payload.size());
  out.put(checksum(header.id, 0, kLogFormat, payload));
  out.put_bytes(payload.data(), payload.size());
  return std::string(out.view());
}

std::string encode_group(SegmentId id, std::uint64_t offset, std::uint64_t durable,
                         const std::vector<LogEntry>& entries) {
  SlimWriter payload;
  for (const LogEntry& entry : entries) put_entry(payload, entry);
  SlimWriter out;
  out.reserve(kGroupPrefixBytes + payload.size());
  out.put_bytes(kGroupMagic.data(), kGroupMagic.size());
  out.put_length(payload.size());
  out.put(checksum(id, offset, durable, payload.view()));
  out.put(durable);
  out.put_bytes(payload.view().data(), payload.size());
  return std::string(out.view());
}

SegmentScan scan_segment(SegmentId id, std::string_view bytes, std::uint64_t limit) {
  bytes = bytes.substr(0, limit);
  SegmentScan scan;
  scan.size = bytes.size();
  scan_header(id, bytes, scan);
  while (scan.header && scan.good_end < bytes.size()) {
    const auto frame = frame_at(id, bytes, scan.good_end);
    if (!frame) {
      scan.trouble = "not a whole group of records";
      break;
    }
    try {
      const std::uint64_t size = kGroupPrefixBytes + frame->payload.size();
      scan.groups.push_back({scan.good_end, size, frame->durable, decode_entries(frame->payload)});
      scan.good_end += size;
    } catch (const Error& error) {
      scan.trouble = fmt::format("the group's records cannot be read: {}", error.what());
      scan.certain = "it has its checksum";
      break;
    }
  }
  if (scan.trouble.empty() || scan.newer_format != 0) return scan;
  std::uint64_t from = scan.good_end;
  while (const auto group = find_group(id, bytes, from)) {
    if (group->durable > scan.good_end) {
      scan.certain = fmt::format("the group at offset {} says that {} bytes before it were durable",
                                 group->offset, group->durable);
      break;
    }
    from = group->offset + group->bytes;
  }
  return scan;
}

std::optional<Group> find_group(SegmentId id, std::string_view bytes, std::uint64_t from) {
  for (std::size_t at = bytes.find(kGroupMagic, from); at != std::string_view::npos;
       at = bytes.find(kGroupMagic, at + 1)) {
    const auto frame = frame_at(id, bytes, at);
    if (!frame) continue;
    Group group{at, kGroupPrefixBytes + frame->payload.size(), frame->durable, {}};
    try {
      group.entries = decode_entries(frame->payload);
    } catch (const Error&) {  // its durable offset is good all the same
    }
    return group;
  }
  return std::nullopt;
}

}  // namespace weir::internal
