#include "interval_trial.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "weir/dstream/scratch_directory.h"
#include "weir/weir.h"

#include "open_loop_source.h"

namespace weir::tools {
namespace {

using namespace std::chrono_literals;
using Milliseconds = std::chrono::duration<double, std::milli>;

constexpr Duration kWarmUp = 1500ms;
constexpr double kMostMissed = 0.02;

/// Long enough for percentiles, short enough for a search.
Duration measured(Duration interval) { return std::clamp<Duration>(100 * interval, 5s, 20s); }

class Batches final : public StreamingListener {
 public:
  void on_batch_completed(const BatchInfo& batch) override {
    const std::scoped_lock lock(mutex_);
    batches_.push_back(batch);
  }
  std::vector<BatchInfo> since(Time time) const {
    const std::scoped_lock lock(mutex_);
    std::vector<BatchInfo> batches;
    std::ranges::copy_if(batches_, std::back_inserter(batches), [&](const BatchInfo& batch) {
      return batch.batch_time >= time && batch.failure.empty() && batch.processing_end_time;
    });
    return batches;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<BatchInfo> batches_;  // guarded by mutex_
};

double percentile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  const auto at = static_cast<std::ptrdiff_t>(share * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), values.begin() + at, values.end());
  return values[static_cast<std::size_t>(at)];
}

void build(const StreamingContext& stream, const OpenLoopSource& source, Workload workload) {
  const auto counts =
      stream.source_stream(source)
          .flat_map([](const std::string& line) { return split(line, ' '); })
          .map([](std::string_view word) { return std::pair(word, std::int64_t{1}); })
          .reduce_by_key([](std::int64_t a, std::int64_t b) { return a + b; });
  if (workload == Workload::kWordCount) {
    counts.foreach_rdd([](const auto& rdd) { (void)rdd.count(); });
    return;
  }
  counts
      .map_with_state(StateSpec([](const std::string& word, std::optional<std::int64_t> count,
                                   State<std::int64_t>& total) {
        total.update(total.get_optional().value_or(0) + count.value_or(0));
        return std::pair(word, total.get());
      }))
      .foreach_rdd([](const auto& rdd) { (void)rdd.count(); });
}

/// A batch's lines come evenly over the time that its positions span.
std::vector<double> latencies(const BatchInfo& batch, const Schedule& schedule) {
  constexpr int kSamples = 16;
  const auto from = static_cast<double>(decode<std::int64_t>(batch.inputs.at(0).from));
  const auto end = static_cast<double>(decode<std::int64_t>(batch.inputs.at(0).end));
  std::vector<double> samples;
  for (int i = 0; i < kSamples && end > from; ++i) {
    const Time intended = schedule.time_of(from + (end - from) * i / kSamples);
    samples.push_back(Milliseconds(*batch.processing_end_time - intended).count());
  }
  return samples;
}

TrialResult evaluate(const std::vector<BatchInfo>& batches, const Schedule& schedule,
                     Duration interval) {
  TrialResult result{.interval = interval, .batches = batches.size()};
  if (batches.size() < 4) {
    result.failure = "only " + std::to_string(batches.size()) + " batches ran";
    return result;
  }
  std::vector<double> processing;
  std::vector<double> latency;
  double late = 0;  // of the last half, in milliseconds
  std::uint64_t records = 0;
  for (std::size_t i = 0; i < batches.size(); ++i) {
    const BatchInfo& batch = batches[i];
    records += batch.num_records();
    processing.push_back(Milliseconds(*batch.processing_time()).count());
    if (i >= batches.size() / 2) late += Milliseconds(*batch.scheduling_delay()).count();
    const auto samples = latencies(batch, schedule);
    latency.insert(latency.end(), samples.begin(), samples.end());
  }
  const auto half = static_cast<double>(batches.size() - batches.size() / 2);
  const auto points = (batches.back().batch_time - batches.front().batch_time) / interval + 1;
  result.missed = 1 - static_cast<double>(batches.size()) / static_cast<double>(points);
  result.records_per_second = static_cast<double>(records) /
                              std::chrono::duration<double>(*batches.back().processing_end_time -
                                                            batches.front().submission_time)
                                  .count();
  result.processing_p50 = percentile(processing, 0.5);
  result.processing_p99 = percentile(processing, 0.99);
  result.latency_p50 = percentile(latency, 0.5);
  result.latency_p95 = percentile(latency, 0.95);
  result.latency_p99 = percentile(latency, 0.99);
  result.latency_max = percentile(latency, 1.0);
  result.sustained = result.missed <= kMostMissed && late / half < Milliseconds(interval).count();
  return result;
}

}  // namespace

TrialResult run_trial(const TrialOptions& options, Duration interval) {
  const internal::ScratchDirectory scratch;
  Context context(Config()
                      .set("master", options.master)
                      .set("durability", options.durability)
                      .set("backpressure", "false")  // what comes is to be taken
                      .set("log-level", "error"));
  StreamingContext stream(context, interval);
  stream.checkpoint(scratch.path());
  const auto batches = std::make_shared<Batches>();
  stream.add_listener(batches);
  const Schedule schedule{.start = Clock::system().now(), .rates = {{0, options.rate}}};
  build(stream,
        OpenLoopSource(schedule, options.keys,
                       static_cast<int>(context.engine()->default_parallelism())),
        options.workload);
  stream.start();
  if (stream.await_termination_for(kWarmUp + measured(interval))) {
    return {.interval = interval, .failure = "the stream has ended"};
  }
  const auto measured_batches = batches->since(schedule.start + kWarmUp);
  stream.stop({.graceful = false});
  return evaluate(measured_batches, schedule, interval);
}

}  // namespace weir::tools
