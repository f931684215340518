#include <sys/resource.h>

#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdint>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "stream_masters.h"

namespace weir::testing {
namespace {

using namespace std::chrono_literals;

template <class F>
std::string error_of(F f) {
  try {
    f();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "no error";
}

class StreamLife : public ::testing::Test {
 protected:
  static Config config() {
    // On the manual clock, which the tests move faster than batches are processed.
    return Config().set("master", "local[2]").set("graceful-stop-timeout", "1h");
  }

  DStream<int> queued() { return stream_.queue_stream(queue_); }
  void push(std::vector<int> elements) {
    queue_->push(context_.parallelize(std::move(elements), 2));
  }

  const std::shared_ptr<ManualClock> clock_ = std::make_shared<ManualClock>();
  const std::shared_ptr<RddQueue<int>> queue_ = std::make_shared<RddQueue<int>>();
  Context context_{config()};
  StreamingContext stream_{context_, 1s, {.clock = clock_}};
};

// --- bad input ---

TEST_F(StreamLife, IntervalMustBePositive) {
  EXPECT_EQ(error_of([&] { StreamingContext(context_, 0ms); }),
            "batch interval must be positive, got 0us");
  EXPECT_EQ(error_of([&] { StreamingContext(context_, -5ms); }),
            "batch interval must be positive, got -5000us");
}

TEST_F(StreamLife, StartNeedsAnOutputOperation) {
  queued().map([](int x) { return x; });
  EXPECT_NE(error_of([&] {
              stream_.start();
            }).find("No output operations registered, so nothing to execute"),
            std::string::npos);
  EXPECT_EQ(stream_.state(), StreamingState::kInitialized);
}

TEST_F(StreamLife, NothingCanBeAddedAfterStart) {
  const auto in = queued();
  in.foreach_rdd([](const auto&) {});
  stream_.start();
  for (const auto& error :
       {error_of([&] { in.map([](int x) { return x; }); }), error_of([&] { in.print(); }),
        error_of([&] { queued(); }), error_of([&] { stream_.remember(5s); }),
        error_of([&] { in.cache(); })}) {
    EXPECT_NE(error.find("after starting a streaming context is not supported"), std::string::npos)
        << error;
  }
}

TEST_F(StreamLife, StreamsOfDifferentSlidesOrContextsDoNotCombine) {
  const auto in = queued();
  EXPECT_EQ(error_of([&] { in.union_with(in.window(2s, 2s)); }),
            "union_with: the streams have different slide intervals, 1s and 2s");
  StreamingContext other(context_, 1s, {.clock = clock_});
  const auto stranger = other.queue_stream(std::make_shared<RddQueue<int>>());
  EXPECT_EQ(error_of([&] { in.union_with(stranger); }),
            "union_with: the streams belong to different streaming contexts");
  EXPECT_EQ(error_of([&] { stream_.union_of(std::vector<DStream<int>>{}); }),
            "union_of: there are no streams to combine");
}

TEST_F(StreamLife, RememberMustBeAMultiple) {
  EXPECT_EQ(error_of([&] { stream_.remember(1500ms); }),
            "remember duration 1500ms is not a multiple of the batch interval 1000ms");
}

TEST_F(StreamLife, AQueueMustExist) {
  EXPECT_EQ(error_of([&] { stream_.queue_stream(std::shared_ptr<RddQueue<int>>()); }),
            "queue_stream: the queue is null; make one with std::make_shared");
}

TEST(StreamOptions, RestartsMustAscendAndNameBatches) {
  const auto error_with = [](std::vector<std::size_t> restarts) {
    return error_of([&] {
      run_stream(Batches<int>{{1}, {2}}, [](const DStream<int>& in) { return in; },
                 {.restart_before = std::move(restarts)});
    });
  };
  EXPECT_EQ(error_with({2}),
            "testing::Options: restart_before must ascend and name batches below 2, got 2");
  EXPECT_EQ(error_with({1, 1}),
            "testing::Options: restart_before must ascend and name batches below 2, got 1");
}

TEST_F(StreamLife, AQueueCannotBeUsedWithACheckpointDirectory) {
  queued().foreach_rdd([](const auto&) {});
  const std::string directory = (std::filesystem::temp_directory_path() / "weir-XXXXXX").string();
  std::string made = directory;
  ASSERT_NE(mkdtemp(made.data()), nullptr);
  stream_.checkpoint(made);
  EXPECT_EQ(error_of([&] { stream_.start(); }),
            "queue-0 cannot be read again after a restart, so it cannot be used with a checkpoint "
            "directory; use a replayable source (source_stream) or a receiver");
  std::filesystem::remove_all(made);
}

TEST_F(StreamLife, WaitingWithoutStartIsRefused) {
  EXPECT_EQ(error_of([&] { stream_.await_termination(); }),
            "await_termination: the streaming context has not been started");
}

// --- life ---

TEST_F(StreamLife, GoesFromInitializedToActiveToStopped) {
  queued().foreach_rdd([](const auto&) {});
  EXPECT_EQ(stream_.state(), StreamingState::kInitialized);
  stream_.start();
  EXPECT_EQ(stream_.state(), StreamingState::kActive);
  EXPECT_FALSE(stream_.await_termination_for(0ms));
  stream_.start();  // warns only
  stream_.stop({.graceful = false, .stop_context = false});
  EXPECT_EQ(stream_.state(), StreamingState::kStopped);
  EXPECT_FALSE(context_.stopped());
  stream_.stop({.graceful = false});
  EXPECT_TRUE(context_.stopped());
  stream_.await_termination();
  EXPECT_TRUE(stream_.await_termination_for(0ms));
  EXPECT_NE(error_of([&] { stream_.start(); }).find("cannot be started again"), std::string::npos);
}

TEST_F(StreamLife, StopBeforeStartEndsIt) {
  stream_.stop();
  EXPECT_EQ(stream_.state(), StreamingState::kStopped);
  stream_.await_termination();
}

TEST_F(StreamLife, HandlesMayBeHeldByUserFunctions) {
  const auto copy = stream_;
  queued().foreach_rdd([copy](const auto&) { EXPECT_EQ(copy.state(), StreamingState::kActive); });
  stream_.start();
  clock_->advance_to(Time(1s));
  stream_.await_batch(1);
  stream_.stop({.graceful = false});
}

TEST_F(StreamLife, AStreamThatIsDroppedWhileRunningStops) {
  queued().foreach_rdd([](const auto& rdd) { rdd.count(); });
  stream_.start();
  clock_->advance_to(Time(100s));
}

TEST_F(StreamLife, GracefulStopProcessesWhatWasReceived) {
  std::vector<int> seen;
  queued().foreach_rdd([&](const Rdd<int>& rdd) {
    for (const int x : rdd.collect()) seen.push_back(x);
  });
  stream_.start();
  clock_->advance_to(Time(1s));
  stream_.await_batch(1);
  push({1, 2});
  std::thread stopper([&] { stream_.stop(); });
  // The stop waits for the next grid point; it may be asked for before or after this one.
  for (int n = 2; !stream_.await_termination_for(1ms); ++n) clock_->advance_to(Time(n * 1s));
  stopper.join();
  EXPECT_EQ(seen, (std::vector<int>{1, 2}));
}

/// Lets the test and an output operation meet.
class Gate {
 public:
  void open() {
    const std::scoped_lock lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  void pass() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return open_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
};

TEST_F(StreamLife, StopNowCancelsTheRunningJob) {
  Gate running;
  push({1});
  queued().foreach_rdd([&](const Rdd<int>& rdd) {
    running.open();
    rdd.foreach ([](int) {
      while (!TaskContext::current().cancelled()) std::this_thread::yield();
    });
  });
  stream_.start();
  clock_->advance_to(Time(1s));
  running.pass();
  stream_.stop({.graceful = false});
  stream_.await_termination();  // a wanted stop is no error
}

TEST_F(StreamLife, StopInsideTheStreamIsRefusedInsteadOfWaitingForItself) {
  queued().foreach_rdd([this](const auto&) { stream_.stop(); });
  stream_.start();
  clock_->advance_to(Time(1s));
  const std::string error = error_of([&] { stream_.await_termination(); });
  EXPECT_NE(error.find("stop was called from an output operation or transform of the stream, which "
                       "it would wait for"),
            std::string::npos)
      << error;
}

TEST_F(StreamLife, AnotherStreamMayBeStoppedInsideAStream) {
  StreamingContext other(context_, 1s, {.clock = clock_});
  other.queue_stream(std::make_shared<RddQueue<int>>()).foreach_rdd([](const auto&) {});
  other.start();
  Batches<int> inner;
  queued().foreach_rdd([&](const auto&) {
    other.stop({.graceful = false, .stop_context = false});
    inner = run_stream(Batches<int>{{1}, {2}}, [](const DStream<int>& in) { return in; });
  });
  stream_.start();
  clock_->advance_to(Time(1s));
  stream_.await_batch(1);
  EXPECT_EQ(other.state(), StreamingState::kStopped);
  EXPECT_EQ(inner, (Batches<int>{{1}, {2}}));
}

TEST_F(StreamLife, StreamsMayShareAClock) {
  StreamingContext other(context_, 1s, {.clock = clock_});
  other.queue_stream(std::make_shared<RddQueue<int>>()).foreach_rdd([](const auto&) {});
  queued().foreach_rdd([](const auto&) {});
  stream_.start();
  other.start();
  clock_->advance_to(Time(1s));
  stream_.await_batch(1);
  other.await_batch(1);
  other.stop({.graceful = false, .stop_context = false});
  clock_->advance_to(Time(2s));
  stream_.await_batch(2);
}

TEST_F(StreamLife, AStartThatFailsLeavesNothingRunning) {
  std::vector<int> seen;
  queued().foreach_rdd([&](const Rdd<int>& rdd) {
    for (const int x : rdd.collect()) seen.push_back(x);
  });
  struct rlimit files {};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &files), 0);
  struct rlimit none = files;
  none.rlim_cur = 0;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);  // no pipe for the signals
  const std::string error = error_of([&] { stream_.start(); });
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &files), 0);
  EXPECT_NE(error.find("no pipe for signals"), std::string::npos) << error;
  EXPECT_EQ(stream_.state(), StreamingState::kInitialized);

  clock_->advance_to(Time(1s));  // reaches nobody
  push({1, 2});
  stream_.start();
  struct sigaction caught {};
  ::sigaction(SIGTERM, nullptr, &caught);
  EXPECT_NE(caught.sa_handler, SIG_DFL);
  clock_->advance_to(Time(2s));
  stream_.await_batch(1);
  EXPECT_EQ(seen, (std::vector<int>{1, 2}));
}

