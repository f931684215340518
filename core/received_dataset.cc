#include "weir/core/received_dataset.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>

#include <fmt/format.h>

#include "weir/core/error.h"
#include "weir/core/hash.h"

namespace weir::internal {

Bytes read_from_log(const ReceivedBlock& block) {
  std::string bytes(block.size, '\0');
  std::ifstream file(block.log, std::ios::binary);
  file.seekg(static_cast<std::streamoff>(block.offset));
  file.read(bytes.data(), static_cast<std::streamsize>(block.size));
  if (!file) {
    throw Error(ErrorCode::kDataLoss,
                fmt::format("{}: {} bytes at {} that a receiver logged cannot be read ({}); bring "
                            "the file back",
                            block.log, block.size, block.offset, std::strerror(errno)));
  }
  if (hash_bytes(bytes) != block.hash) {
    throw Error(ErrorCode::kDataLoss,
                fmt::format("{}: {} bytes at {} are not those that a receiver logged: the file is "
                            "damaged; bring it back",
                            block.log, block.size, block.offset));
  }
  return Bytes(std::move(bytes));
}

}  // namespace weir::internal
