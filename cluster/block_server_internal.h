#pragma once

#include <functional>
#include <string>
#include <string_view>
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
  using OnBroken = std::function<void(const std::string& why)>;

  /// Listens at once. `store` must outlive it. `on_broken` is called on its thread if that must end
  /// before the context does. Throws Error(kUnreachable).
  BlockServer(zmq::context_t& context, const std::string& endpoint, FrameKey key,
              const BlockStore& store, OnBroken on_broken);
  /// Returns when the thread has ended, after the context's shutdown.
  void join() { thread_.join(); }

 private:
  void run();
  void answer_all();
  void answer(std::string_view peer, const wire::FetchRequest& request);

  zmq::socket_t socket_;
  const FrameKey key_;
  const BlockStore& store_;
  const OnBroken on_broken_;
  std::jthread thread_;
};

}  // namespace weir::internal
