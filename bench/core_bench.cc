// The whole way of datasets against what a careful programmer writes by hand, and against ZeroMQ
// alone: word count over a file, keys that fill the caches many times over, sorting, a shuffle
// between processes, and tasks with nothing to do. Each iteration's own time is taken, without the
// making of its input.

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>
#include <zmq.hpp>

#include "weir/core/aggregation_table.h"
#include "weir/core/hash.h"
#include "weir/core/runner_registry.h"
#include "weir/weir.h"

#include "text_data.h"

namespace {

using weir::internal::AggregationTable;
using Count = std::int64_t;
using Word = std::pair<std::string, Count>;

constexpr std::size_t kFrameBytes = 256 * 1024;

Count plus(Count a, Count b) { return a + b; }

template <class Call>
void timed(benchmark::State& state, const Call& call) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  call();
  state.SetIterationTime(std::chrono::duration<double>(Clock::now() - start).count());
}

weir::Config config_of(const char* master) {
  return weir::Config().set("master", master).set("hash-seed", "42");
}

// --- word count over a file of 100 MB, one thread ---

constexpr std::size_t kTextBytes = 100'000'000;
std::string* text_path = nullptr;

void core_words_hand(benchmark::State& state) {
  for (auto _ : state) {
    timed(state, [] {
      AggregationTable<std::string, Count> counts;
      std::ifstream file(*text_path, std::ios::binary);
      std::string buffer(std::size_t{1} << 20, '\0');
      std::size_t kept = 0;  // of a word that is not complete
      while (file.read(buffer.data() + kept, static_cast<std::streamsize>(buffer.size() - kept)),
             file.gcount() > 0) {
        const char* at = buffer.data();
        const char* const end = at + kept + file.gcount();
        const char* word = at;
        for (; at != end; ++at) {
          if (*at != ' ' && *at != '\n') continue;
          if (at != word) {
            const std::string_view key(word, static_cast<std::size_t>(at - word));
            ++counts.find_or_insert(weir::hash_bytes(key, 42), key, [] { return Count{0}; })
                  .first->second;
          }
          word = at + 1;
        }
        kept = static_cast<std::size_t>(end - word);
        std::copy(word, end, buffer.data());
      }
      benchmark::DoNotOptimize(counts.entries().data());
    });
  }
}
BENCHMARK(core_words_hand)->Unit(benchmark::kMillisecond)->UseManualTime()->Iterations(1);

void core_words_weir(benchmark::State& state) {
  weir::Context context(config_of("local[1]"));
  for (auto _ : state) {
    timed(state, [&] {
      const auto counts =
          context.text_file(*text_path, 1)
              .flat_map([](const std::string& line) { return weir::split(line, ' '); })
              .filter([](std::string_view word) { return !word.empty(); })
              .map([](std::string_view word) { return std::pair(word, Count{1}); })
              .reduce_by_key(weir::fn<&plus>)
              .collect();
      benchmark::DoNotOptimize(counts.data());
    });
  }
}
BENCHMARK(core_words_weir)->Unit(benchmark::kMillisecond)->UseManualTime()->Iterations(1);

// --- four million records of a million keys, two threads ---

const std::vector<Word>& keyed_records() {
  static const std::vector<Word> records = [] {
    std::mt19937_64 random(7);
    std::vector<Word> all;
    for (int i = 0; i < 4'000'000; ++i) {
      all.emplace_back("user-" + std::to_string(i < 1'000'000 ? i : random() % 1'000'000), 1);
    }
    std::shuffle(all.begin(), all.end(), random);
    return all;
  }();
  return records;
}

/// Each thread aggregates its half into a table per thread; then each merges its own of both.
void core_keys_hand(benchmark::State& state) {
  const std::vector<Word>& records = keyed_records();
  for (auto _ : state) {
    timed(state, [&] {
      using Table = AggregationTable<std::string, Count>;
      std::array<std::array<Table, 2>, 2> halves;
      const auto add = [](Table& table, std::uint64_t hash, const std::string& key, Count count) {
        table.find_or_insert(hash, key, [] { return Count{0}; }).first->second += count;
      };
      const auto of = [](std::uint64_t hash) { return static_cast<std::size_t>(hash >> 63); };
      {
        std::vector<std::jthread> threads;
        for (std::size_t t = 0; t < 2; ++t) {
          threads.emplace_back([&, t] {
            for (std::size_t i = t * records.size() / 2; i < (t + 1) * records.size() / 2; ++i) {
              const std::uint64_t hash = weir::hash_bytes(records[i].first, 42);
              add(halves[t][of(hash)], hash, records[i].first, records[i].second);
            }
          });
        }
      }
      std::vector<std::jthread> threads;
      for (std::size_t t = 0; t < 2; ++t) {
        threads.emplace_back([&, t] {
          Table& into = halves[0][t];
          const Table& from = halves[1][t];
          for (std::size_t i = 0; i < from.size(); ++i) {
            add(into, from.hashes()[i], from.entries()[i].first, from.entries()[i].second);
          }
        });
      }
      threads.clear();
      benchmark::DoNotOptimize(halves[0][0].entries().data());
    });
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(records.size()));
}
BENCHMARK(core_keys_hand)->Unit(benchmark::kMillisecond)->UseManualTime()->Iterations(1);

