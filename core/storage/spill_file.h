#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "weir/core/bytes.h"

namespace weir {

class SpilledBytes;

/// The one file in which a worker keeps what does not fit into its memory. It has no name, so that
/// nothing is left of it however the process ends; what is freed gives its space back by a hole.
/// Nothing is synced: it holds only what can be computed again.
///
/// Thread-safe; writers append at places of their own.
class SpillFile : public std::enable_shared_from_this<SpillFile> {
 public:
  struct Options {
    /// Where the file is made, with the first write; empty: the system's directory for temporary
    /// files ($TMPDIR, else /tmp).
    std::string directory;
    std::uint64_t limit = std::uint64_t{1} << 62;  ///< most bytes at a time
  };
  explicit SpillFile(Options options) : options_(std::move(options)) {}
  ~SpillFile();
  SpillFile(const SpillFile&) = delete;
  SpillFile& operator=(const SpillFile&) = delete;

  /// The parts one after another. Throws Error(kUnreachable) with bytes, directory and cause: the
  /// disk is full, say.
  std::shared_ptr<const SpilledBytes> write(std::span<const std::string_view> parts);
  std::shared_ptr<const SpilledBytes> write(std::string_view bytes) { return write({&bytes, 1}); }

  /// On the disk now, and ever written.
  std::uint64_t size_bytes() const { return used_.load(); }
  std::uint64_t written_bytes() const { return written_.load(); }

 private:
  friend class SpilledBytes;

  void open();
  void read(std::uint64_t offset, char* to, std::uint64_t size) const;
  void free(std::uint64_t offset, std::uint64_t size);
  [[noreturn]] void throw_unwritable(std::uint64_t size, const std::string& cause) const;

  const Options options_;
  std::mutex opening_;
  std::string directory_;      // set once the file is open
  std::atomic<int> file_{-1};  // -1: not yet
  std::atomic<std::uint64_t> end_{0};
  std::atomic<std::uint64_t> used_{0};
  std::atomic<std::uint64_t> written_{0};
};

/// A piece of the spill file, freed with its last owner. Immutable; thread-safe.
class SpilledBytes {
 public:
  SpilledBytes(std::shared_ptr<SpillFile> file, std::uint64_t offset, std::uint64_t size)
      : file_(std::move(file)), offset_(offset), size_(size) {}
  ~SpilledBytes() { file_->free(offset_, size_); }
  SpilledBytes(const SpilledBytes&) = delete;
  SpilledBytes& operator=(const SpilledBytes&) = delete;

  std::uint64_t size() const { return size_; }
  /// `size` bytes from `offset` on. Throws Error(kUnreachable) if the disk does not give them.
  Bytes read(std::uint64_t offset, std::uint64_t size) const;

 private:
  const std::shared_ptr<SpillFile> file_;
  const std::uint64_t offset_;
  const std::uint64_t size_;
};

/// Bytes in memory, or a part of what was spilled. Cheap to copy.
class HeldBytes {
 public:
  HeldBytes() = default;
  explicit HeldBytes(Bytes bytes) : size_(bytes.size()), bytes_(std::move(bytes)) {}
  HeldBytes(std::shared_ptr<const SpilledBytes> spilled, std::uint64_t offset, std::uint64_t size)
      : size_(size), offset_(offset), spilled_(std::move(spilled)) {}

  std::uint64_t size() const { return size_; }
  bool in_memory() const { return spilled_ == nullptr; }
  std::uint64_t memory() const { return in_memory() ? size_ : 0; }
  /// All of them, or a range; read from the disk where they are there, see SpilledBytes::read.
  Bytes get() const { return get(0, size_); }
  Bytes get(std::uint64_t offset, std::uint64_t size) const;

 private:
  std::uint64_t size_ = 0;
  Bytes bytes_;
  std::uint64_t offset_ = 0;
  std::shared_ptr<const SpilledBytes> spilled_;
};

/// The same bytes, all of them in the file; they are written in one piece.
std::vector<HeldBytes> spill(SpillFile& file, const std::vector<HeldBytes>& parts);

}  // namespace weir
