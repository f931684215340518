#include <string>
#include <utility>

#include "weir/core/context.h"
#include "weir/core/engine.h"
#include "weir/core/error.h"
#include "weir/core/log.h"
#include "weir/core/stage.h"
#include "weir/dstream/batch_ahead_internal.h"
#include "weir/dstream/stream_graph.h"

namespace weir::internal {

void BatchAhead::start() {
  if (parts_.batches_in_flight > 1) thread_ = std::jthread([this] { run(); });
}

void BatchAhead::prepare(const Batch& batch) {
  if (parts_.batches_in_flight == 1) return;
  const std::scoped_lock lock(mutex_);
  work_.push_back(batch);
  changed_.notify_all();
}

void BatchAhead::begin(const Batch& batch) {
  if (parts_.batches_in_flight > 1) make(batch, false);
}

void BatchAhead::end() {
  {
    const std::scoped_lock lock(mutex_);
    ended_ = true;
    changed_.notify_all();
  }
  if (!thread_.joinable()) return;
  thread_.join();
  parts_.context.engine()->cancel_jobs(owner_, "the stream has ended");
}

void BatchAhead::run() {
  const InsideStreaming scope(parts_.events, "a transform of the stream");
  while (true) {
    Batch batch;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return ended_ || !work_.empty(); });
      if (ended_) return;
      batch = work_.front();
      work_.pop_front();
    }
    make(batch, true);
  }
}

void BatchAhead::make(const Batch& batch, bool and_start_jobs) {
  const auto making = parts_.graph->making();
  if (batch.sequence <= made_) return;
  made_ = batch.sequence;
  try {
    const BatchScope scope(owner_, batch.sequence, batch.time, parts_.hash_seed);
    for (const auto& dataset : parts_.graph->make_ahead(batch.time)) {
      if (!and_start_jobs) continue;
      for (JobPlan& plan : plan_map_stages(dataset)) {
        (void)parts_.context.engine()->start_job(std::move(plan));
      }
    }
  } catch (...) {
    log_debug(to_text(batch) + ", ahead of its turn: " + describe_current_exception());
  }
}

}  // namespace weir::internal
