// The connector against librdkafka's mock cluster in this process, whose brokers can be made slow,
// leaderless and silent.

#include <array>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include "weir/connectors/kafka/lane_pool_internal.h"
#include "weir/connectors/kafka/offset_query_internal.h"
#include "weir/connectors/kafka/producer_internal.h"
#include "weir/connectors/kafka/source.h"

#include "kafka_tools.h"
#include "process_tools.h"

namespace weir::kafka {
namespace {

using namespace std::chrono_literals;
using kafka::internal::Client;
using kafka::internal::ClientHandle;
using kafka::internal::Deadline;
using kafka::internal::Edge;
using kafka::internal::Lane;
using kafka::internal::LanePool;
using kafka::internal::OffsetAnswer;
using kafka::internal::Producer;
using kafka::internal::query_offsets;
using test::eventually;
using SteadyClock = std::chrono::steady_clock;

constexpr SourceLimit kShort{.interval = 10ms};
constexpr SourceLimit kLast{.interval = 10ms, .last_wait = 30s};

/// Two brokers with a topic of two partitions; broker 1 leads partition 0, broker 2 partition 1.
class KafkaMock : public testing::Test {
 protected:
  void SetUp() override {
    std::array<char, 512> why{};
    owner_.reset(rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), why.data(), why.size()));
    ASSERT_TRUE(owner_) << why.data();
    cluster_ = {rd_kafka_mock_cluster_new(owner_.get(), 2), rd_kafka_mock_cluster_destroy};
    ASSERT_TRUE(cluster_);
    ASSERT_EQ(rd_kafka_mock_topic_create(cluster_.get(), "lines", 2, 1), 0);
    lead(0, 1);
    lead(1, 2);
  }

  void lead(int partition, int broker) {
    ASSERT_EQ(rd_kafka_mock_partition_set_leader(cluster_.get(), "lines", partition, broker), 0);
  }
  void answer_after(std::chrono::milliseconds rtt) {
    for (int broker : {1, 2}) {
      ASSERT_EQ(rd_kafka_mock_broker_set_rtt(cluster_.get(), broker, static_cast<int>(rtt.count())),
                0);
    }
  }
  void be_silent(int broker) {
    ASSERT_EQ(rd_kafka_mock_broker_set_down(cluster_.get(), broker), 0);
  }
  void produce(int partition, const std::vector<std::string>& values) {
    Producer producer(options().brokers);
    ASSERT_GT(producer.partitions("lines", 10s), partition);
    for (const std::string& value : values) {
      producer.send("lines", {.key = {}, .value = value, .partition = partition});
    }
    ASSERT_TRUE(producer.flush(10s));
    ASSERT_EQ(producer.failed(), 0) << producer.first_failure();
  }
  Options options() const {
    return {.brokers = rd_kafka_mock_cluster_bootstraps(cluster_.get()),
            .topics = {"lines"},
            .starting = StartingPosition::earliest()};
  }

  ClientHandle owner_;
  std::unique_ptr<rd_kafka_mock_cluster_t, void (*)(rd_kafka_mock_cluster_t*)> cluster_{
      nullptr, rd_kafka_mock_cluster_destroy};
};

// --- ends ---

TEST_F(KafkaMock, TruncationIsNoticedThoughEveryAnswerIsLate) {
  produce(0, numbered(0, 5));
  Source source(options());
  source.initial();
  answer_after(50ms);
  const Position beyond = {{"lines", 0, 50}, {"lines", 1, 0}};
  std::string message;
  EXPECT_EQ(code_of(
                [&] {
                  eventually([&] {
                    source.latest(beyond, kShort);  // waits 2.5 ms
                    return false;
                  });
                },
                &message),
            ErrorCode::kDataLoss);
  EXPECT_NE(message.find("lines[0]: position 50, end 5"), std::string::npos) << message;
  source.stop();
}

TEST_F(KafkaMock, TheFirstBatchNeedsNoAnswer) {
  produce(0, numbered(0, 5));
  Source source(options());
  const Position at = source.initial();
  be_silent(1);
  be_silent(2);
  const auto asked = SteadyClock::now();
  EXPECT_EQ(source.latest(at, kShort), at);
  EXPECT_LT(SteadyClock::now() - asked, 5s);
  source.stop();
}

TEST_F(KafkaMock, TheLastBatchWaitsForTheEnd) {
  Source source(options());
  const Position at = source.initial();
  produce(1, numbered(0, 3));
  answer_after(200ms);
  EXPECT_EQ(source.latest(at, kShort), at);
  EXPECT_EQ(source.latest(at, kLast), Position({{"lines", 0, 0}, {"lines", 1, 3}}));
  source.stop();
}

