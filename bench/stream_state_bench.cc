// What checkpoints cost a stateful stream, and what keys cost it: batches of 100,000 records over a
// map_with_state of many keys, from the cut to the end of the batch.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <benchmark/benchmark.h>

#include "weir/weir.h"

#include "key_source.h"

namespace {

using namespace std::chrono_literals;
using weir::bench::Key;
using weir::bench::KeySource;

constexpr std::uint64_t kRecords = 100'000;
constexpr std::uint32_t kPartitions = 2;
constexpr int kBatches = 500;
constexpr auto kInterval = 20ms;

/// A batch's time, from the cut to its end, that `percent` of all stay below. They come at their
/// interval, as in a stream that keeps up; with `checkpoints` there is a CHECKPOINT every second.
double batch_seconds(std::int64_t keys, bool checkpoints, std::size_t percent) {
  std::vector<double> times;
  std::string directory = (std::filesystem::temp_directory_path() / "weir-bench-XXXXXX").string();
  if (mkdtemp(directory.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
  {
    const auto clock = std::make_shared<weir::ManualClock>();
    weir::Context context(weir::Config()
                              .set("master", "local[2]")
                              .set("log-level", "error")
                              .set("stop-on-signal", "false"));
    weir::StreamingContext stream(context, kInterval, {.clock = clock, .checkpoint_interval = 1s});
    if (checkpoints) stream.checkpoint(directory);
    stream.source_stream(KeySource(static_cast<std::uint64_t>(keys), kRecords))
        .map_with_state(weir::StateSpec([](const Key&, std::optional<std::int64_t> value,
                                           weir::State<std::int64_t>& sum) {
                          sum.update(sum.get_optional().value_or(0) + *value);
                          return true;
                        }).partitions(kPartitions))
        .foreach_rdd([](const auto&) {});
    stream.start();
    std::uint64_t batch = 0;
    const auto run_batch = [&] {
      ++batch;
      clock->advance_to(weir::Time(kInterval * static_cast<std::int64_t>(batch)));
      stream.await_batch(batch);
    };
    for (int i = 0; i < 5; ++i) run_batch();
    auto due = std::chrono::steady_clock::now();
    for (int i = 0; i < kBatches; ++i) {
      std::this_thread::sleep_until(due += kInterval);
      const auto begin = std::chrono::steady_clock::now();
      run_batch();
      times.push_back(
          std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    }
    stream.stop({.graceful = false});
  }
  std::filesystem::remove_all(directory);
  std::ranges::sort(times);
  return times[times.size() * percent / 100];
}

#define WEIR_STREAM_STATE_BENCH(name, keys, checkpoints, percent)                           \
  void name(benchmark::State& state) {                                                      \
    for (auto _ : state) state.SetIterationTime(batch_seconds(keys, checkpoints, percent)); \
  }                                                                                         \
  BENCHMARK(name)->UseManualTime()->Iterations(1)->Unit(benchmark::kMicrosecond)
WEIR_STREAM_STATE_BENCH(stream_state_keys_weir, 1'000'000, false, 50);
WEIR_STREAM_STATE_BENCH(stream_state_keys_raw, 10'000, false, 50);
WEIR_STREAM_STATE_BENCH(stream_state_checkpoints_weir, 1'000'000, true, 50);
WEIR_STREAM_STATE_BENCH(stream_state_checkpoints_raw, 1'000'000, false, 50);
WEIR_STREAM_STATE_BENCH(stream_state_checkpoints_p99_weir, 1'000'000, true, 99);
WEIR_STREAM_STATE_BENCH(stream_state_checkpoints_p99_raw, 1'000'000, false, 99);
#undef WEIR_STREAM_STATE_BENCH

}  // namespace
