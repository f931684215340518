// What batches in flight bring to a stream that waits a lot: a source that answers after 2 ms, one
// shuffle, a sink that takes 2 ms to commit. "raw" runs one batch at a time, "weir" three.

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>

#include <weir/testing.h>
#include <weir/weir.h>

namespace {

using namespace std::chrono_literals;
using Pair = std::pair<int, std::int64_t>;
constexpr std::size_t kBatches = 100;

/// The time from the first batch to the end of the last, when all could begin at once.
void run_batches(benchmark::State& state, int in_flight) {
  const std::vector<std::vector<Pair>> input(kBatches, {{1, 1}, {2, 1}, {3, 1}, {4, 1}});
  std::int64_t sum = 0;
  for (auto _ : state) {
    const auto clock = std::make_shared<weir::ManualClock>();
    weir::Context context(weir::Config()
                              .set("master", "local[2]")
                              .set("batches-in-flight", std::to_string(in_flight))
                              .set("stop-on-signal", "false")
                              .set("backpressure", "false"));
    weir::StreamingContext stream(context, 1s, {.clock = clock});
    stream
        .source_stream(
            weir::MemorySource<Pair>(std::make_shared<weir::MemoryInput<Pair>>(input), 2))
        .map_partitions([](auto elements) {
          std::this_thread::sleep_for(2ms);
          std::vector<Pair> all;
          for (const Pair& each : elements) all.push_back(each);
          return all;
        })
        .reduce_by_key([](std::int64_t a, std::int64_t b) { return a + b; })
        .foreach_rdd([&](const auto& rdd) {
          for (const Pair& each : rdd.collect()) sum += each.second;
          std::this_thread::sleep_for(2ms);
        });
    stream.start();
    const auto began = std::chrono::steady_clock::now();
    clock->advance_to(weir::Time(kBatches * 1s));
    stream.await_batch(kBatches);
    state.SetIterationTime(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
    stream.stop({.graceful = false});
  }
  if (sum != static_cast<std::int64_t>(4 * kBatches * state.iterations())) {
    state.SkipWithError("elements are missing");
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(kBatches * state.iterations()));
}

void in_flight_batches_raw(benchmark::State& state) { run_batches(state, 1); }
void in_flight_batches_weir(benchmark::State& state) { run_batches(state, 3); }
BENCHMARK(in_flight_batches_raw)->UseManualTime()->Unit(benchmark::kMillisecond);
BENCHMARK(in_flight_batches_weir)->UseManualTime()->Unit(benchmark::kMillisecond);

}  // namespace
