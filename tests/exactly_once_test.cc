// The ledger with restarts: numbered lines paced into a real Kafka while workers and drivers are
// killed and the broker restarts. State and sink must equal what was written, exactly, and the
// window what the sink got of it in its time. Beside that a receiver stores numbers reliably, with
// a log: each must come, twice only where its sender was not told in time, and state and sink must
// agree.
//
// WEIR_LEDGER_SECONDS (default 60) sets how long lines come; beyond the first minute nothing is
// killed, and memory, descriptors and log are watched: scripts/soak.

#include <fcntl.h>
#include <sys/prctl.h>

#include <algorithm>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <optional>
#include <thread>

#include <gtest/gtest.h>

#include "weir/dstream/log/batch_log.h"

#include "ledger_tools.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;
using SteadyClock = std::chrono::steady_clock;

constexpr int kLinesPerSecond = 4000;
constexpr int kNumbersPerSecond = 500;
constexpr int kStormSeconds = 60;
constexpr int kWorkerKills = 12;
constexpr int kDriverKills = 6;
constexpr std::int64_t kWindowMicroseconds = 20'000'000;  // the job's

int seconds_of_input() {
  const char* given = std::getenv("WEIR_LEDGER_SECONDS");
  return given != nullptr ? std::atoi(given) : kStormSeconds;
}

/// The job as a process, started again whenever it was killed.
class Driver {
 public:
  Driver(std::string brokers, std::string checkpoint, std::string out, std::string log)
      : brokers_(std::move(brokers)),
        checkpoint_(std::move(checkpoint)),
        out_(std::move(out)),
        log_(std::move(log)) {}
  ~Driver() {
    if (pid_ > 0) kill_it();
  }

  void start() {
    pid_ = fork();
    if (pid_ != 0) return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    const int log = open(log_.c_str(), O_CREAT | O_APPEND | O_WRONLY | O_CLOEXEC, 0600);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    execl(WEIR_LEDGER_JOB, "ledger_job", "--brokers", brokers_.c_str(), "--topic", "ledger",
          "--checkpoint", checkpoint_.c_str(), "--out", out_.c_str(),
          "--weir.master=local-cluster[2,2]", static_cast<char*>(nullptr));
    _exit(127);
  }
  pid_t pid() const { return pid_; }
  void kill_it() {
    ::kill(pid_, SIGKILL);
    waitpid(std::exchange(pid_, 0), nullptr, 0);
  }
  /// Nothing while it runs.
  std::optional<int> ended() {
    int status = 0;
    if (waitpid(pid_, &status, WNOHANG) != pid_) return std::nullopt;
    pid_ = 0;
    return status;
  }
  std::optional<int> stop_gracefully() {
    ::kill(pid_, SIGTERM);
    std::optional<int> status;
    eventually([&] { return (status = ended()).has_value(); }, std::chrono::minutes(1));
    return status;
  }

 private:
  const std::string brokers_, checkpoint_, out_, log_;
  pid_t pid_ = 0;
};

/// The newest batch that has an INTENT and no COMMIT, from the log's files.
std::optional<std::uint64_t> open_batch(const std::string& checkpoint) {
  std::set<std::uint64_t> open;
  print_log(*open_directory_store(checkpoint), [&](const std::string& line) {
    std::uint64_t sequence = 0;
    if (const auto at = line.find("INTENT "); at != std::string::npos) {
      if (std::sscanf(line.c_str() + at, "INTENT %lu", &sequence) == 1) open.insert(sequence);
    } else if (const auto done = line.find("COMMIT "); done != std::string::npos) {
      if (std::sscanf(line.c_str() + done, "COMMIT %lu", &sequence) == 1) open.erase(sequence);
    }
  });
  if (open.empty()) return std::nullopt;
  return *open.rbegin();
}

