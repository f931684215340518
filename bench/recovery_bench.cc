// How long a stream with state stands still when a worker or its driver is killed: a job of 100 ms
// batches on local-cluster[2,1], killed at random moments, with few and with many keys.
//
//     recovery_bench [--kills 100] [--seed N]
//
// Of a worker's death, from the SIGKILL: to the next COMMIT, and to the COMMIT of the first batch
// that was cut after it. Of a driver's, whose job is started again at once: to its first COMMIT.

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

#include "weir/weir.h"

#include "key_source.h"

namespace {

using namespace std::chrono_literals;
using weir::bench::Key;
using weir::bench::KeySource;

constexpr auto kInterval = 100ms;
constexpr auto kPatience = 60s;
constexpr int kHealthyBatches = 8;  // between two kills

std::int64_t steady_microseconds() {
  return std::chrono::duration_cast<std::chrono::microseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// --- the job ---

/// A line per COMMIT: when it was, and when the batch was cut, both on the steady clock.
class Commits final : public weir::StreamingListener {
 public:
  void on_batch_completed(const weir::BatchInfo& batch) override {
    if (!batch.failure.empty()) return;
    const std::int64_t now = steady_microseconds();
    const auto age = weir::Clock::system().now() - batch.submission_time;
    std::printf("commit %" PRId64 " %" PRId64 "\n", now, now - age.count());
    std::fflush(stdout);
  }
};

int run_job(weir::Context& context, std::uint64_t keys, const std::string& checkpoint) {
  auto setup = [&](weir::StreamingContext& stream) {
    stream.source_stream(KeySource(keys, keys / 100))
        .map_with_state(weir::StateSpec(
            [](const Key&, std::optional<std::int64_t> value, weir::State<std::int64_t>& sum) {
              sum.update(sum.get_optional().value_or(0) + *value);
              return true;
            }))
        .foreach_rdd([](const auto&) {});
  };
  auto stream = weir::StreamingContext::get_or_create(context, checkpoint, kInterval, setup,
                                                      {.checkpoint_interval = 2s});
  stream.add_listener(std::make_shared<Commits>());
  stream.start();
  stream.await_termination();
  return 0;
}

// --- who kills it ---

struct Commit {
  std::int64_t time = 0;  // microseconds of the steady clock
  std::int64_t cut = 0;
};

/// The job as a process of its own.
class Job {
 public:
  Job(std::uint64_t keys, std::string checkpoint)
      : keys_(std::to_string(keys)), checkpoint_(std::move(checkpoint)) {
    start();
  }
  ~Job() { kill_driver(); }
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  void start() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe failed");
    pid_ = fork();
    if (pid_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      dup2(ends[1], STDOUT_FILENO);
      execl("/proc/self/exe", "recovery_bench", "--job", "--keys", keys_.c_str(), "--checkpoint",
            checkpoint_.c_str(), "--weir.master=local-cluster[2,1]", "--weir.log-level=error",
            static_cast<char*>(nullptr));
      _exit(127);
    }
    close(ends[1]);
    lines_ = ends[0];
    pending_.clear();
  }

  void kill_driver() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    close(lines_);
  }

  Commit next_commit() {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (std::chrono::steady_clock::now() < deadline) {
      if (const auto end = pending_.find('\n'); end != std::string::npos) {
        const std::string line = pending_.substr(0, end);
        pending_.erase(0, end + 1);
        Commit commit;
        if (std::sscanf(line.c_str(), "commit %" SCNd64 " %" SCNd64, &commit.time, &commit.cut) ==
            2) {
          return commit;
        }
        continue;
      }
      pollfd waiting{lines_, POLLIN, 0};
      if (poll(&waiting, 1, 1000) <= 0) continue;
      char buffer[4096];
      const ssize_t got = read(lines_, buffer, sizeof buffer);
      if (got <= 0) throw std::runtime_error("the job ended by itself");
      pending_.append(buffer, static_cast<std::size_t>(got));
    }
    throw std::runtime_error("the job made no progress for a minute");
  }

  /// Both workers are there, and a few batches passed with them.
  void await_health() {
    for (int healthy = 0; healthy < kHealthyBatches;) {
      next_commit();
      healthy = workers().size() == 2 ? healthy + 1 : 0;
    }
  }

