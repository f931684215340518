#include "weir/core/task.h"

#include "weir/core/storage/block_store.h"

namespace weir {

std::string to_string(WorkerId worker) {
  return std::to_string(worker.slot) + "." + std::to_string(worker.incarnation);
}

TaskMetrics& TaskMetrics::operator+=(const TaskMetrics& other) {
  records_read += other.records_read;
  bytes_fetched += other.bytes_fetched;
  run_time += other.run_time;
  bytes_written += other.bytes_written;
  bytes_spilled += other.bytes_spilled;
  spills += other.spills;
  return *this;
}

void LeafInput::encode_block() {
  if (block != nullptr && bytes.empty()) bytes = block->encode();
}

}  // namespace weir
