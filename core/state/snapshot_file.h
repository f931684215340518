#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "weir/core/hash.h"
#include "weir/core/slim_archive.h"
#include "weir/core/state/state_files.h"
#include "weir/core/state/state_task.h"

/// Files of the state directory that are read back, and the one that a table is written to whole:
///
///     "WEIRSNP1", then for each group: number (4), bytes (8), XXH3 of them (8), the bytes
namespace weir::internal {

/// Writes a snapshot, group by group; without `finish` it is removed again. One thread.
class SnapshotWriter {
 public:
  /// Throws Error(kUnreachable) with path and cause, as the rest does.
  SnapshotWriter(const StateFiles& files, std::string directory);
  ~SnapshotWriter();
  SnapshotWriter(const SnapshotWriter&) = delete;
  SnapshotWriter& operator=(const SnapshotWriter&) = delete;

  void add(std::uint32_t group, std::string_view bytes);
  StatePiece finish();

 private:
  void flush();

  const StateFiles files_;
  const std::string directory_;
  const StateFiles::Created created_;
  SlimWriter buffer_;
  StreamHash hash_;
  bool finished_ = false;
};

/// Reads pieces, which for a long history are many in few files. One thread. Errors are
/// Error(kCorrupt) with path, offset and cause.
class PieceReader {
 public:
  PieceReader(const StateFiles& files, std::string directory)
      : files_(files), directory_(std::move(directory)) {}
  PieceReader(const PieceReader&) = delete;
  PieceReader& operator=(const PieceReader&) = delete;

  /// The bytes of a delta, valid until the next call.
  std::string_view read(const StatePiece& piece);
  /// The groups of a snapshot in their order. Only when it returns has all of the piece been
  /// checked.
  void read_groups(const StatePiece& piece,
                   const std::function<void(std::uint32_t, SlimReader&)>& consume);

  std::uint64_t bytes_read() const { return bytes_read_; }

 private:
  void open(const StatePiece& piece);
  void read_at(std::uint64_t offset, std::uint64_t size);
  template <class F>
  auto saying_where(std::uint64_t offset, F&& read) const;
  [[noreturn]] void fail(std::uint64_t offset, const std::string& what) const;

  const StateFiles files_;
  const std::string directory_;
  std::string name_;  // of the open one
  std::unique_ptr<DurableReader> file_;
  std::string buffer_;
  std::uint64_t bytes_read_ = 0;
};

}  // namespace weir::internal
