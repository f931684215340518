#include "weir/core/state/snapshot_file.h"

#include <algorithm>
#include <span>
#include <utility>

#include <fmt/format.h>

#include "weir/core/crash_point.h"
#include "weir/core/error.h"

namespace weir::internal {
namespace {

constexpr std::string_view kMagic = "WEIRSNP1";
constexpr std::size_t kFrameBytes = 4 + 8 + 8;
constexpr std::size_t kBufferBytes = 1 << 20;

}  // namespace

SnapshotWriter::SnapshotWriter(const StateFiles& files, std::string directory)
    : files_(files),
      directory_(std::move(directory)),
      created_(files_.create(directory_, "snap-", ".snp")) {
  buffer_.put_bytes(kMagic.data(), kMagic.size());
}

SnapshotWriter::~SnapshotWriter() {
  if (finished_) return;
  try {
    files_.store_at(directory_)->remove(created_.name);
  } catch (const Error&) {  // it stays, and nothing names it
  }
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
    created_.file->append(buffer_.view().substr(0, buffer_.size() / 2));
    die_at_once();
  }
  created_.file->append(buffer_.view());
  hash_.add(buffer_.view());
  buffer_.clear();
}

StatePiece SnapshotWriter::finish() {
  flush();
  finished_ = true;
  return {created_.name, 0, created_.file->size(), hash_.value()};
}

void PieceReader::fail(std::uint64_t offset, const std::string& what) const {
  throw Error(ErrorCode::kCorrupt,
              fmt::format("offset {} of {}/{}: {}", offset, directory_, name_, what));
}

/// Whatever keeps a piece from being read, it is not to be had.
template <class F>
auto PieceReader::saying_where(std::uint64_t offset, F&& read) const {
  try {
    return read();
  } catch (const Error& error) {
    fail(offset, error.what());
  }
}

void PieceReader::open(const StatePiece& piece) {
  if (file_ != nullptr && name_ == piece.file) return;
  name_ = piece.file;
  file_ = saying_where(piece.offset, [&] { return files_.store_at(directory_)->open(name_); });
  if (file_ == nullptr) fail(piece.offset, "there is no such file");
}

/// Appends to the buffer.
void PieceReader::read_at(std::uint64_t offset, std::uint64_t size) {
  const std::size_t before = buffer_.size();
  buffer_.resize(before + size);
  const std::size_t got =
      saying_where(offset, [&] { return file_->read(offset, std::span(buffer_).subspan(before)); });
  if (got < size) fail(offset, fmt::format("the file ends after {} of {} bytes", got, size));
  bytes_read_ += size;
}

std::string_view PieceReader::read(const StatePiece& piece) {
  open(piece);
  const std::uint64_t end = saying_where(piece.offset, [&] { return file_->size(); });
  if (end < piece.offset || end - piece.offset < piece.length) {
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
