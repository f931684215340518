#include "weir/dstream/testing_kit.h"

#include "weir/core/error.h"
#include "weir/core/runner_registry.h"

namespace weir::testing {
namespace {

Config config_of(const Options& options) {
  const auto refuse = [](const std::string& message) {
    throw Error(ErrorCode::kInvalidArgument, "testing::Options: " + message);
  };
  if (options.partitions < 1) {
    refuse("partitions must be at least 1, got " + std::to_string(options.partitions));
  }
  if (!options.checkpoint_dir.empty()) {
    refuse("checkpoint_dir needs checkpoints, which come with a later release");
  }
  if (!options.restart_before.empty()) {
    refuse("restart_before needs checkpoints, which come with a later release");
  }
  Config config;
  config.set("master", options.master);
  config.set("stop-on-signal", "false");
  return config;
}

}  // namespace

void init(int*, char**) { weir::internal::serve_if_worker(); }

namespace internal {

StreamRun::StreamRun(const Options& options, std::size_t longest_input)
    : batch_(options.batch),
      num_batches_(options.num_batches == 0 ? longest_input : options.num_batches),
      partitions_(static_cast<std::uint32_t>(options.partitions)),
      clock_(std::make_shared<ManualClock>()),
      context_(config_of(options)),
      stream_(context_, options.batch, {.clock = clock_}) {}

void StreamRun::run() {
  stream_.start();
  clock_->advance_to(Time(batch_ * static_cast<std::int64_t>(num_batches_)));
  stream_.await_batch(num_batches_);
  stream_.stop({.graceful = false, .stop_context = true});
  stream_.await_termination();
}

}  // namespace internal
}  // namespace weir::testing
