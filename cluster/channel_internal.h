#pragma once

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <zmq.hpp>

#include "weir/core/bytes.h"
#include "weir/core/error.h"
#include "weir/core/task.h"

/// What our ends of ZeroMQ have in common. Sockets belong to one thread each.
namespace weir::internal {

/// One connection of a worker to its driver, as its routing id says. The incarnation is part of it,
/// because a routing id must never come twice: messages of a second one vanish without a trace.
struct ChannelName {
  enum class Kind : char { kControl = 'c', kSlot = 's', kHeartbeat = 'h' };
  WorkerId worker;
  Kind kind = Kind::kControl;
  std::uint32_t slot = 0;

  bool operator==(const ChannelName&) const = default;
};
std::string routing_id(const ChannelName& name);
std::optional<ChannelName> parse_channel_name(std::string_view routing_id);

/// A context with room for the sockets of a large worker.
zmq::context_t make_zmq_context();

struct SocketLimits {
  int high_water_mark = 10'000;  ///< messages queued each way for one peer
  std::int64_t max_message_bytes = 0;
};
/// Bound ROUTER, refusing to send where nobody is. Throws Error(kUnreachable).
zmq::socket_t bind_router(zmq::context_t& context, const std::string& endpoint,
                          SocketLimits limits);
/// DEALER; `routing_id` may be empty. Connecting happens in the background.
zmq::socket_t connect_dealer(zmq::context_t& context, const std::string& endpoint,
                             const std::string& routing_id, SocketLimits limits);

/// `part` of `owner` as a message; large ones without copying, which keeps the owner's bytes alive.
zmq::message_t share(const Bytes& owner, std::string_view part);
zmq::message_t to_message(std::string frame);
std::string_view view(const zmq::message_t& message);

/// Calls a function of a socket, again for as long as a handled signal interrupts it.
template <class Call>
auto despite_signals(Call call) {
  while (true) {
    try {
      return call();
    } catch (const zmq::error_t& error) {
      if (error.num() != EINTR) throw;
    }
  }
}
/// Waits at most `timeout` (-1: for ever) until one of `items` is ready. False if none is: a
/// handled signal ends the wait early.
bool await_any(std::span<zmq::pollitem_t> items, std::chrono::milliseconds timeout);
bool await_message(zmq::socket_t& socket, std::chrono::milliseconds timeout);

/// Runs the body of a thread, for which the context's end is the end; `on_broken` is told why if it
/// is anything else.
template <class Body, class OnBroken>
void until_context_ends(Body body, OnBroken on_broken) {
  try {
    body();
  } catch (const zmq::error_t& error) {
    if (error.num() != ETERM) on_broken(std::string("ZeroMQ: ") + error.what());
  } catch (...) {
    on_broken(describe_current_exception());
  }
}

/// A message to a ROUTER: who sent it, and its one part. Parts that should not be there are
/// dropped.
struct FromPeer {
  std::string peer;
  zmq::message_t frame;
};
/// Nothing if nothing is there, which it does not wait for. Throws zmq::error_t when the context
/// ends.
std::optional<FromPeer> receive_from_peer(zmq::socket_t& router);

enum class SendResult { kSent, kNobodyThere, kFull };
/// Never waits.
SendResult send_to_peer(zmq::socket_t& router, std::string_view peer, zmq::message_t frame);

}  // namespace weir::internal
