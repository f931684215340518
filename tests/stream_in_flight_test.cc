// Batches in flight: what runs ahead of its turn, and that nothing else does.

#include <algorithm>
#include <chrono>
#include <map>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "recovery_kit.h"

namespace weir::test {
namespace {

using Words = std::vector<std::string>;

/// What happened, in order: "map 2", "output 1". Said by tasks too, which run in this process.
class Story {
 public:
  void say(const std::string& what) {
    const std::scoped_lock lock(mutex_);
    told_.push_back(what);
  }
  std::ptrdiff_t count(const std::string& what) const {
    const std::scoped_lock lock(mutex_);
    return std::ranges::count(told_, what);
  }
  /// Only what begins so.
  Words all(const std::string& beginning) const {
    const std::scoped_lock lock(mutex_);
    Words found;
    for (const std::string& what : told_) {
      if (what.starts_with(beginning)) found.push_back(what);
    }
    return found;
  }
  bool comes(const std::string& what) const {
    return eventually([&] { return count(what) != 0; });
  }
  void clear() {
    const std::scoped_lock lock(mutex_);
    told_.clear();
  }

 private:
  mutable std::mutex mutex_;
  Words told_;  // guarded by mutex_
};
Story story;

std::string now(const char* what) {
  return std::string(what) + " " + std::to_string(TaskContext::current().batch());
}

int plus(int a, int b) { return a + b; }

class InFlight : public Recovery {
 protected:
  void SetUp() override { story.clear(); }

