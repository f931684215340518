// What becomes of output operations that fail and of state that outgrows its quota; when
// CHECKPOINTs are made.

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "recovery_kit.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

struct Outputs final : StreamingListener {
  void on_output_operation_completed(const OutputOperationInfo& info) override {
    const std::scoped_lock lock(mutex);
    completed.push_back(info);
  }
  void on_checkpoint_completed(const CheckpointInfo&) override { ++checkpoints; }

  std::vector<OutputOperationInfo> infos() const {
    const std::scoped_lock lock(mutex);
    return completed;
  }
  mutable std::mutex mutex;
  std::vector<OutputOperationInfo> completed;  // guarded by mutex
  std::atomic<int> checkpoints{0};
};

class StreamFailures : public Recovery {
 protected:
  /// A stream with an output that fails in the second batch, `failures` times, and one behind it.
  std::unique_ptr<Driver> start_failing(int failures, std::map<std::string, std::string> config) {
    failures_ = failures;
    config.emplace("log-level", "off");
    return start(
        [this](StreamingContext& stream) {
          stream.add_listener(outputs_);
          counts(stream).foreach_rdd([this](const Rdd<Count>& rdd) {
            const std::size_t size = rdd.collect().size();
            if (first_.size() == 1 && failures_ > 0) {
              --failures_;
              throw std::runtime_error("no room");
            }
            first_.push_back(size);
          });
          counts(stream).foreach_rdd(
              [this](const Rdd<Count>& rdd) { second_.push_back(rdd.collect().size()); });
        },
        {.config = std::move(config)});
  }

  std::atomic<int> failures_{0};
  std::vector<std::size_t> first_;
  std::vector<std::size_t> second_;
  const std::shared_ptr<Outputs> outputs_ = std::make_shared<Outputs>();
};

TEST_F(StreamFailures, AnOutputThatFailsEndsTheStream) {
  auto driver = start_failing(1, {});
  driver->run(1, 1);
  driver->tick();
  const Error error = refusal([&] { driver->await(2); });
  expect_refused(error, ErrorCode::kJobFailed, {"batch 2", "foreach_rdd", "no room"});
  EXPECT_EQ(second_.size(), 1u);
}

TEST_F(StreamFailures, AnOutputThatFailsIsTriedAgainIfTold) {
  auto driver = start_failing(2, {{"output-attempts", "3"}, {"output-retry-delay", "1ms"}});
  driver->run(4, 4);
  driver->stop();
  EXPECT_EQ(first_, (std::vector<std::size_t>{2, 2, 1, 0}));
  EXPECT_EQ(second_, first_);
  std::vector<std::uint32_t> attempts;
  for (const OutputOperationInfo& info : outputs_->infos()) {
    if (info.sequence == 2 && info.id == 0) attempts.push_back(info.attempt);
  }
  EXPECT_EQ(attempts, (std::vector<std::uint32_t>{1, 2, 3}));
}

TEST_F(StreamFailures, AnOutputThatStillFailsEndsTheStream) {
  auto driver = start_failing(3, {{"output-attempts", "3"}, {"output-retry-delay", "1ms"}});
  driver->run(1, 1);
  driver->tick();
  EXPECT_THROW(driver->await(2), Error);
}

TEST_F(StreamFailures, AnOutputThatFailsIsSkippedIfTold) {
  auto driver = start_failing(1, {{"output-failure", "skip"}});
  driver->run(4, 4);
  driver->stop();
  EXPECT_EQ(first_, (std::vector<std::size_t>{2, 1, 0}));
  EXPECT_EQ(second_, (std::vector<std::size_t>{2, 2, 1, 0}));
  const auto infos = outputs_->infos();
  EXPECT_EQ(std::ranges::count_if(infos, [](const auto& info) { return !info.failure.empty(); }),
            1);
}

TEST_F(StreamFailures, AStopDoesNotWaitForTheNextAttempt) {
  auto driver =
      start_failing(1'000'000, {{"output-attempts", "1000"}, {"output-retry-delay", "1h"}});
  driver->run(1, 1);
  driver->tick();
  EXPECT_TRUE(eventually([&] { return failures_ < 1'000'000; }));
  driver->stream().stop({.graceful = false});
}

