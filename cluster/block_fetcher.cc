#include <algorithm>
#include <cstring>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include "weir/cluster/block_fetcher_internal.h"
#include "weir/cluster/channel_internal.h"
#include "weir/core/error.h"
#include "weir/core/hash.h"

namespace weir::internal {

using namespace std::chrono_literals;

namespace {

constexpr std::size_t kMaxRanges = 128;            // asked for and not there, of one fetch
constexpr std::chrono::milliseconds kPoll = 10ms;  // to notice cancellation and lost workers
constexpr int kHighWaterMark = 1024;

}  // namespace

/// One call of `BlockFetcher::fetch`.
class Fetch {
 public:
  Fetch(BlockFetcher& fetcher, ShuffleId shuffle, std::uint32_t reduce_partition,
        const std::vector<const Segment*>& segments)
      : fetcher_(fetcher),
        sockets_(fetcher.sockets()),
        id_(++fetcher.last_fetch_),
        shuffle_(shuffle),
        reduce_partition_(reduce_partition),
        wanted_(segments.size()) {
    std::erase_if(sockets_, [&](const auto& socket) { return fetcher_.is_lost(socket.first); });
    for (std::size_t i = 0; i < segments.size(); ++i) {
      wanted_[i].segment = segments[i];
      by_partition_[segments[i]->map_partition] = i;
    }
  }

  std::optional<FetchFailed> run(const std::function<void(const Segment&, Bytes)>& consume,
                                 const std::atomic<bool>& cancelled) {
    while (consumed_ < wanted_.size() && !cancelled.load(std::memory_order_relaxed)) {
      ask();
      receive(0ms);
      if (!failure_ && !wanted_[consumed_].complete()) {
        receive(kPoll);
        check_peers();
      }
      if (failure_) return std::move(failure_);
      if (!wanted_[consumed_].complete()) continue;
      Wanted& next = wanted_[consumed_++];
      in_window_ -= next.segment->size;
      consume(*next.segment, std::exchange(next.bytes, {}));
    }
    return std::nullopt;
  }

 private:
  struct Wanted {
    const Segment* segment = nullptr;
    std::uint64_t asked = 0;
    std::uint64_t received = 0;
    std::shared_ptr<char[]> buffer;  // of a segment that comes in several frames, as the next
    std::optional<StreamHash> hash;
    Bytes bytes;

    bool complete() const { return received == segment->size; }
  };
  struct PeerState {
    SteadyTime last_heard{};
    bool asked_again = false;
    std::size_t ranges = 0;  // asked for and not there
  };

  static SteadyTime now() { return Clock::system().steady_now(); }

  /// Uses up the credit: asks for what follows, one request for each worker.
  void ask() {
    std::map<WorkerId, wire::FetchRequest> requests;
    std::size_t ranges = 0;
    for (const auto& [worker, peer] : peers_) ranges += peer.ranges;
    for (std::size_t i = consumed_; i < wanted_.size() && ranges < kMaxRanges; ++i) {
      Wanted& wanted = wanted_[i];
      const std::uint64_t size = wanted.segment->size;
      while (wanted.asked < size && ranges < kMaxRanges) {
        const std::uint64_t length = std::min(size - wanted.asked, fetcher_.frame_bytes_);
        // What is next to be consumed is asked for in any case, however large it is.
        if (i != consumed_ && in_window_ + length > fetcher_.window_bytes_) {
          return send(std::move(requests));
        }
        requests[wanted.segment->worker].ranges.push_back(
            {wanted.segment->map_partition, wanted.asked, length});
        wanted.asked += length;
        in_window_ += length;
        ++ranges;
      }
    }
    send(std::move(requests));
  }

  void send(std::map<WorkerId, wire::FetchRequest>&& requests) {
    for (auto& [worker, request] : requests) {
      zmq::socket_t* socket = socket_of(worker);
      if (socket == nullptr) {
        fail(worker, "it is lost");
        return;
      }
      request.fetch = id_;
      request.shuffle = shuffle_;
      request.reduce_partition = reduce_partition_;
      PeerState& peer = peers_[worker];
      if (peer.ranges == 0) peer.last_heard = now();
      peer.ranges += request.ranges.size();
      // If there is no room it counts as lost on the way, and is asked for again.
      zmq::message_t message = to_message(to_frame(wire::ExchangeRequest(request), fetcher_.key_));
      despite_signals([&] { return socket->send(message, zmq::send_flags::dontwait); });
    }
  }

