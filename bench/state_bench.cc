#include <malloc.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>
#include <boost/unordered/unordered_flat_map.hpp>

#include "weir/core/state/map_with_state.h"
#include "weir/core/state/window_state.h"

// State per key and windows as state, each against what it should not be much slower or larger
// than. Where a figure is not a time, its nanoseconds are what its name says: bytes or a
// percentile.
namespace {

using namespace std::chrono_literals;
using weir::Time;
using weir::internal::KeyGroups;
using weir::internal::StateBatch;
using weir::internal::StateOverlay;
using weir::internal::StateTable;
using weir::internal::StateView;

using Key = std::pair<std::uint64_t, std::uint64_t>;
constexpr std::uint64_t kSeed = 7;
constexpr std::uint64_t kMany = 1'000'000;
constexpr std::uint64_t kFew = 10'000;
constexpr KeyGroups kGroups{512, 0, 512};

Key key_of(std::uint64_t i) { return {i * 0x9E3779B97F4A7C15U, i}; }
Time at_second(std::int64_t second) { return Time(std::chrono::seconds(second)); }

// Bytes that the allocator has handed out, with what it needs itself.
std::uint64_t allocated() {
  const auto info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

// Of this thread: other programs on the machine are no part of a percentile.
std::uint64_t cpu_nanoseconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(now.tv_nsec);
}

double as_seconds(std::uint64_t nanoseconds) { return static_cast<double>(nanoseconds) / 1e9; }

struct Record {
  std::uint64_t hash;
  Key key;
};
std::vector<Record> records_of(std::uint64_t count, std::uint64_t keys, std::uint64_t stride) {
  std::vector<Record> records;
  for (std::uint64_t i = 0; i < count; ++i) {
    const Key key = key_of(i * 7919 % keys * stride);
    records.push_back({weir::internal::key_hash(key, kSeed), key});
  }
  return records;
}

// --- a sum per key ---

std::int64_t sum(const Key&, std::optional<std::int64_t> value, weir::State<std::int64_t>& state) {
  const std::int64_t total = state.get_optional().value_or(0) + value.value_or(0);
  state.update(total);
  return total;
}
const auto& summing() {
  static const auto op =
      weir::internal::map_with_state_operator<Key, std::int64_t>(weir::StateSpec(weir::fn<&sum>));
  return op;
}

std::unique_ptr<StateOverlay> run_batch(const StateTable& table, const std::vector<Record>& records,
                                        std::int64_t second) {
  const StateView view{&table, {}};
  auto update = summing().begin(view, StateBatch{1, at_second(second), kSeed, kGroups});
  for (const Record& record : records) update.add(record.hash, Key(record.key), 1);
  std::vector<std::int64_t> out;
  auto overlay = update.finish(out);
  benchmark::DoNotOptimize(out.data());
  return overlay;
}

std::unique_ptr<StateTable> table_of(std::uint64_t keys) {
  auto table = summing().make_table(kGroups);
  for (std::uint64_t begin = 0; begin < keys; begin += kFew) {  // grows as it does in a job
    std::vector<Record> records;
    for (std::uint64_t i = begin; i < begin + kFew; ++i) {
      records.push_back({weir::internal::key_hash(key_of(i), kSeed), key_of(i)});
    }
    table->fold(*run_batch(*table, records, 1));
  }
  return table;
}
const StateTable& many_keys() {
  static const auto table = table_of(kMany);
  return *table;
}
const StateTable& few_keys() {
  static const auto table = table_of(kFew);
  return *table;
}

// 100,000 records over 1 % of a million keys, against as many over ten thousand that are all.
void update(benchmark::State& state, const StateTable& table, std::uint64_t stride) {
  const auto records = records_of(100'000, kFew, stride);
  for (auto _ : state) {
    auto overlay = run_batch(table, records, 2);
    benchmark::DoNotOptimize(overlay.get());
  }
  state.SetItemsProcessed(state.iterations() * 100'000);
}
void state_update_weir(benchmark::State& state) { update(state, many_keys(), kMany / kFew); }
void state_update_raw(benchmark::State& state) { update(state, few_keys(), 1); }
BENCHMARK(state_update_weir)->Unit(benchmark::kMillisecond);
BENCHMARK(state_update_raw)->Unit(benchmark::kMillisecond);

template <class Make>
void bytes_per_key(benchmark::State& state, const Make& make) {
  for (auto _ : state) {
    malloc_trim(0);
    const std::uint64_t before = allocated();
    const auto made = make();
    state.SetIterationTime(as_seconds((allocated() - before) / kMany));
    benchmark::DoNotOptimize(&made);
  }
}
using FlatMap = boost::unordered_flat_map<Key, std::int64_t>;
FlatMap flat_map() {
  FlatMap map;
  for (std::uint64_t i = 0; i < kMany; ++i) map.emplace(key_of(i), 1);
  return map;
}
void state_bytes_per_key_weir(benchmark::State& state) {
  bytes_per_key(state, [] { return table_of(kMany); });
}
void state_bytes_per_key_hand(benchmark::State& state) { bytes_per_key(state, flat_map); }
BENCHMARK(state_bytes_per_key_weir)->UseManualTime()->Iterations(1);
BENCHMARK(state_bytes_per_key_hand)->UseManualTime()->Iterations(1);

// A million keys from bytes into memory.
void state_restore_weir(benchmark::State& state) {
  std::vector<std::string> groups;
  for (std::uint32_t group = 0; group < kGroups.total; ++group) {
    weir::SlimWriter out;
    many_keys().write_group(group, out);
    groups.emplace_back(out.view());
  }
  for (auto _ : state) {
    auto table = summing().make_table(kGroups);
    for (std::uint32_t group = 0; group < kGroups.total; ++group) {
      weir::SlimReader in(groups[group]);
      table->read_group(group, in);
    }
    benchmark::DoNotOptimize(table.get());
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kMany));
}
void state_restore_hand(benchmark::State& state) {
  const std::string bytes = weir::encode(std::vector<FlatMap::value_type>([] {
    const auto map = flat_map();
    return std::vector<FlatMap::value_type>(map.begin(), map.end());
  }()));
  for (auto _ : state) {
    FlatMap map;
    weir::SlimReader in(bytes);
    const std::size_t count = in.get_length(24);
    map.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
      std::pair<Key, std::int64_t> entry;
      in & entry;
      map.emplace(entry);
    }
    benchmark::DoNotOptimize(&map);
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kMany));
}
BENCHMARK(state_restore_weir)->Unit(benchmark::kMillisecond);
BENCHMARK(state_restore_hand)->Unit(benchmark::kMillisecond);

