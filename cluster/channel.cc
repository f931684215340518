#include <charconv>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "weir/cluster/channel_internal.h"
#include "weir/cluster/frame.h"
#include "weir/core/error.h"

#if defined(__SANITIZE_THREAD__)
// The system's libzmq is not instrumented: what its queues order must be told.
extern "C" void __tsan_acquire(void* address);
extern "C" void __tsan_release(void* address);
#endif

namespace weir::internal {
namespace {

void before_handing_over([[maybe_unused]] void* address) {
#if defined(__SANITIZE_THREAD__)
  __tsan_release(address);
#endif
}

void after_handing_over([[maybe_unused]] void* address) {
#if defined(__SANITIZE_THREAD__)
  __tsan_acquire(address);
#endif
}

constexpr int kLingerMs = 200;
constexpr int kMaxSockets = 16 * 1024;
constexpr std::size_t kCopyBelow = 16 * 1024;  // sharing costs an allocation and a reference count

/// Reads a number at the front of `text` and drops it.
bool read_number(std::string_view& text, std::uint32_t& number) {
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{}) return false;
  text.remove_prefix(static_cast<std::size_t>(rest - text.data()));
  return true;
}

bool drop(std::string_view& text, char expected) {
  if (text.empty() || text.front() != expected) return false;
  text.remove_prefix(1);
  return true;
}

void set_common(zmq::socket_t& socket, SocketLimits limits) {
  socket.set(zmq::sockopt::linger, kLingerMs);
  socket.set(zmq::sockopt::sndhwm, limits.high_water_mark);
  socket.set(zmq::sockopt::rcvhwm, limits.high_water_mark);
  socket.set(zmq::sockopt::maxmsgsize, limits.max_message_bytes != 0
                                           ? limits.max_message_bytes
                                           : static_cast<std::int64_t>(max_frame_bytes()));
  socket.set(zmq::sockopt::reconnect_ivl, 20);
  socket.set(zmq::sockopt::reconnect_ivl_max, 2000);  // doubling
}

}  // namespace

std::string routing_id(const ChannelName& name) {
  std::string text = fmt::format("w{}.{}{}", name.worker.slot, name.worker.incarnation,
                                 static_cast<char>(name.kind));
  if (name.kind == ChannelName::Kind::kSlot) text += std::to_string(name.slot);
  return text;
}

std::optional<ChannelName> parse_channel_name(std::string_view text) {
  ChannelName name;
  if (!drop(text, 'w') || !read_number(text, name.worker.slot) || !drop(text, '.') ||
      !read_number(text, name.worker.incarnation) || text.empty()) {
    return std::nullopt;
  }
  name.kind = static_cast<ChannelName::Kind>(text.front());
  text.remove_prefix(1);
  switch (name.kind) {
    case ChannelName::Kind::kControl:
    case ChannelName::Kind::kHeartbeat: break;
    case ChannelName::Kind::kSlot:
      if (!read_number(text, name.slot)) return std::nullopt;
      break;
    default: return std::nullopt;
  }
  if (!text.empty()) return std::nullopt;
  return name;
}

zmq::context_t make_zmq_context() {
  zmq::context_t context(1);
  context.set(zmq::ctxopt::max_sockets, kMaxSockets);
  return context;
}

zmq::socket_t bind_router(zmq::context_t& context, const std::string& endpoint,
                          SocketLimits limits) {
  zmq::socket_t socket(context, zmq::socket_type::router);
  set_common(socket, limits);
  socket.set(zmq::sockopt::router_mandatory, true);
  try {
    socket.bind(endpoint);
  } catch (const zmq::error_t& error) {
    throw Error(ErrorCode::kUnreachable,
                fmt::format("cannot listen at {}: {}", endpoint, error.what()));
  }
  return socket;
}

zmq::socket_t connect_dealer(zmq::context_t& context, const std::string& endpoint,
                             const std::string& routing_id, SocketLimits limits) {
  zmq::socket_t socket(context, zmq::socket_type::dealer);
  set_common(socket, limits);
  if (!routing_id.empty()) socket.set(zmq::sockopt::routing_id, routing_id);
  socket.connect(endpoint);
  return socket;
}

zmq::message_t share(const Bytes& owner, std::string_view part) {
  if (part.size() < kCopyBelow) return zmq::message_t(part.data(), part.size());
  auto* kept = new Bytes(owner);
  before_handing_over(kept);
  return zmq::message_t(
      const_cast<char*>(part.data()), part.size(),
      [](void*, void* hint) {  // on an I/O thread
        after_handing_over(hint);
        delete static_cast<Bytes*>(hint);
      },
      kept);
}

zmq::message_t to_message(std::string frame) {
  const Bytes bytes(std::move(frame));
  return share(bytes, bytes.view());
}

std::string_view view(const zmq::message_t& message) {
  return {static_cast<const char*>(message.data()), message.size()};
}

bool await_any(std::span<zmq::pollitem_t> items, std::chrono::milliseconds timeout) {
  try {
    return zmq::poll(items.data(), items.size(), timeout) > 0;
  } catch (const zmq::error_t& error) {
    if (error.num() != EINTR) throw;
    return false;
  }
}

bool await_message(zmq::socket_t& socket, std::chrono::milliseconds timeout) {
  zmq::pollitem_t readable{socket.handle(), 0, ZMQ_POLLIN, 0};
  return await_any({&readable, 1}, timeout);
}

std::optional<FromPeer> receive_from_peer(zmq::socket_t& router) {
  const auto receive = [&](zmq::message_t& part) {  // the parts after the first are there with it
    return despite_signals([&] { return router.recv(part, zmq::recv_flags::dontwait); });
  };
  zmq::message_t peer;
  FromPeer received;
  if (!receive(peer)) return std::nullopt;
  received.peer = peer.to_string();
  if (peer.more() && !receive(received.frame)) return std::nullopt;
  zmq::message_t extra;
  for (bool more = received.frame.more(); more; more = extra.more()) {
    if (!receive(extra)) break;
  }
  return received;
}

SendResult send_to_peer(zmq::socket_t& router, std::string_view peer, zmq::message_t frame) {
  zmq::message_t name(peer.data(), peer.size());
  try {
    const auto sent = despite_signals(
        [&] { return router.send(name, zmq::send_flags::sndmore | zmq::send_flags::dontwait); });
    if (!sent) return SendResult::kFull;
    despite_signals([&] { return router.send(frame, zmq::send_flags::dontwait); });
    return SendResult::kSent;
  } catch (const zmq::error_t& error) {
    if (error.num() == EHOSTUNREACH) return SendResult::kNobodyThere;
    throw;
  }
}

}  // namespace weir::internal
