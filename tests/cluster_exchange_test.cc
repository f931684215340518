// Map outputs from worker to worker, over real sockets: what the fetcher asks for, and what it does
// about servers that drop, double, corrupt and stall.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "weir/cluster/block_copier_internal.h"
#include "weir/cluster/block_fetcher_internal.h"
#include "weir/cluster/block_server_internal.h"
#include "weir/cluster/channel_internal.h"
#include "weir/core/hash.h"

#include "process_tools.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;
using namespace internal;

constexpr ShuffleId kShuffle = 9;
constexpr std::uint32_t kReducer = 1;
constexpr FrameKey kKey{7, {1, 2, 3}};
constexpr WorkerId kWorker{0, 1};
constexpr std::uint64_t kFrame = 4096;

std::string piece(std::uint32_t partition, std::uint64_t size) {
  std::string bytes(size, '\0');
  for (std::uint64_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 31 / 7 + partition);
  return bytes;
}

ClusterSettings settings(const char* fetch_timeout) {
  return ClusterSettings::from(Config()
                                   .set("cluster.frame-bytes", "4096")
                                   .set("cluster.fetch-window-bytes", "4096")
                                   .set("cluster.fetch-timeout", fetch_timeout));
}

/// A reducer that fetches segments of given sizes, the i-th being that of map partition i.
class Reducer {
 public:
  explicit Reducer(const char* fetch_timeout = "1h")
      : context_(make_zmq_context()), fetcher(context_, kKey, settings(fetch_timeout)) {}

  /// Announces a map output; it is to be fetched from `worker`.
  Segment& add(std::uint64_t size, WorkerId worker = kWorker) {
    const auto partition = static_cast<std::uint32_t>(segments_.size());
    const std::string bytes = piece(partition, size);
    segments_.push_back(std::make_unique<Segment>(
        Segment{partition, worker, size, hash_bytes(bytes), std::nullopt}));
    return *segments_.back();
  }
  void add_all(const std::vector<std::uint64_t>& sizes) {
    for (const std::uint64_t size : sizes) add(size);
  }

  std::optional<FetchFailed> fetch() {
    consumed = 0;
    std::vector<const Segment*> all;
    for (const auto& segment : segments_) all.push_back(segment.get());
    std::uint32_t next = 0;
    return fetcher.fetch(
        kShuffle, kReducer, all,
        [&](const Segment& segment, Bytes bytes) {
          EXPECT_EQ(segment.map_partition, next++) << "out of order";
          EXPECT_TRUE(bytes.view() == piece(segment.map_partition, segment.size));
          consumed += segment.size;
        },
        cancelled);
  }

  std::atomic<bool> cancelled{false};
  std::atomic<std::uint64_t> consumed{0};

 private:
  zmq::context_t context_;
  std::vector<std::unique_ptr<Segment>> segments_;

 public:
  BlockFetcher fetcher;
};

/// The product's server with a store of its own.
class Server {
 public:
  explicit Server(const std::string& path)
      : endpoint("ipc://" + path), context_(make_zmq_context()), server_(start()) {}
  ~Server() {
    context_.shutdown();
    server_->join();
  }
  void keep(std::uint32_t partition, std::uint64_t size) {
    const std::atomic<bool> cancelled{false};
    store_.put_map_output(kShuffle, partition, {Bytes(), Bytes(piece(partition, size))}, cancelled);
  }

  BlockStore& store() { return store_; }

  const std::string endpoint;

 private:
  std::unique_ptr<BlockServer> start() {
    return std::make_unique<BlockServer>(context_, endpoint, kKey, store_,
                                         [](const std::string& why) { ADD_FAILURE() << why; });
  }

  zmq::context_t context_;
  BlockStore store_;
  std::unique_ptr<BlockServer> server_;
};

/// A server that does what a test says with each range that it is asked for, and keeps count.
class BadServer {
 public:
  enum class Do { kAnswer, kNothing, kAnswerTwice, kCorruptHeader, kCorruptData };
  using Range = wire::FetchRequest::Range;
  /// Given the range and how often it had been asked for before.
  using Decide = std::function<Do(const Range&, int)>;

