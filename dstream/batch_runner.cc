#include <algorithm>
#include <filesystem>
#include <string>
#include <utility>

#include "weir/core/context.h"
#include "weir/core/crash_point.h"
#include "weir/core/error.h"
#include "weir/core/log.h"
#include "weir/core/state/state_dataset.h"
#include "weir/dstream/batch_journal.h"
#include "weir/dstream/batch_runner_internal.h"
#include "weir/dstream/dstream_node.h"
#include "weir/dstream/stateful.h"
#include "weir/dstream/stream_graph.h"
#include "weir/dstream/stream_sink.h"

namespace weir::internal {
namespace {

/// Times that a batch is begun anew because state, or what a receiver received, was lost meanwhile.
constexpr int kMostReplays = 8;
constexpr std::uint64_t kBatchesToCleanUp = 64;

bool is_computed_from(const StreamNode& stream, const StreamNode& other) {
  return std::ranges::any_of(stream.parents(), [&](const auto& parent) {
    return parent.get() == &other || is_computed_from(*parent, other);
  });
}

}  // namespace

void BatchRunner::start() {
  checkpoint_due_ = now() + parts_.checkpoint_interval;
  ahead_.start();
  thread_ = std::jthread([this] { run_batches(); });
}

void BatchRunner::run(const Batch& batch) {
  ahead_.prepare(batch);
  const std::scoped_lock lock(mutex_);
  work_.push_back(batch);
  changed_.notify_all();
}

void BatchRunner::add_replayable(const Batch& batch) {
  const std::scoped_lock lock(mutex_);
  replayable_.emplace(batch.sequence, batch);
}

bool BatchRunner::try_release(const Batch& batch, const std::function<void()>& release) {
  const std::unique_lock releasing(release_mutex_, std::try_to_lock);
  if (!releasing) return false;
  release();
  const std::scoped_lock lock(mutex_);
  replayable_.erase(replayable_.begin(), replayable_.upper_bound(batch.sequence));
  return true;
}

void BatchRunner::cancel() {
  cancelled_ = true;
  {
    const std::scoped_lock lock(mutex_);
    changed_.notify_all();
  }
  parts_.context.engine()->cancel_jobs(this, "the stream is stopping");
}

void BatchRunner::end() {
  {
    const std::scoped_lock lock(mutex_);
    no_more_work_ = true;
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
  ahead_.end();
}

void BatchRunner::run_batches() {
  const InsideStreaming scope(parts_.events, "an output operation or transform of the stream");
  bool failed = false;
  while (true) {
    Batch batch;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return no_more_work_ || !work_.empty(); });
      if (work_.empty()) return;
      batch = work_.front();
      work_.pop_front();
    }
    std::exception_ptr failure;
    try {
      if (failed) throw Error(ErrorCode::kCancelled, "a batch before it failed");
      ahead_.begin(batch);
      run_batch(batch);
    } catch (...) {
      failure = std::current_exception();
      failed = true;
    }
    on_ended_(batch.sequence, failure);
  }
}

void BatchRunner::run_batch(const Batch& batch) {
  std::string lost;
  const ReceivedBlocks& received = parts_.context.engine()->received_blocks();
  std::uint64_t losses = received.losses();
  for (int attempt = 1;; ++attempt) {
    try {
      if (!lost.empty()) replay_lost_states(batch, lost);
      try_batch(batch);
      break;
    } catch (const Error& error) {
      if (attempt == kMostReplays || cancelled_) throw;
      if (error.code() == ErrorCode::kStateLost && parts_.journal != nullptr) {
        lost = error.what();
        log_warning(lost + "; making it again from the recorded input");
      } else if (error.code() == ErrorCode::kJobFailed && received.losses() != losses) {
        // Its input is another one in the middle of it, which a job may not bear.
        log_warning(std::string(error.what()) + "; blocks of a receiver were lost meanwhile: " +
                    to_text(batch) + " is run again without them");
        losses = received.losses();
        parts_.graph->forget_since(batch.time);
        lost.clear();
      } else {
        throw;
      }
    }
  }
  parts_.context.engine()->states().committed(batch.sequence);
  if (parts_.journal && !abandoned_) {
    WEIR_CRASH_POINT("batch.before-commit");
    parts_.journal->commit(batch);
    WEIR_CRASH_POINT("batch.after-commit");
    const std::scoped_lock lock(mutex_);
    replayable_.emplace(batch.sequence, batch);
  }
  parts_.graph->forget(batch.time);
  if (!parts_.journal && batch.sequence % kBatchesToCleanUp == 0) delete_unused_files();
  if (parts_.journal && !abandoned_ && now() >= checkpoint_due_) {
    parts_.journal->checkpoint();
    checkpoint_due_ = now() + parts_.checkpoint_interval;
  }
}

