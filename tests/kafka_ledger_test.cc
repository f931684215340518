// The ledger: numbered lines paced into a real Kafka while workers are killed and the broker
// restarts. The per-key totals of all batches must equal what was written, exactly.

#include <atomic>
#include <random>
#include <thread>

#include <gtest/gtest.h>

#include "weir/connectors/kafka.h"
#include "weir/core/runner_registry.h"
#include "weir/weir.h"

#include "ledger_tools.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;
using SteadyClock = std::chrono::steady_clock;

constexpr int kSeconds = 60;
constexpr int kLinesPerSecond = 4000;
constexpr int kKills = 24;

/// Knows whether a batch is running, and when batches ran.
class BatchWatch final : public StreamingListener {
 public:
  void on_batch_completed(const BatchInfo& batch) override {
    const std::scoped_lock lock(mutex_);
    if (batch.processing_start_time && batch.processing_end_time) {
      runs_.emplace_back(*batch.processing_start_time, *batch.processing_end_time);
    }
  }
  bool ran_at(Time time) const {
    const std::scoped_lock lock(mutex_);
    return std::any_of(runs_.begin(), runs_.end(),
                       [&](const auto& run) { return run.first <= time && time <= run.second; });
  }
  std::size_t batches() const {
    const std::scoped_lock lock(mutex_);
    return runs_.size();
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::pair<Time, Time>> runs_;
};

/// Keeps a worker busy for some milliseconds per partition, so that batches take a good part of
/// their interval as those of real jobs do.
std::pair<std::string, std::int64_t> key_of(const kafka::Record& record) {
  if (record.offset % 100 == 0) {
    const auto until = SteadyClock::now() + 10ms;
    while (SteadyClock::now() < until) {
    }
  }
  return {std::string(record.value.substr(0, record.value.find(' '))), 1};
}

TEST(KafkaLedger, TotalsAreExactThroughWorkerKillsAndABrokerRestart) {
  const char* const without = std::getenv("WEIR_WITHOUT_KAFKA");
  if (without != nullptr && std::string(without) == "1") GTEST_SKIP() << "there is no broker";
  const std::uint64_t seed = choose_seed();
  const TempFolder folder;
  const Kafka broker;
  broker.create_topic("ledger", 4);

  Context context(Config().set("master", "local-cluster[2,2]").set("log-level", "error"));
  StreamingContext stream(context, 100ms);
  std::mutex totals_mutex;
  Totals totals;
  std::int64_t seen = 0;
  std::atomic<bool> batch_runs{false};
  kafka::direct_stream(stream, {.brokers = broker.address(),
                                .topics = {"ledger"},
                                .starting = kafka::StartingPosition::earliest()})
      .map(fn<&key_of>)
      .reduce_by_key([](std::int64_t a, std::int64_t b) { return a + b; })
      .foreach_rdd([&](const Rdd<std::pair<std::string, std::int64_t>>& counts) {
        batch_runs = true;
        const auto batch = counts.collect();
        batch_runs = false;
        const std::scoped_lock lock(totals_mutex);
        for (const auto& [key, count] : batch) {
          totals[key] += count;
          seen += count;
        }
      });
  const auto watch = std::make_shared<BatchWatch>();
  stream.add_listener(watch);
  const auto events = std::make_shared<EventRecord>();
  context.add_listener(events);
  stream.start();
  const pid_t generator =
      start_generator(broker.address(), folder.file("ledger"), seed, kLinesPerSecond, kSeconds);

  // Kills are spread over the time of the input; two come at any moment, the others while a batch
  // runs, so that the share asserted below does not hang on luck.
  std::mt19937_64 random(seed);
  std::vector<Time> kills;
  bool restarted = false;
  const auto start = SteadyClock::now();
  for (int i = 0; i < kKills; ++i) {
    const auto due = start + std::chrono::milliseconds(1000 + (kSeconds - 3) * 1000 * i / kKills +
                                                       static_cast<long>(random() % 1000));
    eventually([&] { return SteadyClock::now() >= due; }, std::chrono::minutes(2));
    if (!restarted && i >= kKills / 2) {
      broker.restart();
      restarted = true;
    }
    const bool in_batch = i % (kKills / 2) != kKills / 4;
    const std::chrono::microseconds into_batch(random() % 5000);
    const std::size_t choice = random();
    ASSERT_TRUE(eventually([&] {
      // The processes are looked up before the moment is chosen: reading /proc takes as long as a
      // short batch. One that ended meanwhile cannot be killed: then look again.
      const std::vector<pid_t> alive = workers_of(getpid());
      if (alive.empty() || (in_batch && !batch_runs)) return false;
      const auto moment = SteadyClock::now() + into_batch;
      while (SteadyClock::now() < moment) {
      }
      if (in_batch && !batch_runs) return false;  // it was a short one: try the next
      const Time time = Clock::system().now();
      if (kill(alive[choice % alive.size()], SIGKILL) != 0) return false;
      kills.push_back(time);
      return true;
    }));
  }

  int status = 0;
  waitpid(generator, &status, 0);
  ASSERT_EQ(status, 0) << "the generator failed";
  const Totals ledger = read_ledger(folder.file("ledger"));
  std::int64_t written = 0;
  for (const auto& [key, count] : ledger) written += count;
  ASSERT_GE(written, std::int64_t{kSeconds} * kLinesPerSecond * 95 / 100);
  EXPECT_TRUE(eventually(
      [&] {
        const std::scoped_lock lock(totals_mutex);
        return seen >= written || stream.state() == StreamingState::kStopped;
      },
      std::chrono::minutes(1)));
  stream.stop({.graceful = true, .stop_context = false});
  stream.await_termination();

  std::size_t during = 0;
  context.engine()->bus().flush();
  for (const Time time : kills) during += watch->ran_at(time) ? 1 : 0;
  std::printf("%zu kills, %zu while a batch ran; %zu batches, %lld lines\n", kills.size(), during,
              watch->batches(), static_cast<long long>(written));
  EXPECT_GE(during * 100, kills.size() * 80);
  EXPECT_GE(events->lost().size(), 20U);
  EXPECT_TRUE(restarted);
  EXPECT_EQ(totals, ledger);
}

}  // namespace
}  // namespace weir::test

int main(int argc, char** argv) {
  weir::internal::serve_if_worker();
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
