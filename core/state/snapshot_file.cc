#include "weir/core/state/snapshot_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "weir/core/crash_point.h"
#include "weir/core/error.h"
#include "weir/core/state/changelog.h"

namespace weir::internal {
namespace {

constexpr std::string_view kMagic = "WEIRSNP1";
constexpr std::size_t kFrameBytes = 4 + 8 + 8;
constexpr std::size_t kBufferBytes = 1 << 20;

}  // namespace

SnapshotWriter::SnapshotWriter(const std::string& directory)
    : descriptor_(create_state_file(directory, "snap-", ".snp", name_)),
      path_(directory + "/" + name_) {
  buffer_.put_bytes(kMagic.data(), kMagic.size());
}

SnapshotWriter::~SnapshotWriter() {
  close(descriptor_);
  if (!finished_) unlink(path_.c_str());
}

void SnapshotWriter::add(std::uint32_t group, std::string_view bytes) {
  buffer_.put(group);
  buffer_.put(std::uint64_t{bytes.size()});
  buffer_.put(hash_bytes(bytes));
  buffer_.put_bytes(bytes.data(), bytes.size());
  if (buffer_.size() >= kBufferBytes) flush();
}

void SnapshotWriter::flush() {
  if (WEIR_CRASH_DUE("state.snapshot-torn")) {
    write_state_file(descriptor_, path_, buffer_.view().substr(0, buffer_.size() / 2));
    die_at_once();
  }
  write_state_file(descriptor_, path_, buffer_.view());
  hash_.add(buffer_.view());
  size_ += buffer_.size();
  buffer_.clear();
}

StatePiece SnapshotWriter::finish() {
  flush();
  finished_ = true;
  return {name_, 0, size_, hash_.value()};
}

PieceReader::~PieceReader() {
  if (descriptor_ >= 0) close(descriptor_);
}

void PieceReader::fail(std::uint64_t offset, const std::string& what) const {
  throw Error(ErrorCode::kCorrupt,
              fmt::format("offset {} of {}/{}: {}", offset, directory_, file_, what));
}

void PieceReader::open(const StatePiece& piece) {
  if (descriptor_ >= 0 && file_ == piece.file) return;
  if (descriptor_ >= 0) close(descriptor_);
  file_ = piece.file;
  descriptor_ = ::open((directory_ + "/" + file_).c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor_ < 0) fail(piece.offset, std::strerror(errno));
}

/// Appends to the buffer.
void PieceReader::read_at(std::uint64_t offset, std::uint64_t size) {
  const std::size_t before = buffer_.size();
  buffer_.resize(before + size);
  for (std::size_t done = 0; done < size;) {
    const ssize_t got = pread(descriptor_, buffer_.data() + before + done, size - done,
                              static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(offset, std::strerror(errno));
    if (got == 0) {
      fail(offset, fmt::format("the file ends after {} of {} bytes", done, size));
    }
    done += static_cast<std::size_t>(got);
  }
  bytes_read_ += size;
}

std::string_view PieceReader::read(const StatePiece& piece) {
  open(piece);
  const off_t end = lseek(descriptor_, 0, SEEK_END);
  if (end < 0 || static_cast<std::uint64_t>(end) < piece.offset ||
      static_cast<std::uint64_t>(end) - piece.offset < piece.length) {
    fail(piece.offset,
         fmt::format("{} bytes were written there, but the file has {}", piece.length, end));
  }
  buffer_.clear();
  read_at(piece.offset, piece.length);
  if (hash_bytes(buffer_) != piece.hash) fail(piece.offset, "the bytes do not match their hash");
  return buffer_;
}

void PieceReader::read_groups(const StatePiece& piece,
                              const std::function<void(std::uint32_t, SlimReader&)>& consume) {
  open(piece);
  StreamHash hash;
  buffer_.clear();
  std::size_t used = 0;      // of the buffer
  std::uint64_t loaded = 0;  // of the piece
  // Bytes until `size` unused ones are in the buffer.
  const auto need = [&](std::uint64_t size) {
    const std::uint64_t left = buffer_.size() - used;
    if (left >= size) return;
    if (size - left > piece.length - loaded) fail(piece.offset + loaded, "a group is cut off");
    buffer_.erase(0, std::exchange(used, 0));
    const std::uint64_t more = std::min<std::uint64_t>(
        piece.length - loaded, std::max(size - left, std::uint64_t{kBufferBytes}));
    read_at(piece.offset + loaded, more);
    hash.add(std::string_view(buffer_).substr(buffer_.size() - more));
    loaded += more;
  };
  const auto take = [&](std::uint64_t size) {
    need(size);
    return std::string_view(buffer_).substr(std::exchange(used, used + size), size);
  };
  if (take(kMagic.size()) != kMagic) fail(piece.offset, "not a snapshot");
  while (loaded < piece.length || used < buffer_.size()) {
    SlimReader frame(take(kFrameBytes));
    const auto group = frame.get<std::uint32_t>();
    const auto size = frame.get<std::uint64_t>();
    const auto expected = frame.get<std::uint64_t>();
    const std::uint64_t at = piece.offset + loaded - (buffer_.size() - used);
    const std::string_view bytes = take(size);
    if (hash_bytes(bytes) != expected) fail(at, "a group does not match its hash");
    SlimReader in(bytes);
    consume(group, in);
  }
  if (hash.value() != piece.hash) fail(piece.offset, "the snapshot does not match its hash");
}

}  // namespace weir::internal