// --- failures ---

TEST_F(StreamLife, AThrowingOutputOperationEndsTheStream) {
  std::vector<std::uint64_t> later;
  queued().foreach_rdd([&](const auto&, Time time) {
    if (time == Time(2s)) throw std::runtime_error("disk is full");
    later.push_back(static_cast<std::uint64_t>(time.time_since_epoch() / 1s));
  });
  stream_.start();
  clock_->advance_to(Time(5s));
  const std::string error = error_of([&] { stream_.await_termination(); });
  EXPECT_EQ(error, "batch 2 of 2.000s, foreach_rdd: std::runtime_error: disk is full");
  EXPECT_EQ(stream_.state(), StreamingState::kStopped);
  EXPECT_EQ(later, (std::vector<std::uint64_t>{1}));
  EXPECT_EQ(error_of([&] { stream_.await_termination_for(1s); }), error);
  stream_.stop();
}

TEST_F(StreamLife, StoppingTheContextUnderTheStreamEndsItWithAnError) {
  push({1});
  queued().foreach_rdd([this](const Rdd<int>& rdd) {
    context_.stop();
    rdd.count();
  });
  stream_.start();
  clock_->advance_to(Time(1s));
  EXPECT_THROW(stream_.await_termination(), Error);
}

// --- queue streams ---