  BadServer(const std::string& path, const std::map<std::uint32_t, std::uint64_t>& sizes,
            Reducer& reducer, Decide decide)
      : endpoint("ipc://" + path),
        sizes_(sizes),
        reducer_(reducer),
        decide_(std::move(decide)),
        context_(make_zmq_context()),
        router_(bind_router(context_, endpoint, {})),
        thread_([this] {
          until_context_ends([this] { serve(); },
                             [](const std::string& why) { ADD_FAILURE() << why; });
          router_.close();
        }) {}
  ~BadServer() {
    context_.shutdown();
    thread_.join();
  }

  const std::string endpoint;
  std::atomic<int> requests{0};
  std::atomic<int> repeated_ranges{0};
  std::atomic<std::uint64_t> longest_range{0};
  std::atomic<std::uint64_t> most_outstanding{0};  ///< bytes asked for and not consumed

 private:
  void serve() {
    while (true) {
      await_message(router_, -1ms);
      while (const auto received = receive_from_peer(router_)) {
        const auto opened = open_frame(view(received->frame), kKey);
        const auto request =
            std::get<0>(wire::from_frame<wire::ExchangeRequest>(std::get<OpenedFrame>(opened)));
        for (const Range& range : request.ranges) asked_ += range.length;
        most_outstanding = std::max(most_outstanding.load(), asked_ - reducer_.consumed);
        ++requests;
        for (const Range& range : request.ranges) answer(received->peer, request, range);
      }
    }
  }

  void answer(const std::string& peer, const wire::FetchRequest& request, const Range& range) {
    longest_range = std::max(longest_range.load(), range.length);
    const int before = times_[{range.map_partition, range.offset}]++;
    if (before > 0) ++repeated_ranges;
    const Do what = decide_(range, before);
    if (what == Do::kNothing) return;
    std::string head =
        wire::to_frame(wire::ExchangeAnswer(wire::FetchChunk{request.fetch, range}), kKey);
    std::string data = piece(range.map_partition, sizes_.at(range.map_partition))
                           .substr(range.offset, range.length);
    if (what == Do::kCorruptHeader) head.back() ^= 1;
    if (what == Do::kCorruptData) data.back() ^= 1;
    for (int copies = what == Do::kAnswerTwice ? 2 : 1; copies > 0; --copies) {
      router_.send(zmq::buffer(peer), zmq::send_flags::sndmore);
      router_.send(zmq::buffer(head), zmq::send_flags::sndmore);
      router_.send(zmq::buffer(data), zmq::send_flags::none);
    }
  }

  const std::map<std::uint32_t, std::uint64_t> sizes_;
  Reducer& reducer_;
  const Decide decide_;
  std::uint64_t asked_ = 0;
  std::map<std::pair<std::uint32_t, std::uint64_t>, int> times_;
  zmq::context_t context_;
  zmq::socket_t router_;
  std::thread thread_;
};

using Do = BadServer::Do;
using Range = BadServer::Range;
using Partitions = std::vector<std::uint32_t>;

Do answer_all(const Range&, int) { return Do::kAnswer; }

// --- against the product's own server ---

