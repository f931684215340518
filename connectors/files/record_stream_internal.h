#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "weir/core/chunk.h"

namespace weir::files::internal {

/// The records of `length` bytes each in bytes [begin, end) of a file, a whole number of them.
/// Throws Error(kUnreachable) with path and cause.
std::unique_ptr<ChunkStream<std::string>> read_records(const std::string& path, std::uint64_t begin,
                                                       std::uint64_t end, std::uint64_t length);

}  // namespace weir::files::internal