TEST_F(StreamLife, QueueStreamsTakeAllOrUseTheDefault) {
  std::vector<std::vector<int>> seen;
  stream_
      .queue_stream(queue_, {.one_at_a_time = false,
                             .default_rdd = context_.parallelize(std::vector<int>{-1}, 1)})
      .foreach_rdd([&](const Rdd<int>& rdd) { seen.push_back(rdd.collect()); });
  push({1, 2});
  push({3});
  stream_.start();
  clock_->advance_to(Time(1s));
  stream_.await_batch(1);
  clock_->advance_to(Time(2s));
  stream_.await_batch(2);
  push({4});
  clock_->advance_to(Time(3s));
  stream_.await_batch(3);
  EXPECT_EQ(seen, (std::vector<std::vector<int>>{{1, 2, 3}, {-1}, {4}}));
}

TEST_F(StreamLife, RddsThatTheUserPersistedStayPersisted) {
  const Rdd<int> mine = context_.parallelize(std::vector<int>{1}, 1).cache();
  stream_.queue_stream(queue_, {.default_rdd = mine}).window(1s).foreach_rdd([](const auto& rdd) {
    rdd.count();
  });
  stream_.start();
  clock_->advance_to(Time(4s));
  stream_.await_batch(4);
  EXPECT_EQ(mine.dataset()->storage_level(), StorageLevel::kMemory);
}

