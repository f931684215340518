// Streams of receivers over every kind of master: what is stored is processed, once and in order.

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "weir/dstream/receiver_tracker.h"

#include "masters.h"
#include "receiver_kit.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

class ReceiverStreams : public ::testing::TestWithParam<const char*> {
 protected:
  ReceiverLife::Options options(bool in_blocks = true) const {
    return {.master = GetParam(), .folder = folder_.file("."), .in_blocks = in_blocks};
  }
  void limit(int numbers) const { write_file(folder_.file("limit"), std::to_string(numbers)); }

  TempFolder folder_;
  const std::shared_ptr<Collected> collected_ = std::make_shared<Collected>();
};
WEIR_TEST_OVER_MASTERS(ReceiverStreams);

TEST_P(ReceiverStreams, SingleElementsComeOnceAndInOrder) {
  limit(5000);
  ReceiverLife life(options(false), collected_);
  EXPECT_TRUE(eventually([&] { return collected_->all().size() >= 5000; }));
  limit(6000);
  EXPECT_TRUE(eventually([&] { return collected_->all().size() >= 6000; }));
  life.stream().stop();
  EXPECT_EQ(collected_->all(), below(6000));
}

TEST_P(ReceiverStreams, BlocksComeOnceAndInOrder) {
  limit(1000);
  ReceiverLife life(options(), collected_);
  EXPECT_TRUE(eventually([&] { return collected_->all().size() >= 1000; }));
  life.stream().stop();
  EXPECT_EQ(collected_->all(), below(1000));
}

TEST_P(ReceiverStreams, AGracefulStopProcessesWhatWasStored) {
  ReceiverLife life(options(), collected_);
  ASSERT_TRUE(eventually([&] { return !life.events().started().empty(); }));
  limit(100'000);  // more than there will be time for
  ASSERT_TRUE(eventually([&] { return !read_file(folder_.file("next")).empty(); }));
  life.stream().stop();
  const int stored = std::stoi(read_file(folder_.file("next")));
  EXPECT_GE(collected_->all().size(), static_cast<std::size_t>(stored));
  EXPECT_EQ(collected_->all(), below(static_cast<int>(collected_->all().size())));
}

TEST_P(ReceiverStreams, AStopWhileBlocksAreStoredLeavesNoneBehind) {
  for (int round = 0; round < 5; ++round) {  // the stop comes at any moment of storing a block
    ReceiverLife life(options(), collected_);
    const std::string before = read_file(folder_.file("next"));
    limit(1'000'000);
    ASSERT_TRUE(eventually([&] { return read_file(folder_.file("next")) != before; }));
    life.stream().stop();
    const int stored = std::stoi(read_file(folder_.file("next")));
    EXPECT_EQ(collected_->all(), below(stored)) << "none is missing, and none came unknown";
  }
}

TEST_P(ReceiverStreams, AReceiverThatFailsIsStartedAgain) {
  write_file(folder_.file("fail"), "");
  limit(100);
  ReceiverLife life(options(), collected_);
  EXPECT_TRUE(eventually([&] { return collected_->has_all_below(100); }));
  life.stream().stop();
  EXPECT_EQ(collected_->all(), below(100));
  const auto errors = life.events().errors();
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_NE(errors[0].last_error.find("told to fail"), std::string::npos) << errors[0].last_error;
  EXPECT_EQ(errors[0].name, "receiver-0");
  EXPECT_EQ(life.events().started().size(), 2u);
}

TEST_P(ReceiverStreams, AReceiverMayFinish) {
  write_file(folder_.file("finish"), "");
  limit(100);
  ReceiverLife life(options(false), collected_);
  EXPECT_TRUE(eventually([&] { return !life.events().stopped().empty(); }));
  EXPECT_TRUE(eventually([&] { return collected_->has_all_below(100); }));
  life.stream().stop();
  EXPECT_EQ(collected_->all(), below(100));
  EXPECT_EQ(life.events().started().size(), 1u);
  EXPECT_TRUE(life.events().errors().empty());
}

TEST_P(ReceiverStreams, AWindowReachesBackOverBlocks) {
  Context context(Config().set("master", GetParam()).set("log-level", "off"));
  StreamingContext stream(context, 20ms);
  NumberReceiver receiver;
  receiver.folder = folder_.file(".");
  receiver.in_blocks = true;
  std::atomic<std::int64_t> most{0};
  stream.receiver_stream(receiver).window(60s).count().foreach_rdd([&](const auto& rdd) {
    for (const std::int64_t count : rdd.collect()) most = std::max(most.load(), count);
  });
  limit(500);
  stream.start();
  EXPECT_TRUE(eventually([&] { return most.load() == 500; }));
  limit(1000);
  EXPECT_TRUE(eventually([&] { return most.load() == 1000; }));
  stream.stop();
}

TEST_P(ReceiverStreams, BlocksAreReleasedWhenNoBatchNeedsThem) {
  limit(0);
  auto with_log = options();
  with_log.checkpoint = folder_.file("checkpoint");
  with_log.config = {{"receiver.log", "true"}, {"checkpoint-interval", "50ms"}};
  ReceiverLife life(with_log, collected_);
  const auto files = [&] {
    std::size_t count = 0;
    for (const auto& entry :
         std::filesystem::directory_iterator(folder_.file("checkpoint/received/receiver-0"))) {
      (void)entry;
      ++count;
    }
    return count;
  };
  for (int round = 1; round <= 3; ++round) {
    limit(100 * round);
    ASSERT_TRUE(eventually([&] { return collected_->has_all_below(100 * round); }));
    write_file(folder_.file("restart"), "");  // the next run writes another file
    const auto runs = static_cast<std::size_t>(round) + 1;
    ASSERT_TRUE(eventually([&] { return life.events().started().size() == runs; }));
  }
  EXPECT_TRUE(eventually([&] { return files() <= 1; }));
  life.stream().stop();
  EXPECT_EQ(collected_->all(), below(300));
}

TEST(ReceiverOptionsTest, AreChecked) {
  const auto plan = [](const Config& config, const ReceiverOptions& options = {}) {
    return internal::ReceiverPlan(config, options, 1s);
  };
  EXPECT_EQ(plan(Config()).block_interval, 200ms);
  EXPECT_EQ(plan(Config()).copies, 2);
  EXPECT_EQ(plan(Config(), {.copies = 1}).copies, 1);
  EXPECT_TRUE(plan(Config().set("receiver.log", "true")).log);
  EXPECT_FALSE(plan(Config().set("receiver.log", "true"), {.log = false}).log);
  EXPECT_THROW(plan(Config(), {.copies = 3}), Error);
  EXPECT_THROW(plan(Config().set("receiver.copies", "0")), Error);
  EXPECT_THROW(plan(Config().set("receiver.block-interval", "10us")), Error);
}

TEST(ReceiverOptionsTest, ALogNeedsACheckpointDirectory) {
  Context context(Config().set("master", "local[1]").set("log-level", "off"));
  StreamingContext stream(context, 20ms);
  stream.receiver_stream(NumberReceiver{}, {.log = true}).print();
  EXPECT_THROW(stream.start(), Error);
}

}  // namespace
}  // namespace weir::test
