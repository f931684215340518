#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <thread>

#include <zmq.hpp>

#include "weir/cluster/messages.h"
#include "weir/core/storage/block_store.h"

namespace weir::internal {

/// Answers the fetches of other workers from a worker's store, and takes in copies of what they
/// received. Of fetches it keeps nothing between requests: a reducer asks for as much as it has
/// room for, and asks again for what does not come. Of each worker that sends a copy it keeps the
/// pieces of one block.
///
/// Threads: one of its own with one ROUTER. It ends with the context.
class BlockServer {
 public:
  using OnBroken = std::function<void(const std::string& why)>;

  /// Listens at once. `store` must outlive it. `on_broken` is called on its thread if that must end
  /// before the context does. Throws Error(kUnreachable).
  BlockServer(zmq::context_t& context, const std::string& endpoint, FrameKey key, BlockStore& store,
              OnBroken on_broken);
  /// Returns when the thread has ended, after the context's shutdown.
  void join() { thread_.join(); }

 private:
  void run();
  void answer_all();
  void answer(const std::string& peer, const wire::FetchRequest& request);
  void answer(const std::string& peer, const wire::PutBlock& piece);
  void answer_put(const std::string& peer, std::uint64_t put, std::string failure);

  /// A block whose pieces are coming.
  struct Incoming {
    std::uint64_t put = 0;
    std::string bytes;
  };

  zmq::socket_t socket_;
  const FrameKey key_;
  BlockStore& store_;
  const OnBroken on_broken_;
  std::map<std::string, Incoming> incoming_;  // by peer; its thread's
  std::jthread thread_;
};

}  // namespace weir::internal
