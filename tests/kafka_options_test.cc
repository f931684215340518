#include <string>

#include <gtest/gtest.h>

#include "weir/connectors/kafka/options.h"
#include "weir/connectors/kafka/planning_internal.h"
#include "weir/connectors/kafka/range_cursor_internal.h"
#include "weir/connectors/kafka/record.h"
#include "weir/connectors/kafka/source.h"
#include "weir/connectors/kafka/suspicions_internal.h"
#include "weir/core/archive.h"
#include "weir/core/error.h"
#include "weir/dstream/dstream.h"

template void weir::DStream<weir::kafka::Record>::print(std::size_t) const;  // compiles

namespace weir::kafka {
namespace {

using namespace std::chrono_literals;
using kafka::internal::allowance;
using kafka::internal::BatchLimit;
using kafka::internal::ends_before_position;
using kafka::internal::next_end;
using kafka::internal::RangeCursor;
using kafka::internal::ranges_between;
using kafka::internal::share_by_lag;
using kafka::internal::Suspicions;

Options good() { return {.brokers = "localhost:9092", .topics = {"lines"}}; }

std::string complaint(const Options& options) {
  try {
    validate(options);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    return error.what();
  }
  return "";
}

TEST(KafkaOptions, DefaultsWithBrokersAndTopicAreValid) { EXPECT_EQ(complaint(good()), ""); }

TEST(KafkaOptions, MissingBrokersAndTopicsAreNamed) {
  EXPECT_NE(complaint({.topics = {"lines"}}).find("no brokers"), std::string::npos);
  EXPECT_NE(complaint({.brokers = "b"}).find("no topics"), std::string::npos);
  EXPECT_NE(complaint({.brokers = "b", .topics = {""}}).find("empty"), std::string::npos);
  EXPECT_NE(complaint({.brokers = "b", .topics = {"a", "a"}}).find("\"a\" is given twice"),
            std::string::npos);
}

TEST(KafkaOptions, NegativeRatesAndTimeoutsAreRefused) {
  Options options = good();
  options.max_rate_per_partition = -1;
  EXPECT_NE(complaint(options).find("max_rate_per_partition is -1"), std::string::npos);
  options = good();
  options.read_timeout = 0s;
  EXPECT_NE(complaint(options).find("read_timeout"), std::string::npos);
  options = good();
  options.prefetch_bytes = 0;
  EXPECT_NE(complaint(options).find("prefetch_bytes is 0"), std::string::npos);
}

TEST(KafkaOptions, PropertiesThatExactRangesHangOnAreRefused) {
  for (const char* name : {"group.id", "enable.auto.commit", "auto.offset.reset",
                           "enable.partition.eof", "bootstrap.servers"}) {
    Options options = good();
    options.properties[name] = "true";
    EXPECT_NE(complaint(options).find(name), std::string::npos) << name;
  }
}

TEST(KafkaOptions, UnknownPropertiesAndValuesCarryTheLibrarysReason) {
  Options options = good();
  options.properties["no.such.thing"] = "1";
  EXPECT_NE(complaint(options).find("no.such.thing"), std::string::npos);
  options = good();
  options.properties["fetch.wait.max.ms"] = "soon";
  EXPECT_NE(complaint(options).find("fetch.wait.max.ms"), std::string::npos);
}

TEST(KafkaOptions, StartingOffsetsMustBeOfTheTopicsAndOnce) {
  Options options = good();
  options.starting = StartingPosition::at({{"other", 0, 1}});
  EXPECT_NE(complaint(options).find("other[0]"), std::string::npos);
  options.starting = StartingPosition::at({{"lines", 0, -5}});
  EXPECT_NE(complaint(options).find("offset -5"), std::string::npos);
  options.starting = StartingPosition::at({{"lines", 0, 1}, {"lines", 0, 2}});
  EXPECT_NE(complaint(options).find("twice"), std::string::npos);
}

TEST(KafkaOptions, SourceTravelsAsItsOptions) {
  Options options = good();
  options.starting = StartingPosition::at({{"lines", 3, 7}}, StartingPosition::Edge::kEarliest);
  options.max_rate_per_partition = 2.5;
  options.properties["client.rack"] = "r1";
  options.read_timeout = 3s;
  const Source copy = decode<Source>(encode(Source(options)));
  EXPECT_EQ(copy.options().brokers, "localhost:9092");
  EXPECT_EQ(copy.options().starting.offsets(), Position({{"lines", 3, 7}}));
  EXPECT_EQ(copy.options().starting.edge(), StartingPosition::Edge::kEarliest);
  EXPECT_EQ(copy.options().max_rate_per_partition, 2.5);
  EXPECT_EQ(copy.options().properties.at("client.rack"), "r1");
  EXPECT_EQ(copy.options().read_timeout, 3s);
}

TEST(KafkaRecord, OwnedFormKeepsNullApartFromEmpty) {
  const Header headers[] = {{"a", ""}, {"b", std::string_view()}};
  Record record{.topic = "t", .partition = 1, .offset = 2, .timestamp = Time(3ms)};
  record.value = "";
  record.headers = std::span<const Header>(headers);
  const OwnedRecord owned = to_owned(record);
  EXPECT_FALSE(owned.has_key());
  EXPECT_TRUE(owned.has_value());
  ASSERT_EQ(owned.headers.size(), 2U);
  EXPECT_TRUE(owned.headers[0].has_value());
  EXPECT_FALSE(owned.headers[1].has_value());
  EXPECT_EQ(decode<OwnedRecord>(encode(owned)), owned);
  const Record view = owned;
  EXPECT_FALSE(view.has_key());
  EXPECT_TRUE(view.has_value());
  EXPECT_EQ(to_owned(view), owned);
}

TEST(KafkaRecord, PrintsForPeople) {
  Record record{.topic = "lines", .partition = 3, .offset = 250, .key = "k", .value = "v"};
  EXPECT_EQ(printed(record), "lines[3]@250 k=v");
  record.key = {};
  record.value = "";
  EXPECT_EQ(printed(to_owned(record)), "lines[3]@250 null=");
}

TEST(KafkaPlanning, EndIsEveryPartitionsKnownEnd) {
  EXPECT_EQ(next_end({{"t", 0, 5}, {"t", 1, 5}}, {{"t", 0, 9}, {"t", 1, 5}}, {1s}),
            Position({{"t", 0, 9}, {"t", 1, 5}}));
}

TEST(KafkaPlanning, NewPartitionsBeginAtZero) {
  const Position from = {{"t", 0, 5}};
  const Position end = next_end(from, {{"s", 0, 1}, {"t", 0, 6}, {"t", 1, 3}}, {1s});
  EXPECT_EQ(end, Position({{"s", 0, 1}, {"t", 0, 6}, {"t", 1, 3}}));
  EXPECT_EQ(ranges_between(from, end),
            (std::vector<Range>{{"s", 0, 0, 1}, {"t", 0, 5, 6}, {"t", 1, 0, 3}}));
}

TEST(KafkaPlanning, UnknownAndEarlierEndsStayAtThePosition) {
  EXPECT_EQ(next_end({{"t", 0, 5}, {"t", 1, 5}}, {{"t", 1, 2}}, {1s}),
            Position({{"t", 0, 5}, {"t", 1, 5}}));
}

TEST(KafkaPlanning, RatePerPartitionLimitsABatch) {
  EXPECT_EQ(next_end({{"t", 0, 0}, {"t", 1, 0}}, {{"t", 0, 1000}, {"t", 1, 3}}, {100ms, 50}),
            Position({{"t", 0, 5}, {"t", 1, 3}}));
}

TEST(KafkaPlanning, TotalRateIsSharedByLag) {
  EXPECT_EQ(next_end({{"t", 0, 0}, {"t", 1, 0}}, {{"t", 0, 900}, {"t", 1, 100}}, {1s, 0, 100.0}),
            Position({{"t", 0, 90}, {"t", 1, 10}}));
}

TEST(KafkaPlanning, SharesNeverExceedLagsAndUseTheWholeTotal) {
  EXPECT_EQ(share_by_lag({1, 1, 1}, 2), (std::vector<std::int64_t>{1, 1, 0}));
  EXPECT_EQ(share_by_lag({0, 5, 0}, 3), (std::vector<std::int64_t>{0, 3, 0}));
  EXPECT_EQ(share_by_lag({3, 4}, 100), (std::vector<std::int64_t>{3, 4}));
  EXPECT_EQ(share_by_lag({0, 0}, 1), (std::vector<std::int64_t>{0, 0}));
}

TEST(KafkaPlanning, AllowanceIsAtLeastOne) {
  EXPECT_EQ(allowance(0.5, 100ms), 1);
  EXPECT_EQ(allowance(1000, 100ms), 100);
  EXPECT_EQ(allowance(1e300, 1s), std::numeric_limits<std::int64_t>::max());
}

TEST(KafkaPlanning, EmptyRangesKeepTheirPlace) {
  EXPECT_EQ(ranges_between({{"t", 0, 5}, {"t", 1, 7}}, {{"t", 0, 5}, {"t", 1, 9}}),
            (std::vector<Range>{{"t", 0, 5, 5}, {"t", 1, 7, 9}}));
}

TEST(KafkaPlanning, EndsBeforeThePositionAreListed) {
  EXPECT_EQ(ends_before_position({{"t", 0, 5}, {"t", 1, 7}}, {{"t", 0, 5}, {"t", 1, 2}}),
            Position({{"t", 1, 2}}));
  EXPECT_EQ(ends_before_position({{"t", 0, 5}}, {}), Position());
  EXPECT_EQ(ends_before_position({}, {{"t", 0, 5}}), Position());
}

Suspicions::TimePoint at(Duration time) { return Suspicions::TimePoint(time); }

TEST(KafkaSuspicions, AreBelievedWhenAnswersOverTheSpanSaySo) {
  const Position bad = {{"t", 0, 5}};
  Suspicions suspicions(10s);
  EXPECT_EQ(suspicions.on_answer(1, bad, {}, at(0s)), Position());
  EXPECT_EQ(suspicions.on_answer(2, bad, {}, at(9s)), Position());
  EXPECT_EQ(suspicions.on_answer(3, bad, {}, at(10s)), bad);
}

TEST(KafkaSuspicions, OneAnswerIsNotEnoughHoweverOftenItIsSeen) {
  const Position bad = {{"t", 0, 5}};
  Suspicions suspicions(10s);
  EXPECT_EQ(suspicions.on_answer(1, bad, {}, at(0s)), Position());
  EXPECT_EQ(suspicions.on_answer(1, bad, {}, at(20s)), Position());
  EXPECT_EQ(suspicions.on_answer(2, {}, {{"t", 0, 9}}, at(20s)), Position());
  EXPECT_EQ(suspicions.on_answer(3, bad, {}, at(30s)), Position());
}

TEST(KafkaSuspicions, SilenceAboutAPartitionNeitherConfirmsNorClears) {
  const Position bad = {{"t", 0, 5}};
  Suspicions suspicions(10s);
  suspicions.on_answer(1, bad, {}, at(0s));
  EXPECT_EQ(suspicions.on_answer(2, {}, {{"t", 1, 9}}, at(20s)), Position());
  EXPECT_EQ(suspicions.on_answer(3, bad, {{"t", 1, 9}}, at(21s)), bad);
}

using Verdict = RangeCursor::Verdict;

TEST(KafkaRangeCursor, LastOffsetCompletesADenseRange) {
  RangeCursor cursor(10, 12);
  EXPECT_EQ(cursor.on_record(10), Verdict::kTake);
  EXPECT_FALSE(cursor.complete());
  EXPECT_EQ(cursor.on_record(11), Verdict::kTake);
  EXPECT_TRUE(cursor.complete());
}

TEST(KafkaRangeCursor, RecordPastTheEndCompletesARangeWithHoles) {
  RangeCursor cursor(10, 20);
  EXPECT_EQ(cursor.on_record(15), Verdict::kTake);
  EXPECT_EQ(cursor.on_record(23), Verdict::kPast);
  EXPECT_TRUE(cursor.complete());
  EXPECT_EQ(cursor.position(), 20);
}

TEST(KafkaRangeCursor, RecordsBeforeThePositionAreStale) {
  RangeCursor cursor(10, 20);
  EXPECT_EQ(cursor.on_record(9), Verdict::kStale);
  EXPECT_EQ(cursor.on_record(12), Verdict::kTake);
  EXPECT_EQ(cursor.on_record(12), Verdict::kStale);
  EXPECT_EQ(cursor.on_record(11), Verdict::kStale);
  EXPECT_EQ(cursor.position(), 13);
}

TEST(KafkaRangeCursor, EndOfPartitionCompletesOnlyAtOrPastTheEnd) {
  RangeCursor cursor(10, 20);
  cursor.on_end_of_partition(15);
  EXPECT_FALSE(cursor.complete());
  EXPECT_EQ(cursor.position(), 15);
  cursor.on_end_of_partition(12);
  EXPECT_EQ(cursor.position(), 15);
  cursor.on_end_of_partition(25);
  EXPECT_TRUE(cursor.complete());
  EXPECT_EQ(cursor.position(), 20);
}

}  // namespace
}  // namespace weir::kafka
