#include <algorithm>
#include <map>

#include "weir/connectors/kafka/lane_pool_internal.h"

namespace weir::kafka::internal {
namespace {

constexpr std::chrono::seconds kIdleLimit{30};

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

LanePool::Loan LanePool::borrow(const std::shared_ptr<LanePool>& pool, const std::string& topic,
                                std::int32_t partition, std::int64_t from) {
  Loan loan(pool->take(topic, partition, from), [pool](Lane* lane) { pool->give_back(lane); });
  loan->continue_at(from);
  return loan;
}

Lane* LanePool::take(const std::string& topic, std::int32_t partition, std::int64_t from) {
  const std::lock_guard lock(mutex_);
  drop_expired();
  const auto serves = [&](const Entry& entry) {
    return entry.lane->partition() == partition && entry.lane->topic() == topic;
  };
  Entry* chosen = nullptr;
  std::vector<const Client*> busy;  // clients whose lane of this partition is lent
  for (Entry& entry : entries_) {
    if (!serves(entry)) continue;
    if (entry.lent) {
      busy.push_back(entry.client.get());
    } else if (chosen == nullptr || entry.lane->can_continue(from)) {
      chosen = &entry;
    }
  }
  if (chosen == nullptr) {
    const auto free = std::find_if(clients_.begin(), clients_.end(), [&](const auto& client) {
      return std::find(busy.begin(), busy.end(), client.get()) == busy.end();
    });
    std::shared_ptr<Client> client =
        free != clients_.end() ? *free : clients_.emplace_back(std::make_shared<Client>(options_));
    auto lane = std::make_unique<Lane>(client, topic, partition);
    chosen = &entries_.emplace_back(Entry{std::move(client), std::move(lane)});
  }
  chosen->lent = true;
  return chosen->lane.get();
}

void LanePool::give_back(Lane* lane) {
  Entry ended;  // destroyed outside the lock
  const std::lock_guard lock(mutex_);
  const auto entry = std::find_if(entries_.begin(), entries_.end(),
                                  [&](const Entry& each) { return each.lane.get() == lane; });
  entry->lent = false;
  entry->last_use = std::chrono::steady_clock::now();
  if (closed_) {
    ended = std::move(*entry);
    entries_.erase(entry);
  }
}

void LanePool::drop_expired() {
  // Under the lock: a lane that is being stopped must not meet a new one of the same client.
  const auto now = std::chrono::steady_clock::now();
  std::erase_if(entries_, [&](const Entry& entry) {
    return !entry.lent && now - entry.last_use >= kIdleLimit;
  });
}

}  // namespace weir::kafka::internal
