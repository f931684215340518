// Whether a short batch interval holds on a real Kafka: lines written at a steady rate, words
// counted per batch on local-cluster[2,1], and at the end how many grid points had a batch of their
// own, how long batches waited, and whether that grew. Run by `scripts/bench kafka_interval`, which
// starts the broker and the line generator.
//
//     kafka_interval_bench --brokers A --topic T --interval 10ms --seconds 60

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <numeric>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

#include "weir/connectors/kafka.h"
#include "weir/weir.h"

namespace {

using Milliseconds = std::chrono::duration<double, std::milli>;

class Batches final : public weir::StreamingListener {
 public:
  void on_batch_completed(const weir::BatchInfo& batch) override {
    const std::scoped_lock lock(mutex_);
    if (batch.scheduling_delay() && batch.processing_time()) batches_.push_back(batch);
  }

  void report(weir::Duration interval) const {
    const std::scoped_lock lock(mutex_);
    if (batches_.size() < 2) {
      std::printf("only %zu batches ran\n", batches_.size());
      return;
    }
    std::set<weir::Time> times;
    std::vector<double> delay;
    std::vector<double> processing;
    std::uint64_t records = 0;
    for (const weir::BatchInfo& batch : batches_) {
      times.insert(batch.batch_time);
      // From the grid point, not from the submission: a late cut counts as well.
      delay.push_back(Milliseconds(*batch.processing_start_time - batch.batch_time).count());
      processing.push_back(Milliseconds(*batch.processing_time()).count());
      records += batch.num_records();
    }
    const auto points = (*times.rbegin() - *times.begin()) / interval + 1;
    std::printf("interval              %s\n", weir::to_string(interval).c_str());
    std::printf("grid points           %" PRId64 ", with a batch of their own %zu (%.2f %%)\n",
                static_cast<std::int64_t>(points), times.size(),
                100.0 * static_cast<double>(times.size()) / static_cast<double>(points));
    std::printf("records               %" PRIu64 "\n", records);
    std::printf("processing time       p50 %.2f ms, p99 %.2f ms\n", percentile(processing, 0.5),
                percentile(processing, 0.99));
    std::printf("delay from grid point p50 %.2f ms, p99 %.2f ms, max %.2f ms\n",
                percentile(delay, 0.5), percentile(delay, 0.99), percentile(delay, 1.0));
    std::printf("slope of the delay    %+.4f ms per second\n", slope(delay, interval));
    std::printf("slowest batches      ");
    std::vector<std::size_t> order(batches_.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    const auto shown = std::min<std::size_t>(8, order.size());
    std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(shown),
                      order.end(),
                      [&](std::size_t a, std::size_t b) { return processing[a] > processing[b]; });
    for (std::size_t i = 0; i < shown; ++i) {
      const weir::BatchInfo& batch = batches_[order[i]];
      const auto at = std::chrono::duration<double>(batch.batch_time - batches_[0].batch_time);
      std::printf(" %.0f ms at %.2f s (%" PRIu64 " records)", processing[order[i]], at.count(),
                  batch.num_records());
    }
    std::printf("\n");
  }

 private:
  static double percentile(std::vector<double> values, double share) {
    const auto at = static_cast<std::size_t>(share * static_cast<double>(values.size() - 1));
    std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(at),
                     values.end());
    return values[at];
  }

  /// Least squares over the batches' order.
  static double slope(const std::vector<double>& values, weir::Duration interval) {
    const double step = std::chrono::duration<double>(interval).count();
    const double middle = step * static_cast<double>(values.size() - 1) / 2;
    double products = 0;
    double squares = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const double x = step * static_cast<double>(i) - middle;
      products += x * values[i];
      squares += x * x;
    }
    return products / squares;
  }

  mutable std::mutex mutex_;
  std::vector<weir::BatchInfo> batches_;
};

int run(int argc, char** argv) {
  weir::Context context(argc, argv, weir::Config().set("master", "local-cluster[2,1]"));
  std::string brokers;
  std::string topic = "lines";
  std::string interval_text = "10ms";
  std::int64_t seconds = 60;
  CLI::App app("Measures whether a batch interval holds on a Kafka topic");
  app.add_option("--brokers", brokers, "bootstrap servers")->required();
  app.add_option("--topic", topic, "topic of text lines")->capture_default_str();
  app.add_option("--interval", interval_text, "batch interval")->capture_default_str();
  app.add_option("--seconds", seconds, "how long")->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error) == 0 ? 0 : 2);
  }
  const weir::Duration interval = weir::parse_duration(interval_text, "--interval");
  weir::StreamingContext stream(context, interval);
  std::int64_t words = 0;
  weir::kafka::direct_stream(stream, {.brokers = brokers, .topics = {topic}})
      .flat_map([](const weir::kafka::Record& record) { return weir::split(record.value, ' '); })
      .map([](std::string_view word) { return std::pair(word, std::int64_t{1}); })
      .reduce_by_key([](std::int64_t a, std::int64_t b) { return a + b; })
      .foreach_rdd([&](const auto& counts) {
        for (const auto& [word, count] : counts.collect()) words += count;
      });
  const auto batches = std::make_shared<Batches>();
  stream.add_listener(batches);
  stream.start();
  stream.await_termination_for(std::chrono::seconds(seconds));
  stream.stop();
  stream.await_termination();
  batches->report(interval);
  std::printf("words                 %" PRId64 "\n", words);
  return 0;
}

}  // namespace

int main(int argc, char** argv) { return weir::run_main(run, argc, argv); }