void core_keys_weir(benchmark::State& state) {
  weir::Context context(config_of("local[2]"));
  const auto records = context.parallelize(keyed_records(), 2);
  for (auto _ : state) {
    timed(state, [&] {
      if (records.reduce_by_key(weir::fn<&plus>).count() != 1'000'000) {
        state.SkipWithError("wrong result");
      }
    });
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(keyed_records().size()));
}
BENCHMARK(core_keys_weir)->Unit(benchmark::kMillisecond)->UseManualTime()->Iterations(1);

// --- sorting ten million integers: two threads against std::sort on one ---

const std::vector<std::int64_t>& integers() {
  static const std::vector<std::int64_t> all = [] {
    std::mt19937_64 random(11);
    std::vector<std::int64_t> numbers(10'000'000);
    for (auto& number : numbers) number = static_cast<std::int64_t>(random());
    return numbers;
  }();
  return all;
}

void core_sort_hand(benchmark::State& state) {
  for (auto _ : state) {
    auto numbers = integers();
    timed(state, [&] { std::sort(numbers.begin(), numbers.end()); });
    benchmark::DoNotOptimize(numbers.data());
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(integers().size()));
}
BENCHMARK(core_sort_hand)->Unit(benchmark::kMillisecond)->UseManualTime()->Iterations(1);

void core_sort_weir(benchmark::State& state) {
  weir::Context context(config_of("local[2]"));
  const auto numbers = context.parallelize(integers(), 2);
  for (auto _ : state) {
    timed(state, [&] {
      if (numbers.sort_by([](std::int64_t x) { return x; }).count() != 10'000'000) {
        state.SkipWithError("wrong result");
      }
    });
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(integers().size()));
}
BENCHMARK(core_sort_weir)->Unit(benchmark::kMillisecond)->UseManualTime()->Iterations(1);

// --- two processes ---

/// Two child processes that send each other as many bytes as they are told, in frames of 256 KiB,
/// each with a thread that sends and one that receives: what a shuffle costs at least.
class Exchange {
 public:
  Exchange() {
    char directory[] = "/tmp/weir-bench-XXXXXX";
    if (mkdtemp(directory) == nullptr) throw std::runtime_error("mkdtemp failed");
    directory_ = directory;
    for (int i = 0; i < 2; ++i) children_[static_cast<std::size_t>(i)] = start_child(i);
    context_ = std::make_unique<zmq::context_t>(1);  // after the forks
    for (std::size_t i = 0; i < 2; ++i) {
      orders_[i] = zmq::socket_t(*context_, zmq::socket_type::pair);
      orders_[i].set(zmq::sockopt::linger, 0);
      orders_[i].connect(endpoint("orders", static_cast<int>(i)));
    }
    run(0);  // they are connected
  }
  ~Exchange() {
    for (const pid_t child : children_) kill(child, SIGKILL);
    for (const pid_t child : children_) waitpid(child, nullptr, 0);
    for (zmq::socket_t& socket : orders_) socket.close();
    context_->close();
    for (int i = 0; i < 2; ++i) {
      unlink((directory_ + "/orders" + std::to_string(i)).c_str());
      unlink((directory_ + "/data" + std::to_string(i)).c_str());
    }
    rmdir(directory_.c_str());
  }

  /// Each sends the other so many frames.
  void run(std::uint64_t frames) {
    for (zmq::socket_t& socket : orders_) socket.send(zmq::buffer(&frames, sizeof frames));
    for (zmq::socket_t& socket : orders_) {
      zmq::message_t done;
      if (!socket.recv(done)) throw std::runtime_error("recv failed");
    }
  }

 private:
  std::string endpoint(const char* name, int id) const {
    return "ipc://" + directory_ + "/" + name + std::to_string(id);
  }

