#pragma once

#include <atomic>
#include <cstdint>
#include <optional>

#include <zmq.hpp>

#include "weir/cluster/block_fetcher_internal.h"
#include "weir/cluster/messages.h"
#include "weir/cluster/settings.h"

namespace weir::internal {

/// Puts copies of blocks on another worker: one at a time, in pieces, each answered when the other
/// has it. It stays with one worker for as long as that answers, so that all copies of a receiver
/// are together. Where the others are, the fetcher is told.
///
/// Threads: one, which waits in `copy`.
class BlockCopier {
 public:
  BlockCopier(zmq::context_t& context, FrameKey key, const ClusterSettings& settings,
              const BlockFetcher& fetcher, WorkerId self);

  /// What a copy is of; see wire::PutBlock.
  struct Name {
    std::uint64_t of = 0;  ///< a receiver, or a dataset
    std::uint32_t number = 0;
    std::uint32_t release_before = 0;
    StorageLevel level = StorageLevel::kNone;
  };
  /// See ResidentHost::copy and BlockReplicator::copy. Waits for each worker that is there at most
  /// `fetch_timeout`.
  std::optional<WorkerId> copy(const Name& name, const Bytes& block,
                               const std::atomic<bool>& cancelled);

 private:
  struct Connection {
    wire::Peer peer;
    zmq::socket_t socket;
  };

  void connect(const wire::Peer& peer);
  bool put(const Name& name, const Bytes& block, const std::atomic<bool>& cancelled);
  /// The answer to the put, if one has come.
  std::optional<wire::PutDone> answer();

  zmq::context_t& context_;
  const FrameKey key_;
  const std::uint64_t piece_bytes_;
  const Duration timeout_;
  const BlockFetcher& fetcher_;
  const WorkerId self_;
  std::optional<Connection> connection_;
  std::uint64_t last_put_ = 0;
};

}  // namespace weir::internal
