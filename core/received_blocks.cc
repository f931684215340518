#include "weir/core/received_blocks.h"

#include <algorithm>

namespace weir {

void ReceivedBlocks::open(ShuffleId receiver, OnLost on_lost) {
  const std::scoped_lock lock(mutex_);
  receivers_[receiver].on_lost = std::move(on_lost);
}

void ReceivedBlocks::add(ShuffleId receiver, std::uint32_t number, std::vector<WorkerId> holders) {
  const std::scoped_lock lock(mutex_);
  const auto found = receivers_.find(receiver);
  if (found != receivers_.end()) found->second.holders[number] = std::move(holders);
}

void ReceivedBlocks::release_before(ShuffleId receiver, std::uint32_t number) {
  const std::scoped_lock lock(mutex_);
  const auto found = receivers_.find(receiver);
  if (found == receivers_.end()) return;
  auto& holders = found->second.holders;
  holders.erase(holders.begin(), holders.lower_bound(number));
}

void ReceivedBlocks::close(ShuffleId receiver) {
  const std::scoped_lock telling(telling_);
  const std::scoped_lock lock(mutex_);
  receivers_.erase(receiver);
}

void ReceivedBlocks::locate(TaskSpec& task) const {
  for (LeafInput& input : task.inputs) {
    if (input.is_shuffle || input.shuffle == 0) continue;
    const std::scoped_lock lock(mutex_);
    Segment& block = input.segments.at(0);
    const auto receiver = receivers_.find(input.shuffle);
    const std::vector<WorkerId>* holders = nullptr;
    if (receiver != receivers_.end()) {
      const auto found = receiver->second.holders.find(block.map_partition);
      if (found != receiver->second.holders.end()) holders = &found->second;
    }
    if (holders == nullptr || holders->empty()) {
      block.size = 0;
      continue;
    }
    block.worker = holders->front();
    if (task.preferred.empty()) task.preferred = *holders;
  }
}

void ReceivedBlocks::on_worker_lost(WorkerId worker) {
  const std::scoped_lock telling(telling_);
  Lost lost;
  {
    const std::scoped_lock lock(mutex_);
    for (auto& [id, receiver] : receivers_) {
      for (auto& [number, holders] : receiver.holders) {
        forget(receiver, number, holders, worker, lost);
      }
    }
  }
  tell(lost);
}

void ReceivedBlocks::on_fetch_failed(const FetchFailed& failure) {
  const std::scoped_lock telling(telling_);
  Lost lost;
  {
    const std::scoped_lock lock(mutex_);
    const auto receiver = receivers_.find(failure.shuffle);
    if (receiver == receivers_.end()) return;
    for (const std::uint32_t number : failure.map_partitions) {
      const auto found = receiver->second.holders.find(number);
      if (found == receiver->second.holders.end()) continue;
      forget(receiver->second, number, found->second, failure.worker, lost);
    }
  }
  tell(lost);
}

void ReceivedBlocks::forget(const Receiver& receiver, std::uint32_t number,
                            std::vector<WorkerId>& holders, WorkerId worker, Lost& lost) {
  if (std::erase(holders, worker) == 0 || !holders.empty()) return;
  lost.emplace_back(receiver.on_lost, number);
}

void ReceivedBlocks::tell(const Lost& lost) {
  losses_ += lost.size();
  for (const auto& [on_lost, number] : lost) on_lost(number);
}

}  // namespace weir
