#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "weir/core/chunk.h"

namespace weir::internal {

/// The lines that begin in bytes [begin, end) of a file.
struct TextPiece {
  std::string path;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & path & begin & end;
  }
};

/// The path itself, or the files of a directory in the order of their names, but for those that
/// begin with '.' or '_'; absolute. Throws Error(kInvalidArgument) if there is no such file or
/// directory, Error(kUnreachable) if it cannot be read.
std::vector<std::string> data_files(const char* operation, const std::string& path);

/// Cuts the data files of a path into at least `min_pieces` pieces of about equal size. Throws as
/// `data_files` does.
std::vector<TextPiece> plan_text_file(const std::string& path, std::uint32_t min_pieces);

/// Reads one piece. The strings of a chunk are reused for the next.
std::unique_ptr<ChunkStream<std::string>> read_lines(const TextPiece& piece);

}  // namespace weir::internal