  zmq::socket_t* socket_of(WorkerId worker) {
    const auto endpoint = fetcher_.endpoint(worker);
    if (!endpoint) return nullptr;
    const auto found = sockets_.find(worker);
    if (found != sockets_.end()) return &found->second;
    const SocketLimits limits{kHighWaterMark,
                              static_cast<std::int64_t>(fetcher_.frame_bytes_ + (64U << 10))};
    return &sockets_.emplace(worker, connect_dealer(fetcher_.context_, *endpoint, {}, limits))
                .first->second;
  }

  /// Takes in what has come, waiting for something if there is nothing.
  void receive(std::chrono::milliseconds timeout) {
    std::vector<zmq::pollitem_t> polled;
    std::vector<std::pair<WorkerId, zmq::socket_t*>> from;
    for (const auto& [worker, peer] : peers_) {
      const auto socket = sockets_.find(worker);
      if (peer.ranges == 0 || socket == sockets_.end()) continue;
      polled.push_back({socket->second.handle(), 0, ZMQ_POLLIN, 0});
      from.emplace_back(worker, &socket->second);
    }
    if (polled.empty() || !await_any(polled, timeout)) return;
    for (std::size_t i = 0; i < polled.size(); ++i) {
      if ((polled[i].revents & ZMQ_POLLIN) != 0) drain(from[i].first, *from[i].second);
    }
  }

  void drain(WorkerId worker, zmq::socket_t& socket) {
    const auto receive = [&](zmq::message_t& part) {  // the parts after the first are there with it
      return despite_signals([&] { return socket.recv(part, zmq::recv_flags::dontwait); });
    };
    zmq::message_t head;
    while (receive(head)) {
      auto data = std::make_shared<zmq::message_t>();
      zmq::message_t extra;
      if (head.more() && !receive(*data)) return;
      for (bool more = data->more(); more; more = extra.more()) {
        if (!receive(extra)) return;
      }
      const auto opened = open_frame(view(head), fetcher_.key_);
      if (!std::holds_alternative<OpenedFrame>(opened)) continue;
      const auto answer = wire::from_frame<wire::ExchangeAnswer>(std::get<OpenedFrame>(opened));
      if (const auto* chunk = std::get_if<wire::FetchChunk>(&answer)) {
        if (chunk->fetch == id_) take(worker, chunk->range, std::move(data));
      } else if (const auto* error = std::get_if<wire::FetchError>(&answer)) {
        if (error->fetch == id_) fail_one(worker, error->map_partition, error->message);
      }
    }
  }

  void take(WorkerId worker, const wire::FetchRequest::Range& range,
            std::shared_ptr<zmq::message_t> data) {
    const auto found = by_partition_.find(range.map_partition);
    if (found == by_partition_.end()) return;
    Wanted& wanted = wanted_[found->second];
    const Segment& segment = *wanted.segment;
    // Answers come in the order of the questions; another offset is a copy after asking again.
    if (segment.worker != worker || range.offset != wanted.received ||
        range.offset + range.length > wanted.asked || range.length != data->size()) {
      return;
    }
    PeerState& peer = peers_[worker];
    peer.last_heard = now();
    peer.asked_again = false;
    if (peer.ranges > 0) --peer.ranges;
    if (range.length == segment.size) {
      wanted.bytes = Bytes(view(*data), data);
    } else {
      if (wanted.buffer == nullptr) {
        wanted.buffer = std::make_shared_for_overwrite<char[]>(segment.size);
        wanted.bytes = Bytes({wanted.buffer.get(), segment.size}, wanted.buffer);
        wanted.hash.emplace();
      }
      std::memcpy(wanted.buffer.get() + range.offset, data->data(), range.length);
      wanted.hash->add(view(*data));  // now, while it is in the cache
    }
    wanted.received += range.length;
    if (wanted.complete() &&
        (wanted.hash ? wanted.hash->value() : hash_bytes(wanted.bytes.view())) != segment.hash) {
      fail_one(worker, range.map_partition, "its bytes do not have the hash that was announced");
    }
  }

  void check_peers() {
    const SteadyTime at = now();
    for (auto& [worker, peer] : peers_) {
      if (peer.ranges == 0) continue;
      if (fetcher_.is_lost(worker)) return fail(worker, "it is lost");
      const Duration silence = at - peer.last_heard;
      if (silence > fetcher_.timeout_) {
        return fail(worker, fmt::format("it sent nothing for {}", to_string(fetcher_.timeout_)));
      }
      if (silence > fetcher_.timeout_ / 2 && !peer.asked_again) {
        peer.asked_again = true;
        peer.ranges = 0;
        for (Wanted& wanted : wanted_) {
          if (wanted.segment->worker != worker) continue;
          in_window_ -= wanted.asked - wanted.received;
          wanted.asked = wanted.received;
        }
        ask();
        peer.last_heard = at - silence;  // asking does not count as hearing
      }
    }
  }