/// Without a journal, whose checkpoints do it otherwise.
void BatchRunner::delete_unused_files() const {
  for (const std::string& file : parts_.context.engine()->states().take_unused_files()) {
    std::error_code ignored;
    std::filesystem::remove(std::filesystem::path(parts_.state_directory) / file, ignored);
  }
}

/// State first: it needs no INTENT, since what a task changes counts only when it is named by a
/// record. So the log is synced while the state is updated.
void BatchRunner::try_batch(const Batch& batch) {
  const BatchScope scope(this, batch.sequence, batch.time, parts_.hash_seed);
  WEIR_CRASH_POINT("batch.before-states");
  const std::vector<std::uint64_t> before = state_bytes();
  update_states(batch);
  require_quotas(batch, before);
  WEIR_CRASH_POINT("batch.after-states");
  RecordedBatch recorded;
  if (parts_.journal) {
    parts_.journal->await_intent(batch.sequence);
    WEIR_CRASH_POINT("batch.intent-durable");
    recorded = parts_.journal->recorded(batch.sequence);
  }
  for (const auto& sink : parts_.graph->sinks()) {
    sink->begin_batch(parts_.commit_id(*sink, batch, recorded.intent),
                      recorded.sink_partitions[sink->uid()]);
  }
  const auto& outputs = parts_.graph->outputs();
  for (std::size_t id = 0; id < outputs.size(); ++id) {
    if (!outputs[id].stream->due(batch.time)) continue;
    run_output(batch, id);
    WEIR_CRASH_POINT("batch.after-output");
  }
}

/// Of each stateful operator.
std::vector<std::uint64_t> BatchRunner::state_bytes() const {
  std::vector<std::uint64_t> bytes;
  if (parts_.state_quota == 0) return bytes;
  for (const auto& stateful : parts_.graph->stateful()) {
    bytes.push_back(parts_.context.engine()->states().totals(stateful->state()).bytes);
  }
  return bytes;
}

/// State that is over its quota already may shrink.
void BatchRunner::require_quotas(const Batch& batch,
                                 const std::vector<std::uint64_t>& before) const {
  for (std::size_t i = 0; i < before.size(); ++i) {
    const auto& stateful = parts_.graph->stateful()[i];
    const auto totals = parts_.context.engine()->states().totals(stateful->state());
    if (totals.bytes <= parts_.state_quota || totals.bytes <= before[i]) continue;
    throw Error(ErrorCode::kJobFailed,
                to_text(batch) + ", " + stateful->kind() + ": its state, " + totals.name +
                    ", would grow to " + std::to_string(totals.bytes) + " bytes with " +
                    std::to_string(totals.keys) + " keys; weir.state-quota allows " +
                    std::to_string(parts_.state_quota) +
                    ". Remove keys or give them a timeout, or raise the quota");
  }
}

/// Tried as often as is allowed; then skipped, or the batch fails.
void BatchRunner::run_output(const Batch& batch, std::size_t id) {
  const OutputFailures& failures = parts_.output_failures;
  for (std::int64_t attempt = 1;; ++attempt) {
    try {
      return try_output(batch, id, attempt);
    } catch (const Error& error) {
      // These are not the operation's failures.
      if (error.code() == ErrorCode::kStateLost || error.code() == ErrorCode::kCancelled) throw;
      if (attempt == failures.attempts || cancelled_) {
        if (!failures.skip || parts_.graph->outputs()[id].sink != nullptr || cancelled_) throw;
        return log_warning(std::string(error.what()) + "; skipped");
      }
      log_warning(std::string(error.what()) + "; tried again in " + to_string(failures.delay));
    }
    wait_before_retry();
  }
}

void BatchRunner::wait_before_retry() {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, parts_.output_failures.delay, [&] { return cancelled_.load(); });
}

