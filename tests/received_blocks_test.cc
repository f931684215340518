#include "weir/core/received_blocks.h"

#include <vector>

#include <gtest/gtest.h>

namespace weir {
namespace {

constexpr ShuffleId kReceiver = 7;
constexpr WorkerId kFirst{0, 1};
constexpr WorkerId kSecond{1, 1};

class ReceivedBlocksTest : public ::testing::Test {
 protected:
  ReceivedBlocksTest() {
    blocks_.open(kReceiver, [this](std::uint32_t number) { lost_.push_back(number); });
    blocks_.add(kReceiver, 0, {kFirst, kSecond});
    blocks_.add(kReceiver, 1, {kFirst});
  }

  /// As a task that reads a block is launched.
  TaskSpec located(std::uint32_t number, ShuffleId receiver = kReceiver) const {
    TaskSpec task;
    LeafInput& input = task.inputs.emplace_back();
    input.shuffle = receiver;
    input.segments = {{number, {}, 100, 5, {}}};
    blocks_.locate(task);
    return task;
  }
  static const Segment& block_of(const TaskSpec& task) { return task.inputs[0].segments[0]; }

  ReceivedBlocks blocks_;
  std::vector<std::uint32_t> lost_;
};

TEST_F(ReceivedBlocksTest, AreReadFromTheFirstThatHasThemAndWhereTheyAre) {
  const TaskSpec task = located(0);
  EXPECT_EQ(block_of(task).worker, kFirst);
  EXPECT_EQ(block_of(task).size, 100u);
  EXPECT_EQ(task.preferred, (std::vector<WorkerId>{kFirst, kSecond}));
}

TEST_F(ReceivedBlocksTest, AreReadFromTheOtherWhenOneDoesNotDeliver) {
  blocks_.on_fetch_failed({kReceiver, kFirst, {0}, "silent"});
  EXPECT_EQ(block_of(located(0)).worker, kSecond);
  EXPECT_EQ(block_of(located(1)).worker, kFirst) << "of that block nothing was said";
  EXPECT_TRUE(lost_.empty());
}

TEST_F(ReceivedBlocksTest, AreLostWithTheLastWorkerThatHasThem) {
  blocks_.on_worker_lost(kFirst);
  EXPECT_EQ(lost_, std::vector<std::uint32_t>{1});
  EXPECT_EQ(blocks_.losses(), 1u);
  EXPECT_EQ(block_of(located(1)).size, 0u) << "there is nothing to fetch";
  blocks_.on_worker_lost(kFirst);
  blocks_.on_worker_lost(kSecond);
  EXPECT_EQ(lost_, (std::vector<std::uint32_t>{1, 0}));
}

TEST_F(ReceivedBlocksTest, AreNotMissedOnceTheyAreReleased) {
  blocks_.release_before(kReceiver, 2);
  blocks_.on_worker_lost(kFirst);
  EXPECT_TRUE(lost_.empty());
  blocks_.add(kReceiver, 2, {kSecond});
  blocks_.close(kReceiver);
  blocks_.on_worker_lost(kSecond);
  EXPECT_TRUE(lost_.empty());
}

TEST_F(ReceivedBlocksTest, LeaveOtherInputsAlone) {
  EXPECT_EQ(block_of(located(0, 99)).size, 0u) << "an unknown receiver has nothing";
  TaskSpec task;
  task.inputs.emplace_back();  // a source's
  LeafInput& shuffle = task.inputs.emplace_back();
  shuffle.is_shuffle = true;
  shuffle.shuffle = kReceiver;
  shuffle.segments = {{0, kSecond, 100, 5, {}}};
  blocks_.locate(task);
  EXPECT_EQ(shuffle.segments[0].size, 100u);
  blocks_.on_fetch_failed({99, kFirst, {0}, "another shuffle's"});
  EXPECT_EQ(block_of(located(0)).worker, kFirst);
}

}  // namespace
}  // namespace weir