/// Of one of the job's files: a batch's time, then "key count" lines.
struct AsOf {
  std::int64_t time = 0;  // microseconds
  Totals totals;
};
AsOf read_counts(const std::string& path) {
  AsOf counts;
  std::ifstream in(path);
  std::string key;
  std::int64_t count = 0;
  in >> counts.time;
  while (in >> key >> count) counts.totals[key] += count;
  return counts;
}

std::int64_t sum(const Totals& totals) {
  std::int64_t all = 0;
  for (const auto& [key, count] : totals) all += count;
  return all;
}

/// What the files sink was given by batches of times in (after, until]: "key,count,time" lines.
Totals read_sink(const std::string& directory, std::int64_t after, std::int64_t until) {
  Totals totals;
  for (const auto& batch : std::filesystem::directory_iterator(directory)) {
    const std::string name = batch.path().filename();
    if (!name.starts_with("batch-")) continue;
    for (const auto& file : std::filesystem::directory_iterator(batch.path())) {
      if (!std::string(file.path().filename()).starts_with("part-")) continue;
      std::ifstream in(file.path());
      std::string key, count, time;
      while (std::getline(in, key, ',') && std::getline(in, count, ',') && std::getline(in, time)) {
        const std::int64_t at = std::stoll(time);
        if (after < at && at <= until) totals[key] += std::stoll(count);
      }
    }
  }
  return totals;
}

/// How often each number is in the files sink of "key,number" lines; and by key.
struct Received {
  std::map<std::int64_t, int> times;
  Totals by_key;
};
Received read_numbers(const std::string& directory) {
  Received received;
  for (const auto& file : std::filesystem::recursive_directory_iterator(directory)) {
    const std::string path = file.path();
    if (path.find("/batch-") == std::string::npos || path.find("/part-") == std::string::npos) {
      continue;
    }
    std::ifstream in(path);
    std::string key, number;
    while (std::getline(in, key, ',') && std::getline(in, number)) {
      ++received.times[std::stoll(number)];
      ++received.by_key[key];
    }
  }
  return received;
}

/// Lets the receiver store numbers at a steady rate.
class Numbers {
 public:
  explicit Numbers(std::string folder)
      : folder_(std::move(folder)), thread_([this](const std::stop_token& stopped) {
          const auto start = SteadyClock::now();
          (void)eventually(
              [&] {
                const std::chrono::duration<double> passed = SteadyClock::now() - start;
                limit_ = static_cast<int>(kNumbersPerSecond * passed.count());
                write_file(folder_ + "/limit", std::to_string(limit_));
                std::mutex mutex;
                std::unique_lock lock(mutex);
                std::condition_variable_any().wait_for(lock, stopped, 50ms, [] { return false; });
                return stopped.stop_requested();
              },
              24h);
        }) {}
  /// No more; returns how many there are, all of which are stored.
  int end() {
    thread_.request_stop();
    thread_.join();
    EXPECT_TRUE(eventually([&] { return stored() == limit_; }, 1min));
    return limit_;
  }

 private:
  int stored() const {
    const std::string text = read_file(folder_ + "/next");
    return text.empty() ? 0 : std::stoi(text);
  }

  const std::string folder_;
  int limit_ = 0;  // the thread's until it has ended
  std::jthread thread_;
};

std::int64_t resident_kib(pid_t pid) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("VmRSS:")) return std::atoll(line.c_str() + 6);
  }
  return 0;
}

std::size_t descriptors(pid_t pid) {
  std::error_code error;
  const std::filesystem::directory_iterator files("/proc/" + std::to_string(pid) + "/fd", error);
  return static_cast<std::size_t>(std::distance(begin(files), end(files)));
}

std::uintmax_t bytes_in(const std::string& directory) {
  std::uintmax_t bytes = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory, error)) {
    const auto size = entry.file_size(error);
    if (!error) bytes += size;
  }
  return bytes;
}