// --- windows that slide by a second over ten thousand keys ---

struct Add {
  std::int64_t operator()(std::int64_t a, std::int64_t b) const { return a + b; }
};
struct Subtract {
  std::int64_t operator()(std::int64_t a, std::int64_t b) const { return a - b; }
};
struct Larger {
  std::int64_t operator()(std::int64_t a, std::int64_t b) const { return std::max(a, b); }
};
using Sums = weir::internal::WindowOperator<std::uint64_t, std::int64_t, Add, Subtract>;
using Maxima = weir::internal::WindowOperator<std::uint64_t, std::int64_t, Larger>;

struct WindowFigures {
  std::uint64_t median = 0;  // nanoseconds of a batch
  std::uint64_t p99 = 0;
  std::uint64_t peak = 0;  // bytes held
  std::uint64_t raw = 0;   // bytes of keys and values in the window's slices
};

template <class Operator>
WindowFigures run_window(std::chrono::seconds length) {
  const Operator op = [&] {
    if constexpr (std::is_same_v<Operator, Sums>) {
      return Operator({length, 1s, 1s, {}}, {}, {});
    } else {
      return Operator({length, 1s, 1s, {}}, {});
    }
  }();
  std::vector<std::pair<std::uint64_t, std::uint64_t>> keys;
  for (std::uint64_t i = 0; i < kFew; ++i) {
    keys.emplace_back(weir::internal::key_hash(i, kSeed), i);
  }
  malloc_trim(0);
  const std::uint64_t before = allocated();
  WindowFigures figures;
  figures.raw = static_cast<std::uint64_t>(length.count()) * kFew * 16;
  auto table = op.make_table(kGroups);
  std::vector<std::uint64_t> times;
  for (std::int64_t second = 1; second <= length.count() + 1000; ++second) {
    const std::uint64_t start = cpu_nanoseconds();
    const StateView view{table.get(), {}};
    auto update = op.begin(view, {1, at_second(second), kSeed, kGroups});
    for (const auto& [hash, key] : keys) {
      update.add(hash, std::uint64_t{key}, static_cast<std::int64_t>(hash % 1000 + second % 7));
    }
    typename std::vector<typename Operator::Out> out;
    const auto overlay = update.finish(out);
    const std::uint64_t held = allocated();
    table->fold(*overlay);
    if (second > length.count()) times.push_back(cpu_nanoseconds() - start);
    figures.peak = std::max(figures.peak, held - before);
  }
  std::sort(times.begin(), times.end());
  figures.median = times[times.size() / 2];
  figures.p99 = times[times.size() * 99 / 100];
  return figures;
}