TEST_F(StreamLife, AnRddOfSeveralBatchesIsUnpersistedWithTheLastOne) {
  const Rdd<int> same = context_.parallelize(std::vector<int>{1}, 1);
  const Rdd<int> other = context_.parallelize(std::vector<int>{2}, 1);
  std::vector<StorageLevel> levels;
  queued()
      .transform([=](const Rdd<int>&, Time time) { return time <= Time(3s) ? same : other; })
      .cache()
      .foreach_rdd([&](const auto& rdd) {
        rdd.count();
        levels.push_back(same.dataset()->storage_level());
      });
  stream_.start();
  clock_->advance_to(Time(5s));
  stream_.await_batch(5);
  using enum StorageLevel;
  // Batch 4 forgets batch 3 when it is done.
  EXPECT_EQ(levels, (std::vector{kMemory, kMemory, kMemory, kMemory, kNone}));
  stream_.stop({.graceful = false, .stop_context = false});
  EXPECT_EQ(other.dataset()->storage_level(), kNone);
}

TEST_F(StreamLife, UnionAndTransformOfSeveralStreams) {
  std::vector<std::vector<int>> seen;
  const auto a = queued();
  const auto b = a.map([](int x) { return x * 10; });
  const auto c = a.map([](int x) { return x * 100; });
  stream_.union_of({a, b, c}).foreach_rdd(
      [&](const Rdd<int>& rdd) { seen.push_back(rdd.collect()); });
  stream_
      .transform(std::vector{a, b},
                 [](const std::vector<Rdd<int>>& rdds, Time) { return rdds.at(1); })
      .foreach_rdd([&](const Rdd<int>& rdd) { seen.push_back(rdd.collect()); });
  push({1, 2});
  stream_.start();
  clock_->advance_to(Time(1s));
  stream_.await_batch(1);
  EXPECT_EQ(seen, (std::vector<std::vector<int>>{{1, 2, 10, 20, 100, 200}, {10, 20}}));
}

// --- events ---

