#include "weir/connectors/kafka/planning_internal.h"
#include "weir/connectors/kafka/suspicions_internal.h"

namespace weir::kafka::internal {

Position Suspicions::on_answer(std::uint64_t answer, const Position& accused, const Position& told,
                               TimePoint now) {
  Position believed;
  if (answer == last_answer_) return believed;
  last_answer_ = answer;
  for (const PartitionOffset& each : told) {
    if (!offset_of(accused, each.topic, each.partition)) since_.erase({each.topic, each.partition});
  }
  for (const PartitionOffset& each : accused) {
    const auto [since, first] = since_.try_emplace({each.topic, each.partition}, now);
    if (!first && now - since->second >= span_) believed.push_back(each);
  }
  return believed;
}

}  // namespace weir::kafka::internal