  pid_t start_child(int id) const {
    const pid_t child = fork();
    if (child != 0) return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    zmq::context_t context(1);
    zmq::socket_t orders(context, zmq::socket_type::pair);
    orders.bind(endpoint("orders", id));
    zmq::socket_t out(context, zmq::socket_type::push);
    zmq::socket_t in(context, zmq::socket_type::pull);
    for (zmq::socket_t* socket : {&out, &in}) {
      socket->set(zmq::sockopt::sndhwm, 32);
      socket->set(zmq::sockopt::rcvhwm, 32);
    }
    in.bind(endpoint("data", id));
    out.connect(endpoint("data", 1 - id));
    const std::string frame(kFrameBytes, 'x');
    while (true) {
      zmq::message_t order;
      if (!orders.recv(order)) continue;
      const auto frames = *order.data<std::uint64_t>();
      {
        const std::jthread sender([&] {
          for (std::uint64_t i = 0; i < frames; ++i) out.send(zmq::buffer(frame));
        });
        for (std::uint64_t i = 0; i < frames; ++i) {
          zmq::message_t message;
          if (!in.recv(message)) break;
        }
      }
      orders.send(zmq::str_buffer("done"));
    }
  }

  std::string directory_;
  std::array<pid_t, 2> children_{};
  std::unique_ptr<zmq::context_t> context_;
  std::array<zmq::socket_t, 2> orders_;
};

constexpr std::int64_t kShuffled = 256 * 1024;  // records of 1 KiB, that all change the process

Exchange* exchange = nullptr;
weir::Context* cluster = nullptr;

void core_shuffle_raw(benchmark::State& state) {
  for (auto _ : state) {
    timed(state, [] { exchange->run(kShuffled * 1024 / 2 / kFrameBytes); });
  }
  state.SetItemsProcessed(state.iterations() * kShuffled);
}
BENCHMARK(core_shuffle_raw)->Unit(benchmark::kMillisecond)->UseManualTime()->Iterations(1);

/// From elements that the workers have in memory.
void core_shuffle_weir(benchmark::State& state) {
  using Record = std::pair<std::uint32_t, std::string>;  // where it goes, and what it holds
  const auto records = cluster->range(0, kShuffled, 1, 2)
                           .map([](std::int64_t i) {
                             return Record(i < kShuffled / 2 ? 1 : 0,
                                           std::string(1016, static_cast<char>('a' + i % 26)));
                           })
                           .cache();
  records.count();
  const weir::CustomPartitioner to{2, [](std::uint32_t there) { return there; }};
  for (auto _ : state) {
    timed(state, [&] {
      if (records.partition_by(to).count() != kShuffled) state.SkipWithError("wrong result");
    });
  }
  records.unpersist();
  state.SetItemsProcessed(state.iterations() * kShuffled);
}
BENCHMARK(core_shuffle_weir)->Unit(benchmark::kMillisecond)->UseManualTime()->Iterations(1);

constexpr std::uint32_t kTasks = 10'000;

/// The reference is the limit itself: 20,000 tasks per second.
void core_tasks_hand(benchmark::State& state) {
  for (auto _ : state) state.SetIterationTime(kTasks / 20'000.0);
  state.SetItemsProcessed(state.iterations() * kTasks);
}
BENCHMARK(core_tasks_hand)->Unit(benchmark::kMillisecond)->UseManualTime()->Iterations(1);

void core_tasks_weir(benchmark::State& state) {
  const auto ones = cluster->parallelize(std::vector<char>(kTasks), kTasks);  // so that it shows
  for (auto _ : state) {
    timed(state, [&] {
      if (ones.count() != kTasks) state.SkipWithError("wrong result");
    });
  }
  state.SetItemsProcessed(state.iterations() * kTasks);
}
BENCHMARK(core_tasks_weir)->Unit(benchmark::kMillisecond)->UseManualTime()->Iterations(1);

std::string write_text() {
  char path[] = "/tmp/weir-bench-text-XXXXXX";
  const int file = mkstemp(path);
  if (file < 0) throw std::runtime_error("mkstemp failed");
  close(file);
  std::ofstream out(path, std::ios::binary);
  const auto lines = weir::bench::zipf_lines(200'000, 50'000);
  for (std::size_t written = 0, i = 0; written < kTextBytes; i = (i + 1) % lines.size()) {
    out << lines[i] << '\n';
    written += lines[i].size() + 1;
  }
  return path;
}

int run(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  // In a worker this serves and never returns; the raw peers are forked before the driver has
  // threads.
  weir::internal::serve_if_worker();
  Exchange raw;
  exchange = &raw;
  std::string path = write_text();
  text_path = &path;
  weir::Context context(argc, argv, config_of("local-cluster[2,1]"));
  cluster = &context;
  benchmark::RunSpecifiedBenchmarks();
  cluster = nullptr;
  unlink(path.c_str());
  return 0;
}

}  // namespace

int main(int argc, char** argv) { return weir::run_main(run, argc, argv); }
