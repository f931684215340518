#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace weir::files {

/// A file as a batch owns it: what is read must still be this.
struct FileInfo {
  std::string name;  ///< below the directory that is watched
  std::uint64_t size = 0;
  std::uint64_t inode = 0;
  std::int64_t mtime = 0;  ///< nanoseconds since the epoch

  bool operator==(const FileInfo&) const = default;
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & name & size & inode & mtime;
  }
};

/// A file, or a directory of the files sink, that some batch owns.
struct FileMark {
  std::int64_t ctime = 0;  ///< nanoseconds since the epoch: when it came under its name
  std::string name;
  std::uint64_t inode = 0;
  std::uint64_t size = 0;  ///< of a file
  std::int64_t mtime = 0;

  bool operator==(const FileMark&) const = default;
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & ctime & name & inode & size & mtime;
  }
};

/// How far a stream of files has come, and what its last batch owns: enough to read that batch
/// again, and to tell after a restart which files of the directory are new, without a list of all
/// that were ever read.
struct Position {
  /// What has an older change time is not new.
  std::int64_t watermark = std::numeric_limits<std::int64_t>::min();
  std::vector<FileMark> owned;  ///< of those that do not: these are not new either
  std::vector<FileInfo>
      files;  ///< of the batch that ends here, in the order in which it reads them

  bool operator==(const Position&) const = default;
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & watermark & owned & files;
  }
};

/// What one task reads: the lines that begin in bytes [begin, end) of a file.
struct FilePiece {
  std::string path;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  FileInfo file;

  bool operator==(const FilePiece&) const = default;
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & path & begin & end & file;
  }
};

}  // namespace weir::files