class Recorder final : public StreamingListener {
 public:
  void on_streaming_started(const StreamingStarted& e) override { say("started", e.time); }
  void on_batch_submitted(const BatchInfo& b) override { say("submitted", b.batch_time); }
  void on_batch_started(const BatchInfo& b) override { say("batch started", b.batch_time); }
  void on_batch_completed(const BatchInfo& b) override {
    say("completed" + b.failure, b.batch_time);
    EXPECT_TRUE(b.scheduling_delay() && b.processing_time() && b.total_delay());
    EXPECT_EQ(*b.total_delay(), *b.scheduling_delay() + *b.processing_time());
  }
  void on_output_operation_started(const OutputOperationInfo& o) override {
    say("begin " + o.name + std::to_string(o.id), o.batch_time);
  }
  void on_output_operation_completed(const OutputOperationInfo& o) override {
    say("end " + o.name + std::to_string(o.id) + o.failure, o.batch_time);
  }
  std::vector<std::string> said;

 private:
  void say(const std::string& what, Time time) { said.push_back(what + " @" + to_string(time)); }
};

TEST_F(StreamLife, ListenersAreToldInOrder) {
  const auto recorder = std::make_shared<Recorder>();
  const auto removed = std::make_shared<Recorder>();
  stream_.add_listener(recorder);
  stream_.add_listener(removed);
  stream_.remove_listener(removed);
  const auto in = queued();
  in.foreach_rdd([](const auto&) {});
  in.window(2s, 2s).foreach_rdd([](const auto&) { throw std::runtime_error("no"); });
  stream_.start();
  clock_->advance_to(Time(1s));
  stream_.await_batch(1);
  clock_->advance_to(Time(2s));
  EXPECT_THROW(stream_.await_termination(), Error);
  const std::string failure = "batch 2 of 2.000s, foreach_rdd: std::runtime_error: no";
  EXPECT_EQ(recorder->said,
            (std::vector<std::string>{
                "started @0.000s", "submitted @1.000s", "batch started @1.000s",
                "begin foreach_rdd0 @1.000s", "end foreach_rdd0 @1.000s", "completed @1.000s",
                "submitted @2.000s", "batch started @2.000s", "begin foreach_rdd0 @2.000s",
                "end foreach_rdd0 @2.000s", "begin foreach_rdd1 @2.000s",
                "end foreach_rdd1" + failure + " @2.000s", "completed" + failure + " @2.000s"}));
  EXPECT_TRUE(removed->said.empty());
}

class Stopper final : public StreamingListener {
 public:
  explicit Stopper(StreamingContext* stream) : stream_(stream) {}
  void on_batch_completed(const BatchInfo&) override {
    error = error_of([&] { stream_->stop(); });
  }
  std::string error;

 private:
  StreamingContext* stream_;
};

TEST_F(StreamLife, StopInAListenerIsRefusedInsteadOfWaitingForItself) {
  const auto stopper = std::make_shared<Stopper>(&stream_);
  stream_.add_listener(stopper);
  queued().foreach_rdd([](const auto&) {});
  stream_.start();
  clock_->advance_to(Time(1s));
  stream_.await_batch(1);
  stream_.stop({.graceful = false});
  EXPECT_NE(stopper->error.find("stop was called from a streaming listener"), std::string::npos)
      << stopper->error;
}

// --- print ---

TEST_F(StreamLife, PrintShowsTheFirstElementsAndWhetherThereAreMore) {
  queued()
      .map([](int x) { return std::pair(std::string(1, static_cast<char>('a' + x)), x); })
      .print(2);
  push({0, 1, 2});
  push({3});
  ::testing::internal::CaptureStdout();
  stream_.start();
  clock_->advance_to(Time(2s));
  stream_.await_batch(2);
  const std::string rule(43, '-');
  EXPECT_EQ(::testing::internal::GetCapturedStdout(),
            rule + "\nTime: 1000 ms\n" + rule + "\n(a,0)\n(b,1)\n...\n\n" +  //
                rule + "\nTime: 2000 ms\n" + rule + "\n(d,3)\n\n");
}

