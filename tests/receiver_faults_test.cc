// Receivers whose workers and drivers die: each setting loses what it says it may, and nothing
// else.

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "weir/connectors/sockets.h"
#include "weir/dstream/receiver_log.h"

#include "line_server.h"
#include "receiver_kit.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

class ReceiverFaults : public ::testing::Test {
 protected:
  ReceiverLife::Options options() const {
    return {.master = "local-cluster[2,1]", .folder = folder_.file(".")};
  }
  void limit(int numbers) const { write_file(folder_.file("limit"), std::to_string(numbers)); }
  /// Blocks up to here are safe, as the receiver was told.
  int next() const {
    const std::string text = read_file(folder_.file("next"));
    return text.empty() ? 0 : std::stoi(text);
  }
  pid_t receivers_worker() const { return std::stoi(read_file(folder_.file("pid"))); }
  bool stores_beyond(int number) const {
    return eventually([&] { return next() > number; });
  }

  TempFolder folder_;
  const std::shared_ptr<Collected> collected_ = std::make_shared<Collected>();
};

TEST_F(ReceiverFaults, WithTwoCopiesNothingDiesWithAWorker) {
  constexpr int kKills = 5;
  ReceiverLife life(options(), collected_);
  limit(1'000'000);
  for (int i = 0; i < kKills; ++i) {
    ASSERT_TRUE(stores_beyond(next() + 200));
    kill(receivers_worker(), SIGKILL);
    ASSERT_TRUE(
        eventually([&] { return life.workers().lost().size() > static_cast<unsigned>(i); }));
  }
  ASSERT_TRUE(stores_beyond(next() + 200));
  limit(0);
  life.stream().stop();
  EXPECT_TRUE(collected_->has_all_below(next())) << next();
  EXPECT_EQ(life.events().lost(), 0u);
  EXPECT_EQ(life.events().started().size(), kKills + 1u);
}

TEST_F(ReceiverFaults, WithOneCopyWhatWasNotProcessedDiesWithItsWorker) {
  auto one_copy = options();
  one_copy.config = {{"receiver.copies", "1"}};
  std::atomic<bool> hold{true};
  std::atomic<bool> held{false};
  one_copy.on_batch = [&](const std::vector<int>& numbers) {
    if (numbers.empty() || !hold) return;
    held = true;
    (void)eventually([&] { return !hold.load(); });
  };
  ReceiverLife life(one_copy, collected_);
  limit(100);
  ASSERT_TRUE(stores_beyond(99));
  ASSERT_TRUE(eventually([&] { return held.load(); }));  // a batch has read what it owns
  limit(300);
  ASSERT_TRUE(stores_beyond(299));  // waits for that batch
  kill(receivers_worker(), SIGKILL);
  ASSERT_TRUE(eventually([&] { return life.events().lost() != 0; }));
  hold = false;
  limit(400);
  ASSERT_TRUE(eventually([&] { return collected_->has(399); }));
  life.stream().stop();
  // The batch that was held has read its blocks but not succeeded: they count as lost too.
  EXPECT_LE(400 - collected_->distinct().size(), life.events().lost());
  EXPECT_GE(400 - collected_->distinct().size(), 100u);
}

TEST_F(ReceiverFaults, WithALogNothingDiesWithWorkersAndDrivers) {
  auto logged = options();
  logged.checkpoint = folder_.file("checkpoint");
  logged.config = {
      {"receiver.log", "true"}, {"receiver.copies", "1"}, {"checkpoint-interval", "100ms"}};
  limit(1'000'000);
  std::mt19937 random(7);
  for (int life_number = 0; life_number < 6; ++life_number) {
    ReceiverLife life(logged, collected_);
    const int before = next();
    ASSERT_TRUE(stores_beyond(before + 100 + static_cast<int>(random() % 200)));
    if (life_number % 2 == 1) {
      kill(receivers_worker(), SIGKILL);
      ASSERT_TRUE(stores_beyond(next() + 100));
    }
    life.stream().abandon();
  }
  limit(0);
  ReceiverLife life(logged, collected_);
  ASSERT_TRUE(eventually([&] { return !life.events().started().empty(); }));
  life.stream().stop();
  EXPECT_TRUE(collected_->has_all_below(next())) << next();
}

TEST_F(ReceiverFaults, WithoutALogADriverTakesWhatItHadNotProcessed) {
  auto unlogged = options();
  unlogged.checkpoint = folder_.file("checkpoint");
  limit(500);
  {
    ReceiverLife life(unlogged, collected_);
    ASSERT_TRUE(eventually([&] { return collected_->has_all_below(500); }));
    limit(10'000);
    ASSERT_TRUE(stores_beyond(600));
    life.stream().abandon();
  }
  limit(next() + 100);
  const int first_after = next();
  ReceiverLife life(unlogged, collected_);
  ASSERT_TRUE(eventually([&] { return collected_->has(first_after + 99); }));
  life.stream().stop();
  EXPECT_TRUE(collected_->has_all_below(500));
  const auto numbers = collected_->distinct();
  EXPECT_EQ(std::ranges::count_if(numbers, [&](int n) { return n >= first_after; }), 100);
}

TEST_F(ReceiverFaults, ABlockThatWasTornIsNoBlock) {
  auto logged = options();
  logged.master = "local[2]";
  logged.checkpoint = folder_.file("checkpoint");
  logged.config = {{"receiver.log", "true"}};
  limit(100);
  {
    ReceiverLife life(logged, collected_);
    ASSERT_TRUE(eventually([&] { return collected_->has_all_below(100); }));
    life.stream().abandon();
  }
  const std::string logs = folder_.file("checkpoint/received/receiver-0");
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(logs)) {
    std::ofstream(entry.path(), std::ios::app | std::ios::binary) << "WEIRBLK1 and half a block";
    ++files;
  }
  ASSERT_GE(files, 1u);
  limit(200);
  ReceiverLife life(logged, collected_);
  EXPECT_TRUE(eventually([&] { return collected_->has_all_below(200); }));
  life.stream().stop();
}