/// A sink that is full.
struct FullSink : MemorySink<Count> {
  using MemorySink<Count>::MemorySink;
  void commit(const CommitId&, const std::vector<std::vector<Count>>&) const {
    throw std::runtime_error("full");
  }
};

TEST_F(StreamFailures, ASinkIsNeverSkipped) {
  const auto output = std::make_shared<MemoryOutput<Count>>();
  auto driver = start(
      [&](StreamingContext& stream) { counts(stream).write_to(FullSink(output), {.uid = "full"}); },
      {.config = {{"output-failure", "skip"}, {"log-level", "off"}}});
  driver->tick();
  const Error error = refusal([&] { driver->await(1); });
  EXPECT_NE(std::string(error.what()).find("full"), std::string::npos);
}

TEST_F(StreamFailures, SettingsThatMakeNoSenseAreRefused) {
  for (const auto& [key, value] : std::vector<std::pair<std::string, std::string>>{
           {"output-failure", "ignore"}, {"output-attempts", "0"}, {"state-quota", "-1"}}) {
    const Error error = refusal([&] { (void)start_failing(0, {{key, value}}); });
    expect_refused(error, ErrorCode::kInvalidArgument, {"weir." + key, value});
  }
}

TEST_F(StreamFailures, StateDoesNotOutgrowItsQuota) {
  const auto setup = [&](StreamingContext& stream) {
    counts(stream)
        .update_state_by_key([](const std::vector<int>& values,
                                std::optional<std::string> text) -> std::optional<std::string> {
          std::string longer = text.value_or("");
          for (const int value : values)
            longer += std::string(static_cast<std::size_t>(value), 'x');
          return longer;
        })
        .uid("texts")
        .foreach_rdd([](const auto&) {});
  };
  input_->push({{"a", 1'000'000}});
  auto driver = start(setup, {.config = {{"state-quota", "500000"}, {"log-level", "off"}}});
  driver->run(6, 6);
  driver->tick();
  const Error error = refusal([&] { driver->await(7); });
  expect_refused(error, ErrorCode::kJobFailed,
                 {"batch 7", "texts", "4 keys", "weir.state-quota allows 500000"});
  driver.reset();
  // Nothing of that batch was kept, and a larger quota lets it through.
  auto next = start(setup, {.config = {{"state-quota", "10000000"}}});
  next->await(7);
  next->stop();
}

TEST_F(StreamFailures, AStreamMayWantItsStateToBeDurableMoreOften) {
  auto driver = start([&](StreamingContext& stream) {
    stream.add_listener(outputs_);
    counts(stream).update_state_by_key(fn<&add_up>).checkpoint(2s).foreach_rdd([](const auto&) {});
  });
  for (std::uint64_t batch = 1; batch <= 6; ++batch) {
    driver->run(1, batch);
    const auto wanted = static_cast<int>(batch / 3);
    EXPECT_TRUE(eventually([&] { return outputs_->checkpoints >= wanted; })) << batch;
  }
  driver->stop();
}

TEST_F(StreamFailures, ACheckpointIntervalIsAMultipleOfTheSlide) {
  const Error error = refusal([&] {
    (void)start([&](StreamingContext& stream) { counts(stream).checkpoint(1500ms).print(); });
  });
  expect_refused(error, ErrorCode::kInvalidArgument, {"checkpoint interval 1500ms", "1000ms"});
}

TEST_F(StreamFailures, StateMayBeginWithAnRdd) {
  Context context(Config().set("master", "local[2]"));
  const auto before = context.parallelize(Totals{{"a", 100}, {"z", 1}}, 2);
  auto driver = start([&](StreamingContext& stream) {
    counts(stream)
        .map_with_state(StateSpec([](const std::string& key, std::optional<int> value,
                                     State<std::int64_t>& state) {
                          state.update(state.get_optional().value_or(0) + value.value_or(0));
                          return Total(key, state.get());
                        }).initial_state(before))
        .write_to(sink(), {.uid = "totals"});
  });
  driver->run(2, 2);
  driver->stop();
  EXPECT_EQ(sorted(output_->batches()),
            (std::vector<Totals>{{{"a", 101}, {"b", 2}}, {{"a", 111}, {"c", 1}}}));
}

}  // namespace
}  // namespace weir::test
