#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "stream_masters.h"

namespace weir::testing {
namespace {

using namespace std::chrono_literals;

/// What the driver's side of a source was asked.
struct SourceLog {
  std::vector<std::string> calls;
};
SourceLog* source_log = nullptr;  // in the driver only

/// The integers from 0: `step` more each batch, in `pieces` partitions.
struct Counting {
  struct Piece {
    std::int64_t from = 0;
    std::int64_t end = 0;
    template <class Archive>
    void serialize(Archive& ar, unsigned) {
      ar & from & end;
    }
  };

  std::int64_t step = 0;
  int pieces = 1;
  std::int64_t fail_at = -1;

  std::int64_t initial() {
    note("initial");
    return 0;
  }
  std::int64_t latest(std::int64_t from, const SourceLimit& limit) {
    note("latest " + std::to_string(from) + " " + to_string(limit.interval) +
         (limit.last_wait ? " last " + to_string(*limit.last_wait) : ""));
    if (from == fail_at) throw Error(ErrorCode::kDataLoss, "positions were lost");
    return from + step;
  }
  std::vector<Piece> plan(std::int64_t from, std::int64_t end) const {
    std::vector<Piece> all;
    for (int i = 0; i < pieces; ++i) {
      all.push_back({from + (end - from) * i / pieces, from + (end - from) * (i + 1) / pieces});
    }
    return all;
  }
  std::vector<std::int64_t> read(const Piece& piece) const {
    std::vector<std::int64_t> all;
    for (std::int64_t i = piece.from; i < piece.end; ++i) all.push_back(i);
    return all;
  }
  std::uint64_t records(const Piece& piece) const {
    return static_cast<std::uint64_t>(piece.end - piece.from);
  }
  void released(std::int64_t end) { note("released " + std::to_string(end)); }
  void stop() { note("stop"); }

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & step & pieces & fail_at;
  }

 private:
  static void note(std::string call) {
    if (source_log != nullptr) source_log->calls.push_back(std::move(call));
  }
};
static_assert(Source<Counting>);

/// Produces its own chunks.
struct Chunked {
  class Stream final : public ChunkStream<int> {
   public:
    explicit Stream(int left) : left_(left) {}
    ChunkRef<int> next() override {
      if (left_ == 0) return {};
      value_ = left_--;
      return {&value_, 1, true};
    }

   private:
    int left_;
    int value_ = 0;
  };

  int initial() { return 0; }
  int latest(int from, const SourceLimit&) { return from + 1; }
  std::vector<int> plan(int, int end) const { return {end}; }
  std::unique_ptr<ChunkStream<int>> read(int length) const {
    return std::make_unique<Stream>(length);
  }
  void released(int) {}  // and nothing to serialize
};
static_assert(Source<Chunked>);

/// Has a connection in the driver.
struct Connected {
  static inline std::weak_ptr<int> connection;

  std::shared_ptr<int> held;

  int initial() {
    connection = held = std::make_shared<int>(0);
    return 0;
  }
  int latest(int from, const SourceLimit&) { return from + 1; }
  std::vector<int> plan(int, int end) const { return {end}; }
  std::vector<int> read(int end) const { return {end, held == nullptr ? 0 : 1}; }
  void released(int) {}
  void stop() { held.reset(); }

  template <class Archive>
  void serialize(Archive&, unsigned) {}
};
static_assert(Source<Connected>);

class SourceStreams : public OverMasters {
 protected:
  void SetUp() override { source_log = &log_; }
  void TearDown() override { source_log = nullptr; }

