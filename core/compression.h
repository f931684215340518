#pragma once

#include <string>
#include <string_view>

#include "weir/core/bytes.h"

/// Compression of what is shuffled: LZ4 frames (https://github.com/lz4/lz4,
/// doc/lz4_Frame_format.md) that state the size of their content.
namespace weir::internal {

/// The bytes as one frame. It may be a little longer than they are.
std::string compress(std::string_view bytes);
/// What `compress` was given. Throws Error(kCorrupt) for anything that is not exactly one of its
/// frames; what is malformed makes it allocate a multiple of its own length at most.
Bytes decompress(std::string_view frame);

}  // namespace weir::internal