  static DriverOptions in_flight(int batches, std::map<std::string, std::string> config = {}) {
    config.emplace("batches-in-flight", std::to_string(batches));
    return {.master = "local[2]", .config = std::move(config)};
  }
  /// The counts, told of by the map stage of a shuffle behind them.
  DStream<Count> mapped(StreamingContext& stream) const {
    return counts(stream).map_partitions([](auto elements) {
      story.say(now("map"));
      Counts all;
      for (const Count& each : elements) all.push_back(each);
      return all;
    });
  }
};

TEST_F(InFlight, MapStagesRunWhileAnEarlierBatchIsFinished) {
  auto driver = start(
      [&](StreamingContext& stream) {
        mapped(stream).reduce_by_key(fn<&plus>).foreach_rdd([](const Rdd<Count>& rdd, Time time) {
          const std::string batch =
              std::to_string(time.time_since_epoch() / std::chrono::seconds(1));
          if (batch == "1") {
            EXPECT_TRUE(story.comes("map 2") && story.comes("map 3"));
          }
          EXPECT_EQ(story.count("map 4"), 0) << "not in flight yet";
          (void)rdd.collect();
          story.say("output " + batch);
        });
      },
      in_flight(3));
  driver->tick(3);
  driver->await(3);
  driver->stop();
  EXPECT_EQ(story.all("output"), (Words{"output 1", "output 2", "output 3"}));
  for (const char* batch : {"map 1", "map 2", "map 3"}) EXPECT_EQ(story.count(batch), 2) << batch;
}

TEST_F(InFlight, OneByDefault) {
  auto driver = start([&](StreamingContext& stream) {
    mapped(stream).reduce_by_key(fn<&plus>).foreach_rdd([](const Rdd<Count>& rdd, Time time) {
      const auto batch = time.time_since_epoch() / std::chrono::seconds(1);
      for (auto later = batch; later <= 3; ++later) {
        EXPECT_EQ(story.count("map " + std::to_string(later)), 0);
      }
      (void)rdd.collect();
    });
  });
  driver->tick(3);
  driver->await(3);
  driver->stop();
}

TEST_F(InFlight, StateTakesItsTurnAndWhatFeedsItDoesNot) {
  std::vector<Totals> got;
  auto driver = start(
      [&](StreamingContext& stream) {
        mapped(stream)
            .update_state_by_key(
                [](const std::vector<int>& values, std::optional<std::int64_t> sum) {
                  story.say(now("state"));
                  return add_up(values, sum);
                })
            .foreach_rdd([&](const Rdd<Total>& rdd, Time time) {
              const auto batch = time.time_since_epoch() / std::chrono::seconds(1);
              if (batch == 1) {
                EXPECT_TRUE(story.comes("map 2") && story.comes("map 3"));
              }
              EXPECT_EQ(story.count("state " + std::to_string(batch + 1)), 0);
              got.push_back(rdd.collect());
            });
      },
      in_flight(3));
  driver->tick(3);
  driver->await(3);
  driver->stop();
  EXPECT_EQ(sorted(got), running_totals(batches_, 3));
  for (const char* batch : {"map 1", "map 2", "map 3"}) EXPECT_EQ(story.count(batch), 2) << batch;
}

TEST_F(InFlight, WhatStateFeedsIsNotTouched) {
  // A function in the driver that asks for the state's elements, which are not there ahead of time.
  std::vector<std::int64_t> sizes;
  auto driver = start(
      [&](StreamingContext& stream) {
        mapped(stream)
            .update_state_by_key(fn<&add_up>)
            .transform([&](const Rdd<Total>& rdd) {
              sizes.push_back(rdd.count());
              return rdd.reduce_by_key([](std::int64_t a, std::int64_t b) { return a + b; });
            })
            .foreach_rdd([](const Rdd<Total>& rdd) { (void)rdd.collect(); });
      },
      in_flight(3));
  driver->tick(5);
  driver->await(5);
  driver->stop();
  EXPECT_EQ(sizes, (std::vector<std::int64_t>{2, 3, 3, 3, 4}));
}

TEST_F(InFlight, ABatchThatFailsIsTheLastOneWithEffects) {
  bool fails = true;
  const auto setup = [&](StreamingContext& stream) {
    const auto totals = mapped(stream).update_state_by_key(fn<&add_up>);
    totals.write_to(sink(), {.uid = "totals"});
    totals.foreach_rdd([&fails](const auto&, Time time) {
      if (!fails || time != Time(std::chrono::seconds(2))) return;
      EXPECT_TRUE(story.comes("map 3"));
      throw std::runtime_error("no room");
    });
  };
  auto driver = start(setup, in_flight(4, {{"log-level", "off"}}));
  driver->tick(4);
  expect_refused(refusal([&] { driver->await(4); }), ErrorCode::kJobFailed, {"batch 2", "no room"});
  driver.reset();
  EXPECT_EQ(output_->batches().size(), 2U) << "batch 3 or 4 had effects";
  fails = false;
  driver = start(setup, in_flight(4));
  driver->await(4);
  driver->stop();
  EXPECT_EQ(sorted(output_->batches()), running_totals(batches_, 4));
}

TEST_F(InFlight, LostStateIsMadeAgainUnderThem) {
  const auto setup = [&](StreamingContext& stream) {
    mapped(stream).update_state_by_key(fn<&add_up>).write_to(sink(), {.uid = "totals"});
  };
  auto driver = start(setup, in_flight(3));
  driver->tick(3);
  driver->await(3);
  driver->kill();
  driver.reset();
  EXPECT_NE(remove_state_files(".chg"), 0U);
  driver = start(setup, in_flight(3));
  driver->tick(3);
  driver->await(6);
  driver->stop();
  EXPECT_EQ(sorted(output_->batches()), running_totals(batches_, 6));
}

TEST_F(InFlight, AMapTaskThatFailsAheadFailsItsOwnBatch) {
  auto driver = start(
      [&](StreamingContext& stream) {
        counts(stream)
            .map([](const Count& each) {
              if (each.second == 20) throw std::runtime_error("twenty");
              return each;
            })
            .reduce_by_key(fn<&plus>)
            .foreach_rdd([](const Rdd<Count>& rdd) {
              story.say("output");
              (void)rdd.collect();
            });
      },
      in_flight(3, {{"log-level", "off"}, {"task-max-failures", "1"}}));
  driver->tick(3);
  expect_refused(refusal([&] { driver->await(3); }), ErrorCode::kJobFailed, {"batch 3", "twenty"});
  EXPECT_EQ(story.count("output"), 3);
}

TEST_F(InFlight, NumbersThatMakeNoSenseAreRefused) {
  for (const char* batches : {"0", "65", "two"}) {
    expect_refused(refusal([&] {
                     start([&](StreamingContext& stream) { counts(stream).print(); },
                           {.config = {{"batches-in-flight", batches}}});
                   }),
                   ErrorCode::kInvalidArgument, {"weir.batches-in-flight", batches});
  }
}

}  // namespace
}  // namespace weir::test
