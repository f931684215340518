#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include <fmt/format.h>

#include "weir/connectors/files/record_stream_internal.h"
#include "weir/core/error.h"

namespace weir::files::internal {
namespace {

class RecordStream final : public ChunkStream<std::string> {
 public:
  RecordStream(const std::string& path, std::uint64_t begin, std::uint64_t end,
               std::uint64_t length)
      : path_(path),
        end_(end),
        length_(length),
        at_(begin),
        file_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (file_ < 0) fail("open");
  }
  ~RecordStream() override {
    if (file_ >= 0) ::close(file_);
  }

  ChunkRef<std::string> next() override {
    if (weir::internal::kFreshChunks) records_.clear();
    const std::uint64_t count =
        std::min<std::uint64_t>({(end_ - at_) / length_, kChunkElements,
                                 std::max<std::uint64_t>(1, kChunkBytes / length_)});
    buffer_.resize(count * length_);
    for (std::size_t filled = 0; filled < buffer_.size();) {
      const ssize_t got = ::pread(file_, buffer_.data() + filled, buffer_.size() - filled,
                                  static_cast<off_t>(at_ + filled));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) fail("read");
      if (got == 0) {
        throw Error(ErrorCode::kDataLoss,
                    fmt::format("the file {} ends at {}, its records were to be read up to {}",
                                path_, at_ + filled, end_));
      }
      filled += static_cast<std::size_t>(got);
    }
    at_ += buffer_.size();
    if (records_.size() < count) records_.resize(count);
    for (std::size_t i = 0; i < count; ++i) records_[i].assign(buffer_, i * length_, length_);
    return {records_.data(), count, true};
  }

 private:
  [[noreturn]] void fail(const char* what) const {
    throw Error(ErrorCode::kUnreachable,
                fmt::format("cannot {} {}: {}", what, path_, std::strerror(errno)));
  }

  const std::string path_;
  const std::uint64_t end_;
  const std::uint64_t length_;
  std::uint64_t at_;
  const int file_;
  std::string buffer_;
  std::vector<std::string> records_;  // reused for the next chunk
};

}  // namespace

std::unique_ptr<ChunkStream<std::string>> read_records(const std::string& path, std::uint64_t begin,
                                                       std::uint64_t end, std::uint64_t length) {
  return std::make_unique<RecordStream>(path, begin, end, length);
}

}  // namespace weir::files::internal
