#include <charconv>
#include <cstdint>

#include <fmt/format.h>

#include "weir/core/boost_archive.h"
#include "weir/core/error.h"
#include "weir/core/hash.h"
#include "weir/dstream/log/log_identity_internal.h"
#include "weir/dstream/log/segment_format_internal.h"

namespace weir::internal {
namespace {

constexpr std::string_view kTitle = "weir-log ";

struct Written {
  LogIdentity identity;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & identity.application & identity.hash_seed & identity.key_groups;
  }
};

[[noreturn]] void throw_unreadable(DurableStore& store, const std::string& why) {
  throw Error(ErrorCode::kCorrupt,
              fmt::format("{}/{}, offset 0: {}; restore the file from a copy, or begin anew in "
                          "another directory",
                          store.name(), kIdentityPath, why));
}

}  // namespace

// One line "weir-log <format> <checksum>" that every version of the format has, then a
// Boost archive.
void write_identity(DurableStore& store, const LogIdentity& identity) {
  const std::string text = to_boost_text(Written{identity});
  store.replace(kIdentityPath, fmt::format("{}{} {:016x}\n{}", kTitle, kLogFormat,
                                           hash_bytes(text, kLogFormat), text));
}

std::optional<LogIdentity> read_identity(DurableStore& store) {
  const std::int64_t size = store.size(kIdentityPath);
  if (size < 0) return std::nullopt;
  const std::string text = store.read(kIdentityPath, 0, static_cast<std::uint64_t>(size));
  const std::size_t line = text.find('\n');
  if (line == std::string::npos || !text.starts_with(kTitle)) {
    throw_unreadable(store, "not the description of a batch log");
  }
  std::uint32_t format = 0;
  std::uint64_t hash = 0;
  const char* const end = text.data() + line;
  const auto [space, bad_format] = std::from_chars(text.data() + kTitle.size(), end, format);
  if (bad_format != std::errc() || space == end || *space != ' ' ||
      std::from_chars(space + 1, end, hash, 16).ptr != end) {
    throw_unreadable(store, "its first line is malformed");
  }
  const std::string rest = text.substr(line + 1);
  if (hash_bytes(rest, format) != hash) throw_unreadable(store, "it does not have its checksum");
  if (format > kLogFormat) {
    throw Error(ErrorCode::kDataLoss,
                fmt::format("{} holds a batch log of format {}, and this program knows formats up "
                            "to {}: start it with the newer version of Weir that wrote it",
                            store.name(), format, kLogFormat));
  }
  try {
    return from_boost_text<Written>(rest).identity;
  } catch (const Error& error) {
    throw_unreadable(store, error.what());
  }
}

}  // namespace weir::internal
