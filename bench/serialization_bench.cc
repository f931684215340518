#include <cstring>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>
#include <boost/archive/binary_iarchive.hpp>
#include <boost/archive/binary_oarchive.hpp>
#include <boost/serialization/string.hpp>
#include <boost/serialization/utility.hpp>
#include <boost/serialization/vector.hpp>

#include "weir/core/archive.h"

// (string, int64) records written and read: by hand, by the slim archive, by Boost's binary
// archive.
namespace {

using Record = std::pair<std::string, std::int64_t>;
constexpr std::size_t kRecords = 100'000;

const std::vector<Record>& records() {
  static const std::vector<Record> made = [] {
    std::vector<Record> all;
    for (std::size_t i = 0; i < kRecords; ++i) {
      all.emplace_back("w" + std::to_string(i * 7919 % 100'000), static_cast<std::int64_t>(i));
    }
    return all;
  }();
  return made;
}

void count_records(benchmark::State& state) {
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kRecords));
}

std::string write_by_hand() {
  std::size_t size = 0;
  for (const auto& [key, value] : records()) size += 4 + key.size() + 8;
  std::string out(size, '\0');
  char* at = out.data();
  for (const auto& [key, value] : records()) {
    const auto length = static_cast<std::uint32_t>(key.size());
    std::memcpy(at, &length, 4);
    std::memcpy(at + 4, key.data(), key.size());
    std::memcpy(at + 4 + key.size(), &value, 8);
    at += 12 + key.size();
  }
  return out;
}

void serialization_write_hand(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(write_by_hand().data());
  count_records(state);
}
BENCHMARK(serialization_write_hand)->Unit(benchmark::kMicrosecond);

void serialization_write_weir(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(weir::encode_bytes(records()).data());
  count_records(state);
}
BENCHMARK(serialization_write_weir)->Unit(benchmark::kMicrosecond);

std::string write_by_boost() {
  std::ostringstream stream;
  boost::archive::binary_oarchive(stream, boost::archive::no_header) << records();
  return stream.str();
}

void serialization_write_boost(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(write_by_boost().data());
  count_records(state);
}
BENCHMARK(serialization_write_boost)->Unit(benchmark::kMicrosecond);

void serialization_read_hand(benchmark::State& state) {
  const std::string bytes = write_by_hand();
  for (auto _ : state) {
    std::vector<Record> all;
    all.reserve(kRecords);
    for (const char* at = bytes.data(); at != bytes.data() + bytes.size();) {
      std::uint32_t length = 0;
      std::int64_t value = 0;
      std::memcpy(&length, at, 4);
      std::memcpy(&value, at + 4 + length, 8);
      all.emplace_back(std::string(at + 4, length), value);
      at += 12 + length;
    }
    benchmark::DoNotOptimize(all.data());
  }
  count_records(state);
}
BENCHMARK(serialization_read_hand)->Unit(benchmark::kMicrosecond);

void serialization_read_weir(benchmark::State& state) {
  const std::string bytes = weir::encode(records());
  for (auto _ : state) {
    benchmark::DoNotOptimize(weir::decode<std::vector<Record>>(bytes).data());
  }
  count_records(state);
}
BENCHMARK(serialization_read_weir)->Unit(benchmark::kMicrosecond);

void serialization_read_boost(benchmark::State& state) {
  const std::string bytes = write_by_boost();
  for (auto _ : state) {
    std::istringstream stream(bytes);
    std::vector<Record> all;
    boost::archive::binary_iarchive(stream, boost::archive::no_header) >> all;
    benchmark::DoNotOptimize(all.data());
  }
  count_records(state);
}
BENCHMARK(serialization_read_boost)->Unit(benchmark::kMicrosecond);

}  // namespace
