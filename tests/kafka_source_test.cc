// The connector against librdkafka's mock cluster in a process of its own: what needs no real
// broker.

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <functional>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "weir/connectors/kafka/producer_internal.h"
#include "weir/connectors/kafka/source.h"

#include "kafka_tools.h"

namespace weir::kafka {
namespace {

using namespace std::chrono_literals;
using kafka::internal::Producer;
using Records = std::vector<OwnedRecord>;
using SteadyClock = std::chrono::steady_clock;

/// weir-embedded-kafka as a child process.
class EmbeddedKafka {
 public:
  /// `on_interrupt`: what SIGINT does to it as it starts; shells ignore it for background jobs.
  explicit EmbeddedKafka(void (*on_interrupt)(int) = SIG_DFL) {
    std::array<int, 2> pipe_ends{};
    if (pipe(pipe_ends.data()) != 0) throw std::runtime_error("pipe");
    pid_ = fork();
    if (pid_ == 0) {
      ::signal(SIGINT, on_interrupt);
      dup2(pipe_ends[1], STDOUT_FILENO);
      close(pipe_ends[0]);
      close(pipe_ends[1]);
      dup2(open("/dev/null", O_WRONLY), STDERR_FILENO);
      execl(WEIR_EMBEDDED_KAFKA, "weir-embedded-kafka", "--die-with-parent", "--topic", "lines:2",
            "--topic", "wide:8", nullptr);
      _exit(127);
    }
    close(pipe_ends[1]);
    char byte = 0;
    while (read(pipe_ends[0], &byte, 1) == 1 && byte != '\n') brokers_ += byte;
    close(pipe_ends[0]);
  }
  ~EmbeddedKafka() { end(SIGTERM); }

  int end(int signal) {
    if (pid_ <= 0) return 0;
    kill(pid_, signal);
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    return status;
  }
  void send(int signal) const { kill(pid_, signal); }
  bool ended() {
    if (waitpid(pid_, nullptr, WNOHANG) != pid_) return false;
    pid_ = -1;
    return true;
  }
  const std::string& brokers() const { return brokers_; }

 private:
  pid_t pid_ = -1;
  std::string brokers_;
};

class KafkaSource : public testing::Test {
 protected:
  Options options(std::vector<std::string> topics = {"lines"}) {
    return {.brokers = kafka_.brokers(),
            .topics = std::move(topics),
            .starting = StartingPosition::earliest(),
            .read_timeout = 10s};
  }

  void produce(const std::string& topic, int partition, const std::vector<std::string>& values) {
    Producer producer(kafka_.brokers());
    ASSERT_GT(producer.partitions(topic, 10s), partition);
    for (const std::string& value : values) {
      producer.send(topic, {.key = {}, .value = value, .partition = partition});
    }
    ASSERT_TRUE(producer.flush(10s));
    ASSERT_EQ(producer.failed(), 0) << producer.first_failure();
  }