/// What grows while nothing is killed: one line per second, and the slopes at the end.
class Watch {
 public:
  Watch(const Driver& driver, std::string checkpoint)
      : driver_(driver), checkpoint_(std::move(checkpoint)), start_(SteadyClock::now()) {
    std::printf("seconds,resident_kib,descriptors,checkpoint_bytes\n");
  }

  void sample() {
    std::int64_t resident = resident_kib(driver_.pid());
    std::size_t open = descriptors(driver_.pid());
    for (const pid_t worker : workers_of(driver_.pid())) {
      resident += resident_kib(worker);
      open += descriptors(worker);
    }
    const double at = std::chrono::duration<double>(SteadyClock::now() - start_).count();
    points_.push_back({at, static_cast<double>(resident)});
    descriptors_.push_back(open);
    bytes_.push_back(bytes_in(checkpoint_));
    std::printf("%.0f,%ld,%zu,%ju\n", at, static_cast<long>(resident), open, bytes_.back());
    std::fflush(stdout);
  }

  /// Least squares over the second half.
  double resident_mib_per_minute() const {
    double n = 0, x = 0, y = 0, xx = 0, xy = 0;
    for (std::size_t i = points_.size() / 2; i < points_.size(); ++i) {
      n += 1;
      x += points_[i].first;
      y += points_[i].second;
      xx += points_[i].first * points_[i].first;
      xy += points_[i].first * points_[i].second;
    }
    return (n * xy - x * y) / (n * xx - x * x) * 60 / 1024;
  }
  std::size_t most_descriptors() const { return *std::ranges::max_element(descriptors_); }
  std::uintmax_t most_bytes() const { return *std::ranges::max_element(bytes_); }
  bool empty() const { return points_.size() < 4; }

 private:
  const Driver& driver_;
  const std::string checkpoint_;
  const SteadyClock::time_point start_;
  std::vector<std::pair<double, double>> points_;
  std::vector<std::size_t> descriptors_;
  std::vector<std::uintmax_t> bytes_;
};

