#pragma once

#include <string>
#include <thread>

#include <zmq.hpp>

#include "weir/cluster/messages.h"
#include "weir/core/block_store.h"

namespace weir::internal {

/// Answers the fetches of other workers from a worker's store. It keeps nothing between requests: a
/// reducer asks for as much as it has room for, and asks again for what does not come.
///
/// Threads: one of its own with one ROUTER. It ends with the context.
class BlockServer {
 public:
  /// Listens at once. `store` must outlive it. Throws Error(kUnreachable).
  BlockServer(zmq::context_t& context, const std::string& endpoint, FrameKey key,
              const BlockStore& store);
  /// Returns when the thread has ended, after the context's shutdown.
  void join() { thread_.join(); }

 private:
  void run();
  void answer(std::string_view peer, const wire::FetchRequest& request);

  zmq::socket_t socket_;
  const FrameKey key_;
  const BlockStore& store_;
  std::jthread thread_;
};

}  // namespace weir::internal
