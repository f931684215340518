#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <zmq.hpp>

#include "weir/cluster/messages.h"
#include "weir/cluster/settings.h"
#include "weir/core/task_executor.h"

namespace weir::internal {

/// Gets map outputs from the workers that have them, asking ahead of what is being consumed:
///
///     segments, in order    consumed | received | asked for ...... | not asked for yet
///                                    |<---- fetch_window_bytes --->|   = the credit
///
/// What is next to be consumed is asked for however large it is (in up to 128 ranges at a time):
/// the credit bounds what is fetched ahead of it. What is asked for goes out as ranges of at most
/// `frame_bytes`, several segments and workers at a time. A segment is handed on when it is
/// complete and its hash is right. A worker that sends nothing of what was asked is asked once
/// more, and fails the fetch after `fetch_timeout`, or at once when the driver says that it is
/// lost.
///
/// Threads: `fetch` from any number; each thread has its own DEALER to each worker, kept from fetch
/// to fetch until the worker is lost. `add_peers` and `forget` from any.
class BlockFetcher final : public SegmentFetcher {
 public:
  BlockFetcher(zmq::context_t& context, FrameKey key, const ClusterSettings& settings);
  ~BlockFetcher() override;

  std::optional<FetchFailed> fetch(ShuffleId shuffle, std::uint32_t reduce_partition,
                                   const std::vector<const Segment*>& segments,
                                   const std::function<void(const Segment&, Bytes)>& consume,
                                   const std::atomic<bool>& cancelled) override;

  /// Where workers are to be found. What is told of lost workers is ignored: word of a loss may
  /// overtake it. A worker's next incarnation says that it is lost.
  void add_peers(const std::vector<wire::Peer>& peers);
  /// The worker is lost; it never comes back.
  void forget(WorkerId worker);
  /// Those that are not lost, as far as is known here.
  std::vector<wire::Peer> peers() const;
  bool is_lost(WorkerId worker) const;
  /// Closes all sockets; the threads that fetched have ended.
  void close();

 private:
  friend class Fetch;
  using Sockets = std::map<WorkerId, zmq::socket_t>;
  /// The last known of the workers that follow one another in a place of the cluster.
  struct Place {
    std::uint32_t incarnation = 0;
    std::string endpoint;  ///< empty: it is lost
  };

  /// The calling thread's sockets.
  Sockets& sockets();
  /// Nothing if the worker is lost or was never heard of.
  std::optional<std::string> endpoint(WorkerId worker) const;

  zmq::context_t& context_;
  const FrameKey key_;
  const std::uint64_t frame_bytes_;
  const std::uint64_t window_bytes_;
  const Duration timeout_;
  std::atomic<std::uint64_t> last_fetch_{0};

  mutable std::mutex mutex_;
  std::map<std::uint32_t, Place> places_;                        // guarded by mutex_
  std::map<std::thread::id, std::unique_ptr<Sockets>> sockets_;  // the map is guarded by mutex_
};

}  // namespace weir::internal
