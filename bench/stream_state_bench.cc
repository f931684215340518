// What checkpoints cost a stateful stream, and what keys cost it: batches of 100,000 records over a
// map_with_state of many keys, from the cut to the end of the batch.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>

#include "weir/dstream/memory_source.h"
#include "weir/weir.h"

namespace {

using namespace std::chrono_literals;

constexpr std::int64_t kRecords = 100'000;
constexpr std::uint32_t kPartitions = 2;

struct Piece {
  std::uint64_t first = 0;  ///< key
  std::uint64_t step = 1;
  std::uint64_t count = 0;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & first & step & count;
  }
};

std::string key_of(std::uint64_t number) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(number));
  return text;
}

/// The first batches give every key once; the later ones kRecords records over one key in a
/// hundred, another hundredth each time.
class KeySource {
 public:
  KeySource() = default;
  explicit KeySource(std::uint64_t keys) : keys_(keys) {}

  std::uint64_t initial() { return 0; }
  std::uint64_t latest(std::uint64_t from, const weir::SourceLimit&) { return from + 1; }
  std::vector<Piece> plan(std::uint64_t from, std::uint64_t) const {
    if (from == 0) return {{0, 2, keys_ / 2}, {1, 2, keys_ / 2}};
    const std::uint64_t offset = from % 100;
    return {{offset, 100, kRecords / 2}, {offset, 100, kRecords / 2}};
  }
  std::vector<std::pair<std::string, std::int64_t>> read(const Piece& piece) const {
    std::vector<std::pair<std::string, std::int64_t>> records;
    records.reserve(piece.count);
    std::uint64_t key = piece.first;
    for (std::uint64_t i = 0; i < piece.count; ++i) {
      records.emplace_back(key_of(key), 1);
      key += piece.step;
      if (key >= keys_) key = piece.first;
    }
    return records;
  }
  void released(std::uint64_t) {}

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & keys_;
  }

 private:
  std::uint64_t keys_ = 0;
};

/// One iteration is one batch, from the cut to its end; with `checkpoints` every tenth is made a
/// CHECKPOINT of.
void run_batches(benchmark::State& state, std::int64_t keys, bool checkpoints) {
  std::string directory = (std::filesystem::temp_directory_path() / "weir-bench-XXXXXX").string();
  if (mkdtemp(directory.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
  {
    const auto clock = std::make_shared<weir::ManualClock>();
    weir::Context context(weir::Config()
                              .set("master", "local[2]")
                              .set("log-level", "error")
                              .set("stop-on-signal", "false"));
    weir::StreamingContext stream(context, 100ms, {.clock = clock, .checkpoint_interval = 1s});
    if (checkpoints) stream.checkpoint(directory);
    stream.source_stream(KeySource(static_cast<std::uint64_t>(keys)))
        .map_with_state(weir::StateSpec([](const std::string&, std::optional<std::int64_t> value,
                                           weir::State<std::int64_t>& sum) {
                          sum.update(sum.get_optional().value_or(0) + *value);
                          return true;
                        }).partitions(kPartitions))
        .foreach_rdd([](const auto&) {});
    stream.start();
    std::uint64_t batch = 0;
    const auto run_batch = [&] {
      ++batch;
      clock->advance_to(weir::Time(100ms * static_cast<std::int64_t>(batch)));
      stream.await_batch(batch);
    };
    for (int i = 0; i < 5; ++i) run_batch();
    std::vector<double> times;
    for (auto _ : state) {
      const auto begin = std::chrono::steady_clock::now();
      run_batch();
      times.push_back(
          std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
      state.SetIterationTime(times.back());
    }
    std::ranges::sort(times);
    state.counters["p50_ms"] = times[times.size() / 2] * 1e3;
    state.counters["p99_ms"] = times[times.size() * 99 / 100] * 1e3;
    stream.stop({.graceful = false});
  }
  std::filesystem::remove_all(directory);
}

void stream_state_keys_weir(benchmark::State& state) { run_batches(state, 1'000'000, false); }
void stream_state_keys_raw(benchmark::State& state) { run_batches(state, 10'000, false); }
void stream_state_checkpoints_weir(benchmark::State& state) { run_batches(state, 1'000'000, true); }
void stream_state_checkpoints_raw(benchmark::State& state) { run_batches(state, 1'000'000, false); }

BENCHMARK(stream_state_keys_weir)->UseManualTime()->Iterations(200);
BENCHMARK(stream_state_keys_raw)->UseManualTime()->Iterations(200);
BENCHMARK(stream_state_checkpoints_weir)->UseManualTime()->Iterations(200);
BENCHMARK(stream_state_checkpoints_raw)->UseManualTime()->Iterations(200);

}  // namespace
