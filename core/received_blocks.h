#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "weir/core/task.h"

namespace weir {

/// Where the blocks are that receivers keep in workers. The driver's; a receiver is known by the
/// shuffle id under which workers keep what it received, block n as the output of map partition n.
///
/// A task that reads a block is told who has it as late as it is launched, so that one that is
/// tried again, because a worker did not deliver, is told of another. When nobody has it any more
/// the task finds nothing, or reads the receiver's log (see ReceivedDataset).
///
/// Thread-safe. `on_lost` is called by whoever brings the news, with no lock held.
class ReceivedBlocks {
 public:
  /// Block `number` is on no worker any more and was not released.
  using OnLost = std::function<void(std::uint32_t number)>;

  void open(ShuffleId receiver, OnLost on_lost);
  /// `holders` in the order in which they are to be asked.
  void add(ShuffleId receiver, std::uint32_t number, std::vector<WorkerId> holders);
  void release_before(ShuffleId receiver, std::uint32_t number);
  /// No callback of the receiver's follows, and none is running, unless this is called from it.
  void close(ShuffleId receiver);

  /// Names the holder to read a leaf's block from, and gives it size 0 if there is none; and
  /// prefers workers that need not fetch it.
  void locate(TaskSpec& task) const;
  void on_worker_lost(WorkerId worker);
  /// Who could not deliver does not have it. Of other shuffles it knows nothing.
  void on_fetch_failed(const FetchFailed& failure);
  /// How often a block was lost so far: what a job reads may differ from what it read before.
  std::uint64_t losses() const { return losses_.load(); }

 private:
  struct Receiver {
    OnLost on_lost;
    std::map<std::uint32_t, std::vector<WorkerId>> holders;  // by number of the block
  };
  using Lost = std::vector<std::pair<OnLost, std::uint32_t>>;

  static void forget(const Receiver& receiver, std::uint32_t number, std::vector<WorkerId>& holders,
                     WorkerId worker, Lost& lost);
  void tell(const Lost& lost);

  std::atomic<std::uint64_t> losses_{0};
  std::recursive_mutex telling_;  // held while callbacks run; locked before mutex_
  mutable std::mutex mutex_;
  std::map<ShuffleId, Receiver> receivers_;  // guarded by mutex_
};

}  // namespace weir
