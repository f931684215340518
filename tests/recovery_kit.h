#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "weir/core/memory_sink.h"
#include "weir/dstream/memory_source.h"
#include "weir/weir.h"

#include "process_tools.h"

/// A program whose driver ends in every way and is started again: what the tests of recovery share.
namespace weir::test {

using Count = std::pair<std::string, int>;
using Counts = std::vector<Count>;
using Total = std::pair<std::string, std::int64_t>;
using Totals = std::vector<Total>;

template <class T>
std::vector<std::vector<T>> sorted(std::vector<std::vector<T>> batches) {
  for (auto& batch : batches) std::ranges::sort(batch);
  return batches;
}

inline std::optional<std::int64_t> add_up(const std::vector<int>& values,
                                          std::optional<std::int64_t> total) {
  std::int64_t sum = total.value_or(0);
  for (const int value : values) sum += value;
  return sum;
}

/// What `update_state_by_key(add_up)` gives at each of the first batches.
inline std::vector<Totals> running_totals(const std::vector<Counts>& input, std::size_t batches) {
  std::vector<Totals> all;
  std::map<std::string, std::int64_t> totals;
  for (std::size_t i = 0; i < batches; ++i) {
    if (i < input.size()) {
      for (const auto& [key, value] : input[i]) totals[key] += value;
    }
    all.emplace_back(totals.begin(), totals.end());
  }
  return all;
}

/// The Error that `f` throws.
template <class F>
Error refusal(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "nothing was thrown";
  return {ErrorCode::kInternal, ""};
}

inline void expect_refused(const Error& error, ErrorCode code,
                           const std::vector<std::string>& words) {
  EXPECT_EQ(error.code(), code) << error.what();
  for (const std::string& each : words) {
    EXPECT_NE(std::string(error.what()).find(each), std::string::npos)
        << "'" << error.what() << "' does not say '" << each << "'";
  }
}

/// How a driver is started.
struct DriverOptions {
  std::string master = "local[2]";
  Duration interval = std::chrono::seconds(1);
  LogDurability durability = LogDurability::kConfigured;
  /// Of the manual clock's; by default only a stop makes a CHECKPOINT.
  Duration checkpoint_interval = std::chrono::hours(1);
  std::map<std::string, std::string> config = {};
};

/// One driver of a program on a manual clock.
class Driver {
 public:
  using Setup = std::function<void(StreamingContext&)>;

  Driver(const std::string& directory, std::shared_ptr<ManualClock> clock, const Setup& setup,
         const DriverOptions& options)
      : clock_(std::move(clock)),
        interval_(options.interval),
        context_(config_of(options)),
        stream_(make(directory, setup, options)) {
    stream_.start();
  }

  /// Lets the times of as many more batches pass.
  void tick(int batches = 1) { clock_->advance_to(clock_->now() + batches * interval_); }
  /// The same, one after the other is done; the last of them has that number.
  void run(int batches, std::uint64_t last) {
    for (auto left = static_cast<std::uint64_t>(batches); left > 0; --left) {
      tick();
      stream_.await_batch(last - left + 1);
    }
  }
  void await(std::uint64_t batch) { stream_.await_batch(batch); }
  void kill() { stream_.abandon(); }
  /// Between batches: nothing is left to do but the last CHECKPOINT.
  void stop() {
    stream_.stop({.graceful = false});
    stream_.await_termination();
  }
  /// As SIGTERM does: one more batch.
  void stop_gracefully() {
    std::jthread ticking([this](const std::stop_token& stopped) {
      (void)eventually([&] {
        tick();
        return stopped.stop_requested();
      });
    });
    stream_.stop();
    ticking.request_stop();
    stream_.await_termination();
  }

  StreamingContext& stream() { return stream_; }
  Context& context() { return context_; }

 private:
  static Config config_of(const DriverOptions& options) {
    Config config;
    config.set("master", options.master).set("stop-on-signal", "false");
    config.set("graceful-stop-timeout", "1h");  // of a clock that tests move fast
    for (const auto& [name, value] : options.config) config.set(name, value);
    return config;
  }
  StreamingContext make(const std::string& directory, const Setup& setup,
                        const DriverOptions& options) {
    const StreamingOptions streaming{.clock = clock_,
                                     .durability = options.durability,
                                     .checkpoint_interval = options.checkpoint_interval};
    if (!directory.empty()) {
      return StreamingContext::get_or_create(context_, directory, options.interval, setup,
                                             streaming);
    }
    StreamingContext stream(context_, options.interval, streaming);
    setup(stream);
    return stream;
  }

  const std::shared_ptr<ManualClock> clock_;
  const Duration interval_;
  Context context_;
  StreamingContext stream_;
};

/// A program's outside world, which outlives its drivers.
class Recovery : public ::testing::Test {
 protected:
  std::string directory() const { return folder_.file("checkpoint"); }
  std::string state_directory() const { return directory() + "/state"; }

  std::unique_ptr<Driver> start(const Driver::Setup& setup, const DriverOptions& options = {}) {
    return std::make_unique<Driver>(directory(), clock_, setup, options);
  }
  DStream<Count> counts(StreamingContext& stream) const {
    return stream.source_stream(MemorySource<Count>(input_, 2));
  }
  MemorySink<Total> sink() const { return MemorySink<Total>(output_); }

  /// Files of that ending in the state directory are gone.
  std::size_t remove_state_files(const std::string& ending) const {
    std::vector<std::filesystem::path> found;
    for (const auto& entry : std::filesystem::directory_iterator(state_directory())) {
      if (entry.path().extension() == ending) found.push_back(entry.path());
    }
    for (const auto& path : found) std::filesystem::remove(path);
    return found.size();
  }

  TempFolder folder_;
  const std::shared_ptr<ManualClock> clock_ = std::make_shared<ManualClock>();
  const std::vector<Counts> batches_ = {{{"a", 1}, {"b", 2}}, {{"a", 10}, {"c", 1}},
                                        {{"b", 20}},          {},
                                        {{"c", 5}, {"d", 3}}, {{"a", 100}}};
  const std::shared_ptr<MemoryInput<Count>> input_ = std::make_shared<MemoryInput<Count>>(batches_);
  const std::shared_ptr<MemoryOutput<Total>> output_ = std::make_shared<MemoryOutput<Total>>();
};

}  // namespace weir::test