struct Point {
  int x = 0;
  friend std::ostream& operator<<(std::ostream& out, const Point& p) { return out << '<' << p.x; }
};

TEST(Printed, ShowsValuesForPeople) {
  EXPECT_EQ(printed(std::string("text")), "text");
  EXPECT_EQ(printed(true), "true");
  EXPECT_EQ(printed(0.1), "0.1");
  EXPECT_EQ(printed(std::uint8_t{65}), "65");
  EXPECT_EQ(printed('A'), "A");
  EXPECT_EQ(printed(Point{3}), "<3");
  EXPECT_EQ(printed(std::tuple(1, std::string("b"), std::pair(2, 3))), "(1,b,(2,3))");
  EXPECT_EQ(printed(std::vector<std::optional<int>>{1, std::nullopt}), "[1, none]");
  EXPECT_EQ(printed(std::vector<bool>{true, false}), "[true, false]");
  EXPECT_EQ(printed(Duration(250ms)), "250ms");
}

// --- signals, on the real clock ---

TEST(StreamSignals, SigtermDrainsAndEndsTheStream) {
  Context context(Config().set("master", "local[2]"));
  StreamingContext stream(context, 20ms);
  const auto queue = std::make_shared<RddQueue<int>>();
  std::vector<int> seen;
  stream.queue_stream(queue).foreach_rdd([&](const Rdd<int>& rdd) {
    for (const int x : rdd.collect()) seen.push_back(x);
  });
  stream.start();
  queue->push(context.parallelize(std::vector<int>{1, 2, 3}, 2));
  std::raise(SIGTERM);
  ASSERT_TRUE(stream.await_termination_for(20s));
  EXPECT_EQ(stream.state(), StreamingState::kStopped);
  EXPECT_EQ(seen, (std::vector<int>{1, 2, 3}));
  struct sigaction after {};
  ::sigaction(SIGTERM, nullptr, &after);
  EXPECT_EQ(after.sa_handler, SIG_DFL);
}

TEST(StreamSignals, TheSecondSignalStopsAtOnce) {
  Context context(Config().set("master", "local[2]"));
  StreamingContext stream(context, 20ms);
  const auto queue = std::make_shared<RddQueue<int>>();
  Gate running;
  stream.queue_stream(queue).foreach_rdd([&](const Rdd<int>& rdd) {
    running.open();
    rdd.foreach ([](int) {
      while (!TaskContext::current().cancelled()) std::this_thread::yield();
    });
  });
  queue->push(context.parallelize(std::vector<int>{1}, 1));
  stream.start();
  running.pass();
  std::raise(SIGINT);
  std::raise(SIGINT);
  EXPECT_TRUE(stream.await_termination_for(20s));
}

TEST(StreamTime, BatchTimesLieOnTheGridOfTheWallClock) {
  Context context(Config().set("master", "local[1]").set("stop-on-signal", "false"));
  StreamingContext stream(context, 5ms);
  std::mutex mutex;
  std::vector<Time> times;
  stream.queue_stream(std::make_shared<RddQueue<int>>()).foreach_rdd([&](const auto&, Time time) {
    const std::scoped_lock lock(mutex);
    times.push_back(time);
  });
  const Time before = Clock::system().now();
  stream.start();
  stream.await_batch(5);
  stream.stop();
  const std::scoped_lock lock(mutex);
  ASSERT_GE(times.size(), 6u);  // five, and the one more of a graceful stop
  EXPECT_GT(times[0], before);
  for (std::size_t i = 0; i < times.size(); ++i) {
    EXPECT_EQ(times[i].time_since_epoch() % Duration(5ms), Duration::zero());
    EXPECT_EQ(times[i], times[0] + static_cast<std::int64_t>(i) * Duration(5ms));
  }
}

}  // namespace
}  // namespace weir::testing
