#include <string_view>

#include <benchmark/benchmark.h>
#include <boost/unordered/unordered_flat_map.hpp>

#include "weir/core/context.h"
#include "weir/core/hash.h"
#include "weir/core/split.h"

#include "text_data.h"

// Word count over lines in memory on one thread, against the loop a careful C++ programmer would
// write: string_view keys, a pre-sized flat map, XXH3.
namespace {

constexpr std::size_t kLines = 200'000;
constexpr std::int64_t kWords = kLines * 10;

const std::vector<std::string>& lines(std::int64_t vocabulary) {
  static const auto small = weir::bench::zipf_lines(kLines, 1'000);
  static const auto large = weir::bench::zipf_lines(kLines, 50'000);
  return vocabulary <= 1'000 ? small : large;
}

struct Xxh3 {
  using is_avalanching = void;
  std::size_t operator()(std::string_view text) const { return weir::hash_bytes(text); }
};

void word_count_hand(benchmark::State& state) {
  const auto& text = lines(state.range(0));
  for (auto _ : state) {
    boost::unordered_flat_map<std::string_view, std::int64_t, Xxh3> counts;
    counts.reserve(static_cast<std::size_t>(state.range(0)));
    for (const std::string& line : text) {
      const char* at = line.data();
      const char* end = at + line.size();
      while (at != end) {
        const char* begin = at;
        while (at != end && *at != ' ') ++at;
        if (at != begin) ++counts[std::string_view(begin, static_cast<std::size_t>(at - begin))];
        if (at != end) ++at;
      }
    }
    std::vector<std::pair<std::string, std::int64_t>> result(counts.begin(), counts.end());
    benchmark::DoNotOptimize(result.data());
  }
  state.SetItemsProcessed(state.iterations() * kWords);
}
BENCHMARK(word_count_hand)->Arg(1'000)->Arg(50'000)->Unit(benchmark::kMillisecond)->UseRealTime();

void word_count_weir(benchmark::State& state) {
  weir::Context context(weir::Config().set("master", "local[1]"));
  const auto text = context.parallelize(lines(state.range(0)), 1);
  for (auto _ : state) {
    const auto counts =
        text.flat_map([](const std::string& line) { return weir::split(line, ' '); })
            .map([](std::string_view word) { return std::pair(word, std::int64_t{1}); })
            .reduce_by_key([](std::int64_t a, std::int64_t b) { return a + b; })
            .collect();
    benchmark::DoNotOptimize(counts.data());
  }
  state.SetItemsProcessed(state.iterations() * kWords);
}
BENCHMARK(word_count_weir)->Arg(1'000)->Arg(50'000)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
