#include <charconv>

#include <fmt/format.h>

#include "weir/connectors/files/commit_text_internal.h"

namespace weir::files::internal {
namespace {

constexpr std::string_view kFirstLine = "weir files sink 1";

/// Takes lines off the front of a text.
class Lines {
 public:
  explicit Lines(std::string_view text) : left_(text) {}

  /// The rest of the next line behind `start`; nothing if it does not begin so.
  std::optional<std::string_view> next(std::string_view start) {
    const std::size_t end = left_.find('\n');
    if (end == std::string_view::npos || left_.substr(0, start.size()) != start) {
      return std::nullopt;
    }
    const std::string_view rest = left_.substr(start.size(), end - start.size());
    left_.remove_prefix(end + 1);
    return rest;
  }

  bool next_number(std::string_view start, int base, std::uint64_t& value) {
    const auto text = next(start);
    if (!text || text->empty()) return false;
    const char* const end = text->data() + text->size();
    const auto [at, error] = std::from_chars(text->data(), end, value, base);
    return error == std::errc() && at == end;
  }

  bool at_end() const { return left_.empty(); }

 private:
  std::string_view left_;
};

}  // namespace

std::string to_text(const CommitId& commit) {
  return fmt::format("{}\napplication {}\nsink {}\nsequence {}\nepoch {}\nintent {:016x}\nend\n",
                     kFirstLine, commit.application, commit.sink, commit.sequence, commit.epoch,
                     commit.intent);
}

std::optional<CommitId> parse_commit(std::string_view text) {
  Lines lines(text);
  CommitId commit;
  if (lines.next(kFirstLine) != "") return std::nullopt;
  const auto application = lines.next("application ");
  const auto sink = lines.next("sink ");
  if (!application || !sink) return std::nullopt;
  commit.application = *application;
  commit.sink = *sink;
  if (!lines.next_number("sequence ", 10, commit.sequence) ||
      !lines.next_number("epoch ", 10, commit.epoch) ||
      !lines.next_number("intent ", 16, commit.intent) || lines.next("end") != "" ||
      !lines.at_end()) {
    return std::nullopt;
  }
  return commit;
}

}  // namespace weir::files::internal