  /// Nothing of that worker's can be had: names all that is not here.
  void fail(WorkerId worker, const std::string& why) {
    FetchFailed failure{shuffle_, worker, {}, {}};
    for (const Wanted& wanted : wanted_) {
      if (wanted.segment->worker == worker && !wanted.complete()) {
        failure.map_partitions.push_back(wanted.segment->map_partition);
      }
    }
    failure.message = fmt::format("cannot fetch {} map outputs from worker {}: {}",
                                  failure.map_partitions.size(), to_string(worker), why);
    failure_ = std::move(failure);
  }

  void fail_one(WorkerId worker, std::uint32_t map_partition, const std::string& why) {
    if (failure_ && failure_->worker == worker) {
      auto& named = failure_->map_partitions;  // each range of a piece is answered
      if (std::ranges::find(named, map_partition) == named.end()) named.push_back(map_partition);
    } else if (!failure_) {
      failure_ =
          FetchFailed{shuffle_,
                      worker,
                      {map_partition},
                      fmt::format("cannot fetch the map output of partition {} from worker {}: {}",
                                  map_partition, to_string(worker), why)};
    }
  }

  BlockFetcher& fetcher_;
  BlockFetcher::Sockets& sockets_;
  const std::uint64_t id_;
  const ShuffleId shuffle_;
  const std::uint32_t reduce_partition_;
  std::vector<Wanted> wanted_;
  std::unordered_map<std::uint32_t, std::size_t> by_partition_;
  std::size_t consumed_ = 0;     // segments handed on
  std::uint64_t in_window_ = 0;  // bytes asked for and not handed on
  std::map<WorkerId, PeerState> peers_;
  std::optional<FetchFailed> failure_;
};

BlockFetcher::BlockFetcher(zmq::context_t& context, FrameKey key, const ClusterSettings& settings)
    : context_(context),
      key_(key),
      frame_bytes_(settings.frame_bytes),
      window_bytes_(settings.fetch_window_bytes),
      timeout_(settings.fetch_timeout) {}

BlockFetcher::~BlockFetcher() = default;

std::optional<FetchFailed> BlockFetcher::fetch(
    ShuffleId shuffle, std::uint32_t reduce_partition, const std::vector<const Segment*>& segments,
    const std::function<void(const Segment&, Bytes)>& consume, const std::atomic<bool>& cancelled) {
  return Fetch(*this, shuffle, reduce_partition, segments).run(consume, cancelled);
}

void BlockFetcher::add_peers(const std::vector<wire::Peer>& peers) {
  if (peers.empty()) return;
  const std::scoped_lock lock(mutex_);
  for (const wire::Peer& peer : peers) {
    Place& place = places_[peer.worker.slot];
    if (peer.worker.incarnation > place.incarnation) {
      place = {peer.worker.incarnation, peer.endpoint};
    }
  }
}

void BlockFetcher::forget(WorkerId worker) {
  const std::scoped_lock lock(mutex_);
  Place& place = places_[worker.slot];
  if (worker.incarnation >= place.incarnation) place = {worker.incarnation, {}};
}

std::vector<wire::Peer> BlockFetcher::peers() const {
  const std::scoped_lock lock(mutex_);
  std::vector<wire::Peer> peers;
  for (const auto& [slot, place] : places_) {
    if (!place.endpoint.empty()) peers.push_back({{slot, place.incarnation}, place.endpoint});
  }
  return peers;
}

void BlockFetcher::close() {
  const std::scoped_lock lock(mutex_);
  sockets_.clear();
}

BlockFetcher::Sockets& BlockFetcher::sockets() {
  const std::scoped_lock lock(mutex_);
  auto& mine = sockets_[std::this_thread::get_id()];
  if (mine == nullptr) mine = std::make_unique<Sockets>();
  return *mine;
}

std::optional<std::string> BlockFetcher::endpoint(WorkerId worker) const {
  const std::scoped_lock lock(mutex_);
  const auto found = places_.find(worker.slot);
  if (found == places_.end() || found->second.incarnation != worker.incarnation ||
      found->second.endpoint.empty()) {
    return std::nullopt;
  }
  return found->second.endpoint;
}

bool BlockFetcher::is_lost(WorkerId worker) const {
  const std::scoped_lock lock(mutex_);
  const auto found = places_.find(worker.slot);
  if (found == places_.end()) return false;
  const Place& place = found->second;
  return place.incarnation > worker.incarnation ||
         (place.incarnation == worker.incarnation && place.endpoint.empty());
}

}  // namespace weir::internal
