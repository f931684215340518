#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>
#include <variant>

#include <fmt/format.h>

#include "weir/cluster/block_copier_internal.h"
#include "weir/cluster/channel_internal.h"
#include "weir/core/hash.h"
#include "weir/core/log.h"

namespace weir::internal {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kMaxPieceBytes = 256 * 1024;
constexpr std::chrono::milliseconds kPoll = 10ms;  // to notice cancellation and lost workers
/// Pieces on their way to one worker: a whole large block, since a piece that finds no room waits.
constexpr int kHighWaterMark = 1024;

SteadyTime now() { return Clock::system().steady_now(); }

}  // namespace

BlockCopier::BlockCopier(zmq::context_t& context, FrameKey key, const ClusterSettings& settings,
                         const BlockFetcher& fetcher, WorkerId self)
    : context_(context),
      key_(key),
      piece_bytes_(std::min(settings.frame_bytes, kMaxPieceBytes)),
      timeout_(settings.fetch_timeout),
      fetcher_(fetcher),
      self_(self) {}

std::optional<WorkerId> BlockCopier::copy(const Name& name, const Bytes& block,
                                          const std::atomic<bool>& cancelled) {
  if (connection_ && put(name, block, cancelled)) {
    return connection_->peer.worker;
  }
  const WorkerId failed = connection_ ? connection_->peer.worker : self_;
  connection_.reset();
  for (const wire::Peer& peer : fetcher_.peers()) {
    if (cancelled.load(std::memory_order_relaxed)) break;
    if (peer.worker == self_ || peer.worker == failed) continue;
    connect(peer);
    if (put(name, block, cancelled)) return peer.worker;
    connection_.reset();
  }
  return std::nullopt;
}

void BlockCopier::connect(const wire::Peer& peer) {
  const SocketLimits limits{kHighWaterMark, std::int64_t{1} << 20};
  connection_.emplace(Connection{peer, connect_dealer(context_, peer.endpoint, {}, limits)});
}

bool BlockCopier::put(const Name& name, const Bytes& block, const std::atomic<bool>& cancelled) {
  const WorkerId worker = connection_->peer.worker;
  wire::PutBlock piece{
      ++last_put_, name.of, name.number,         block.size(), hash_bytes(block.view()),
      0,           {},      name.release_before, name.level};
  SteadyTime last_progress = now();
  std::uint64_t sent = 0;
  bool all_sent = false;
  while (!cancelled.load(std::memory_order_relaxed) && !fetcher_.is_lost(worker)) {
    while (!all_sent) {
      const std::uint64_t length = std::min(piece_bytes_, block.size() - sent);
      piece.offset = sent;
      piece.piece = Bytes(std::string(block.view().substr(sent, length)));
      zmq::message_t message = to_message(to_frame(wire::ExchangeRequest(piece), key_));
      const auto went = despite_signals(
          [&] { return connection_->socket.send(message, zmq::send_flags::dontwait); });
      if (!went) break;
      last_progress = now();
      sent += length;
      all_sent = sent == block.size();
    }
    if (all_sent) {
      await_message(connection_->socket, kPoll);
    } else {
      std::this_thread::sleep_for(kPoll);
    }
    if (const auto done = answer()) {
      if (done->failure.empty()) return true;
      log_warning(fmt::format("worker {} did not take a copy of a block: {}", to_string(worker),
                              done->failure));
      return false;
    }
    if (now() - last_progress > timeout_) {
      log_warning(
          fmt::format("worker {} does not take a copy of a block: it sent nothing "
                      "for {}",
                      to_string(worker), to_string(timeout_)));
      return false;
    }
  }
  return false;
}

std::optional<wire::PutDone> BlockCopier::answer() {
  zmq::message_t message;
  const auto receive = [&] {
    return despite_signals(
        [&] { return connection_->socket.recv(message, zmq::recv_flags::dontwait); });
  };
  while (receive()) {
    const auto opened = open_frame(view(message), key_);
    if (!std::holds_alternative<OpenedFrame>(opened)) continue;
    auto received = wire::from_frame<wire::ExchangeAnswer>(std::get<OpenedFrame>(opened));
    auto* done = std::get_if<wire::PutDone>(&received);
    if (done != nullptr && done->put == last_put_) return std::move(*done);
  }
  return std::nullopt;
}

}  // namespace weir::internal
