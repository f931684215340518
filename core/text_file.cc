#include "weir/core/text_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include <fmt/format.h>

#include "weir/core/error.h"
#include "weir/core/source_rdd.h"

namespace weir::internal {
namespace {

constexpr std::size_t kReadBytes = 256 * 1024;

class LineStream final : public ChunkStream<std::string> {
 public:
  explicit LineStream(const TextPiece& piece) : piece_(piece) {
    file_ = ::open(piece.path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file_ < 0) fail("open");
    // The line that the piece's first byte is in belongs to the piece before, unless it begins
    // here: start one byte early and drop what is left of that line.
    if (piece.begin > 0) {
      position_ = piece.begin - 1;
      std::string_view rest;
      next_line(rest);
    }
  }
  ~LineStream() override {
    if (file_ >= 0) ::close(file_);
  }

  ChunkRef<std::string> next() override {
    if constexpr (kFreshChunks) lines_.clear();
    std::size_t count = 0;
    std::string_view line;
    while (count < kChunkElements && position_ < piece_.end && next_line(line)) {
      if (count == lines_.size()) lines_.emplace_back();
      lines_[count++].assign(line);
    }
    return {lines_.data(), count, true};
  }

 private:
  /// The next line without its end; `position_` moves behind it. False at the end of the file.
  bool next_line(std::string_view& line) {
    while (true) {
      const std::size_t left = filled_ - at_;
      if (const void* end = std::memchr(buffer_.data() + at_, '\n', left)) {
        const auto size =
            static_cast<std::size_t>(static_cast<const char*>(end) - buffer_.data()) - at_;
        line = {buffer_.data() + at_, size};
        at_ += size + 1;
        position_ += size + 1;
        break;
      }
      if (!read_more()) {
        if (left == 0) return false;
        line = {buffer_.data() + at_, left};
        at_ = filled_;
        position_ += left;
        break;
      }
    }
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    return true;
  }

  /// Appends bytes behind the unread ones; false at the end of the file.
  bool read_more() {
    if (at_ != 0) {
      std::memmove(buffer_.data(), buffer_.data() + at_, filled_ - at_);
      filled_ -= std::exchange(at_, 0);
    }
    if (buffer_.size() < filled_ + kReadBytes) buffer_.resize(filled_ + kReadBytes);
    while (true) {
      const ssize_t got = ::pread(file_, buffer_.data() + filled_, kReadBytes,
                                  static_cast<off_t>(position_ + filled_));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) fail("read");
      filled_ += static_cast<std::size_t>(got);
      return got > 0;
    }
  }

  [[noreturn]] void fail(const char* what) const {
    throw Error(ErrorCode::kUnreachable,
                fmt::format("cannot {} {}: {}", what, piece_.path, std::strerror(errno)));
  }

  const TextPiece piece_;
  int file_ = -1;
  std::string buffer_;  // file bytes [position_, position_ + filled_ - at_) are at [at_, filled_)
  std::size_t at_ = 0;
  std::size_t filled_ = 0;
  std::uint64_t position_ = 0;  // in the file, of the next line
  std::vector<std::string> lines_;
};

}  // namespace

std::vector<TextPiece> plan_text_file(const std::string& path, std::uint32_t min_pieces) {
  namespace fs = std::filesystem;
  std::error_code error;
  std::vector<fs::path> files;
  if (fs::is_directory(path, error)) {
    for (const auto& entry : fs::directory_iterator(path)) {
      if (entry.is_regular_file() && entry.path().filename().string().front() != '.') {
        files.push_back(entry.path());
      }
    }
    std::sort(files.begin(), files.end());
  } else if (fs::is_regular_file(path, error)) {
    files.emplace_back(path);
  } else {
    throw Error(ErrorCode::kInvalidArgument,
                "text_file: '" + path + "' is neither a file nor a directory");
  }
  std::uint64_t total = 0;
  for (const auto& file : files) total += fs::file_size(file);
  const std::uint64_t piece_size = std::max<std::uint64_t>(1, total / std::max(1U, min_pieces));
  std::vector<TextPiece> pieces;
  for (const auto& file : files) {
    const std::uint64_t size = fs::file_size(file);
    const std::uint64_t count = std::max<std::uint64_t>(1, (size + piece_size - 1) / piece_size);
    for (std::uint64_t i = 0; i < count && size != 0; ++i) {
      pieces.push_back({fs::absolute(file).string(), size * i / count, size * (i + 1) / count});
    }
  }
  return pieces;
}

std::unique_ptr<ChunkStream<std::string>> read_lines(const TextPiece& piece) {
  return std::make_unique<LineStream>(piece);
}

}  // namespace weir::internal