enum class Figure { kMedian, kP99, kPeak, kRaw };
template <class Operator>
void window(benchmark::State& state, std::chrono::seconds length, Figure figure) {
  for (auto _ : state) {
    const WindowFigures all = run_window<Operator>(length);
    state.SetIterationTime(as_seconds(figure == Figure::kMedian ? all.median
                                      : figure == Figure::kP99  ? all.p99
                                      : figure == Figure::kPeak ? all.peak
                                                                : all.raw));
  }
}

#define WEIR_WINDOW_BENCH(name, Operator, length, figure)                         \
  void name(benchmark::State& state) { window<Operator>(state, length, figure); } \
  BENCHMARK(name)->UseManualTime()->Iterations(1)->Unit(benchmark::kMicrosecond)
// An hour against a minute; of the hour, the 99th percentile against the median, and the most bytes
// that are held against those of its slices' keys and values.
WEIR_WINDOW_BENCH(state_window_weir, Maxima, 3600s, Figure::kMedian);
WEIR_WINDOW_BENCH(state_window_raw, Maxima, 60s, Figure::kMedian);
WEIR_WINDOW_BENCH(state_window_inverse_weir, Sums, 3600s, Figure::kMedian);
WEIR_WINDOW_BENCH(state_window_inverse_raw, Sums, 60s, Figure::kMedian);
WEIR_WINDOW_BENCH(state_window_p99_weir, Maxima, 3600s, Figure::kP99);
WEIR_WINDOW_BENCH(state_window_p99_raw, Maxima, 3600s, Figure::kMedian);
WEIR_WINDOW_BENCH(state_window_inverse_p99_weir, Sums, 3600s, Figure::kP99);
WEIR_WINDOW_BENCH(state_window_inverse_p99_raw, Sums, 3600s, Figure::kMedian);
WEIR_WINDOW_BENCH(state_window_bytes_weir, Maxima, 3600s, Figure::kPeak);
WEIR_WINDOW_BENCH(state_window_bytes_raw, Maxima, 3600s, Figure::kRaw);
WEIR_WINDOW_BENCH(state_window_inverse_bytes_weir, Sums, 3600s, Figure::kPeak);
WEIR_WINDOW_BENCH(state_window_inverse_bytes_raw, Sums, 3600s, Figure::kRaw);
#undef WEIR_WINDOW_BENCH

}  // namespace
