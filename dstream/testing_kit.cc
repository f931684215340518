#include "weir/dstream/testing_kit.h"

#include <cstdlib>

#include "weir/core/error.h"
#include "weir/core/runner_registry.h"

namespace weir::testing {
namespace {

void refuse(const std::string& message) {
  throw Error(ErrorCode::kInvalidArgument, "testing::Options: " + message);
}

std::filesystem::path make_directory() {
  std::string path = (std::filesystem::temp_directory_path() / "weir-test-XXXXXX").string();
  if (::mkdtemp(path.data()) == nullptr) refuse("cannot make the folder " + path);
  return path;
}

}  // namespace

void init(int*, char**) { weir::internal::serve_if_worker(); }

namespace internal {

StreamRun::StreamRun(Options options, std::size_t longest_input)
    : options_(std::move(options)),
      num_batches_(options_.num_batches == 0 ? longest_input : options_.num_batches),
      clock_(std::make_shared<ManualClock>()) {
  if (options_.partitions < 1) {
    refuse("partitions must be at least 1, got " + std::to_string(options_.partitions));
  }
  const auto& restarts = options_.restart_before;
  for (std::size_t i = 0; i < restarts.size(); ++i) {
    if (restarts[i] >= num_batches_ || (i > 0 && restarts[i] <= restarts[i - 1])) {
      refuse("restart_before must ascend and name batches below " + std::to_string(num_batches_) +
             ", got " + std::to_string(restarts[i]));
    }
  }
  if (!options_.restart_before.empty() && options_.checkpoint_dir.empty()) {
    options_.checkpoint_dir = make_directory();
    is_own_directory_ = true;
  }
}

StreamRun::~StreamRun() {
  std::error_code ignored;
  if (is_own_directory_) std::filesystem::remove_all(options_.checkpoint_dir, ignored);
}

void StreamRun::run(const std::function<void(StreamingContext&)>& setup) {
  for (const std::size_t index : options_.restart_before) run_driver(setup, index);
  run_driver(setup, num_batches_);
}

/// Runs the batches before `end`; all but the last driver are killed then.
void StreamRun::run_driver(const std::function<void(StreamingContext&)>& setup, std::size_t end) {
  Config config;
  config.set("master", options_.master);
  config.set("batches-in-flight", std::to_string(options_.batches_in_flight));
  config.set("stop-on-signal", "false").set("backpressure", "false");
  Context context(config);
  StreamingContext stream(context, options_.batch, {.clock = clock_});
  if (!options_.checkpoint_dir.empty()) stream.checkpoint(options_.checkpoint_dir.string());
  setup(stream);
  stream.start();
  clock_->advance_to(Time(options_.batch * static_cast<std::int64_t>(end)));
  stream.await_batch(end);
  if (end != num_batches_) {
    stream.abandon();
    return;
  }
  stream.stop({.graceful = false, .stop_context = true});
  stream.await_termination();
}

}  // namespace internal
}  // namespace weir::testing