TEST(Exchange, PiecesOfEverySizeArriveWholeAndInOrder) {
  const TempFolder folder;
  Server first(folder.file("0.1"));
  Server second(folder.file("1.1"));
  Reducer reducer;
  reducer.fetcher.add_peers({{{0, 1}, first.endpoint}, {{1, 1}, second.endpoint}});
  for (std::uint32_t partition = 0; partition < 12; ++partition) {
    const std::uint64_t size = std::vector<std::uint64_t>{1, 4096, 4097, 100'000}[partition % 4];
    (partition % 3 == 0 ? first : second).keep(partition, size);
    reducer.add(size, {partition % 3 == 0 ? 0U : 1U, 1});
  }
  for (int fetch = 0; fetch < 3; ++fetch) {
    const auto failure = reducer.fetch();
    ASSERT_FALSE(failure) << failure->message;
    EXPECT_EQ(reducer.consumed, 3U * (1 + 4096 + 4097 + 100'000));
  }
}

TEST(Exchange, APieceThatIsNotThereIsNamed) {
  const TempFolder folder;
  Server server(folder.file("0.1"));
  server.keep(0, 5000);
  server.keep(2, 5000);
  Reducer reducer;
  reducer.fetcher.add_peers({{kWorker, server.endpoint}});
  reducer.add_all({5000, 5000, 5000});
  const auto failure = reducer.fetch();
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->shuffle, kShuffle);
  EXPECT_EQ(failure->worker, kWorker);
  EXPECT_EQ(failure->map_partitions, Partitions{1});
  EXPECT_NE(failure->message.find("not in the worker's store"), std::string::npos);
}

TEST(Exchange, APieceOfAnotherContentIsNotHandedOn) {
  const TempFolder folder;
  Server server(folder.file("0.1"));
  server.keep(0, 5000);
  server.keep(1, 5000);
  Reducer reducer;
  reducer.fetcher.add_peers({{kWorker, server.endpoint}});
  reducer.add(5000);
  ++reducer.add(5000).hash;
  const auto failure = reducer.fetch();
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->map_partitions, Partitions{1});
  EXPECT_NE(failure->message.find("hash"), std::string::npos) << failure->message;
  EXPECT_EQ(reducer.consumed, 5000U);
}

TEST(Exchange, APieceOfAnotherSizeIsNamed) {
  const TempFolder folder;
  Server server(folder.file("0.1"));
  server.keep(0, 4000);
  Reducer reducer;
  reducer.fetcher.add_peers({{kWorker, server.endpoint}});
  reducer.add(5000);
  const auto failure = reducer.fetch();
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->map_partitions, Partitions{0});
}

// --- credit ---

TEST(ExchangeCredit, BoundsWhatIsAskedForAhead) {
  const TempFolder folder;
  Reducer reducer;
  std::map<std::uint32_t, std::uint64_t> sizes;
  for (std::uint32_t partition = 0; partition < 40; ++partition) {
    sizes[partition] = 1000;
    reducer.add(1000);
  }
  BadServer server(folder.file("0.1"), sizes, reducer, answer_all);
  reducer.fetcher.add_peers({{kWorker, server.endpoint}});
  ASSERT_FALSE(reducer.fetch());
  EXPECT_EQ(server.most_outstanding, 4000U) << "four fit into 4096";
  EXPECT_EQ(server.repeated_ranges, 0);
}