TEST_F(KafkaMock, PartitionsWithoutLeaderAreNotMissing) {
  produce(1, numbered(0, 2));
  Client client(options());
  const Position partitions = {{"lines", 0, 0}, {"lines", 1, 0}};
  lead(0, -1);
  OffsetAnswer answer = query_offsets(client, partitions, Edge::kEnd, Deadline(2s));
  EXPECT_EQ(answer.offsets, Position({{"lines", 1, 2}}));
  EXPECT_EQ(answer.unknown, Position());
  EXPECT_NE(answer.trouble, "");
  lead(1, -1);
  Client other(options());  // knows no former leader
  answer = query_offsets(other, partitions, Edge::kEnd, Deadline(2s));
  EXPECT_EQ(answer.offsets, Position());
  EXPECT_EQ(answer.unknown, Position());
  EXPECT_NE(answer.trouble, "");
}

TEST_F(KafkaMock, PartitionsThatAreNotDescribedAreMissing) {
  produce(1, numbered(0, 2));
  Client client(options());
  const OffsetAnswer answer =
      query_offsets(client, {{"lines", 1, 0}, {"lines", 7, 0}}, Edge::kEnd, Deadline(2s));
  EXPECT_EQ(answer.offsets, Position({{"lines", 1, 2}}));
  EXPECT_EQ(answer.unknown, Position({{"lines", 7, 0}}));
  EXPECT_NE(answer.trouble, "");
}

TEST_F(KafkaMock, AnErrorOfOneTopicHidesNoOther) {
  ASSERT_EQ(rd_kafka_mock_topic_create(cluster_.get(), "gone", 2, 1), 0);
  produce(0, numbered(0, 3));
  Client client(options());
  const Position partitions = {{"gone", 0, 0}, {"gone", 1, 0}, {"lines", 0, 0}, {"lines", 1, 0}};
  rd_kafka_mock_topic_set_error(cluster_.get(), "gone", RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
  const OffsetAnswer answer = query_offsets(client, partitions, Edge::kEnd, Deadline(2s));
  EXPECT_EQ(answer.offsets, Position({{"lines", 0, 3}, {"lines", 1, 0}}));
  EXPECT_EQ(answer.unknown, Position({{"gone", 0, 0}, {"gone", 1, 0}}));
}

// --- starting ---

TEST_F(KafkaMock, AllOfStartingTakesOneTimeout) {
  Options slow = options();
  slow.connect_timeout = 2s;
  slow.starting = StartingPosition::at({{"lines", 0, 0}});
  answer_after(500ms);  // connections, the topic, three edges
  const auto started = SteadyClock::now();
  EXPECT_EQ(code_of([&] { Source(slow).initial(); }), ErrorCode::kUnreachable);
  EXPECT_LT(SteadyClock::now() - started, 3500ms);
}

TEST_F(KafkaMock, ATopicNameThatBrokersRefuseIsInvalid) {
  rd_kafka_mock_topic_set_error(cluster_.get(), "lines", RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION);
  std::string message;
  EXPECT_EQ(code_of([&] { Source(options()).initial(); }, &message), ErrorCode::kInvalidArgument);
  EXPECT_NE(message.find("Kafka topic \"lines\": the brokers refuse the name"), std::string::npos)
      << message;
}

// --- lanes ---

TEST_F(KafkaMock, ReadersThatTakeTurnsContinue) {
  const auto pool = std::make_shared<LanePool>(options());
  // Two output operations read each batch; what they get is whether it was where they wanted it.
  const auto read = [&](std::int64_t from) {
    const LanePool::Loan lane = LanePool::borrow(pool, "lines", 0, from);
    lane->set_position(from + 10);
    return lane.get();
  };
  const Lane* const first = read(0);
  const Lane* const second = read(0);
  EXPECT_NE(first, second);
  for (std::int64_t from = 10; from <= 50; from += 10) {
    const Lane* const one = read(from);
    const Lane* const other = read(from);
    EXPECT_NE(one, other);
    EXPECT_TRUE(one == first || one == second);
    EXPECT_TRUE(other == first || other == second);
  }
  EXPECT_EQ(pool->size(), (LanePool::Size{.lanes = 2, .clients = 2}));
  // Another partition has room in these clients; a third position of the first one restarts a lane.
  LanePool::borrow(pool, "lines", 1, 0);
  read(0);
  EXPECT_EQ(pool->size(), (LanePool::Size{.lanes = 3, .clients = 2}));
}

TEST_F(KafkaMock, AStoppedLaneIsUsedAgain) {
  const auto pool = std::make_shared<LanePool>(options());
  LanePool::borrow(pool, "lines", 0, 5)->stop();
  LanePool::borrow(pool, "lines", 0, 0);
  EXPECT_EQ(pool->size(), (LanePool::Size{.lanes = 1, .clients = 1}));
}

TEST_F(KafkaMock, LanesThatNobodyAsksForAreClosed) {
  const auto pool = std::make_shared<LanePool>(options(), 20ms);
  std::optional<LanePool::Loan> kept = LanePool::borrow(pool, "lines", 0, 0);
  LanePool::borrow(pool, "lines", 1, 0);
  EXPECT_TRUE(eventually([&] { return pool->size().lanes == 1; }));
  EXPECT_EQ(pool->size(), (LanePool::Size{.lanes = 1, .clients = 1}));
  kept.reset();
  EXPECT_TRUE(eventually([&] { return pool->size() == LanePool::Size{}; }));
}

}  // namespace
}  // namespace weir::kafka
