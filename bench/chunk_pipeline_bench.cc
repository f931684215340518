#include <cstdint>
#include <vector>

#include <benchmark/benchmark.h>

#include "weir/core/context.h"

// map -> filter -> map -> sum over 8-byte records on one thread, against the same in one hand-fused
// loop.
namespace {

constexpr std::size_t kRecords = 10'000'000;

std::vector<std::uint64_t> records() {
  std::vector<std::uint64_t> made(kRecords);
  std::uint64_t x = 88172645463325252U;
  for (auto& record : made) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    record = x;
  }
  return made;
}

void chunk_pipeline_hand(benchmark::State& state) {
  const auto data = records();
  for (auto _ : state) {
    std::uint64_t sum = 0;
    for (const std::uint64_t record : data) {
      const std::uint64_t mixed = record * 31 + 7;
      if (mixed % 8 < 4) sum += mixed >> 3;
    }
    benchmark::DoNotOptimize(sum);
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kRecords));
}
BENCHMARK(chunk_pipeline_hand)->Unit(benchmark::kMillisecond)->UseRealTime();

void chunk_pipeline_weir(benchmark::State& state) {
  weir::Context context(weir::Config().set("master", "local[1]"));
  const auto data = context.parallelize(records(), 1);
  for (auto _ : state) {
    const std::uint64_t sum = data.map([](std::uint64_t record) { return record * 31 + 7; })
                                  .filter([](std::uint64_t mixed) { return mixed % 8 < 4; })
                                  .map([](std::uint64_t mixed) { return mixed >> 3; })
                                  .reduce([](std::uint64_t a, std::uint64_t b) { return a + b; });
    benchmark::DoNotOptimize(sum);
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kRecords));
}
BENCHMARK(chunk_pipeline_weir)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