TEST(ExchangeCredit, LetsTheNextPieceThroughHoweverLargeItIsAndNothingBehindIt) {
  const TempFolder folder;
  Reducer reducer;
  reducer.add_all({100'000, 100'000});
  BadServer server(folder.file("0.1"), {{0, 100'000}, {1, 100'000}}, reducer, answer_all);
  reducer.fetcher.add_peers({{kWorker, server.endpoint}});
  ASSERT_FALSE(reducer.fetch());
  EXPECT_EQ(server.most_outstanding, 100'000U);
  EXPECT_EQ(server.longest_range, kFrame);
}

TEST(ExchangeCredit, IsAtMost128Ranges) {
  const TempFolder folder;
  Reducer reducer;
  reducer.add_all({1'000'000});
  BadServer server(folder.file("0.1"), {{0, 1'000'000}}, reducer, [](const Range&, int before) {
    return before == 0 ? Do::kNothing : Do::kAnswer;
  });
  (void)server;
  reducer.fetcher.add_peers({{kWorker, server.endpoint}});
  std::jthread stop([&] {
    eventually([&] { return server.requests > 0; });
    reducer.cancelled = true;
  });
  ASSERT_FALSE(reducer.fetch()) << "a cancelled fetch is no failure";
  EXPECT_EQ(server.most_outstanding, 128 * kFrame);
}

// --- bad servers ---

TEST(ExchangeFaults, WhatIsDroppedIsAskedForAgain) {
  const TempFolder folder;
  Reducer reducer("400ms");
  reducer.add_all({1, 4097, 100'000});
  BadServer server(folder.file("0.1"), {{0, 1}, {1, 4097}, {2, 100'000}}, reducer,
                   [](const Range& range, int before) {
                     const bool drops =
                         range.map_partition == 2 && range.offset == 5 * kFrame && before == 0;
                     return drops ? Do::kNothing : Do::kAnswer;
                   });
  reducer.fetcher.add_peers({{kWorker, server.endpoint}});
  const auto failure = reducer.fetch();
  ASSERT_FALSE(failure) << failure->message;
  EXPECT_EQ(server.repeated_ranges, 20) << "the one and what came behind it";
}

TEST(ExchangeFaults, CopiesChangeNothing) {
  const TempFolder folder;
  Reducer reducer;
  reducer.add_all({1, 4097, 100'000, 4096});
  BadServer server(folder.file("0.1"), {{0, 1}, {1, 4097}, {2, 100'000}, {3, 4096}}, reducer,
                   [](const Range&, int) { return Do::kAnswerTwice; });
  reducer.fetcher.add_peers({{kWorker, server.endpoint}});
  ASSERT_FALSE(reducer.fetch());
  ASSERT_FALSE(reducer.fetch()) << "late copies are not taken for answers to the next";
}

TEST(ExchangeFaults, ACorruptHeaderIsAsGoodAsNone) {
  const TempFolder folder;
  Reducer reducer("400ms");
  reducer.add_all({100'000});
  BadServer server(folder.file("0.1"), {{0, 100'000}}, reducer, [](const Range& range, int before) {
    return range.offset == 0 && before == 0 ? Do::kCorruptHeader : Do::kAnswer;
  });
  reducer.fetcher.add_peers({{kWorker, server.endpoint}});
  ASSERT_FALSE(reducer.fetch());
  EXPECT_EQ(server.repeated_ranges, 25);
}

TEST(ExchangeFaults, CorruptBytesFailTheirPieceAlone) {
  const TempFolder folder;
  Reducer reducer;
  reducer.add_all({1000, 1000, 1000});
  BadServer server(folder.file("0.1"), {{0, 1000}, {1, 1000}, {2, 1000}}, reducer,
                   [](const Range& range, int) {
                     return range.map_partition == 1 ? Do::kCorruptData : Do::kAnswer;
                   });
  reducer.fetcher.add_peers({{kWorker, server.endpoint}});
  const auto failure = reducer.fetch();
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->map_partitions, Partitions{1});
}

TEST(ExchangeFaults, AWorkerThatStallsIsAskedTwiceAndFailsAllThatIsNotThere) {
  const TempFolder folder;
  Reducer reducer("400ms");
  reducer.add_all({1000, 1000, 5000, 1000});
  BadServer server(folder.file("0.1"), {{0, 1000}, {1, 1000}, {2, 5000}, {3, 1000}}, reducer,
                   [](const Range& range, int) {
                     return range.map_partition == 0 ? Do::kAnswer : Do::kNothing;
                   });
  reducer.fetcher.add_peers({{kWorker, server.endpoint}});
  const auto failure = reducer.fetch();
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->worker, kWorker);
  EXPECT_EQ(failure->map_partitions, (Partitions{1, 2, 3}));
  EXPECT_NE(failure->message.find("sent nothing for"), std::string::npos) << failure->message;
  EXPECT_GT(server.repeated_ranges, 0);
}

TEST(ExchangeFaults, ALostWorkerFailsAtOnce) {
  const TempFolder folder;
  Reducer reducer;  // whose patience is an hour
  reducer.add_all({1000, 1000});
  BadServer server(folder.file("0.1"), {{0, 1000}, {1, 1000}}, reducer, [&](const Range&, int) {
    reducer.fetcher.forget(kWorker);
    return Do::kNothing;
  });
  reducer.fetcher.add_peers({{kWorker, server.endpoint}});
  const auto failure = reducer.fetch();
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->map_partitions, (Partitions{0, 1}));
  EXPECT_NE(failure->message.find("it is lost"), std::string::npos) << failure->message;
}

TEST(ExchangeFaults, ALostWorkerStaysLostWhateverALateLaunchSays) {
  const TempFolder folder;
  Server server(folder.file("0.3"));
  server.keep(0, 1000);
  Reducer reducer;
  reducer.add(1000, {0, 3});
  reducer.fetcher.add_peers({{{0, 3}, server.endpoint}});
  ASSERT_FALSE(reducer.fetch());
  reducer.fetcher.forget({0, 3});
  reducer.fetcher.add_peers({{{0, 3}, server.endpoint}, {{0, 2}, server.endpoint}});
  EXPECT_TRUE(reducer.fetch());

  Reducer other;  // which hears of the loss by the next incarnation
  other.add(1000, {0, 3});
  other.fetcher.add_peers({{{0, 3}, server.endpoint}});
  other.fetcher.add_peers({{{0, 4}, "ipc:///nowhere"}});
  EXPECT_TRUE(other.fetch());
}

std::size_t open_descriptors() {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    (void)entry;
    ++count;
  }
  return count;
}

TEST(ExchangeFaults, SocketsToLostWorkersAreClosed) {
  const TempFolder folder;
  Reducer reducer;
  Segment& segment = reducer.add(1000);
  std::size_t after_first = 0;
  for (std::uint32_t incarnation = 1; incarnation <= 50; ++incarnation) {
    {
      Server server(folder.file(std::to_string(incarnation)));
      server.keep(0, 1000);
      segment.worker = {0, incarnation};
      reducer.fetcher.add_peers({{segment.worker, server.endpoint}});
      ASSERT_FALSE(reducer.fetch());
    }
    reducer.fetcher.forget(segment.worker);
    if (incarnation == 1) after_first = open_descriptors();
  }
  EXPECT_TRUE(eventually([&] { return open_descriptors() <= after_first + 5; }))
      << open_descriptors() << " descriptors, after the first " << after_first;
}

// --- copies ---

constexpr ShuffleId kReceiver = 21;
constexpr WorkerId kSelf{9, 1};

/// A worker that puts copies on others.
class Copying {
 public:
  explicit Copying(const char* timeout = "1h")
      : context_(make_zmq_context()),
        fetcher(context_, kKey, settings(timeout)),
        copier_(context_, kKey, settings(timeout), fetcher, kSelf) {}

  std::optional<WorkerId> copy(std::uint32_t number, std::uint64_t size,
                               std::uint32_t release_before = 0) {
    return copier_.copy({kReceiver, number, release_before}, Bytes(piece(number, size)), cancelled);
  }

  std::atomic<bool> cancelled{false};

 private:
  zmq::context_t context_;

 public:
  BlockFetcher fetcher;

 private:
  BlockCopier copier_;
};

TEST(ExchangeCopies, AreKeptWholeByTheSameWorkerUntilTheyAreReleased) {
  const TempFolder folder;
  Server first(folder.file("0.1"));
  Server second(folder.file("1.1"));
  Copying copying;
  EXPECT_EQ(copying.copy(0, 10), std::nullopt) << "there is nobody";
  copying.fetcher.add_peers({{{0, 1}, first.endpoint}, {{1, 1}, second.endpoint}});
  const std::uint64_t sizes[] = {1, 4096, 4097, 3'000'000};
  for (std::uint32_t number = 0; number < 4; ++number) {
    ASSERT_EQ(copying.copy(number, sizes[number]), (WorkerId{0, 1}));
    const auto kept = first.store().map_output(kReceiver, number, 0);
    ASSERT_TRUE(kept);
    EXPECT_TRUE(kept->get().view() == piece(number, sizes[number]));
  }
  ASSERT_EQ(copying.copy(4, 1, 3), (WorkerId{0, 1}));
  EXPECT_FALSE(first.store().map_output(kReceiver, 2, 0));
  EXPECT_TRUE(first.store().map_output(kReceiver, 3, 0));
}

TEST(ExchangeCopies, GoToAnotherWorkerWhenOneIsLost) {
  const TempFolder folder;
  Server second(folder.file("1.1"));
  Copying copying("200ms");
  copying.fetcher.add_peers({{{0, 1}, "ipc://" + folder.file("0.1")}, {{1, 1}, second.endpoint}});
  EXPECT_EQ(copying.copy(0, 10), (WorkerId{1, 1})) << "the first does not answer";
  copying.fetcher.forget({1, 1});
  EXPECT_EQ(copying.copy(1, 10), std::nullopt);
  copying.fetcher.add_peers({{{1, 2}, second.endpoint}});
  EXPECT_EQ(copying.copy(2, 10), (WorkerId{1, 2}));
}

TEST(ExchangeCopies, ThatAreNotWantedAnyMoreEnd) {
  const TempFolder folder;
  Copying copying;
  copying.fetcher.add_peers({{{0, 1}, "ipc://" + folder.file("0.1")}});
  std::jthread cancel([&] { copying.cancelled = true; });
  EXPECT_EQ(copying.copy(0, 10), std::nullopt);
}

}  // namespace
}  // namespace weir::test
