#include "weir/core/storage/block_store.h"

#include <algorithm>
#include <iterator>
#include <string>

#include "weir/core/error.h"
#include "weir/core/log.h"

namespace weir {
namespace {

std::uint64_t memory_of(const StoredElements& elements) {
  std::uint64_t sum = elements.block == nullptr ? 0 : elements.block->size_bytes();
  for (const HeldBytes& part : elements.parts) sum += part.memory();
  return sum;
}

/// Encoded, all of it in the file.
StoredElements on_disk(SpillFile& file, const StoredElements& elements) {
  std::vector<HeldBytes> parts = elements.parts;
  if (elements.block != nullptr) {
    for (Bytes& part : elements.block->encode_elements()) parts.emplace_back(std::move(part));
  }
  return {nullptr, spill(file, parts)};
}

}  // namespace

std::uint64_t StoredElements::size_bytes() const {
  std::uint64_t sum = block == nullptr ? 0 : block->size_bytes();
  for (const HeldBytes& part : parts) sum += part.size();
  return sum;
}

BlockStore::BlockStore(Options options)
    : options_(std::move(options)), spill_(std::make_shared<SpillFile>(options_.spill)) {}

BlockStore::Usage BlockStore::usage() const {
  const std::scoped_lock lock(mutex_);
  return {memory_, spill_->size_bytes(), dropped_, spilled_};
}

/// Gives the entry its content, as used just now.
void BlockStore::set(Entries::iterator at, StoredElements elements) {
  Entry& entry = at->second;
  memory_ -= entry.memory;
  entry.elements = std::move(elements);
  entry.memory = memory_of(entry.elements);
  entry.version = ++last_version_;
  memory_ += entry.memory;
  if (entry.used) recent_.erase(*entry.used);
  entry.used.reset();
  if (entry.memory != 0) entry.used = recent_.insert(recent_.end(), at->first);
}

void BlockStore::touch(Entry& entry) {
  if (entry.used) recent_.splice(recent_.end(), recent_, *entry.used);
}

BlockStore::Entries::iterator BlockStore::erase(Entries::iterator at) {
  memory_ -= at->second.memory;
  if (at->second.used) recent_.erase(*at->second.used);
  return entries_.erase(at);
}

void BlockStore::erase_all(Kind kind, std::uint64_t of, std::uint32_t end) {
  auto at = entries_.lower_bound({kind, of, 0});
  while (at != entries_.end() && at->first.kind == kind && at->first.of == of &&
         at->first.partition < end) {
    at = erase(at);
  }
}

/// Until `bytes` more fit into memory; false if they do not when all is done that can be. Writes
/// without the lock, so anything may have changed afterwards. Throws if the disk cannot be written
/// and nothing could be dropped instead.
bool BlockStore::make_room(Lock& lock, std::uint64_t bytes, std::optional<DatasetId> not_of) {
  while (memory_ + bytes > options_.memory_limit) {
    const auto oldest = std::ranges::find_if(
        recent_, [&](const Key& key) { return key.kind != Kind::kBlock || key.of != not_of; });
    if (oldest == recent_.end()) return false;
    const auto at = entries_.find(*oldest);
    if (oldest->kind == Kind::kBlock && !internal::uses_disk(at->second.level)) {
      erase(at);
      ++dropped_;
    } else {
      move_to_disk(lock, Key(*oldest));
    }
  }
  return true;
}

/// Called, and left, with the lock. Others do not choose the entry meanwhile.
void BlockStore::move_to_disk(Lock& lock, const Key& key) {
  Entry& entry = entries_.at(key);
  recent_.erase(*entry.used);
  entry.used.reset();
  const StoredElements elements = entry.elements;
  const std::uint64_t version = entry.version;
  std::optional<StoredElements> written;
  std::string failure;
  lock.unlock();
  try {
    written = on_disk(*spill_, elements);
  } catch (const Error& error) {
    failure = error.what();
  }
  lock.lock();
  const auto at = entries_.find(key);
  const bool unchanged = at != entries_.end() && at->second.version == version;
  if (written) {
    if (unchanged) {
      set(at, *std::move(written));
      ++spilled_;
    }
    return;
  }
  if (key.kind == Kind::kBlock) {
    log_warning("a stored block is dropped: " + failure);
    if (unchanged) {
      erase(at);
      ++dropped_;
    }
    return;
  }
  if (unchanged) at->second.used = recent_.insert(recent_.begin(), key);
  throw Error(ErrorCode::kUnreachable, failure);
}

BlockStore::Kept BlockStore::put_block(DatasetId dataset, std::uint32_t partition,
                                       StoredElements elements, StorageLevel level,
                                       const std::atomic<bool>& cancelled, bool replace) {
  const Key key{Kind::kBlock, dataset, partition};
  Lock lock(mutex_);
  if (cancelled.load()) return Kept::kCancelled;
  if (!replace && entries_.count(key) != 0) return Kept::kYes;
  const std::uint64_t memory = memory_of(elements);
  bool fits = memory == 0;
  try {
    fits = fits || (internal::uses_memory(level) && memory <= options_.memory_limit &&
                    make_room(lock, memory, dataset));
    if (!fits && internal::uses_disk(level)) {
      lock.unlock();
      elements = on_disk(*spill_, elements);
      lock.lock();
      fits = true;
    }
  } catch (const Error& error) {
    if (!lock.owns_lock()) lock.lock();
    log_warning(std::string("a block is not stored: ") + error.what());
    fits = false;
  }
  if (cancelled.load()) return Kept::kCancelled;
  const auto at = entries_.try_emplace(key).first;
  const bool is_there = at->second.version != 0;
  if (is_there && !replace) return Kept::kYes;  // by another task, meanwhile
  if (!fits) {
    erase(at);
    return Kept::kNoRoom;
  }
  at->second.level = level;
  set(at, std::move(elements));
  return Kept::kYes;
}

std::optional<StoredElements> BlockStore::block(DatasetId dataset, std::uint32_t partition) {
  const std::scoped_lock lock(mutex_);
  const auto found = entries_.find({Kind::kBlock, dataset, partition});
  if (found == entries_.end()) return std::nullopt;
  touch(found->second);
  return found->second.elements;
}

void BlockStore::release_dataset(DatasetId dataset) {
  const std::scoped_lock lock(mutex_);
  erase_all(Kind::kBlock, dataset, std::numeric_limits<std::uint32_t>::max());
}

bool BlockStore::put_map_output(ShuffleId shuffle, std::uint32_t map_partition,
                                std::vector<HeldBytes> pieces, const std::atomic<bool>& cancelled) {
  const Key key{Kind::kMapOutput, shuffle, map_partition};
  Lock lock(mutex_);
  if (cancelled.load()) return false;
  const auto at = entries_.try_emplace(key).first;
  set(at, {nullptr, std::move(pieces)});
  const std::uint64_t version = at->second.version;
  try {
    make_room(lock, 0, std::nullopt);
  } catch (const Error&) {
    const auto still = entries_.find(key);
    if (still != entries_.end() && still->second.version == version) erase(still);
    throw;
  }
  return true;
}

bool BlockStore::put_map_output(ShuffleId shuffle, std::uint32_t map_partition,
                                const std::vector<Bytes>& pieces,
                                const std::atomic<bool>& cancelled) {
  return put_map_output(shuffle, map_partition,
                        std::vector<HeldBytes>(pieces.begin(), pieces.end()), cancelled);
}

std::optional<HeldBytes> BlockStore::map_output(ShuffleId shuffle, std::uint32_t map_partition,
                                                std::uint32_t reduce_partition) {
  const std::scoped_lock lock(mutex_);
  const auto found = entries_.find({Kind::kMapOutput, shuffle, map_partition});
  if (found == entries_.end()) return std::nullopt;
  Entry& entry = found->second;
  if (reduce_partition >= entry.elements.parts.size()) return std::nullopt;
  touch(entry);
  return entry.elements.parts[reduce_partition];
}

void BlockStore::release_shuffle(ShuffleId shuffle) {
  const std::scoped_lock lock(mutex_);
  erase_all(Kind::kMapOutput, shuffle, std::numeric_limits<std::uint32_t>::max());
  const auto shared = shared_.find(shuffle);
  if (shared == shared_.end()) return;
  memory_ -= shared->second->bytes;
  shared_.erase(shared);
}

void BlockStore::release_outputs_before(ShuffleId shuffle, std::uint32_t map_partition) {
  const std::scoped_lock lock(mutex_);
  erase_all(Kind::kMapOutput, shuffle, map_partition);
}

std::shared_ptr<const void> BlockStore::shared_value(ShuffleId id,
                                                     const std::function<SharedValue()>& make) {
  std::shared_ptr<SharedEntry> entry;
  {
    const std::scoped_lock lock(mutex_);
    std::shared_ptr<SharedEntry>& known = shared_[id];
    if (known == nullptr) known = std::make_shared<SharedEntry>();
    entry = known;
  }
  const std::scoped_lock making(entry->making);
  if (entry->value.value != nullptr) return entry->value.value;
  entry->value = make();
  Lock lock(mutex_);
  const auto still = shared_.find(id);
  if (still == shared_.end() || still->second != entry) return entry->value.value;
  entry->bytes = entry->value.bytes;
  memory_ += entry->bytes;
  try {
    make_room(lock, 0, std::nullopt);
  } catch (const Error& error) {
    log_warning(std::string("memory is short: ") + error.what());
  }
  return entry->value.value;
}

}  // namespace weir