void BatchRunner::try_output(const Batch& batch, std::size_t id, std::int64_t attempt) {
  const OutputOperation& output = parts_.graph->outputs()[id];
  OutputOperationInfo info{.sequence = batch.sequence,
                           .batch_time = batch.time,
                           .id = id,
                           .name = output.name,
                           .attempt = static_cast<std::uint32_t>(attempt),
                           .start_time = now()};
  if (output.sink != nullptr) {
    info.sink = output.sink->uid();
    info.guarantee = output.sink->guarantee();
  }
  parts_.events.post(&StreamingListener::on_output_operation_started, info);
  std::exception_ptr failure;
  try {
    if (cancelled_) throw Error(ErrorCode::kCancelled, "the stream is stopping");
    output.run(batch.time);
  } catch (...) {
    failure = located(to_text(batch) + ", " + output.name);
    info.failure = message_of(failure);
  }
  info.end_time = now();
  parts_.events.post(&StreamingListener::on_output_operation_completed, std::move(info));
  if (failure) std::rethrow_exception(failure);
}

/// Brings every stateful operator to the version of the batch, those first that others read.
void BatchRunner::update_states(const Batch& batch) {
  const StateTracker& states = parts_.context.engine()->states();
  for (const auto& stateful : parts_.graph->stateful()) {
    if (!stateful->stream().due(batch.time)) continue;
    const auto behind = states.behind(stateful->state(), batch.sequence);
    if (behind.empty()) continue;
    if (cancelled_) throw Error(ErrorCode::kCancelled, "the stream is stopping");
    try {
      stateful->update(batch.time, behind);
      WEIR_CRASH_POINT("batch.after-state");
      if (!states.behind(stateful->state(), batch.sequence).empty()) {
        throw Error(ErrorCode::kStateLost, "a partition was lost while others were updated");
      }
    } catch (...) {
      std::rethrow_exception(located(to_text(batch) + ", " + stateful->kind()));
    }
  }
}

/// Operators whose streams others need to be made again go back as far as can be.
void BatchRunner::set_back_what_is_needed(std::uint64_t sequence) {
  StateTracker& states = parts_.context.engine()->states();
  const auto& stateful = parts_.graph->stateful();
  for (auto at = stateful.rbegin(); at != stateful.rend(); ++at) {
    if (states.is_whole((*at)->state(), sequence)) continue;
    for (const auto& other : stateful) {
      if (is_computed_from((*at)->stream(), other->stream())) {
        states.go_back_to_checkpoint(other->state());
      }
    }
  }
}

/// Throws Error(kDataLoss) if batches are missing between a lost version and `before`.
void BatchRunner::require_replayable(const std::map<std::uint64_t, Batch>& batches,
                                     const Batch& before, const std::string& lost) const {
  const StateTracker& states = parts_.context.engine()->states();
  const std::uint64_t first = batches.empty() ? before.sequence : batches.begin()->first;
  for (const auto& stateful : parts_.graph->stateful()) {
    for (const std::uint32_t p : states.incomplete(stateful->state())) {
      const std::uint64_t version = states.version(stateful->state(), p);
      if (version + 1 >= first) continue;
      throw Error(ErrorCode::kDataLoss,
                  std::string("of the state of ") + stateful->kind() + ", partition " +
                      std::to_string(p) + ", only version " + std::to_string(version) +
                      " can be had, but the input of batches before " + std::to_string(first) +
                      " is not recorded any more: files of the checkpoint directory are missing "
                      "or damaged; bring them back (" +
                      lost + ")");
    }
  }
}

/// Runs the batches before this one again for the partitions whose versions were lost, without
/// outputs. `lost` says why.
void BatchRunner::replay_lost_states(const Batch& before, const std::string& lost) {
  const std::scoped_lock releasing(release_mutex_);
  std::map<std::uint64_t, Batch> batches;
  {
    const std::scoped_lock lock(mutex_);
    batches = replayable_;
  }
  const Time began = now();
  if (!batches.empty()) set_back_what_is_needed(batches.rbegin()->first);
  require_replayable(batches, before, lost);
  // What is stored of these batches would spare the updates that are wanted.
  parts_.graph->forget_since(batches.empty() ? before.time : batches.begin()->second.time);
  WEIR_CRASH_POINT("replay.before-batches");
  for (const auto& [sequence, batch] : batches) {
    if (sequence >= before.sequence) break;
    const BatchScope scope(this, sequence, batch.time, parts_.hash_seed);
    update_states(batch);
    parts_.graph->forget(batch.time);
    WEIR_CRASH_POINT("replay.after-batch");
  }
  if (batches.empty()) return;
  parts_.events.post(
      &StreamingListener::on_state_replayed,
      StateReplayInfo{
          .first = batches.begin()->first, .last = before.sequence - 1, .duration = now() - began});
}

}  // namespace weir::internal
