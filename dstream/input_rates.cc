#include "weir/dstream/input_rates.h"

#include <algorithm>

namespace weir::internal {

InputRates::InputRates(const Options& options, std::size_t inputs) : options_(options) {
  for (std::size_t i = 0; i < inputs; ++i) controllers_.emplace_back(options.rate);
}

CutLimit InputRates::limit(std::size_t index, std::optional<Duration> last_wait) const {
  CutLimit limit{.last_wait = last_wait};
  if (options_.backpressure) {
    limit.max_records_per_second = controllers_[index].limit();
  } else if (options_.rate.max_rate > 0) {
    limit.max_records_per_second = options_.rate.max_rate;
  }
  return limit;
}

void InputRates::on_completed(const BatchInfo& batch, std::size_t waiting) {
  if (!options_.backpressure) return;
  // Of batches in flight counts what each adds: the time since the one before it ended.
  const Time ended = batch.processing_end_time.value_or(Time{});
  const Time started = std::max(batch.processing_start_time.value_or(ended), last_ended_);
  last_ended_ = ended;
  for (std::size_t i = 0; i < std::min(controllers_.size(), batch.inputs.size()); ++i) {
    const BatchInput& input = batch.inputs[i];
    if (!input.records) continue;
    controllers_[i].on_completed({.ended = ended,
                                  .records = *input.records,
                                  .limit = input.limit,
                                  .processing = ended - started,
                                  .scheduling_delay = batch.scheduling_delay().value_or(Duration{}),
                                  .waiting = waiting});
  }
}

}  // namespace weir::internal
