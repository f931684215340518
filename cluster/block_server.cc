#include <atomic>
#include <utility>
#include <variant>

#include <fmt/format.h>

#include "weir/cluster/block_server_internal.h"
#include "weir/cluster/channel_internal.h"
#include "weir/cluster/quiet_thread.h"
#include "weir/core/error.h"
#include "weir/core/hash.h"
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
                         BlockStore& store, OnBroken on_broken)
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
        const auto request = wire::from_frame<wire::ExchangeRequest>(*frame);
        std::visit([&](const auto& held) { answer(received->peer, held); }, request);
      } catch (const Error& error) {
        log_warning(fmt::format("refused a worker's message: {}", error.what()));
      }
    } else {
      log_warning(
          fmt::format("refused a worker's message: {}", to_string(std::get<FrameFault>(opened))));
    }
  }
}

void BlockServer::answer(const std::string& peer, const wire::FetchRequest& request) {
  for (const wire::FetchRequest::Range& range : request.ranges) {
    const auto piece =
        store_.map_output(request.shuffle, range.map_partition, request.reduce_partition);
    std::string refusal = "the map output is not in the worker's store";
    if (piece && range.offset <= piece->size() && range.length <= piece->size() - range.offset) {
      try {
        const Bytes bytes = piece->get(range.offset, range.length);
        const wire::ExchangeAnswer head = wire::FetchChunk{request.fetch, range};
        send_parts(socket_, peer, to_frame(head, key_), share(bytes, bytes.view()));
        continue;
      } catch (const Error& error) {
        refusal = error.what();
      }
    } else if (piece) {
      refusal = fmt::format("the map output has {} bytes, not {}", piece->size(),
                            range.offset + range.length);
    }
    const wire::ExchangeAnswer answer =
        wire::FetchError{request.fetch, range.map_partition, std::move(refusal)};
    send_to_peer(socket_, peer, to_message(to_frame(answer, key_)));
  }
}

void BlockServer::answer(const std::string& peer, const wire::PutBlock& piece) {
  Incoming& block = incoming_[peer];
  if (piece.offset == 0) block = {piece.put, {}};
  if (block.put != piece.put || block.bytes.size() != piece.offset) return;  // it is sent again
  const std::uint64_t end = piece.offset + piece.piece.size();
  if (piece.size > wire::kMaxBlockBytes || end > piece.size) {
    incoming_.erase(peer);
    return answer_put(peer, piece.put,
                      fmt::format("a block of {} bytes does not go up to {} (at most {} can be "
                                  "copied)",
                                  piece.size, end, wire::kMaxBlockBytes));
  }
  block.bytes += piece.piece.view();
  if (end < piece.size) return;
  const Bytes whole(std::move(block.bytes));
  incoming_.erase(peer);
  if (hash_bytes(whole.view()) != piece.hash) {
    return answer_put(peer, piece.put, "its bytes do not have the hash that was announced");
  }
  const std::atomic<bool> never{false};
  if (piece.level != StorageLevel::kNone) {
    const auto kept = store_.put_block(piece.receiver, piece.number, {nullptr, {HeldBytes(whole)}},
                                       piece.level, never, true);
    const bool fits = kept == BlockStore::Kept::kYes;
    return answer_put(peer, piece.put, fits ? "" : "there is no room for it");
  }
  try {
    store_.put_map_output(piece.receiver, piece.number, {whole}, never);
  } catch (const Error& error) {
    return answer_put(peer, piece.put, error.what());
  }
  store_.release_outputs_before(piece.receiver, piece.release_before);
  answer_put(peer, piece.put, {});
}

void BlockServer::answer_put(const std::string& peer, std::uint64_t put, std::string failure) {
  const wire::ExchangeAnswer answer = wire::PutDone{put, std::move(failure)};
  send_to_peer(socket_, peer, to_message(to_frame(answer, key_)));
}

}  // namespace weir::internal
