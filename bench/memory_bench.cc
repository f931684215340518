// Sorting, grouping and reducing more than fits into the workers' memory: whether the results are
// right, how long it takes, and the most memory that a worker had resident, against its limit.

#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

#include "weir/weir.h"

namespace {

using Record = std::pair<std::string, std::string>;

constexpr std::int64_t kRecordBytes = 100;

/// 16 bytes of key and 84 of value; keys come about four times.
Record record_of(std::int64_t keys, std::int64_t i) {
  const auto key = static_cast<std::uint64_t>(i % keys) * 0x9E3779B97F4A7C15U;
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(key));
  return {text, std::string(84, static_cast<char>('a' + i % 26))};
}

/// Of this process, in bytes.
std::int64_t peak_resident() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    std::int64_t kibibytes = 0;
    if (word == "VmHWM:" && status >> kibibytes) return kibibytes * 1024;
  }
  return 0;
}

struct Settings {
  std::int64_t bytes = 4'000'000'000;
  std::int64_t memory = 256'000'000;
  std::uint32_t partitions = 64;
};

/// Each job in a cluster of its own, whose workers begin small.
template <class Job>
bool run(const Settings& settings, const char* name, Job job) {
  using Clock = std::chrono::steady_clock;
  weir::Context context(weir::Config()
                            .set("master", "local-cluster[2,1]")
                            .set("memory", std::to_string(settings.memory)));
  const auto start = Clock::now();
  const std::int64_t records = settings.bytes / kRecordBytes;
  const bool right = job(context, records);
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  const auto peaks =
      context.range(0, 16, 1, 16).map([](std::int64_t) { return peak_resident(); }).max();
  const double ratio = static_cast<double>(peaks) / static_cast<double>(settings.memory);
  std::printf("%-14s %8.1f s %8lld MB of %lld MB: %.2f (at most 1.30)  %s\n", name, seconds,
              static_cast<long long>(peaks / 1'000'000),
              static_cast<long long>(settings.memory / 1'000'000), ratio,
              right ? "right" : "WRONG");
  std::fflush(stdout);
  return right && ratio <= 1.3;
}

int run_all(int argc, char** argv) {
  weir::Context worker_or_driver(
      weir::Config().set("master", "local[1]"));  // workers go no further
  CLI::App app("memory_bench");
  Settings settings;
  app.add_option("--bytes", settings.bytes, "of the generated records");
  app.add_option("--memory", settings.memory, "of each worker");
  app.add_option("--partitions", settings.partitions);
  CLI11_PARSE(app, argc, argv);
  const std::int64_t keys = settings.bytes / kRecordBytes / 4;
  const std::uint32_t p = settings.partitions;

  const auto records = [&](weir::Context& context, std::int64_t n) {
    return context.range(0, n, 1, p).map(weir::bind(keys, [](std::int64_t k, std::int64_t i) {
      return record_of(k, i);
    }));
  };
  bool good = run(settings, "sort", [&](weir::Context& context, std::int64_t n) {
    const auto counts = records(context, n).sort_by_key(true, p).map_partitions([](auto elements) {
      std::string last;
      std::int64_t count = 0;
      for (const Record& record : elements) {
        if (record.first < last) return std::vector<std::int64_t>{-1'000'000'000'000};
        last = record.first;
        ++count;
      }
      return std::vector<std::int64_t>{count};
    });
    return counts.reduce([](std::int64_t a, std::int64_t b) { return a + b; }) == n;
  });
  good = run(settings, "group",
             [&](weir::Context& context, std::int64_t n) {
               const auto groups = records(context, n).group_by_key(p).map([](const auto& group) {
                 return static_cast<std::int64_t>(group.second.size());
               });
               const auto [count, sum] =
                   groups.map([](std::int64_t size) { return std::pair(std::int64_t{1}, size); })
                       .reduce([](const auto& a, const auto& b) {
                         return std::pair(a.first + b.first, a.second + b.second);
                       });
               return sum == n && count == keys;
             }) &&
         good;
  good = run(settings, "reduce, hot key",
             [&](weir::Context& context, std::int64_t n) {
               const auto counts =
                   context.range(0, n, 1, p)
                       .map([](std::int64_t i) {
                         return std::pair(
                             i % 10 == 0 ? "key-" + std::to_string(i) : std::string("hot"),
                             std::int64_t{1});
                       })
                       .reduce_by_key([](std::int64_t a, std::int64_t b) { return a + b; }, p);
               return counts.count() == n / 10 + 1 && counts.lookup("hot").at(0) == n / 10 * 9;
             }) &&
         good;
  return good ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) { return weir::run_main(run_all, argc, argv); }