  std::vector<pid_t> workers() const {
    std::vector<pid_t> pids;
    std::error_code gone;
    const std::string tasks = "/proc/" + std::to_string(pid_) + "/task";
    for (const auto& task : std::filesystem::directory_iterator(tasks, gone)) {
      std::ifstream children(task.path() / "children");
      for (pid_t pid = 0; children >> pid;) pids.push_back(pid);
    }
    return pids;
  }

 private:
  const std::string keys_;
  const std::string checkpoint_;
  pid_t pid_ = 0;
  int lines_ = -1;
  std::string pending_;
};

class Folder {
 public:
  Folder() {
    std::string path = (std::filesystem::temp_directory_path() / "weir-bench-XXXXXX").string();
    if (mkdtemp(path.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    path_ = path;
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::string path() const { return path_; }

 private:
  std::filesystem::path path_;
};

void report(const std::string& what, std::vector<double> milliseconds) {
  std::sort(milliseconds.begin(), milliseconds.end());
  const auto at = [&](std::size_t percent) {
    return milliseconds[(milliseconds.size() - 1) * percent / 100];
  };
  std::printf("%-58s %6zu %9.1f %9.1f %9.1f %9.1f\n", what.c_str(), milliseconds.size(), at(50),
              at(90), at(99), milliseconds.back());
  std::fflush(stdout);
}

void kill_workers(std::uint64_t keys, std::size_t kills, std::mt19937_64& random) {
  const Folder folder;
  Job job(keys, folder.path());
  std::vector<double> any;
  std::vector<double> later;
  while (any.size() < kills) {
    job.await_health();
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 100'000));
    const auto workers = job.workers();
    const std::int64_t killed = steady_microseconds();
    kill(workers.at(random() % workers.size()), SIGKILL);
    std::optional<std::int64_t> first;
    while (true) {
      const Commit commit = job.next_commit();
      if (commit.time < killed) continue;  // in the pipe already
      if (!first) first = commit.time;
      if (commit.cut < killed) continue;
      any.push_back(static_cast<double>(*first - killed) / 1000);
      later.push_back(static_cast<double>(commit.time - killed) / 1000);
      break;
    }
  }
  const std::string with = ", " + std::to_string(keys) + " keys, to ";
  report("worker killed" + with + "the next COMMIT", any);
  report("worker killed" + with + "that of a batch cut later", later);
}

void kill_drivers(std::uint64_t keys, std::size_t kills, std::mt19937_64& random) {
  const Folder folder;
  Job job(keys, folder.path());
  std::vector<double> times;
  while (times.size() < kills) {
    job.await_health();
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 100'000));
    const std::int64_t killed = steady_microseconds();
    job.kill_driver();
    job.start();
    times.push_back(static_cast<double>(job.next_commit().time - killed) / 1000);
  }
  report("driver killed, " + std::to_string(keys) + " keys, to its first COMMIT", times);
}

int run(int argc, char** argv) {
  const bool is_job = argc > 1 && std::string(argv[1]) == "--job";
  std::optional<weir::Context> context;
  if (is_job) context.emplace(argc, argv);  // its workers are started with the same options
  std::uint64_t keys = 0;
  std::size_t kills = 100;
  std::uint64_t seed = std::random_device()();
  std::string checkpoint;
  CLI::App app("Measures how long a stream stands still when a process is killed");
  app.add_option("--kills", kills, "of each kind")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--seed", seed, "of the moments");
  app.add_flag("--job")->group("");
  app.add_option("--keys", keys)->group("");
  app.add_option("--checkpoint", checkpoint)->group("");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error) == 0 ? 0 : 2);
  }
  if (is_job) return run_job(*context, keys, checkpoint);
  std::mt19937_64 random(seed);
  std::printf("seed %" PRIu64 "; milliseconds\n%-58s %6s %9s %9s %9s %9s\n", seed, "", "kills",
              "p50", "p90", "p99", "max");
  kill_workers(10'000, kills, random);
  kill_workers(1'000'000, kills, random);
  kill_drivers(10'000, kills, random);
  kill_drivers(1'000'000, kills, random);
  return 0;
}

}  // namespace

int main(int argc, char** argv) { return weir::run_main(run, argc, argv); }
