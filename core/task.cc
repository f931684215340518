#include "weir/core/task.h"

#include "weir/core/block_store.h"

namespace weir {

std::string to_string(WorkerId worker) {
  return std::to_string(worker.slot) + "." + std::to_string(worker.incarnation);
}

void LeafInput::encode_block() {
  if (block != nullptr && bytes.empty()) bytes = block->encode();
}

}  // namespace weir
