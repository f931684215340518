// How much of their input batches are given, on a manual clock that their outputs move.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "recovery_kit.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

/// Numbers without an end; a batch that is not limited takes `kMost` of them.
struct Numbers {
  static constexpr std::int64_t kMost = 10'000;

  std::int64_t initial() { return 0; }
  std::int64_t latest(std::int64_t from, const SourceLimit& limit) {
    if (!limit.max_records_per_second) return from + kMost;
    const double seconds = std::chrono::duration<double>(limit.interval).count();
    return from +
           std::min<std::int64_t>(kMost, std::llround(*limit.max_records_per_second * seconds));
  }
  std::vector<std::pair<std::int64_t, std::int64_t>> plan(std::int64_t from, std::int64_t end) {
    return {{from, end}};
  }
  std::vector<std::int64_t> read(const std::pair<std::int64_t, std::int64_t>& range) const {
    return {range.first, range.second};
  }
  std::uint64_t records(const std::pair<std::int64_t, std::int64_t>& range) const {
    return static_cast<std::uint64_t>(range.second - range.first);
  }
  void released(std::int64_t) {}
};

struct Taken final : StreamingListener {
  using Input = std::pair<std::optional<double>, std::uint64_t>;  // limit, records

  void on_batch_completed(const BatchInfo& batch) override {
    const std::scoped_lock lock(mutex);
    inputs.emplace_back(batch.inputs.at(0).limit, batch.inputs.at(0).records.value());
  }
  std::mutex mutex;
  std::vector<Input> inputs;  // guarded by mutex
};

class StreamRates : public Recovery {
 protected:
  using Inputs = std::vector<Taken::Input>;

  /// What batches of a second were given by a new stream, each of which takes as long as
  /// `processing` says.
  static Inputs taken(const std::map<std::string, std::string>& config,
                      const std::vector<Duration>& processing) {
    const TempFolder folder;
    const auto clock = std::make_shared<ManualClock>();
    const auto listener = std::make_shared<Taken>();
    std::size_t batch = 0;
    Driver driver(folder.file("checkpoint"), clock,
                  [&](StreamingContext& stream) {
                    stream.add_listener(listener);
                    stream.source_stream(Numbers{}).foreach_rdd([&](const auto&) {
                      clock->advance_to(clock->now() + processing.at(batch++));
                    });
                  },
                  {.config = config});
    for (std::uint64_t n = 1; n <= processing.size(); ++n) {
      clock->advance_to(Time(static_cast<std::int64_t>(n) * 1s));
      driver.await(n);
    }
    driver.stop();
    const std::scoped_lock lock(listener->mutex);
    return listener->inputs;
  }
};

TEST_F(StreamRates, TheFirstBatchesAreBoundedAndGrowWhileTheyAreInTime) {
  EXPECT_EQ(taken({{"backpressure.initial-rate", "1000"}}, {100ms, 200ms, 400ms, 100ms}),
            (Inputs{{1000, 1000}, {2000, 2000}, {4000, 4000}, {8000, 8000}}));
}

TEST_F(StreamRates, ALateBatchLimitsTheNextOnesUntilTheyAreInTime) {
  const Inputs inputs = taken({{"backpressure.initial-rate", "0"}}, {100ms, 850ms, 500ms, 100ms});
  ASSERT_EQ(inputs.size(), 4U);
  EXPECT_EQ(inputs[0], (Taken::Input{std::nullopt, 10'000}));
  EXPECT_EQ(inputs[1], (Taken::Input{std::nullopt, 10'000}));
  EXPECT_NEAR(inputs[2].first.value(), 10'000 / 0.85, 1) << "what the late one processed";
  EXPECT_EQ(inputs[3].first, std::nullopt) << "it had less than it was allowed, and time left";
}

TEST_F(StreamRates, ConfiguredLimitsHold) {
  EXPECT_EQ(taken({{"max-rate", "300"}}, {900ms, 100ms}), (Inputs{{300, 300}, {300, 300}}));
  EXPECT_EQ(taken({{"backpressure", "false"}, {"max-rate", "300"}}, {100ms}), (Inputs{{300, 300}}));
  EXPECT_EQ(taken({{"backpressure", "false"}}, {900ms, 900ms}),
            (Inputs{{std::nullopt, 10'000}, {std::nullopt, 10'000}}));
}

TEST_F(StreamRates, SettingsThatMakeNoSenseAreRefused) {
  for (const auto& [key, value] : std::map<std::string, std::string>{
           {"max-rate", "-1"}, {"max-waiting-batches", "0"}, {"backpressure.integral", "-0.1"}}) {
    expect_refused(refusal([&] {
                     (void)taken({{key, value}}, {});
                   }),
                   ErrorCode::kInvalidArgument, {"weir." + key, value});
  }
}

struct Cut final : StreamingListener {
  void on_batch_submitted(const BatchInfo&) override { ++batches; }
  std::atomic<int> batches{0};
};

/// Batches while the first one hangs.
class WaitingBatches : public StreamRates {
 protected:
  /// What each of the first `batches` gave, all but the last cut while the first runs.
  std::vector<Counts> given(const std::map<std::string, std::string>& config, int batches) {
    std::atomic<bool> hangs{true};
    std::atomic<int> begun{0};
    std::vector<Counts> seen;
    const auto cut = std::make_shared<Cut>();
    auto driver = start(
        [&](StreamingContext& stream) {
          stream.add_listener(cut);
          counts(stream).foreach_rdd([&](const Rdd<Count>& rdd) {
            ++begun;
            EXPECT_TRUE(eventually([&] { return !hangs; }));
            seen.push_back(sorted(std::vector<Counts>{rdd.collect()}).front());
          });
        },
        {.config = config});
    driver->tick();
    EXPECT_TRUE(eventually([&] { return begun == 1; }));
    driver->tick(batches - 2);
    EXPECT_TRUE(eventually([&] { return cut->batches == batches - 1; }));
    hangs = false;
    driver->await(static_cast<std::uint64_t>(batches) - 1);
    driver->run(1, static_cast<std::uint64_t>(batches));
    driver->stop();
    return seen;
  }
};

TEST_F(WaitingBatches, LeaveWhatComesToALaterOne) {
  EXPECT_EQ(given({{"max-waiting-batches", "1"}}, 5),
            (std::vector<Counts>{batches_[0], batches_[1], {}, {}, batches_[2]}));
}

TEST_F(WaitingBatches, HaveWhatCameInTheirOwnIntervalIfTold) {
  EXPECT_EQ(given({{"max-waiting-batches", "100"}}, 5),
            (std::vector<Counts>{batches_.begin(), batches_.begin() + 5}));
}

TEST_F(StreamRates, WhatWasRecordedIsNotChangedByALimit) {
  std::atomic<bool> fails{true};
  std::vector<std::int64_t> seen;  // first and last of each batch
  const auto setup = [&](StreamingContext& stream) {
    stream.source_stream(Numbers{}).foreach_rdd([&](const Rdd<std::int64_t>& rdd) {
      if (fails) throw std::runtime_error("later");
      for (const std::int64_t each : rdd.collect()) seen.push_back(each);
    });
  };
  auto driver = start(setup, {.config = {{"backpressure", "false"}}});
  driver->tick();
  (void)refusal([&] { driver->await(1); });
  driver.reset();
  fails = false;
  driver = start(setup, {.config = {{"max-rate", "10"}}});
  driver->run(1, 2);
  driver->stop();
  EXPECT_EQ(seen, (std::vector<std::int64_t>{0, 10'000, 10'000, 10'010}));
}

}  // namespace
}  // namespace weir::test
