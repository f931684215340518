#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "weir/connectors/files/position.h"
#include "weir/core/chunk.h"
#include "weir/dstream/source.h"

namespace weir {

/// How a directory is read as a stream.
struct FileStreamOptions {
  bool existing_files = false;  ///< a new stream begins with what is there; else with what comes
  /// Files in one batch at most; 0: all that have come. A batch of the files sink is never divided.
  std::uint32_t max_files_per_batch = 0;
  std::uint64_t piece_bytes = 64 << 20;  ///< larger files are read by several tasks
  /// How often the directory is listed besides being watched, for file systems that other machines
  /// write to (NFS), of which the kernel reports nothing; 0: only at the start and when it must.
  Duration relist_interval = {};

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & existing_files & max_files_per_batch & piece_bytes & relist_interval;
  }
};

namespace files {

/// The lines of the files that come into a directory, as a replayable source. One element is a line
/// without its end (\n or \r\n), one partition a file or a piece of one. Or records of one length:
/// then files must be made of whole ones.
///
/// Files come by being renamed into the directory, complete, and are not changed afterwards: write
/// them elsewhere on the same file system, or under a name that begins with '.' or '_'; such names
/// are ignored. A file that is created in place is taken when it is first closed, but a listing
/// (when the stream starts) may find it half written. Of subdirectories only those are read that
/// the files sink made (with a `_COMMIT` in them), each as a whole; symbolic links are not.
///
/// A batch owns the files that have come, by change time and name, and its position lists them with
/// size, inode and time of modification: it reads the same again whatever has come since. A file
/// that was owned and is gone, or is another one, is Error(kDataLoss) with its name: files must
/// stay until their batch is committed. While the stream is down, what is already read must not be
/// touched: a change of attributes makes a file new.
///
/// `latest` costs what has come since, not what is there: the directory is listed when the stream
/// starts or goes on, and when the kernel dropped reports. Rates in elements do not apply, for
/// nobody knows how many lines a file has.
class Source {
 public:
  using Position = files::Position;

  Source() = default;
  /// `record_bytes` 0: lines. Throws Error(kInvalidArgument) for options that make no sense;
  /// touches no file.
  Source(const std::string& directory, FileStreamOptions options, std::uint64_t record_bytes = 0);

  /// Throws Error(kInvalidArgument) if there is no such directory.
  Position initial();
  /// Throws Error(kUnreachable) if the directory is gone.
  Position latest(const Position& from, const SourceLimit& limit);
  /// Throws Error(kInvalidArgument) if a file's length is no multiple of the records'.
  std::vector<FilePiece> plan(const Position& from, const Position& end) const;
  std::unique_ptr<ChunkStream<std::string>> read(const FilePiece& piece) const;
  /// Nothing: files are left where they are.
  void released(const Position&) {}
  /// Ends the watch.
  void stop();

  const std::string& directory() const { return directory_; }

  /// What workers need of it.
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & record_bytes_;
  }

 private:
  class Driver;

  Driver& driver();

  std::string directory_;  // absolute
  FileStreamOptions options_;
  std::uint64_t record_bytes_ = 0;
  std::shared_ptr<Driver> driver_;  // made lazily, in the driver only
};

}  // namespace files
}  // namespace weir