  EmbeddedKafka kafka_;
};

Records read_all(const Source& source, const Range& range) {
  Records records;
  const auto stream = source.read(range);
  for (auto chunk = stream->next(); !chunk.empty(); chunk = stream->next()) {
    for (const Record& record : chunk) records.push_back(to_owned(record));
  }
  return records;
}

std::vector<std::string> values_of(const Records& records) {
  std::vector<std::string> values;
  for (const OwnedRecord& record : records) values.push_back(record.value);
  return values;
}

bool eventually(const std::function<bool()>& condition, Duration timeout = 10s) {
  for (const auto end = SteadyClock::now() + timeout; SteadyClock::now() < end;) {
    if (condition()) return true;
    std::this_thread::yield();
  }
  return condition();
}

constexpr SourceLimit kNoLimit{100ms, {}};
constexpr SourceLimit kAnswered{.interval = 100ms, .last_wait = 10s};

TEST_F(KafkaSource, ReadsExactRangesAndTheSameAgain) {
  produce("lines", 0, numbered(0, 3000));
  Source source(options());
  const Records once = read_all(source, {"lines", 0, 100, 2500});
  ASSERT_EQ(once.size(), 2400U);
  EXPECT_EQ(values_of(once), numbered(100, 2500));
  EXPECT_EQ(once.front().offset, 100);
  EXPECT_EQ(once.front().topic, "lines");
  EXPECT_GT(once.front().timestamp, Time());
  EXPECT_EQ(read_all(source, {"lines", 0, 100, 2500}), once);
  source.stop();
}

TEST_F(KafkaSource, ConsecutiveRangesHoldEveryRecordOnce) {
  produce("lines", 1, numbered(0, 1000));
  Source source(options());
  std::vector<std::string> all;
  for (std::int64_t from = 0; from < 1000; from += 7) {
    const std::int64_t to = std::min<std::int64_t>(from + 7, 1000);
    for (const auto& value : values_of(read_all(source, {"lines", 1, from, to}))) {
      all.push_back(value);
    }
  }
  EXPECT_EQ(all, numbered(0, 1000));
  source.stop();
}

TEST_F(KafkaSource, BatchesFollowWhatIsProduced) {
  Source source(options());
  Position at = source.initial();
  EXPECT_EQ(at, Position({{"lines", 0, 0}, {"lines", 1, 0}}));
  for (int batch = 0; batch < 20; ++batch) {
    produce("lines", batch % 2, numbered(batch, batch + 3));
    Position end = at;
    ASSERT_TRUE(eventually([&] { return (end = source.latest(at, kNoLimit)) != at; }));
    const std::vector<Range> ranges = source.plan(at, end);
    ASSERT_EQ(ranges.size(), 2U);
    EXPECT_EQ(values_of(read_all(source, ranges[static_cast<std::size_t>(batch % 2)])),
              numbered(batch, batch + 3));
    EXPECT_TRUE(read_all(source, ranges[static_cast<std::size_t>(1 - batch % 2)]).empty());
    at = end;
  }
  source.stop();
}

TEST_F(KafkaSource, RateLimitsCutBatches) {
  produce("lines", 0, numbered(0, 100));
  Options limited = options();
  limited.max_rate_per_partition = 50;
  Source source(limited);
  const Position at = source.initial();
  EXPECT_EQ(source.latest(at, kAnswered), Position({{"lines", 0, 5}, {"lines", 1, 0}}));
  EXPECT_EQ(source.latest(at, {100ms, 20.0, 10s}), Position({{"lines", 0, 2}, {"lines", 1, 0}}));
  source.stop();
}

TEST_F(KafkaSource, NullAndEmptyAreTwoThings) {
  Producer producer(kafka_.brokers());
  producer.partitions("lines", 10s);
  producer.send("lines", {.key = {}, .value = {}, .partition = 0});
  producer.send("lines", {.key = "", .value = "", .partition = 0});
  producer.send("lines", {.key = "k", .value = "v", .partition = 0});
  ASSERT_TRUE(producer.flush(10s));
  Source source(options());
  const Records records = read_all(source, {"lines", 0, 0, 3});
  ASSERT_EQ(records.size(), 3U);
  EXPECT_FALSE(records[0].has_key());
  EXPECT_FALSE(records[0].has_value());
  EXPECT_TRUE(records[1].has_key());
  EXPECT_TRUE(records[1].has_value());
  EXPECT_EQ(records[1].value, "");
  EXPECT_EQ(records[2].key, "k");
  source.stop();
}

TEST_F(KafkaSource, HeadersComeInOrder) {
  Producer producer(kafka_.brokers());
  producer.partitions("lines", 10s);
  producer.send("lines", {.key = {},
                          .value = "v",
                          .partition = 0,
                          .headers = {{"trace", "abc"}, {"empty", ""}, {"null", std::nullopt}}});
  producer.send("lines", {.key = {}, .value = "plain", .partition = 0});
  ASSERT_TRUE(producer.flush(10s));
  Source source(options());
  const Records records = read_all(source, {"lines", 0, 0, 2});
  ASSERT_EQ(records.size(), 2U);
  ASSERT_EQ(records[0].headers.size(), 3U);
  EXPECT_EQ(records[0].headers[0].name, "trace");
  EXPECT_EQ(records[0].headers[0].value, "abc");
  EXPECT_TRUE(records[0].headers[1].has_value());
  EXPECT_FALSE(records[0].headers[2].has_value());
  EXPECT_TRUE(records[1].headers.empty());
  source.stop();
}

TEST_F(KafkaSource, ChunksAreBoundedByBytesAsWell) {
  produce("lines", 0, std::vector<std::string>(40, std::string(100'000, 'x')));
  Source source(options());
  const auto stream = source.read({"lines", 0, 0, 40});
  std::size_t records = 0;
  for (auto chunk = stream->next(); !chunk.empty(); chunk = stream->next()) {
    EXPECT_LE(chunk.size, 11U);
    records += chunk.size;
  }
  EXPECT_EQ(records, 40U);
  EXPECT_TRUE(stream->next().empty());
  source.stop();
}

TEST_F(KafkaSource, AReaderThatStopsEarlyLosesNothing) {
  produce("lines", 0, numbered(0, 3000));
  Source source(options());
  { EXPECT_EQ(source.read({"lines", 0, 0, 3000})->next().data[0].value, "v0"); }
  EXPECT_EQ(values_of(read_all(source, {"lines", 0, 0, 3000})), numbered(0, 3000));
  source.stop();
}

TEST_F(KafkaSource, TwoReadersOfOnePartitionAtOnce) {
  produce("lines", 0, numbered(0, 2000));
  Source source(options());
  const auto first = source.read({"lines", 0, 0, 2000});
  const auto second = source.read({"lines", 0, 500, 1500});
  EXPECT_EQ(first->next().data[0].value, "v0");
  EXPECT_EQ(second->next().data[0].value, "v500");
  source.stop();
}

TEST_F(KafkaSource, PartitionsAreReadByManyThreads) {
  for (int partition = 0; partition < 8; ++partition) produce("wide", partition, numbered(0, 500));
  Source source(options({"wide"}));
  std::vector<std::future<std::vector<std::string>>> readers;
  for (int partition = 0; partition < 8; ++partition) {
    readers.push_back(std::async(std::launch::async, [&source, partition] {
      std::vector<std::string> all;
      for (std::int64_t from = 0; from < 500; from += 100) {
        for (auto& value : values_of(read_all(source, {"wide", partition, from, from + 100}))) {
          all.push_back(value);
        }
      }
      return all;
    }));
  }
  for (auto& reader : readers) EXPECT_EQ(reader.get(), numbered(0, 500));
  source.stop();
}

TEST_F(KafkaSource, LongTopicsAreReadWhileOldRecordsGo) {
  // The mock cluster keeps 5 MiB of a partition: reading keeps up with twice that.
  Source source(options());
  Position at = source.initial();
  std::int64_t read = 0;
  for (int batch = 0; batch < 20; ++batch) {
    produce("lines", 0, std::vector<std::string>(500, std::string(1'000, 'x')));
    Position end = at;
    ASSERT_TRUE(eventually([&] { return (end = source.latest(at, kNoLimit)) != at; }));
    for (const Range& range : source.plan(at, end)) {
      read += static_cast<std::int64_t>(read_all(source, range).size());
    }
    at = end;
  }
  EXPECT_EQ(read, 10'000);
  source.stop();
}

TEST_F(KafkaSource, OffsetsThatAreGoneAreDataLoss) {
  produce("lines", 0, std::vector<std::string>(12, std::string(900'000, 'x')));  // over 5 MiB
  Source source(options());
  std::string message;
  EXPECT_EQ(code_of([&] { read_all(source, {"lines", 0, 0, 5}); }, &message), ErrorCode::kDataLoss);
  EXPECT_NE(message.find("lines[0] [0, 5)"), std::string::npos) << message;
  EXPECT_NE(message.find("offset 0 is gone"), std::string::npos) << message;
  EXPECT_EQ(code_of([&] { read_all(source, {"lines", 0, 100, 105}); }), ErrorCode::kDataLoss);
  EXPECT_EQ(read_all(source, {"lines", 0, 11, 12}).size(), 1U);
  source.stop();
}

TEST_F(KafkaSource, EndsBeforeThePositionAreDataLossOnceConfirmed) {
  produce("lines", 0, numbered(0, 5));
  Source source(options());
  const Position beyond = {{"lines", 0, 50}, {"lines", 1, 0}};
  EXPECT_EQ(source.latest(beyond, kNoLimit), beyond);
  std::string message;
  EXPECT_EQ(code_of(
                [&] {
                  eventually([&] {
                    source.latest(beyond, kNoLimit);
                    return false;
                  });
                },
                &message),
            ErrorCode::kDataLoss);
  EXPECT_NE(message.find("lines[0]: position 50, end 5"), std::string::npos) << message;
  source.stop();
}

TEST_F(KafkaSource, ExplicitStartingOffsets) {
  produce("lines", 0, numbered(0, 10));
  Options at = options();
  at.starting = StartingPosition::at({{"lines", 0, 4}});
  Source source(at);
  EXPECT_EQ(source.initial(), Position({{"lines", 0, 4}, {"lines", 1, 0}}));
  at.starting = StartingPosition::at({{"lines", 0, 11}});
  EXPECT_EQ(code_of([&] { Source(at).initial(); }), ErrorCode::kInvalidArgument);
  at.starting = StartingPosition::at({{"lines", 7, 0}});
  EXPECT_EQ(code_of([&] { Source(at).initial(); }), ErrorCode::kInvalidArgument);
  at.starting = StartingPosition::latest();
  EXPECT_EQ(Source(at).initial(), Position({{"lines", 0, 10}, {"lines", 1, 0}}));
  source.stop();
}

TEST_F(KafkaSource, DeadBrokersHoldUpNoBatch) {
  produce("lines", 0, numbered(0, 5));
  Source source(options());
  const Position at = source.initial();
  const Position known = source.latest(at, kAnswered);
  kafka_.end(SIGKILL);
  for (int i = 0; i < 3; ++i) {
    const auto asked = SteadyClock::now();
    EXPECT_EQ(source.latest(at, kNoLimit), known);
    EXPECT_LT(SteadyClock::now() - asked, 2s);  // 100 ms, and slack for a busy machine
  }
  const auto stopping = SteadyClock::now();
  source.stop();
  EXPECT_LT(SteadyClock::now() - stopping, 10s);
}

TEST_F(KafkaSource, AReaderGivesUpOnDeadBrokers) {
  produce("lines", 0, numbered(0, 5));
  Options impatient = options();
  impatient.read_timeout = 1s;
  Source source(impatient);
  EXPECT_EQ(read_all(source, {"lines", 0, 0, 5}).size(), 5U);
  kafka_.end(SIGKILL);
  std::string message;
  EXPECT_EQ(code_of(
                [&] {
                  read_all(source, {"lines", 0, 5, 9});
                },
                &message),
            ErrorCode::kUnreachable);
  EXPECT_NE(message.find("lines[0] [5, 9)"), std::string::npos) << message;
  EXPECT_NE(message.find("no progress for 1s at offset 5"), std::string::npos) << message;
  source.stop();
}

TEST(KafkaUnreachable, StartingNamesBrokersAndCause) {
  Source source({.brokers = "127.0.0.1:1", .topics = {"lines"}, .connect_timeout = 1s});
  std::string message;
  const auto started = SteadyClock::now();
  EXPECT_EQ(code_of([&] { source.initial(); }, &message), ErrorCode::kUnreachable);
  EXPECT_LT(SteadyClock::now() - started, 5s);
  EXPECT_NE(message.find("127.0.0.1:1"), std::string::npos) << message;
  EXPECT_NE(message.find("refused"), std::string::npos) << message;
}

TEST(KafkaEmbedded, InTheBackgroundItOutlivesCtrlC) {
  EmbeddedKafka background(SIG_IGN);
  background.send(SIGINT);
  Producer producer(background.brokers());
  EXPECT_EQ(producer.partitions("lines", 10s), 2);
  EXPECT_FALSE(background.ended());
}

TEST(KafkaEmbedded, EndsOnTermination) {
  EmbeddedKafka kafka;
  EXPECT_NE(kafka.brokers().find("127.0.0.1:"), std::string::npos);
  const int status = kafka.end(SIGTERM);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

}  // namespace
}  // namespace weir::kafka
