#include "weir/core/storage/block_store.h"

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "weir/core/error.h"
#include "weir/core/storage/block.h"

namespace weir {
namespace {

using internal::MemoryBlock;
using Kept = BlockStore::Kept;

const std::atomic<bool> kWanted{false};

std::vector<Bytes> pieces(const std::string& a, const std::string& b) {
  return {Bytes(a), Bytes(b)};
}

std::vector<Bytes> piece_of(std::size_t bytes, char filled) {
  return {Bytes(std::string(bytes, filled))};
}

/// A block of `bytes`.
StoredElements block_of(std::size_t bytes, char filled = 'b') {
  return {std::make_shared<const MemoryBlock<char>>(std::vector<char>(bytes, filled)), {}};
}

std::string text(const StoredElements& stored) {
  const auto stream = internal::open_stored<char>(stored);
  std::string all;
  for (auto chunk = stream->next(); !chunk.empty(); chunk = stream->next()) {
    all.append(chunk.begin(), chunk.end());
  }
  return all;
}

BlockStore::Options limited(std::uint64_t memory, std::uint64_t disk = 1 << 20) {
  return {memory, {{}, disk}};
}

TEST(BlockStore, ALaterAttemptsMapOutputReplacesTheFirst) {
  BlockStore store;
  EXPECT_TRUE(store.put_map_output(1, 0, pieces("aaa", "b"), kWanted));
  EXPECT_TRUE(store.put_map_output(1, 0, pieces("c", "dd"), kWanted));
  EXPECT_EQ(store.map_output(1, 0, 1)->get().view(), "dd");
  EXPECT_EQ(store.usage().memory, 3U);
  EXPECT_FALSE(store.map_output(1, 0, 2).has_value());
  EXPECT_FALSE(store.map_output(1, 1, 0).has_value());
  store.release_shuffle(1);
  EXPECT_EQ(store.usage().memory, 0U);
}

TEST(BlockStore, NothingIsKeptOfACancelledAttempt) {
  BlockStore store;
  const std::atomic<bool> cancelled{true};
  EXPECT_FALSE(store.put_map_output(1, 0, pieces("a", "b"), cancelled));
  EXPECT_EQ(store.put_block(1, 0, block_of(4), StorageLevel::kMemory, cancelled), Kept::kCancelled);
  EXPECT_FALSE(store.map_output(1, 0, 0).has_value());
  EXPECT_FALSE(store.block(1, 0).has_value());
  EXPECT_EQ(store.usage().memory, 0U);
}

// --- the limit ---

TEST(BlockStore, MapOutputsThatDoNotFitAreReadFromTheDisk) {
  BlockStore store(limited(100));
  store.put_map_output(1, 0, piece_of(60, 'a'), kWanted);
  store.put_map_output(1, 1, {Bytes(std::string(30, 'b')), Bytes(std::string(30, 'c'))}, kWanted);
  EXPECT_EQ(store.usage().memory, 60U);
  EXPECT_EQ(store.usage().disk, 60U);
  EXPECT_EQ(store.usage().spilled, 1U);
  EXPECT_FALSE(store.map_output(1, 0, 0)->in_memory());  // the older one
  EXPECT_EQ(store.map_output(1, 0, 0)->get().view(), std::string(60, 'a'));
  EXPECT_EQ(store.map_output(1, 1, 1)->get(28, 2).view(), "cc");
  store.put_map_output(1, 2, piece_of(200, 'd'), kWanted);  // larger than the memory
  EXPECT_EQ(store.map_output(1, 2, 0)->get(199, 1).view(), "d");
  EXPECT_EQ(store.usage().memory, 0U);
  store.release_shuffle(1);
  EXPECT_EQ(store.usage().disk, 0U);
}

TEST(BlockStore, WhatWasUsedLastStaysInMemory) {
  BlockStore store(limited(100));
  store.put_map_output(1, 0, piece_of(40, 'a'), kWanted);
  store.put_map_output(1, 1, piece_of(40, 'b'), kWanted);
  store.map_output(1, 0, 0);
  store.put_map_output(1, 2, piece_of(40, 'c'), kWanted);
  EXPECT_TRUE(store.map_output(1, 0, 0)->in_memory());
  EXPECT_FALSE(store.map_output(1, 1, 0)->in_memory());
}

TEST(BlockStore, BlocksInMemoryAreDroppedForOtherDatasetsButNotForTheirOwn) {
  BlockStore store(limited(100));
  EXPECT_EQ(store.put_block(1, 0, block_of(60), StorageLevel::kMemory, kWanted), Kept::kYes);
  EXPECT_EQ(store.put_block(1, 1, block_of(60), StorageLevel::kMemory, kWanted), Kept::kNoRoom);
  EXPECT_TRUE(store.block(1, 0).has_value());
  EXPECT_EQ(store.put_block(2, 0, block_of(60), StorageLevel::kMemory, kWanted), Kept::kYes);
  EXPECT_FALSE(store.block(1, 0).has_value());
  EXPECT_EQ(store.usage().dropped, 1U);
  EXPECT_EQ(store.put_block(3, 0, block_of(101), StorageLevel::kMemory, kWanted), Kept::kNoRoom);
  EXPECT_TRUE(store.block(2, 0).has_value());  // nothing would have been won
}

TEST(BlockStore, BlocksGoToTheDiskWhereTheirLevelSaysSo) {
  BlockStore store(limited(100));
  const auto level = StorageLevel::kMemoryAndDisk;
  EXPECT_EQ(store.put_block(1, 0, block_of(60, 'x'), level, kWanted), Kept::kYes);
  EXPECT_EQ(store.put_block(1, 1, block_of(60, 'y'), level, kWanted), Kept::kYes);
  EXPECT_NE(store.block(1, 0)->block, nullptr);
  EXPECT_EQ(store.block(1, 1)->block, nullptr);
  EXPECT_EQ(text(*store.block(1, 1)), std::string(60, 'y'));
  store.put_map_output(7, 0, piece_of(80, 'm'), kWanted);
  EXPECT_EQ(text(*store.block(1, 0)), std::string(60, 'x'));
  EXPECT_EQ(store.usage().memory, 80U);
  EXPECT_EQ(store.put_block(2, 0, block_of(10, 'z'), StorageLevel::kDisk, kWanted), Kept::kYes);
  EXPECT_EQ(store.usage().memory, 80U);
  EXPECT_EQ(text(*store.block(2, 0)), std::string(10, 'z'));
  store.release_dataset(1);
  store.release_dataset(2);
  store.release_shuffle(7);
  EXPECT_EQ(store.usage().memory, 0U);
  EXPECT_EQ(store.usage().disk, 0U);
}

TEST(BlockStore, AFullDiskFailsMapOutputsAndDropsBlocks) {
  BlockStore store(limited(100, 50));
  store.put_map_output(1, 0, piece_of(80, 'a'), kWanted);
  try {
    store.put_map_output(1, 1, piece_of(80, 'b'), kWanted);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUnreachable);
    const std::string what = error.what();
    EXPECT_NE(what.find("80 bytes"), std::string::npos) << what;
    EXPECT_NE(what.find("--weir.spill-limit"), std::string::npos) << what;
  }
  EXPECT_FALSE(store.map_output(1, 1, 0).has_value());
  EXPECT_EQ(store.map_output(1, 0, 0)->get().view(), std::string(80, 'a'));
  EXPECT_EQ(store.put_block(2, 0, block_of(80), StorageLevel::kMemoryAndDisk, kWanted),
            Kept::kNoRoom);
  EXPECT_EQ(store.usage().memory, 80U);
  EXPECT_EQ(store.usage().disk, 0U);
}

TEST(BlockStore, ADirectoryThatIsNotThereIsNamed) {
  BlockStore store({100, {"/no/such/directory", 1 << 20}});
  try {
    store.put_map_output(1, 0, piece_of(200, 'a'), kWanted);
    FAIL();
  } catch (const Error& error) {
    const std::string what = error.what();
    EXPECT_NE(what.find("/no/such/directory"), std::string::npos) << what;
    EXPECT_NE(what.find("--weir.spill-dir"), std::string::npos) << what;
  }
}

TEST(BlockStore, ASharedValueIsMadeOnceAndAgainAfterItWasReleased) {
  BlockStore store;
  std::atomic<int> made{0};
  const auto make = [&] {
    ++made;
    return BlockStore::SharedValue{std::make_shared<const int>(7), 40};
  };
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back(
          [&] { EXPECT_EQ(*static_cast<const int*>(store.shared_value(1, make).get()), 7); });
    }
  }
  EXPECT_EQ(made, 1);
  EXPECT_EQ(store.usage().memory, 40U);
  store.release_shuffle(1);
  EXPECT_EQ(store.usage().memory, 0U);
  EXPECT_THROW(store.shared_value(1, []() -> BlockStore::SharedValue { throw 1; }), int);
  store.shared_value(1, make);
  EXPECT_EQ(made, 2);
}

TEST(BlockStore, ManyThreadsPutReadAndReleaseWithinTheLimit) {
  BlockStore store(limited(400));
  std::vector<std::jthread> threads;
  for (std::uint32_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (std::uint32_t i = 0; i < 200; ++i) {
        const char filled = static_cast<char>('a' + t);
        store.put_map_output(t, i, piece_of(150, filled), kWanted);
        const auto read = store.map_output(t, i, 0);
        ASSERT_TRUE(read.has_value());
        ASSERT_EQ(read->get().view(), std::string(150, filled));
        if (i >= 3) store.release_outputs_before(t, i - 2);
      }
      store.release_shuffle(t);
    });
  }
  threads.clear();
  EXPECT_EQ(store.usage().memory, 0U);
  EXPECT_EQ(store.usage().disk, 0U);
  EXPECT_GT(store.usage().spilled, 0U);
}

}  // namespace
}  // namespace weir
