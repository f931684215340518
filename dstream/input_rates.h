#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "weir/dstream/batch.h"
#include "weir/dstream/rate_controller.h"
#include "weir/dstream/stream_input.h"
#include "weir/dstream/streaming_listener.h"

namespace weir::internal {

/// How much each input may give the next batch: a controller for each. What they leave goes to a
/// later batch, so an overloaded stream falls behind in its sources, not in a queue. Thread: the
/// one that cuts.
class InputRates {
 public:
  struct Options {
    bool backpressure = true;  ///< else only `max_rate` holds
    RateController::Options rate = {};
  };

  InputRates(const Options& options, std::size_t inputs);

  /// Of input `index`. `last_wait`: see CutLimit.
  CutLimit limit(std::size_t index, std::optional<Duration> last_wait) const;
  /// A batch has succeeded; so many wait behind it.
  void on_completed(const BatchInfo& batch, std::size_t waiting);

 private:
  const Options options_;
  std::vector<RateController> controllers_;  // by input
  Time last_ended_ = Time::min();            // of the batch before
};

}  // namespace weir::internal
