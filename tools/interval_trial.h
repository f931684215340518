#pragma once

#include <cstdint>
#include <string>

#include "weir/core/time.h"

namespace weir::tools {

enum class Workload {
  kWordCount,  ///< lines to words, counted per batch: two stages
  kStateful,   ///< the same, added to a state per word: three stages, and state
};

struct TrialOptions {
  Workload workload = Workload::kWordCount;
  std::string master = "local-cluster[2,1]";
  double rate = 50'000;         ///< lines per second
  std::uint64_t keys = 10'000;  ///< different words
  std::string durability = "batch";
};

/// What a stream did at one batch interval.
struct TrialResult {
  Duration interval{};
  bool sustained = false;
  std::uint64_t batches = 0;
  /// Share of the grid points at which a batch was waiting already, so that none was cut: 0 to 1.
  double missed = 0;
  double records_per_second = 0;
  /// Milliseconds. Processing time is a batch's; latency is a line's, from the time at which it was
  /// to be there to the end of its batch.
  double processing_p50 = 0;
  double processing_p99 = 0;
  double latency_p50 = 0;
  double latency_p95 = 0;
  double latency_p99 = 0;
  double latency_max = 0;
  std::string failure = {};  ///< why there is nothing else; empty: there is
};

/// Runs the workload for a few seconds in a context of its own. Sustained is an interval at which
/// at most 2 % of the grid points were missed, and the batches of the last half waited less than an
/// interval, on the average.
TrialResult run_trial(const TrialOptions& options, Duration interval);

}  // namespace weir::tools
