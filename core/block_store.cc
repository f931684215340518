#include "weir/core/block_store.h"

namespace weir {
namespace {

std::uint64_t total(const std::vector<Bytes>& pieces) {
  std::uint64_t sum = 0;
  for (const Bytes& piece : pieces) sum += piece.size();
  return sum;
}

}  // namespace

bool BlockStore::put_block(DatasetId dataset, std::uint32_t partition,
                           std::shared_ptr<const Block> block, const std::atomic<bool>& cancelled,
                           bool replace) {
  const std::scoped_lock lock(mutex_);
  if (cancelled.load()) return false;
  std::shared_ptr<const Block>& kept = blocks_[{dataset, partition}];
  if (kept != nullptr && !replace) return true;
  if (kept != nullptr) bytes_ -= kept->size_bytes();
  kept = std::move(block);
  bytes_ += kept->size_bytes();
  return true;
}

std::shared_ptr<const Block> BlockStore::block(DatasetId dataset, std::uint32_t partition) const {
  const std::scoped_lock lock(mutex_);
  const auto found = blocks_.find({dataset, partition});
  return found == blocks_.end() ? nullptr : found->second;
}

void BlockStore::release_dataset(DatasetId dataset) {
  const std::scoped_lock lock(mutex_);
  auto at = blocks_.lower_bound({dataset, 0});
  while (at != blocks_.end() && at->first.first == dataset) {
    bytes_ -= at->second->size_bytes();
    at = blocks_.erase(at);
  }
}

bool BlockStore::put_map_output(ShuffleId shuffle, std::uint32_t map_partition,
                                std::vector<Bytes> pieces, const std::atomic<bool>& cancelled) {
  const std::scoped_lock lock(mutex_);
  if (cancelled.load()) return false;
  std::vector<Bytes>& kept = outputs_[{shuffle, map_partition}];
  bytes_ += total(pieces) - total(kept);
  kept = std::move(pieces);
  return true;
}

std::optional<Bytes> BlockStore::map_output(ShuffleId shuffle, std::uint32_t map_partition,
                                            std::uint32_t reduce_partition) const {
  const std::scoped_lock lock(mutex_);
  const auto found = outputs_.find({shuffle, map_partition});
  if (found == outputs_.end() || reduce_partition >= found->second.size()) return std::nullopt;
  return found->second[reduce_partition];
}

void BlockStore::release_shuffle(ShuffleId shuffle) {
  const std::scoped_lock lock(mutex_);
  auto at = outputs_.lower_bound({shuffle, 0});
  while (at != outputs_.end() && at->first.first == shuffle) {
    bytes_ -= total(at->second);
    at = outputs_.erase(at);
  }
}

void BlockStore::release_outputs_before(ShuffleId shuffle, std::uint32_t map_partition) {
  const std::scoped_lock lock(mutex_);
  const auto end = outputs_.lower_bound({shuffle, map_partition});
  for (auto at = outputs_.lower_bound({shuffle, 0}); at != end;) {
    bytes_ -= total(at->second);
    at = outputs_.erase(at);
  }
}

std::uint64_t BlockStore::size_bytes() const {
  const std::scoped_lock lock(mutex_);
  return bytes_;
}

}  // namespace weir
