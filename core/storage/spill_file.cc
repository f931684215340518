#include "weir/core/storage/spill_file.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "weir/core/error.h"

namespace weir {

SpillFile::~SpillFile() {
  if (file_.load() >= 0) ::close(file_.load());
}

void SpillFile::open() {
  if (file_.load() >= 0) return;
  const std::scoped_lock lock(opening_);
  if (file_.load() >= 0) return;
  directory_ = options_.directory;
  if (directory_.empty()) {
    const char* temporary = std::getenv("TMPDIR");
    directory_ = temporary != nullptr && *temporary != '\0' ? temporary : "/tmp";
  }
  int file = ::open(directory_.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (file < 0 && (errno == EOPNOTSUPP || errno == EISDIR)) {  // the file system has none
    std::string name = directory_ + "/weir-spill-XXXXXX";
    file = ::mkostemp(name.data(), O_CLOEXEC);
    if (file >= 0) ::unlink(name.c_str());
  }
  if (file < 0) {
    throw Error(ErrorCode::kUnreachable,
                fmt::format("cannot make a file for what does not fit into memory in {}: {}; name "
                            "another directory with --weir.spill-dir",
                            directory_, std::strerror(errno)));
  }
  file_.store(file);
}

void SpillFile::throw_unwritable(std::uint64_t size, const std::string& cause) const {
  throw Error(ErrorCode::kUnreachable,
              fmt::format("cannot write {} bytes that do not fit into memory to {}, which holds {} "
                          "already: {}",
                          size, directory_, used_.load(), cause));
}

std::shared_ptr<const SpilledBytes> SpillFile::write(std::span<const std::string_view> parts) {
  open();
  std::uint64_t size = 0;
  for (const std::string_view part : parts) size += part.size();
  const std::uint64_t used = used_.fetch_add(size) + size;
  const std::uint64_t offset = end_.fetch_add(size);
  // Gives the space back, also if writing fails.
  auto spilled = std::make_shared<const SpilledBytes>(shared_from_this(), offset, size);
  if (used > options_.limit) {
    throw_unwritable(size,
                     fmt::format("the limit is {} bytes (--weir.spill-limit)", options_.limit));
  }
  std::uint64_t at = offset;
  for (std::string_view part : parts) {
    while (!part.empty()) {
      const ssize_t written =
          ::pwrite(file_.load(), part.data(), part.size(), static_cast<off_t>(at));
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) throw_unwritable(size, std::strerror(errno));
      part.remove_prefix(static_cast<std::size_t>(written));
      at += static_cast<std::uint64_t>(written);
    }
  }
  written_.fetch_add(size);
  return spilled;
}

void SpillFile::read(std::uint64_t offset, char* to, std::uint64_t size) const {
  while (size != 0) {
    const ssize_t got = ::pread(file_.load(), to, size, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      throw Error(ErrorCode::kUnreachable,
                  fmt::format("cannot read {} bytes back from the spill file in {}: {}", size,
                              directory_, got < 0 ? std::strerror(errno) : "it is shorter"));
    }
    to += got;
    offset += static_cast<std::uint64_t>(got);
    size -= static_cast<std::uint64_t>(got);
  }
}

void SpillFile::free(std::uint64_t offset, std::uint64_t size) {
  used_.fetch_sub(size);
  if (size == 0) return;
  // Where there are no holes the space comes back when the process ends.
  (void)::fallocate(file_.load(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                    static_cast<off_t>(offset), static_cast<off_t>(size));
}

Bytes SpilledBytes::read(std::uint64_t offset, std::uint64_t size) const {
  std::string bytes(size, '\0');
  file_->read(offset_ + offset, bytes.data(), size);
  return Bytes(std::move(bytes));
}

Bytes HeldBytes::get(std::uint64_t offset, std::uint64_t size) const {
  if (spilled_ != nullptr) return spilled_->read(offset_ + offset, size);
  if (offset == 0 && size == bytes_.size()) return bytes_;
  return {bytes_.view().substr(offset, size), std::make_shared<const Bytes>(bytes_)};
}

std::vector<HeldBytes> spill(SpillFile& file, const std::vector<HeldBytes>& parts) {
  std::vector<Bytes> held;
  std::vector<std::string_view> views;
  held.reserve(parts.size());
  views.reserve(parts.size());
  for (const HeldBytes& part : parts) views.push_back(held.emplace_back(part.get()).view());
  const auto spilled = file.write(views);
  std::vector<HeldBytes> result;
  std::uint64_t offset = 0;
  for (const HeldBytes& part : parts) {
    result.emplace_back(spilled, offset, part.size());
    offset += part.size();
  }
  return result;
}

}  // namespace weir