// --- over a socket, whose sender never hears what was stored ---

/// Numbers, one a line, on whatever connection there is; what is sent is not sent again.
class NumberServer {
 public:
  NumberServer()
      : server_([this](const LineServer::Send& send) {
          while (!ended_) {
            std::string lines;
            for (int i = 0; i < 5; ++i) lines += std::to_string(next_++) + "\n";
            if (!send(lines)) return;
            (void)eventually([&] { return ended_.load(); }, 1ms);
          }
          (void)eventually([&] { return !send("") || closed_; }, 1h);
        }) {}
  ~NumberServer() { closed_ = true; }

  std::uint16_t port() const { return server_.port(); }
  /// Sends no more; returns how many there were.
  int end() {
    ended_ = true;
    return next_;
  }
  int sent() const { return next_; }

 private:
  std::atomic<int> next_{0};
  std::atomic<bool> ended_{false};
  std::atomic<bool> closed_{false};
  LineServer server_;
};

class SocketFaults : public ::testing::TestWithParam<bool> {
 protected:
  /// Until `during` returns.
  template <class During>
  void run(const NumberServer& server, bool ends, const During& during) {
    Context context(Config()
                        .set("master", "local-cluster[2,1]")
                        .set("stop-on-signal", "false")
                        .set("log-level", "off")
                        .set("receiver.restart-delay", "10ms"));
    StreamingContext stream(context, 20ms, {.checkpoint_interval = 100ms});
    stream.checkpoint(folder_.file("checkpoint"));
    const auto events = std::make_shared<ReceiverEvents>();
    stream.add_listener(events);
    stream.socket_text_stream("127.0.0.1", server.port(), {.log = GetParam()})
        .map([](const std::string& line) { return std::stoi(line); })
        .foreach_rdd([this](const Rdd<int>& rdd) { collected_.add(rdd.collect()); });
    stream.start();
    during(*events);
    EXPECT_EQ(events->lost(), 0u);
    ends ? stream.stop() : stream.abandon();
  }
  bool comes_up_to(int number) const {
    return eventually([&] {
      const auto numbers = collected_.distinct();
      return !numbers.empty() && numbers.back() >= number;
    });
  }
  /// Runs of numbers that are missing before `end`.
  std::size_t gaps(int end) const {
    std::size_t found = 0;
    int next = 0;
    for (const int number : collected_.distinct()) {
      found += number != next ? 1 : 0;
      next = number + 1;
    }
    return found + (next < end ? 1 : 0);
  }
  /// The numbers that the log has.
  std::vector<int> logged() const {
    std::vector<int> numbers;
    const auto store = directory_store_at(folder_.file("checkpoint"));
    for (const auto& block : internal::read_receiver_logs(*store, "received/receiver-0")) {
      const std::string bytes = store->read(block.file, block.offset, block.size);
      for (SlimReader reader(bytes); !reader.at_end();) {
        std::string line;
        reader & line;
        numbers.push_back(std::stoi(line));
      }
    }
    return numbers;
  }

  TempFolder folder_;
  Collected collected_;
};
INSTANTIATE_TEST_SUITE_P(, SocketFaults, ::testing::Bool(), [](const auto& test) {
  return test.param ? std::string("WithLog") : std::string("WithoutLog");
});

TEST_P(SocketFaults, AWorkerTakesOnlyWhatNoBlockHad) {
  constexpr int kKills = 6;
  NumberServer server;
  run(server, true, [&](const ReceiverEvents&) {
    for (int i = 0; i < kKills; ++i) {
      ASSERT_TRUE(comes_up_to(server.sent() + 100));
      const auto workers = workers_of(getpid());
      ASSERT_FALSE(workers.empty());
      kill(i % 2 == 0 ? workers.front() : workers.back(), SIGKILL);
    }
    ASSERT_TRUE(comes_up_to(server.sent() + 100));
    ASSERT_TRUE(comes_up_to(server.end() - 1));
  });
  EXPECT_LE(gaps(server.sent()), static_cast<std::size_t>(kKills));
  EXPECT_EQ(collected_.all().size(), collected_.distinct().size()) << "nothing came twice";
}

TEST_P(SocketFaults, ADriverTakesWhatWasNotProcessedUnlessItIsLogged) {
  constexpr int kDeaths = 4;
  NumberServer server;
  std::vector<int> safe;
  for (int i = 0; i < kDeaths; ++i) {
    run(server, false,
        [&](const ReceiverEvents&) { ASSERT_TRUE(comes_up_to(server.sent() + 100)); });
    for (const int number : logged()) safe.push_back(number);
    for (const int number : collected_.distinct()) safe.push_back(number);
  }
  run(server, true, [&](const ReceiverEvents&) {
    ASSERT_TRUE(comes_up_to(server.sent() + 100));
    ASSERT_TRUE(comes_up_to(server.end() - 1));
  });
  EXPECT_LE(gaps(server.sent()), static_cast<std::size_t>(kDeaths));
  for (const int number : safe) ASSERT_TRUE(collected_.has(number)) << number;
}

}  // namespace
}  // namespace weir::test
