// What a receiver's threads and the thread that serves it have in common, fed by hand; and the log.

#include "weir/dstream/receiver_core.h"

#include <chrono>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "weir/core/log.h"
#include "weir/dstream/receiver_log.h"
#include "weir/dstream/receiver_tracker.h"

#include "process_tools.h"

namespace weir::internal {
namespace {

using namespace std::chrono_literals;
using test::TempFolder;

ReceiverSettings settings(std::uint64_t buffer_bytes = 1 << 20, Duration store_timeout = 1h) {
  return {.block_interval = 10ms, .store_timeout = store_timeout, .buffer_bytes = buffer_bytes};
}

bool store(ReceiverCore& core, int number) {
  return core.append([&](SlimWriter& to) { to& number; });
}

std::vector<int> numbers_in(const ReceiverCore::Block& block) {
  std::vector<int> numbers;
  for (SlimReader reader(block.bytes.view()); !reader.at_end();) {
    numbers.push_back(reader.get<int>());
  }
  return numbers;
}

TEST(ReceiverCore, MakesBlocksInTheOrderOfWhatIsStored) {
  ReceiverCore core(settings());
  EXPECT_TRUE(store(core, 1));
  EXPECT_TRUE(store(core, 2));
  EXPECT_TRUE(core.take_sealed().empty());
  core.seal_filling();
  core.seal_filling();  // there is nothing
  std::jthread putting([&] { EXPECT_TRUE(core.put(encode_bytes(4), 1)); });
  EXPECT_TRUE(store(core, 3));
  std::vector<ReceiverCore::Block> blocks;
  ASSERT_TRUE(test::eventually([&] {
    for (auto& block : core.take_sealed()) blocks.push_back(std::move(block));
    core.seal_filling();
    return blocks.size() == 3;
  }));
  for (std::uint32_t i = 0; i < 3; ++i) EXPECT_EQ(blocks[i].number, i);
  EXPECT_EQ(numbers_in(blocks[0]), (std::vector<int>{1, 2}));
  EXPECT_EQ(blocks[0].records, 2u);
  core.take({.version = 1, .acknowledged_below = 3});
}

TEST(ReceiverCore, ABlockIsSafeWhenTheDriverSaysSo) {
  ReceiverCore core(settings());
  std::atomic<bool> safe{false};
  std::jthread putting([&] {
    EXPECT_TRUE(core.put(encode_bytes(1), 1));
    safe = true;
  });
  ASSERT_TRUE(test::eventually([&] { return core.take_sealed().size() == 1; }));
  EXPECT_FALSE(safe);
  core.take({.version = 2, .acknowledged_below = 1});
  core.take({.version = 1, .acknowledged_below = 0});  // overtaken
  EXPECT_TRUE(test::eventually([&] { return safe.load(); }));
  EXPECT_EQ(core.orders().version, 2u);
}

TEST(ReceiverCore, WaitsNoLongerThanIsAllowed) {
  ReceiverCore core(settings(1 << 20, 20ms));
  EXPECT_FALSE(core.put(encode_bytes(1), 1));
  EXPECT_FALSE(core.is_stopping());
}

TEST(ReceiverCore, TakesNoMoreThanItsBufferUntilBatchesHaveIt) {
  ReceiverCore core(settings(2 * sizeof(int)));
  EXPECT_TRUE(store(core, 1));
  EXPECT_TRUE(store(core, 2));
  core.seal_filling();
  std::atomic<bool> stored{false};
  std::jthread storing([&] {
    EXPECT_TRUE(store(core, 3));
    stored = true;
  });
  core.take({.version = 1, .acknowledged_below = 1});
  EXPECT_FALSE(stored) << "known is not enough";
  core.take({.version = 2, .acknowledged_below = 1, .cut_below = 1});
  EXPECT_TRUE(test::eventually([&] { return stored.load(); }));
}

TEST(ReceiverCore, FollowsTheRate) {
  ReceiverCore core(settings());
  core.take({.version = 1, .max_rate = 1000});
  const auto began = std::chrono::steady_clock::now();
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(store(core, i));
  EXPECT_GE(std::chrono::steady_clock::now() - began, 80ms) << "10 may come at once";
  core.take({.version = 2, .max_rate = 0});
  for (int i = 0; i < 100'000; ++i) ASSERT_TRUE(store(core, i));
}

TEST(ReceiverCore, EndsForTheFirstReason) {
  ReceiverCore core(settings());
  EXPECT_EQ(core.end(), ReceiverCore::End::kNone);
  core.fail("no server");
  core.finish();
  EXPECT_EQ(core.end(), ReceiverCore::End::kFailed);
  EXPECT_EQ(core.failure(), "no server");
  EXPECT_TRUE(core.is_stopping());
  EXPECT_FALSE(store(core, 1));
  EXPECT_FALSE(core.put(encode_bytes(1), 1));
}

TEST(ReceiverCore, WhoWaitsIsLetGoWhenItCloses) {
  ReceiverCore core(settings());
  std::jthread putting([&] { EXPECT_FALSE(core.put(encode_bytes(1), 1)); });
  ASSERT_TRUE(test::eventually([&] { return core.take_sealed().size() == 1; }));
  core.close();
}

TEST(ReceiverLog, HasWhatWasAppendedToIt) {
  const TempFolder folder;
  (void)open_directory_store(folder.file("c/received/in"));
  ReceiverLog log(folder.file("c"), "received/in", "run");
  const auto first = log.append(0, 3, Bytes(std::string("abc")));
  const auto second = log.append(1, 1, Bytes(std::string(17 << 20, 'x')));
  const auto third = log.append(2, 1, Bytes(std::string("in the next file")));
  log.sync();
  EXPECT_EQ(first.file, "received/in/run.00000000");
  EXPECT_EQ(second.file, first.file);
  EXPECT_EQ(third.file, "received/in/run.00000001");
  const auto store = directory_store_at(folder.file("c"));
  const auto blocks = read_receiver_logs(*store, "received/in");
  ASSERT_EQ(blocks.size(), 3u);
  EXPECT_EQ(blocks[0].run, "run");
  EXPECT_EQ(blocks[0].records, 3u);
  EXPECT_EQ(blocks[1].number, 1u);
  EXPECT_EQ(store->read(blocks[2].file, blocks[2].offset, blocks[2].size), "in the next file");
  EXPECT_TRUE(read_receiver_logs(*store, "received/in", "other.").empty());
  EXPECT_TRUE(read_receiver_logs(*store, "received/nobody").empty());
}

/// Every byte of a log is changed, and it is cut off everywhere: what it has is a beginning of what
/// was written, never anything else.
TEST(ReceiverLog, EndsWhereItIsDamaged) {
  set_log_level("off");
  const TempFolder folder;
  (void)open_directory_store(folder.file("c/received/in"));
  const std::vector<std::string> written{"first", "second", "third"};
  {
    ReceiverLog log(folder.file("c"), "received/in", "run");
    for (std::uint32_t i = 0; i < 3; ++i) log.append(i, 1, Bytes(written[i]));
  }
  const std::string path = folder.file("c/received/in/run.00000000");
  const std::string whole = test::read_file(path);
  const auto store = directory_store_at(folder.file("c"));
  const auto check = [&](const std::string& content, std::size_t at) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
    const auto blocks = read_receiver_logs(*store, "received/in");
    ASSERT_LT(blocks.size(), 3u) << at;
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      EXPECT_EQ(store->read(blocks[i].file, blocks[i].offset, blocks[i].size), written[i]) << at;
    }
  };
  for (std::size_t at = 0; at < whole.size(); ++at) {
    std::string changed = whole;
    changed[at] = static_cast<char>(changed[at] ^ 0x40);
    check(changed, at);
    check(whole.substr(0, at), at);
  }
  set_log_level("warning");
}

TEST(ReceiverLog, FoldersAreNamedAfterInputs) {
  EXPECT_EQ(folder_name("receiver-0"), "received/receiver-0");
  const std::string odd = folder_name("../clicks of today");
  EXPECT_TRUE(odd.starts_with("received/___clicks_of_today-")) << odd;
  EXPECT_NE(odd, folder_name("../clicks_of_today"));
}

}  // namespace
}  // namespace weir::internal
