#include "weir/dstream/log/batch_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

#include <benchmark/benchmark.h>

#include "weir/core/durable_store.h"

// One batch's durable write: an INTENT with the COMMIT before it, appended and awaited, against the
// same number of bytes written and synced by hand. In the directory that TMPDIR names, or /var/tmp.
namespace {

constexpr std::size_t kInputBytes = 400;  // of an INTENT: about sixteen Kafka partitions

class Folder {
 public:
  Folder() {
    const char* const base = std::getenv("TMPDIR");
    path_ = std::string(base != nullptr ? base : "/var/tmp") + "/weir-bench-XXXXXX";
    if (mkdtemp(path_.data()) == nullptr) std::abort();
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

weir::LogRecord record(weir::LogRecord::Kind kind, std::uint64_t sequence) {
  weir::LogRecord made{kind, sequence, weir::Time(weir::Duration(sequence)), {}};
  if (kind == weir::LogRecord::Kind::kIntent) {
    made.sections.push_back({"input/lines", 1, std::string(kInputBytes, 'x')});
  }
  return made;
}

/// Of a group as it is written below.
std::uint64_t bytes_per_batch() {
  static const std::uint64_t bytes = [] {
    const Folder folder;
    const auto log = weir::BatchLog::open(weir::open_directory_store(folder.path()), {"a", 1, 512},
                                          {.durability = weir::Durability::kNone});
    log->append(record(weir::LogRecord::Kind::kIntent, 1));
    log->flush();
    const std::uint64_t before = log->timings().bytes;
    log->append(record(weir::LogRecord::Kind::kCommit, 1));
    log->append(record(weir::LogRecord::Kind::kIntent, 2));
    log->flush();
    return log->timings().bytes - before;
  }();
  return bytes;
}

std::unique_ptr<weir::BatchLog> open_log(const Folder& folder) {
  return weir::BatchLog::open(weir::open_directory_store(folder.path()), {"a", 1, 512}, {});
}

void write_batch(weir::BatchLog& log, std::uint64_t sequence) {
  if (sequence != 1) log.append(record(weir::LogRecord::Kind::kCommit, sequence - 1));
  log.await(log.append(record(weir::LogRecord::Kind::kIntent, sequence)));
}

/// As a driver sees it: with the way to the log's thread and back, which a driver spends on the
/// batch's jobs.
void batch_log_await_weir(benchmark::State& state) {
  const Folder folder;
  const auto log = open_log(folder);
  std::uint64_t sequence = 0;
  for (auto _ : state) write_batch(*log, ++sequence);
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(batch_log_await_weir)->Unit(benchmark::kMicrosecond)->UseRealTime();

/// The group alone: serialized, appended, synced.
void batch_log_weir(benchmark::State& state) {
  const Folder folder;
  const auto log = open_log(folder);
  std::uint64_t sequence = 0;
  for (auto _ : state) {
    write_batch(*log, ++sequence);
    const auto timings = log->timings();
    state.SetIterationTime(
        std::chrono::duration<double>(timings.last_append + timings.last_sync).count());
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(batch_log_weir)->Unit(benchmark::kMicrosecond)->UseManualTime();

void write_by_hand(benchmark::State& state) {
  const Folder folder;
  const std::string path = folder.path() + "/log";
  const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  const std::string bytes(bytes_per_batch(), 'x');
  for (auto _ : state) {
    if (write(file, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()) ||
        fdatasync(file) != 0) {
      state.SkipWithError("cannot write");
      break;
    }
  }
  close(file);
  state.SetItemsProcessed(state.iterations());
}
void batch_log_raw(benchmark::State& state) { write_by_hand(state); }
void batch_log_await_raw(benchmark::State& state) { write_by_hand(state); }
BENCHMARK(batch_log_raw)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK(batch_log_await_raw)->Unit(benchmark::kMicrosecond)->UseRealTime();

}  // namespace
