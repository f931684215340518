#include <algorithm>
#include <iterator>
#include <map>
#include <utility>

#include "weir/connectors/kafka/lane_pool_internal.h"

namespace weir::kafka::internal {
namespace {

// Of one partition, for readers that take turns; only readers at the same time get more.
constexpr std::ptrdiff_t kLanesInTurn = 2;

using Key = std::vector<std::pair<std::string, std::string>>;

struct Pools {
  std::mutex mutex;
  std::map<Key, std::shared_ptr<LanePool>> by_key;
};

// Never destroyed: a process that exits does not wait for its connections.
Pools& pools() {
  static Pools* const all = new Pools;
  return *all;
}

}  // namespace

std::shared_ptr<LanePool> LanePool::of(const Options& options) {
  const std::lock_guard lock(pools().mutex);
  std::shared_ptr<LanePool>& pool = pools().by_key[client_properties(options)];
  if (!pool) pool = std::make_shared<LanePool>(options);
  return pool;
}

void LanePool::close(const Options& options) {
  std::shared_ptr<LanePool> pool;
  {
    const std::lock_guard lock(pools().mutex);
    const auto found = pools().by_key.find(client_properties(options));
    if (found == pools().by_key.end()) return;
    pool = std::move(found->second);
    pools().by_key.erase(found);
  }
  std::vector<Entry> idle;
  std::vector<std::shared_ptr<Client>> clients;
  {
    const std::lock_guard lock(pool->mutex_);
    pool->closed_ = true;
    clients.swap(pool->clients_);
    const auto kept = std::partition(pool->entries_.begin(), pool->entries_.end(),
                                     [](const Entry& entry) { return entry.lent; });
    std::move(kept, pool->entries_.end(), std::back_inserter(idle));
    pool->entries_.erase(kept, pool->entries_.end());
  }
}

LanePool::LanePool(const Options& options, Duration idle_limit)
    : options_(options),
      idle_limit_(idle_limit),
      sweeper_([this](const std::stop_token& stopped) { sweep(stopped); }) {}

LanePool::~LanePool() = default;

LanePool::Size LanePool::size() const {
  const std::lock_guard lock(mutex_);
  return {entries_.size(), clients_.size()};
}

LanePool::Loan LanePool::borrow(const std::shared_ptr<LanePool>& pool, const std::string& topic,
                                std::int32_t partition, std::int64_t from) {
  Loan loan(pool->take(topic, partition, from), [pool](Lane* lane) { pool->give_back(lane); });
  loan->continue_at(from);
  return loan;
}

Lane* LanePool::take(const std::string& topic, std::int32_t partition, std::int64_t from) {
  const std::lock_guard lock(mutex_);
  Entry* chosen = free_lane(topic, partition, from);
  if (chosen == nullptr) chosen = &open_lane(topic, partition);
  chosen->lent = true;
  return chosen->lane.get();
}

/// The one that is best to use, if that is better than to open another: the nearest that continues,
/// one that loses nothing by a restart, or the one that was used least recently.
LanePool::Entry* LanePool::free_lane(const std::string& topic, std::int32_t partition,
                                     std::int64_t from) {
  Entry* nearest = nullptr;
  Entry* stopped = nullptr;
  Entry* oldest = nullptr;
  std::ptrdiff_t lanes = 0;
  for (Entry& entry : entries_) {
    if (!entry.lane->serves(topic, partition)) continue;
    ++lanes;
    if (entry.lent) continue;
    if (entry.lane->can_continue(from)) {
      if (nearest == nullptr || entry.lane->position() > nearest->lane->position()) {
        nearest = &entry;
      }
    }
    if (entry.lane->stopped()) stopped = &entry;
    if (oldest == nullptr || entry.last_use < oldest->last_use) oldest = &entry;
  }
  if (nearest != nullptr) return nearest;
  if (stopped != nullptr) return stopped;
  return lanes < kLanesInTurn ? nullptr : oldest;
}

/// Of a client that has no lane of the partition.
LanePool::Entry& LanePool::open_lane(const std::string& topic, std::int32_t partition) {
  const auto lacks_it = [&](const std::shared_ptr<Client>& client) {
    return std::none_of(entries_.begin(), entries_.end(), [&](const Entry& entry) {
      return entry.client == client && entry.lane->serves(topic, partition);
    });
  };
  const auto found = std::find_if(clients_.begin(), clients_.end(), lacks_it);
  std::shared_ptr<Client> client =
      found != clients_.end() ? *found : clients_.emplace_back(std::make_shared<Client>(options_));
  auto lane = std::make_unique<Lane>(client, topic, partition);
  return entries_.emplace_back(Entry{std::move(client), std::move(lane)});
}

void LanePool::give_back(Lane* lane) {
  Entry ended;  // destroyed outside the lock
  const std::lock_guard lock(mutex_);
  const auto entry = std::find_if(entries_.begin(), entries_.end(),
                                  [&](const Entry& each) { return each.lane.get() == lane; });
  entry->lent = false;
  entry->last_use = SteadyClock::now();
  if (closed_) {
    ended = std::move(*entry);
    entries_.erase(entry);
  }
}

void LanePool::sweep(const std::stop_token& stopped) {
  std::unique_lock lock(mutex_);
  while (!stopped.stop_requested()) {
    const auto now = SteadyClock::now();
    std::vector<std::shared_ptr<Client>> unused = drop_expired(now);
    if (!unused.empty()) {
      lock.unlock();
      unused.clear();  // takes its time
      lock.lock();
      continue;
    }
    // No later than the first expiry: whatever comes back meanwhile expires after that.
    auto next = now + idle_limit_;
    for (const Entry& entry : entries_) {
      if (!entry.lent) next = std::min(next, entry.last_use + idle_limit_);
    }
    stopped_.wait_until(lock, stopped, next, [] { return false; });
  }
}

/// Returns the clients that have no lane any more.
std::vector<std::shared_ptr<Client>> LanePool::drop_expired(SteadyClock::time_point now) {
  // Under the lock: a lane that is being stopped must not meet a new one of the same client.
  std::erase_if(entries_, [&](const Entry& entry) {
    return !entry.lent && now - entry.last_use >= idle_limit_;
  });
  const auto unused = std::partition(clients_.begin(), clients_.end(), [&](const auto& client) {
    return std::any_of(entries_.begin(), entries_.end(),
                       [&](const Entry& entry) { return entry.client == client; });
  });
  std::vector<std::shared_ptr<Client>> dropped(std::make_move_iterator(unused),
                                               std::make_move_iterator(clients_.end()));
  clients_.erase(unused, clients_.end());
  return dropped;
}

}  // namespace weir::kafka::internal
