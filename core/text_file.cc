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

namespace fs = std::filesystem;

namespace {

constexpr std::size_t kReadBytes = 256 * 1024;

class LineStream final : public ChunkStream<std::string> {
 public:
  explicit LineStream(const TextPiece& piece)
      : piece_(piece), file_(::open(piece.path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (file_.descriptor < 0) fail("open");
    // The line that the piece's first byte is in belongs to the piece before, unless it begins
    // here: start one byte early and drop what is left of that line.
    if (piece.begin > 0) {
      position_ = piece.begin - 1;
      skip_line();
    }
  }

  ChunkRef<std::string> next() override {
    if (kFreshChunks || bytes_ > kChunkBytes) lines_.clear();  // nor is much memory kept
    std::size_t count = 0;
    bytes_ = 0;
    std::string_view line;
    while (count < kChunkElements && bytes_ < kChunkBytes && position_ < piece_.end &&
           next_line(line)) {
      if (count == lines_.size()) lines_.emplace_back();
      lines_[count++].assign(line);
      bytes_ += line.size();
    }
    return {lines_.data(), count, true};
  }

 private:
  struct File {
    const int descriptor;
    explicit File(int opened) : descriptor(opened) {}
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    ~File() {
      if (descriptor >= 0) ::close(descriptor);
    }
  };

  /// The next line without its end; `position_` moves behind it. False at the end of the file.
  bool next_line(std::string_view& line) {
    std::size_t looked_at = 0;
    while (true) {
      const std::size_t left = filled_ - at_;
      const char* const from = buffer_.data() + at_;
      if (const void* end = std::memchr(from + looked_at, '\n', left - looked_at)) {
        const auto size = static_cast<std::size_t>(static_cast<const char*>(end) - from);
        line = {from, size};
        consume(size + 1);
        break;
      }
      looked_at = left;
      if (!read_more()) {
        if (left == 0) return false;
        line = {buffer_.data() + at_, left};
        consume(left);
        break;
      }
    }
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    return true;
  }

  /// Goes on behind the next line end, however far that is, or to the end of the file.
  void skip_line() {
    do {
      const std::size_t left = filled_ - at_;
      const char* const from = buffer_.data() + at_;
      if (const void* end = std::memchr(from, '\n', left)) {
        consume(static_cast<std::size_t>(static_cast<const char*>(end) - from) + 1);
        return;
      }
      consume(left);
    } while (read_more());
  }

  void consume(std::size_t size) {
    at_ += size;
    position_ += size;
  }

  /// Appends bytes behind the unread ones; false at the end of the file.
  bool read_more() {
    if (at_ != 0) {
      std::memmove(buffer_.data(), buffer_.data() + at_, filled_ - at_);
      filled_ -= std::exchange(at_, 0);
    }
    if (buffer_.size() < filled_ + kReadBytes) buffer_.resize(filled_ + kReadBytes);
    while (true) {
      const ssize_t got = ::pread(file_.descriptor, buffer_.data() + filled_, kReadBytes,
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
  const File file_;
  std::string buffer_;  // file bytes [position_, position_ + filled_ - at_) are at [at_, filled_)
  std::size_t at_ = 0;
  std::size_t filled_ = 0;
  std::uint64_t position_ = 0;  // in the file, of the next line
  std::vector<std::string> lines_;
  std::size_t bytes_ = 0;  // of the chunk's lines
};

}  // namespace

std::vector<std::string> data_files(const char* operation, const std::string& path) try {
  std::error_code error;
  std::vector<std::string> files;
  if (fs::is_directory(path, error)) {
    for (const auto& entry : fs::directory_iterator(path)) {
      const char first = entry.path().filename().string().front();
      if (!entry.is_regular_file() || first == '.' || first == '_') continue;
      files.push_back(fs::absolute(entry.path()).string());
    }
    std::sort(files.begin(), files.end());
  } else if (fs::is_regular_file(path, error)) {
    files.push_back(fs::absolute(path).string());
  } else {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{}: '{}' is neither a file nor a directory", operation, path));
  }
  return files;
} catch (const fs::filesystem_error& error) {
  throw Error(ErrorCode::kUnreachable, fmt::format("{}: {}", operation, error.what()));
}

std::vector<TextPiece> plan_text_file(const std::string& path, std::uint32_t min_pieces) try {
  const std::vector<std::string> files = data_files("text_file", path);
  std::uint64_t total = 0;
  for (const auto& file : files) total += fs::file_size(file);
  const std::uint64_t piece_size = std::max<std::uint64_t>(1, total / std::max(1U, min_pieces));
  std::vector<TextPiece> pieces;
  for (const auto& file : files) {
    const std::uint64_t size = fs::file_size(file);
    const std::uint64_t count = std::max<std::uint64_t>(1, (size + piece_size - 1) / piece_size);
    for (std::uint64_t i = 0; i < count && size != 0; ++i) {
      pieces.push_back({file, size * i / count, size * (i + 1) / count});
    }
  }
  return pieces;
} catch (const fs::filesystem_error& error) {
  throw Error(ErrorCode::kUnreachable, fmt::format("text_file: {}", error.what()));
}

std::unique_ptr<ChunkStream<std::string>> read_lines(const TextPiece& piece) {
  return std::make_unique<LineStream>(piece);
}

}  // namespace weir::internal
