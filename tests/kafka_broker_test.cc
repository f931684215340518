// The connector against a real Kafka, started by scripts/kafka: transactions, compaction, retention
// and restarts, which the mock cluster does not have.

#include <signal.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "weir/connectors/kafka/producer_internal.h"
#include "weir/connectors/kafka/source.h"

#include "kafka_tools.h"

namespace weir::kafka {
namespace {

using namespace std::chrono_literals;
using kafka::internal::EventHandle;
using kafka::internal::NewTopicHandle;
using kafka::internal::PartitionListHandle;
using kafka::internal::Producer;
using kafka::internal::QueueHandle;
using SteadyClock = std::chrono::steady_clock;

constexpr SourceLimit kNoLimit{100ms, {}};
constexpr SourceLimit kAnswered{.interval = 100ms, .last_wait = 30s};

/// A broker of its own in a temporary folder; removed at the end.
class RealKafka {
 public:
  RealKafka() {
    std::string pattern = std::filesystem::temp_directory_path() / "weir-kafka-test-XXXXXX";
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp");
    dir_ = pattern;
    brokers_ = first_word(script("start --port 0"));
    port_ = brokers_.substr(brokers_.find(':') + 1);
  }
  ~RealKafka() {
    if (!port_.empty()) script("stop --port " + port_);
    std::error_code ignored;
    std::filesystem::remove_all(dir_, ignored);
  }

  /// Empty when it did not start.
  const std::string& brokers() const { return brokers_; }

  void kill_broker() {
    const std::string status = script("status --port " + port_);  // "address pid"
    kill(static_cast<pid_t>(std::stol(status.substr(status.find(' ') + 1))), SIGKILL);
  }
  void start_again() { script("start --port " + port_); }

 private:
  std::string script(const std::string& arguments) {
    const std::string command =
        WEIR_SOURCE_DIR "/scripts/kafka " + arguments + " --dir " + dir_ + "/kafka";
    const std::unique_ptr<FILE, int (*)(FILE*)> output(popen(command.c_str(), "r"), pclose);
    std::string text;
    std::array<char, 256> line{};
    while (output && fgets(line.data(), line.size(), output.get()) != nullptr) text += line.data();
    return text;
  }
  static std::string first_word(const std::string& text) { return text.substr(0, text.find('\n')); }

  std::string dir_;
  std::string brokers_;
  std::string port_;
};

class KafkaBroker : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    const char* const without = std::getenv("WEIR_WITHOUT_KAFKA");
    if (without == nullptr || std::string_view(without) != "1") {
      kafka_ = std::make_unique<RealKafka>();
    }
  }
  static void TearDownTestSuite() { kafka_.reset(); }

  void SetUp() override {
    if (kafka_ == nullptr) GTEST_SKIP() << "WEIR_WITHOUT_KAFKA is set";
    ASSERT_FALSE(kafka_->brokers().empty())
        << "scripts/kafka did not start a broker; to test without one set WEIR_WITHOUT_KAFKA=1";
    topic_ = testing::UnitTest::GetInstance()->current_test_info()->name();
    producer_ = std::make_unique<Producer>(kafka_->brokers());
  }
  void TearDown() override { source_.stop(); }

  void create(int partitions = 1, const Producer::Properties& config = {}) {
    producer_->create_topic(topic_, partitions, 30s, config);
    while (producer_->partitions(topic_, 30s) < partitions) producer_->poll(10ms);
  }
  Source& open(Options options = {}) {
    options.brokers = kafka_->brokers();
    options.topics = {topic_};
    options.starting = StartingPosition::earliest();
    return source_ = Source(options);
  }
  void send(Producer& producer, int from, int to) {
    for (int i = from; i < to; ++i) {
      const std::string value = "v" + std::to_string(i);
      producer.send(topic_, {.key = {}, .value = value, .partition = 0});
    }
    ASSERT_TRUE(producer.flush(30s));
    ASSERT_EQ(producer.failed(), 0) << producer.first_failure();
  }
  std::unique_ptr<Producer> transactional() {
    auto producer = std::make_unique<Producer>(kafka_->brokers(),
                                               Producer::Properties{{"transactional.id", topic_}});
    producer->partitions(topic_, 30s);
    producer->init_transactions(60s);
    return producer;
  }
  /// Answered by the broker, not what was known before.
  std::int64_t end_of(Source& source) {
    return source.latest({{topic_, 0, 0}}, kAnswered)[0].offset;
  }

  void delete_topic(const std::string& name);

