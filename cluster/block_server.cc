#include <utility>
#include <variant>

#include <fmt/format.h>

#include "weir/cluster/block_server_internal.h"
#include "weir/cluster/channel_internal.h"
#include "weir/cluster/quiet_thread.h"
#include "weir/core/error.h"
#include "weir/core/log.h"

namespace weir::internal {
namespace {

/// Answers waiting for one reducer. It asks for fewer ranges at a time (see BlockFetcher), and the
/// bytes are the store's own, so this is no limit on memory.
constexpr int kHighWaterMark = 512;

/// A message of two parts; false if there is no room or nobody to send it to.
bool send_parts(zmq::socket_t& router, std::string_view peer, std::string head,
                zmq::message_t data) {
  zmq::message_t name(peer.data(), peer.size());
  zmq::message_t header = to_message(std::move(head));
  const auto send = [&](zmq::message_t& part, zmq::send_flags flags) {
    return despite_signals(
        [&] { return router.send(part, flags | zmq::send_flags::dontwait).has_value(); });
  };
  try {
    if (!send(name, zmq::send_flags::sndmore)) return false;
    send(header, zmq::send_flags::sndmore);
    send(data, zmq::send_flags::none);
    return true;
  } catch (const zmq::error_t& error) {
    if (error.num() == EHOSTUNREACH) return false;
    throw;
  }
}

}  // namespace

BlockServer::BlockServer(zmq::context_t& context, const std::string& endpoint, FrameKey key,
                         const BlockStore& store, OnBroken on_broken)
    : socket_(bind_router(context, endpoint, {kHighWaterMark, 1 << 20})),
      key_(key),
      store_(store),
      on_broken_(std::move(on_broken)),
      thread_(quiet_thread([this] { run(); })) {}

void BlockServer::run() {
  const auto serve = [this] {
    while (true) {
      await_message(socket_, std::chrono::milliseconds(-1));
      answer_all();
    }
  };
  until_context_ends(serve, on_broken_);
  socket_.close();
}

void BlockServer::answer_all() {
  while (auto received = receive_from_peer(socket_)) {
    const auto opened = open_frame(view(received->frame), key_);
    if (const auto* frame = std::get_if<OpenedFrame>(&opened)) {
      try {
        answer(received->peer,
               std::get<0>(wire::from_frame<std::variant<wire::FetchRequest>>(*frame)));
      } catch (const Error& error) {
        log_warning(fmt::format("refused a fetch: {}", error.what()));
      }
    } else {
      log_warning(fmt::format("refused a fetch: {}", to_string(std::get<FrameFault>(opened))));
    }
  }
}

void BlockServer::answer(std::string_view peer, const wire::FetchRequest& request) {
  for (const wire::FetchRequest::Range& range : request.ranges) {
    const auto piece =
        store_.map_output(request.shuffle, range.map_partition, request.reduce_partition);
    if (piece && range.offset <= piece->size() && range.length <= piece->size() - range.offset) {
      const wire::FetchAnswer head = wire::FetchChunk{request.fetch, range};
      send_parts(socket_, peer, to_frame(head, key_),
                 share(*piece, piece->view().substr(range.offset, range.length)));
    } else {
      const wire::FetchAnswer refusal =
          wire::FetchError{request.fetch, range.map_partition,
                           piece ? fmt::format("the map output has {} bytes, not {}", piece->size(),
                                               range.offset + range.length)
                                 : std::string("the map output is not in the worker's store")};
      send_to_peer(socket_, peer, to_message(to_frame(refusal, key_)));
    }
  }
}

}  // namespace weir::internal
