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
           {"max-rate", "-1"}, {"max-waiting-batches", "-1"}, {"backpressure.integral", "-0.1"}}) {
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

/// Batches while the first one hangs and three more grid points pass.
class WaitingBatches : public StreamRates {
 protected:
  using Seen = std::vector<std::pair<Time, Counts>>;

  /// What each batch gave that ended after that, and those at the next two grid points; `waiting`
  /// are cut while the first runs, `last` is the number of the last.
  template <class Operation>
  Seen given(const std::map<std::string, std::string>& config, int waiting, std::uint64_t last,
             const Operation& operation) {
    std::atomic<bool> hangs{true};
    std::atomic<int> begun{0};
    Seen seen;
    const auto cut = std::make_shared<Cut>();
    auto driver = start(
        [&](StreamingContext& stream) {
          stream.add_listener(cut);
          const auto input = counts(stream);
          input.foreach_rdd([&](const Rdd<Count>&) {
            ++begun;
            EXPECT_TRUE(eventually([&] { return !hangs; }));
          });
          operation(input).foreach_rdd([&](const Rdd<Count>& rdd, Time time) {
            seen.emplace_back(time, sorted(std::vector<Counts>{rdd.collect()}).front());
          });
        },
        {.config = config});
    driver->tick();
    EXPECT_TRUE(eventually([&] { return begun == 1; }));
    for (int i = 0; i < 3; ++i) {
      driver->tick();
      EXPECT_TRUE(eventually([&] { return cut->batches >= std::min(waiting, i + 1) + 1; }));
    }
    EXPECT_EQ(cut->batches, waiting + 1);
    hangs = false;
    driver->await(last - 2);
    driver->run(2, last);
    driver->stop();
    return seen;
  }
  Seen batches(const std::vector<std::pair<int, Counts>>& at) const {
    Seen all;
    for (const auto& [second, batch] : at) {
      all.emplace_back(Time(second * 1s), sorted(std::vector<Counts>{batch}).front());
    }
    return all;
  }
};

auto as_it_is = [](const DStream<Count>& stream) { return stream; };

TEST_F(WaitingBatches, CoalesceTheGridPointsThatAreMissed) {
  EXPECT_EQ(given({{"max-waiting-batches", "1"}}, 1, 5, as_it_is), batches({{1, batches_[0]},
                                                                            {2, batches_[1]},
                                                                            {4, batches_[2]},
                                                                            {5, batches_[3]},
                                                                            {6, batches_[4]}}));
}

TEST_F(WaitingBatches, HaveWhatCameInTheirOwnIntervalIfTold) {
  EXPECT_EQ(given({{"max-waiting-batches", "100"}}, 3, 6, as_it_is), batches({{1, batches_[0]},
                                                                              {2, batches_[1]},
                                                                              {3, batches_[2]},
                                                                              {4, batches_[3]},
                                                                              {5, batches_[4]},
                                                                              {6, batches_[5]}}));
}

TEST_F(WaitingBatches, KeepGridPointsAtWhichAWindowIsDueAndSeeOthersAsEmpty) {
  const auto windows = [](const DStream<Count>& stream) { return stream.window(4s, 2s); };
  const auto together = [&](std::initializer_list<std::size_t> indices) {
    Counts all;
    for (const std::size_t i : indices)
      all.insert(all.end(), batches_[i].begin(), batches_[i].end());
    return all;
  };
  EXPECT_EQ(given({{"max-waiting-batches", "1"}}, 1, 5, windows),
            batches({{2, together({0, 1})}, {4, together({0, 1, 2})}, {6, together({2, 3, 4})}}));
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
