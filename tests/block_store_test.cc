#include "weir/core/block_store.h"

#include <atomic>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "weir/core/block.h"

namespace weir {
namespace {

using internal::MemoryBlock;

std::vector<Bytes> pieces(const std::string& a, const std::string& b) {
  return {Bytes(a), Bytes(b)};
}

TEST(BlockStore, ALaterAttemptsMapOutputReplacesTheFirst) {
  BlockStore store;
  const std::atomic<bool> wanted{false};
  EXPECT_TRUE(store.put_map_output(1, 0, pieces("aaa", "b"), wanted));
  EXPECT_TRUE(store.put_map_output(1, 0, pieces("c", "dd"), wanted));
  EXPECT_EQ(store.map_output(1, 0, 1)->view(), "dd");
  EXPECT_EQ(store.size_bytes(), 3U);
  EXPECT_FALSE(store.map_output(1, 0, 2).has_value());
  EXPECT_FALSE(store.map_output(1, 1, 0).has_value());
  store.release_shuffle(1);
  EXPECT_EQ(store.size_bytes(), 0U);
}

TEST(BlockStore, NothingIsKeptOfACancelledAttempt) {
  BlockStore store;
  const std::atomic<bool> cancelled{true};
  EXPECT_FALSE(store.put_map_output(1, 0, pieces("a", "b"), cancelled));
  EXPECT_FALSE(
      store.put_block(1, 0, std::make_shared<const MemoryBlock<int>>(std::vector{1}), cancelled));
  EXPECT_FALSE(store.map_output(1, 0, 0).has_value());
  EXPECT_EQ(store.block(1, 0), nullptr);
  EXPECT_EQ(store.size_bytes(), 0U);
}

}  // namespace
}  // namespace weir
