// The rate of an input, by hand: batches of one second unless said otherwise.

#include "weir/dstream/rate_controller.h"

#include <chrono>

#include <gtest/gtest.h>

namespace weir::internal {
namespace {

using namespace std::chrono_literals;
using State = RateController::State;

class Rates : public ::testing::Test {
 protected:
  static RateController::Options options() {
    RateController::Options options;
    options.interval = 1s;
    options.initial_rate = 0;
    return options;
  }
  /// The next batch of `controller` is done, a second after the one before.
  void complete(RateController& controller, std::uint64_t records, Duration processing,
                Duration delay = 0s, std::size_t waiting = 0) {
    ended_ += 1s;
    controller.on_completed({ended_, records, controller.limit(), processing, delay, waiting});
  }

  Time ended_{};
};

TEST_F(Rates, ABurstAfterIdlenessIsNotLimited) {
  RateController controller(options());
  for (int i = 0; i < 5; ++i) complete(controller, 0, 1ms);
  EXPECT_EQ(controller.limit(), std::nullopt);
  complete(controller, 1'000'000, 700ms);
  EXPECT_EQ(controller.limit(), std::nullopt) << "it was processed in time";
}

TEST_F(Rates, ALateBatchSetsTheRateToItsOwn) {
  RateController controller(options());
  complete(controller, 3000, 2s);
  EXPECT_EQ(controller.state(), State::kLimited);
  EXPECT_DOUBLE_EQ(controller.limit().value(), 1500);
}

TEST_F(Rates, WaitingBatchesEngageItToo) {
  for (const bool waits : {false, true}) {
    RateController controller(options());
    complete(controller, 500, 500ms, waits ? 0s : 1s, waits ? 1 : 0);
    EXPECT_DOUBLE_EQ(controller.limit().value(), 1000);
  }
}

TEST_F(Rates, TheControllerIsSparksPid) {
  auto with = options();
  with.proportional = 0.5;
  with.derivative = 0.1;
  RateController controller(with);
  complete(controller, 1000, 1s);
  // processed 800, error 200, backlog 0.5 * 800 = 400, change 200/s.
  complete(controller, 1000, 1250ms, 500ms, 1);
  EXPECT_DOUBLE_EQ(controller.limit().value(), 1000 - 0.5 * 200 - 0.2 * 400 - 0.1 * 200);
  // At 800: processed 1000, error -200, no backlog, change -400/s.
  complete(controller, 800, 800ms);
  EXPECT_DOUBLE_EQ(controller.limit().value(), 800 + 0.5 * 200 + 0.1 * 400);
}

TEST_F(Rates, ItSettlesWhereABatchTakesAnInterval) {
  // 100 ms for the batch and 0.5 ms for each record: 1800 records take a second.
  RateController controller(options());
  std::uint64_t records = 6000;
  for (int i = 0; i < 30; ++i) {
    complete(controller, records, 100ms + records * 500us);
    records = static_cast<std::uint64_t>(controller.limit().value());
  }
  EXPECT_NEAR(static_cast<double>(records), 1800, 20);
}

TEST_F(Rates, ItIsFreeAgainWhenLessComesThanIsAllowed) {
  RateController controller(options());
  complete(controller, 2000, 2s);
  complete(controller, 1000, 1s);
  EXPECT_EQ(controller.state(), State::kLimited);
  complete(controller, 1000, 500ms);
  EXPECT_EQ(controller.state(), State::kLimited) << "it took all that it was allowed";
  complete(controller, 300, 150ms, 0s, 1);
  EXPECT_EQ(controller.state(), State::kLimited) << "others wait";
  complete(controller, 300, 150ms);
  EXPECT_EQ(controller.limit(), std::nullopt);
}

TEST_F(Rates, TheFirstBatchesDoubleUntilOneIsLate) {
  auto with = options();
  with.initial_rate = 1000;
  RateController controller(with);
  EXPECT_DOUBLE_EQ(controller.limit().value(), 1000);
  complete(controller, 1000, 100ms);
  complete(controller, 2000, 200ms);
  complete(controller, 4000, 400ms);
  EXPECT_DOUBLE_EQ(controller.limit().value(), 8000);
  complete(controller, 8000, 1s);
  EXPECT_EQ(controller.state(), State::kLimited);
  EXPECT_DOUBLE_EQ(controller.limit().value(), 8000);
}

TEST_F(Rates, TheFirstBatchBelowItsLimitEndsTheStart) {
  auto with = options();
  with.initial_rate = 1000;
  RateController controller(with);
  complete(controller, 0, 1ms);
  EXPECT_EQ(controller.state(), State::kStarting) << "it says nothing";
  complete(controller, 300, 10ms);
  EXPECT_EQ(controller.limit(), std::nullopt);
}

TEST_F(Rates, LimitsOfTheConfigurationHold) {
  auto with = options();
  with.min_rate = 500;
  with.max_rate = 2000;
  RateController controller(with);
  EXPECT_DOUBLE_EQ(controller.limit().value(), 2000);
  complete(controller, 9000, 3s);
  EXPECT_DOUBLE_EQ(controller.limit().value(), 2000);
  complete(controller, 100, 5s, 20s, 3);
  EXPECT_DOUBLE_EQ(controller.limit().value(), 500);
}

TEST_F(Rates, BatchesWithoutRecordsOrTimeSayNothing) {
  RateController controller(options());
  complete(controller, 2000, 2s);
  const auto before = controller.limit();
  complete(controller, 0, 3s, 3s, 3);
  complete(controller, 5000, 0s);
  EXPECT_EQ(controller.limit(), before);
}

}  // namespace
}  // namespace weir::internal