TEST(ExactlyOnce, StateWindowAndSinkEqualTheLedgerThroughKills) {
  const char* const without = std::getenv("WEIR_WITHOUT_KAFKA");
  if (without != nullptr && std::string(without) == "1") GTEST_SKIP() << "there is no broker";
  const std::uint64_t seed = choose_seed();
  const int seconds = seconds_of_input();
  const TempFolder folder;
  const Kafka broker;
  broker.create_topic("ledger", 4);
  const std::string checkpoint = folder.file("checkpoint");
  const std::string out = folder.file("out");
  std::filesystem::create_directories(out + "/receiver");
  Driver driver(broker.address(), checkpoint, out, folder.file("log"));
  driver.start();
  Numbers numbers(out + "/receiver");
  const pid_t generator =
      start_generator(broker.address(), folder.file("ledger"), seed, kLinesPerSecond, seconds);

  std::mt19937_64 random(seed);
  std::vector<bool> of_driver(kWorkerKills + kDriverKills, false);
  std::fill_n(of_driver.begin(), kDriverKills, true);
  std::shuffle(of_driver.begin(), of_driver.end(), random);
  const auto start = SteadyClock::now();
  std::size_t during = 0;
  for (std::size_t i = 0; i < of_driver.size(); ++i) {
    const auto slot = (kStormSeconds - 6) * 1000 / static_cast<long>(of_driver.size());
    const auto due = start + std::chrono::milliseconds(
                                 3000 + slot * static_cast<long>(i) +
                                 static_cast<long>(random() % static_cast<std::size_t>(slot)));
    eventually([&] { return SteadyClock::now() >= due; }, std::chrono::minutes(2));
    if (i == of_driver.size() / 2) broker.restart();
    const bool anytime = i % 9 == 8;  // two of eighteen; the others while a batch is open
    const std::chrono::microseconds later(random() % 20'000);
    const std::size_t choice = random();
    ASSERT_TRUE(eventually(
        [&] {
          if (const auto status = driver.ended()) {
            ADD_FAILURE() << "the driver ended by itself, status " << *status;
            return true;
          }
          const std::vector<pid_t> workers = workers_of(driver.pid());
          const bool ready = anytime || (std::filesystem::exists(checkpoint + "/application") &&
                                         open_batch(checkpoint).has_value());
          if (workers.empty() || !ready) return false;
          const auto moment = SteadyClock::now() + later;
          while (SteadyClock::now() < moment) {
          }
          if (of_driver[i]) {
            driver.kill_it();
            during += open_batch(checkpoint) ? 1 : 0;
          } else {
            const auto open = open_batch(checkpoint);
            if (!open && !anytime) return false;
            if (::kill(workers[choice % workers.size()], SIGKILL) != 0) return false;
            during += open ? 1 : 0;
          }
          return true;
        },
        std::chrono::minutes(1)))
        << read_file(folder.file("log"));
    ASSERT_FALSE(HasFailure()) << read_file(folder.file("log"));
    if (of_driver[i]) driver.start();
  }

  Watch watch(driver, checkpoint);
  int status = 0;
  auto next = SteadyClock::now();
  EXPECT_TRUE(eventually(
      [&] {
        if (seconds > kStormSeconds && SteadyClock::now() >= next) {
          watch.sample();
          next += 1s;
        }
        return waitpid(generator, &status, WNOHANG) == generator;
      },
      std::chrono::seconds(seconds + 60)));
  ASSERT_EQ(status, 0) << "the generator failed";
  const Totals ledger = read_ledger(folder.file("ledger"));
  const std::int64_t written = sum(ledger);
  const int stored = numbers.end();
  ASSERT_GE(written, std::int64_t{seconds} * kLinesPerSecond * 95 / 100);
  EXPECT_TRUE(eventually(
      [&] {
        const bool all = sum(read_counts(out + "/totals").totals) >= written &&
                         sum(read_counts(out + "/received").totals) >= stored;
        return all || driver.ended().has_value();
      },
      std::chrono::minutes(1)));
  const auto ended = driver.stop_gracefully();
  EXPECT_EQ(ended, 0) << read_file(folder.file("log"));

  std::printf("%d worker kills, %d driver kills, %zu of them while a batch was open; %lld lines\n",
              kWorkerKills, kDriverKills, during, static_cast<long long>(written));
  EXPECT_GE(during * 100, of_driver.size() * 80);
  EXPECT_EQ(read_counts(out + "/totals").totals, ledger) << read_file(folder.file("log"));
  EXPECT_EQ(read_counts(out + "/running").totals, ledger);
  const AsOf window = read_counts(out + "/window");
  EXPECT_EQ(read_sink(out + "/counts", 0, window.time), ledger);
  EXPECT_EQ(read_sink(out + "/counts", window.time - kWindowMicroseconds, window.time),
            window.totals);
  EXPECT_GT(sum(window.totals), 0);
  const Received received = read_numbers(out + "/numbers");
  EXPECT_EQ(received.times.size(), static_cast<std::size_t>(stored)) << "numbers are missing";
  EXPECT_EQ(read_counts(out + "/received").totals, received.by_key);
  const std::int64_t twice = sum(received.by_key) - stored;
  std::printf("%d numbers received, %lld of them twice\n", stored, static_cast<long long>(twice));
  EXPECT_LE(twice, 10 * (kWorkerKills + kDriverKills)) << "a block for each death at most";
  if (watch.empty()) return;
  std::printf("resident memory %+.2f MiB/min, at most %zu descriptors, %ju bytes of checkpoint\n",
              watch.resident_mib_per_minute(), watch.most_descriptors(), watch.most_bytes());
  EXPECT_LE(watch.resident_mib_per_minute(), 1.0);
}

}  // namespace
}  // namespace weir::test