  static std::unique_ptr<RealKafka> kafka_;
  std::string topic_;
  std::unique_ptr<Producer> producer_;
  Source source_;
};

std::unique_ptr<RealKafka> KafkaBroker::kafka_;

bool eventually(const std::function<bool()>& condition, Duration timeout = 60s) {
  for (const auto end = SteadyClock::now() + timeout; SteadyClock::now() < end;) {
    if (condition()) return true;
    std::this_thread::yield();
  }
  return condition();
}

std::vector<std::int64_t> read_offsets(const Source& source, const Range& range) {
  std::vector<std::int64_t> offsets;
  const auto stream = source.read(range);
  for (auto chunk = stream->next(); !chunk.empty(); chunk = stream->next()) {
    for (const Record& record : chunk) offsets.push_back(record.offset);
  }
  return offsets;
}

void await_admin(const QueueHandle& replies) {
  const EventHandle reply(rd_kafka_queue_poll(replies.get(), 30'000));
  ASSERT_TRUE(reply);
  ASSERT_EQ(rd_kafka_event_error(reply.get()), RD_KAFKA_RESP_ERR_NO_ERROR)
      << rd_kafka_event_error_string(reply.get());
}

void KafkaBroker::delete_topic(const std::string& name) {
  rd_kafka_DeleteTopic_t* request = rd_kafka_DeleteTopic_new(name.c_str());
  const QueueHandle replies(rd_kafka_queue_new(producer_->get()));
  rd_kafka_DeleteTopics(producer_->get(), &request, 1, nullptr, replies.get());
  rd_kafka_DeleteTopic_destroy(request);
  await_admin(replies);
}

TEST_F(KafkaBroker, MissingTopicIsNamed) {
  std::string message;
  EXPECT_EQ(code_of([&] { open().initial(); }, &message), ErrorCode::kInvalidArgument);
  EXPECT_NE(message.find("\"MissingTopicIsNamed\" does not exist"), std::string::npos) << message;
}

TEST_F(KafkaBroker, CommittedTransactionEndsInAMarker) {
  create();
  const auto producer = transactional();
  producer->begin();
  send(*producer, 0, 5);
  producer->commit(30s);
  Source& source = open();
  ASSERT_TRUE(eventually([&] { return end_of(source) == 6; }));
  EXPECT_EQ(read_values(source, {topic_, 0, 0, 6}), numbered(0, 5));
  EXPECT_EQ(read_values(source, {topic_, 0, 5, 6}), numbered(0, 0));  // the marker alone
  EXPECT_EQ(read_values(source, {topic_, 0, 2, 6}), numbered(2, 5));
}

TEST_F(KafkaBroker, TransactionsRangeByRange) {
  create();
  const auto producer = transactional();
  Source& source = open();
  Position at = source.initial();
  for (int batch = 0; batch < 10; ++batch) {
    producer->begin();
    send(*producer, batch * 3, batch * 3 + 3);
    producer->commit(30s);
    Position end;
    ASSERT_TRUE(eventually([&] {
      end = source.latest(at, kNoLimit);
      return end[0].offset == at[0].offset + 4;
    }));
    EXPECT_EQ(read_values(source, source.plan(at, end)[0]), numbered(batch * 3, batch * 3 + 3));
    at = end;
  }
}

TEST_F(KafkaBroker, AbortedTransactionsAreRangesWithoutRecords) {
  create();
  const auto producer = transactional();
  producer->begin();
  send(*producer, 0, 5);
  producer->abort(30s);
  Source& source = open();
  ASSERT_TRUE(eventually([&] { return end_of(source) == 6; }));
  EXPECT_EQ(read_values(source, {topic_, 0, 0, 3}), numbered(0, 0));
  EXPECT_EQ(read_values(source, {topic_, 0, 3, 6}), numbered(0, 0));
  producer->begin();
  send(*producer, 5, 7);
  producer->commit(30s);
  ASSERT_TRUE(eventually([&] { return end_of(source) == 9; }));
  EXPECT_EQ(read_values(source, {topic_, 0, 6, 9}), numbered(5, 7));
  EXPECT_EQ(read_values(source, {topic_, 0, 0, 9}), numbered(5, 7));
}

TEST_F(KafkaBroker, OpenTransactionsAreNotYetTheEnd) {
  create();
  const auto producer = transactional();
  send(*producer_, 0, 2);
  Source& source = open();
  ASSERT_TRUE(eventually([&] { return end_of(source) == 2; }));
  producer->begin();
  send(*producer, 2, 4);
  send(*producer_, 4, 6);  // behind the open transaction: not stable either
  EXPECT_EQ(end_of(source), 2);
  EXPECT_EQ(read_values(source, {topic_, 0, 0, 2}), numbered(0, 2));
  producer->commit(30s);
  ASSERT_TRUE(eventually([&] { return end_of(source) == 7; }));
  EXPECT_EQ(read_values(source, {topic_, 0, 2, 7}), numbered(2, 6));
}

TEST_F(KafkaBroker, CompactedRangesHaveHoles) {
  create(1, {{"cleanup.policy", "compact"},
             {"min.cleanable.dirty.ratio", "0.01"},
             {"segment.ms", "100"},
             {"segment.bytes", "2048"},
             {"delete.retention.ms", "0"}});
  const std::string filler(400, 'x');
  std::int64_t end = 0;
  for (int round = 0; round < 20; ++round) {
    for (const char* key : {"a", "b"}) {
      producer_->send(topic_, {.key = key, .value = filler, .partition = 0});
      ++end;
    }
    ASSERT_TRUE(producer_->flush(30s));
  }
  ASSERT_EQ(producer_->failed(), 0) << producer_->first_failure();
  Source& source = open();
  std::vector<std::int64_t> before;
  ASSERT_TRUE(eventually([&] {
    before = read_offsets(source, {topic_, 0, 0, end});
    return before.size() < static_cast<std::size_t>(end) / 2;
  }));
  // However the range is cut, each remaining record is in one piece of it; compaction goes on
  // meanwhile.
  std::vector<std::int64_t> pieces;
  for (std::int64_t from = 0; from < end; from += 3) {
    const Range piece{topic_, 0, from, std::min(from + 3, end)};
    for (const std::int64_t offset : read_offsets(source, piece)) pieces.push_back(offset);
  }
  const auto after = read_offsets(source, {topic_, 0, 0, end});
  EXPECT_FALSE(after.empty());
  EXPECT_EQ(std::adjacent_find(pieces.begin(), pieces.end(), std::greater_equal()), pieces.end());
  EXPECT_TRUE(std::includes(before.begin(), before.end(), pieces.begin(), pieces.end()));
  EXPECT_TRUE(std::includes(pieces.begin(), pieces.end(), after.begin(), after.end()));
}

TEST_F(KafkaBroker, DeletedRecordsAreDataLoss) {
  create();
  send(*producer_, 0, 100);
  Source& source = open();
  EXPECT_EQ(read_values(source, {topic_, 0, 0, 10}), numbered(0, 10));

  const PartitionListHandle before(rd_kafka_topic_partition_list_new(1));
  rd_kafka_topic_partition_list_add(before.get(), topic_.c_str(), 0)->offset = 60;
  rd_kafka_DeleteRecords_t* request = rd_kafka_DeleteRecords_new(before.get());
  const QueueHandle replies(rd_kafka_queue_new(producer_->get()));
  rd_kafka_DeleteRecords(producer_->get(), &request, 1, nullptr, replies.get());
  rd_kafka_DeleteRecords_destroy(request);
  await_admin(replies);

  std::string message;
  EXPECT_EQ(code_of(
                [&] {
                  read_values(source, {topic_, 0, 5, 20});
                },
                &message),
            ErrorCode::kDataLoss);
  EXPECT_NE(message.find("offset 5 is gone: the brokers hold [60, 100)"), std::string::npos)
      << message;
  EXPECT_EQ(read_values(source, {topic_, 0, 60, 100}), numbered(60, 100));
}

TEST_F(KafkaBroker, NewPartitionsJoinAtABatchBoundary) {
  create(1);
  send(*producer_, 0, 3);
  Source& source = open({.metadata_refresh = 200ms});
  const Position at = source.initial();
  ASSERT_EQ(at.size(), 1U);
  EXPECT_EQ(read_values(source, {topic_, 0, 0, 3}), numbered(0, 3));
  std::array<char, 256> why{};
  rd_kafka_NewPartitions_t* request =
      rd_kafka_NewPartitions_new(topic_.c_str(), 2, why.data(), why.size());
  const QueueHandle replies(rd_kafka_queue_new(producer_->get()));
  rd_kafka_CreatePartitions(producer_->get(), &request, 1, nullptr, replies.get());
  rd_kafka_NewPartitions_destroy(request);
  await_admin(replies);
  Position end;
  ASSERT_TRUE(eventually([&] { return (end = source.latest(at, kNoLimit)).size() == 2; }));
  EXPECT_EQ(end, Position({{topic_, 0, 3}, {topic_, 1, 0}}));
  EXPECT_EQ(source.plan(at, end)[1], (Range{topic_, 1, 0, 0}));

  // Read by the client that met the topic when it had one partition.
  while (producer_->partitions(topic_, 30s) < 2) producer_->poll(10ms);
  producer_->send(topic_, {.key = {}, .value = "new", .partition = 1});
  ASSERT_TRUE(producer_->flush(30s));
  const Position next = source.latest(end, kAnswered);
  EXPECT_EQ(next, Position({{topic_, 0, 3}, {topic_, 1, 1}}));
  const auto started = SteadyClock::now();
  EXPECT_EQ(read_values(source, source.plan(end, next)[1]), std::vector<std::string>{"new"});
  EXPECT_LT(SteadyClock::now() - started, 5s);
}

TEST_F(KafkaBroker, ADeletedTopicHidesNoOther) {
  create(2);
  send(*producer_, 0, 3);
  const std::string gone = topic_ + "-gone";
  producer_->create_topic(gone, 2, 30s);
  Options options{.brokers = kafka_->brokers(), .topics = {gone, topic_}};
  options.starting = StartingPosition::earliest();
  source_ = Source(options);
  const Position at = source_.initial();
  ASSERT_EQ(at.size(), 4U);
  delete_topic(gone);
  send(*producer_, 3, 5);
  EXPECT_TRUE(eventually([&] { return source_.latest(at, kNoLimit)[0].offset == 5; }, 8s));
}

TEST_F(KafkaBroker, InvalidTopicNamesAreRefused) {
  topic_ = "a b";
  std::string message;
  EXPECT_EQ(code_of([&] { open().initial(); }, &message), ErrorCode::kInvalidArgument);
  EXPECT_NE(message.find("\"a b\""), std::string::npos) << message;
}

TEST_F(KafkaBroker, ARecreatedTopicIsDataLoss) {
  create();
  send(*producer_, 0, 50);
  Source& source = open();
  const Position at = {{topic_, 0, 50}};
  EXPECT_EQ(source.latest(at, kAnswered), at);
  delete_topic(topic_);
  ASSERT_TRUE(eventually([&] { return producer_->partitions(topic_, 30s) == 0; }));
  producer_->create_topic(topic_, 1, 30s);
  std::string message;
  EXPECT_EQ(code_of(
                [&] {
                  eventually([&] {
                    source.latest(at, kNoLimit);
                    return false;
                  });
                },
                &message),
            ErrorCode::kDataLoss);
  EXPECT_NE(message.find("position 50, end 0"), std::string::npos) << message;
}

TEST_F(KafkaBroker, ReadingSurvivesABrokerKilledInTheMiddle) {
  create();
  constexpr int kRecords = 20'000;
  const std::string filler(1'000, 'x');
  for (int i = 0; i < kRecords; ++i) {
    const std::string value = std::to_string(i) + " " + filler;
    producer_->send(topic_, {.key = {}, .value = value, .partition = 0});
  }
  ASSERT_TRUE(producer_->flush(60s));
  ASSERT_EQ(producer_->failed(), 0);

  Source& source = open({.properties = {{"fetch.message.max.bytes", "65536"}},
                         .read_timeout = 60s,
                         .prefetch_bytes = 65536});
  const auto stream = source.read({topic_, 0, 0, kRecords});
  int next = 0;
  const auto read_chunk = [&] {
    const auto chunk = stream->next();
    for (const Record& record : chunk) {
      EXPECT_EQ(record.offset, next);
      EXPECT_EQ(record.value.substr(0, record.value.find(' ')), std::to_string(next));
      ++next;
    }
    return !chunk.empty();
  };
  while (next < kRecords / 4 && read_chunk()) {
  }
  kafka_->kill_broker();
  std::jthread restarter([] { kafka_->start_again(); });
  while (read_chunk()) {
  }
  EXPECT_EQ(next, kRecords);
  restarter.join();

  // Afterwards too: the end is known again, and ranges can be read from any offset.
  const Position at = {{topic_, 0, 0}};
  EXPECT_TRUE(eventually([&] { return source.latest(at, kNoLimit)[0].offset == kRecords; }));
  EXPECT_EQ(read_values(source, {topic_, 0, 10, 20}).size(), 10U);
}

}  // namespace
}  // namespace weir::kafka