  SourceLog log_;
  const std::shared_ptr<ManualClock> clock_ = std::make_shared<ManualClock>();
};
WEIR_OVER_MASTERS(SourceStreams);

TEST_P(SourceStreams, EachBatchOwnsTheRangeAfterTheLastOne) {
  Context context(config());
  StreamingContext stream(context, 1s, {.clock = clock_});
  Batches<std::int64_t> seen;
  stream.source_stream(Counting{.step = 3, .pieces = 2}).foreach_rdd([&](const auto& rdd) {
    EXPECT_EQ(rdd.num_partitions(), 2u);
    seen.push_back(rdd.collect());
  });
  stream.start();
  clock_->advance_to(Time(3s));
  stream.await_batch(3);
  stream.stop({.graceful = false});
  EXPECT_EQ(seen, (Batches<std::int64_t>{{0, 1, 2}, {3, 4, 5}, {6, 7, 8}}));
}

TEST_P(SourceStreams, InputIsReleasedWhenNoWindowCanNeedItAgain) {
  Context context(config());
  StreamingContext stream(context, 1s, {.clock = clock_});
  stream.source_stream(Counting{.step = 1}).window(2s).foreach_rdd([](const auto& rdd) {
    rdd.count();
  });
  stream.start();
  for (int n = 1; n <= 5; ++n) {
    clock_->advance_to(Time(n * 1s));
    stream.await_batch(static_cast<std::uint64_t>(n));
  }
  stream.stop({.graceful = false});
  // Kept for the slide of the window and its length: 3s.
  EXPECT_EQ(log_.calls, (std::vector<std::string>{"initial", "latest 0 1s", "latest 1 1s",
                                                  "latest 2 1s", "latest 3 1s", "released 1",
                                                  "latest 4 1s", "released 2", "stop"}));
}

TEST_P(SourceStreams, TheLastBatchOfAGracefulStopMayWait) {
  Context context(config().set("graceful-stop-timeout", "1h"));
  StreamingContext stream(context, 1s, {.clock = clock_});
  stream.source_stream(Counting{.step = 1}).foreach_rdd([](const auto&) {});
  stream.start();
  clock_->advance_to(Time(1s));
  stream.await_batch(1);
  std::thread stopper([&] { stream.stop(); });
  for (int n = 2; !stream.await_termination_for(1ms); ++n) clock_->advance_to(Time(n * 1s));
  stopper.join();
  int last = 0;
  for (const std::string& call : log_.calls) {
    if (call.find(" last 1800s") != std::string::npos) ++last;
  }
  EXPECT_EQ(last, 1);
}

TEST_P(SourceStreams, ReadersAndRddsHoldNoConnection) {
  Context context(config());
  StreamingContext stream(context, 1s, {.clock = clock_});
  std::vector<Rdd<int>> kept;
  Batches<int> seen;
  stream.source_stream(Connected{}).foreach_rdd([&](const auto& rdd) {
    seen.push_back(rdd.collect());
    kept.push_back(rdd);
  });
  stream.start();
  EXPECT_FALSE(Connected::connection.expired());
  clock_->advance_to(Time(2s));
  stream.await_batch(2);
  stream.stop({.graceful = false});
  EXPECT_EQ(seen, (Batches<int>{{1, 0}, {2, 0}}));
  EXPECT_TRUE(Connected::connection.expired());
}

TEST_P(SourceStreams, ReadMayProduceChunks) {
  Context context(config());
  StreamingContext stream(context, 1s, {.clock = clock_});
  Batches<int> seen;
  stream.source_stream(Chunked{}).foreach_rdd(
      [&](const auto& rdd) { seen.push_back(rdd.collect()); });
  stream.start();
  clock_->advance_to(Time(3s));
  stream.await_batch(3);
  stream.stop({.graceful = false});
  EXPECT_EQ(seen, (Batches<int>{{1}, {2, 1}, {3, 2, 1}}));
}

TEST_P(SourceStreams, ASourceThatThrowsEndsTheStream) {
  Context context(config());
  StreamingContext stream(context, 1s, {.clock = clock_});
  stream.source_stream(Counting{.step = 1, .fail_at = 2}).foreach_rdd([](const auto& rdd) {
    rdd.count();
  });
  stream.start();
  clock_->advance_to(Time(5s));
  try {
    stream.await_termination();
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kDataLoss);
    EXPECT_STREQ(error.what(), "batch 3 of 3.000s, input source-0: positions were lost");
  }
  EXPECT_EQ(log_.calls.back(), "stop");
}

class Recorder final : public StreamingListener {
 public:
  void on_batch_submitted(const BatchInfo& batch) override { batches.push_back(batch); }
  std::vector<BatchInfo> batches;
};

TEST_P(SourceStreams, ListenersSeeRecordsAndPositions) {
  Context context(config());
  StreamingContext stream(context, 1s, {.clock = clock_});
  const auto recorder = std::make_shared<Recorder>();
  stream.add_listener(recorder);
  stream.source_stream(Counting{.step = 3, .pieces = 2}).foreach_rdd([](const auto&) {});
  stream.start();
  clock_->advance_to(Time(2s));
  stream.await_batch(2);
  stream.stop({.graceful = false});
  ASSERT_EQ(recorder->batches.size(), 2u);
  const BatchInfo& second = recorder->batches[1];
  EXPECT_EQ(second.num_records(), 3u);
  ASSERT_EQ(second.inputs.size(), 1u);
  EXPECT_EQ(second.inputs[0].name, "source-0");
  EXPECT_EQ(decode<std::int64_t>(second.inputs[0].from), 3);
  EXPECT_EQ(decode<std::int64_t>(second.inputs[0].end), 6);
}

}  // namespace
}  // namespace weir::testing
