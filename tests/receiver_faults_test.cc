// Receivers whose workers and drivers die: each setting loses what it says it may, and nothing else.

#include <signal.h>

#include <chrono>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <vector>

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
    ASSERT_TRUE(eventually([&] { return life.workers().lost().size() > static_cast<unsigned>(i); }));
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
  logged.config = {{"receiver.log", "true"}, {"receiver.copies", "1"},
                   {"checkpoint-interval", "100ms"}};
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

}  // namespace
}  // namespace weir::test
