#include "weir/connectors/kafka/position.h"

namespace weir::kafka {

std::string name_of(const PartitionOffset& partition) {
  return partition.topic + "[" + std::to_string(partition.partition) + "]";
}

std::string describe(const Range& range) {
  return range.topic + "[" + std::to_string(range.partition) + "] [" + std::to_string(range.from) +
         ", " + std::to_string(range.to) + ")";
}

}  // namespace weir::kafka
