#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include "weir/core/error.h"

namespace weir::sockets::internal {

/// Makes lines of bytes that come in pieces.
class LineSplitter {
 public:
  static constexpr std::size_t kMaxLineBytes = std::size_t{64} << 20;

  /// Calls `keep(line)` for each line that ends in `bytes`; ends early when that returns false, and
  /// returns false then. Throws Error(kCorrupt) for a line that is too long.
  template <class Keep>
  bool add(std::string_view bytes, const Keep& keep) {
    while (!bytes.empty()) {
      const std::size_t end = bytes.find('\n');
      line_.append(bytes.substr(0, end));
      if (line_.size() > kMaxLineBytes) {
        throw Error(ErrorCode::kCorrupt,
                    fmt::format("a line of more than {} bytes: the server sends no lines, or "
                                "something else than text",
                                kMaxLineBytes));
      }
      if (end == std::string_view::npos) return true;
      bytes.remove_prefix(end + 1);
      if (!give(keep)) return false;
    }
    return true;
  }
  /// What stands behind the last end of a line is one too.
  template <class Keep>
  bool finish(const Keep& keep) {
    return line_.empty() || give(keep);
  }

 private:
  template <class Keep>
  bool give(const Keep& keep) {
    if (!line_.empty() && line_.back() == '\r') line_.pop_back();
    const bool more = keep(line_);
    line_.clear();
    return more;
  }

  std::string line_;  // as far as it has come
};

}  // namespace weir::sockets::internal
