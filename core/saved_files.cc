#include "weir/core/saved_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include <fmt/format.h>

#include "weir/core/error.h"
#include "weir/core/hash.h"

namespace weir::internal {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kObjectMagic = "WEIROBJ1";
constexpr std::size_t kFlushBytes = 1 << 20;
constexpr std::size_t kFrameHeader = 4 + 8 + 8;
constexpr const char* kSuccess = "_SUCCESS";
constexpr mode_t kFileMode = 0666;  // as the umask says: these are the user's files

[[noreturn]] void fail(const char* what, const std::string& path) {
  throw Error(ErrorCode::kUnreachable,
              fmt::format("cannot {} {}: {}", what, path, std::strerror(errno)));
}

void sync_directory(const std::string& path) {
  const int directory = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) fail("open", path);
  const int status = ::fsync(directory);
  ::close(directory);
  if (status != 0) fail("sync", path);
}

bool is_part(const std::string& name) { return name.starts_with("part-"); }
bool is_unfinished(const std::string& name) { return name.starts_with(".part-"); }

template <class Which>
void remove_files(const std::string& directory, const Which& which) {
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (which(entry.path().filename().string())) found.push_back(entry.path());
  }
  for (const fs::path& path : found) fs::remove(path);
}

std::uint64_t number_at(std::string_view bytes, std::size_t at, std::size_t size) {
  std::uint64_t number = 0;
  std::memcpy(&number, bytes.data() + at, size);
  return number;
}

void append_number(std::string& to, std::uint64_t number, std::size_t size) {
  to.append(reinterpret_cast<const char*>(&number), size);  // little-endian, as the slim archive
}

}  // namespace

void begin_saving(const char* operation, const std::string& directory, bool replaced) try {
  if (!replaced && fs::exists(directory)) {
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format("{}: {} exists; remove it or choose another directory", operation, directory));
  }
  fs::create_directories(directory);
  // First of all what says that it is whole.
  remove_files(directory, [](const std::string& name) { return name == kSuccess; });
  remove_files(directory,
               [](const std::string& name) { return is_part(name) || is_unfinished(name); });
} catch (const fs::filesystem_error& error) {
  throw Error(ErrorCode::kUnreachable, fmt::format("{}: {}", operation, error.what()));
}

void finish_saving(const std::string& directory) try {
  remove_files(directory, is_unfinished);
  const std::string success = directory + "/" + kSuccess;
  const int file = ::open(success.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, kFileMode);
  if (file < 0) fail("create", success);
  ::close(file);
  sync_directory(directory);
} catch (const fs::filesystem_error& error) {
  throw Error(ErrorCode::kUnreachable, error.what());
}

// --- writing ---

PartFile::PartFile(const std::string& directory, std::uint32_t partition)
    : name_(fmt::format("{}/part-{:05}", directory, partition)) {
  // Exclusively: an attempt that was given up may be writing still, here or on another machine.
  for (int n = 0; file_ < 0; ++n) {
    unfinished_ = fmt::format("{}/.part-{:05}.{}-{}", directory, partition, ::getpid(), n);
    file_ = ::open(unfinished_.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, kFileMode);
    if (file_ < 0 && errno != EEXIST) fail("create", unfinished_);
  }
}

PartFile::~PartFile() {
  if (file_ < 0) return;
  ::close(file_);
  ::unlink(unfinished_.c_str());
}

void PartFile::flush_if_full() {
  if (bytes_.size() >= kFlushBytes) flush();
}

void PartFile::flush() {
  std::string_view left = bytes_;
  while (!left.empty()) {
    const ssize_t written = ::write(file_, left.data(), left.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail("write to", unfinished_);
    left.remove_prefix(static_cast<std::size_t>(written));
  }
  bytes_.clear();
}

void PartFile::finish() {
  flush();
  if (::fdatasync(file_) != 0) fail("sync", unfinished_);
  if (::rename(unfinished_.c_str(), name_.c_str()) != 0) fail("rename", unfinished_);
  ::close(std::exchange(file_, -1));
}

std::string object_file_header(const std::string& structure) {
  std::string header(kObjectMagic);
  append_number(header, structure.size(), 4);
  return header + structure;
}

void append_object_frame(std::string& to, std::uint32_t count, std::string_view elements) {
  append_number(to, count, 4);
  append_number(to, elements.size(), 8);
  append_number(to, hash_bytes(elements), 8);
  to += elements;
}

// --- reading ---

ObjectFile::ObjectFile(std::string path, const std::string& structure)
    : path_(std::move(path)), file_(::open(path_.c_str(), O_RDONLY | O_CLOEXEC)) {
  if (file_ < 0) internal::fail("open", path_);
  struct stat info {};
  if (::fstat(file_, &info) != 0) internal::fail("look at", path_);
  size_ = static_cast<std::uint64_t>(info.st_size);
  read(kObjectMagic.size() + 4, "a header");
  if (!buffer_.starts_with(kObjectMagic)) fail("this is no object file");
  read(number_at(buffer_, kObjectMagic.size(), 4), "the structure of the elements");
  if (buffer_ != structure) {
    throw Error(ErrorCode::kDataLoss,
                fmt::format("object_file: {} holds elements written as {}, not as {}", path_,
                            buffer_, structure));
  }
}

ObjectFile::~ObjectFile() {
  if (file_ >= 0) ::close(file_);
}

ObjectFile::Frame ObjectFile::next() {
  frame_at_ = at_;
  if (at_ == size_) return {};
  read(kFrameHeader, "the header of a frame");
  const auto count = static_cast<std::uint32_t>(number_at(buffer_, 0, 4));
  const std::uint64_t bytes = number_at(buffer_, 4, 8);
  const std::uint64_t hash = number_at(buffer_, 12, 8);
  read(bytes, "a frame");
  if (hash_bytes(buffer_) != hash) fail("the hash of the frame is another one");
  if (count == 0) fail("an empty frame");
  return {count, buffer_};
}

void ObjectFile::fail(const std::string& what) const {
  throw Error(ErrorCode::kCorrupt, fmt::format("offset {} of {}: {}", frame_at_, path_, what));
}

void ObjectFile::read(std::uint64_t size, const char* what) {
  if (size > size_ - at_) {
    fail(fmt::format("{} of {} bytes is cut off after {}", what, size, size_ - at_));
  }
  buffer_.resize(size);
  for (std::size_t filled = 0; filled < size;) {
    const ssize_t got =
        ::pread(file_, buffer_.data() + filled, size - filled, static_cast<off_t>(at_ + filled));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) internal::fail("read", path_);
    if (got == 0) fail("the file was cut off while it was read");
    filled += static_cast<std::size_t>(got);
  }
  at_ += size;
}

}  // namespace weir::internal
