#include "weir/core/durable_store.h"

#include <algorithm>

#include "weir/core/error.h"

namespace weir {

std::string DurableStore::read(const std::string& path, std::uint64_t offset,
                               std::uint64_t length) {
  const auto file = open(path);
  if (file == nullptr) {
    throw Error(ErrorCode::kCorrupt, name() + "/" + path + " does not exist");
  }
  const std::uint64_t size = file->size();
  std::string bytes(offset < size ? std::min(length, size - offset) : 0, '\0');
  bytes.resize(file->read(offset, bytes));
  return bytes;
}

}  // namespace weir
