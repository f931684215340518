#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "weir/core/context.h"
#include "weir/core/crash_point.h"
#include "weir/core/error.h"
#include "weir/core/log.h"
#include "weir/core/state/state_dataset.h"
#include "weir/dstream/batch_journal.h"
#include "weir/dstream/batch_loop_internal.h"
#include "weir/dstream/stateful.h"
#include "weir/dstream/stop_signals_internal.h"
#include "weir/dstream/stream_graph.h"
#include "weir/dstream/stream_input.h"
#include "weir/dstream/stream_start_internal.h"

namespace weir::internal {
namespace {

/// In real time, whatever the clock.
constexpr auto kCancelAgainAfter = std::chrono::milliseconds(100);

bool is_cancellation(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const Error& error) {
    return error.code() == ErrorCode::kCancelled;
  } catch (...) {
    return false;
  }
}

void stop_inputs(const StreamGraph& graph) {
  for (const auto& input : graph.inputs()) {
    try {
      input->stop();
    } catch (...) {
      log_warning("stopping an input failed: " + describe_current_exception());
    }
  }
}

}  // namespace

BatchLoop::BatchLoop(StreamParts parts, Options options)
    : parts_(std::move(parts)),
      options_(std::move(options)),
      runner_(parts_,
              [this](std::uint64_t sequence, std::exception_ptr failure) {
                send(BatchEnded{sequence, std::move(failure)});
              }),
      generator_(parts_.graph->batch_interval(),
                 [this](Time time) { return parts_.graph->is_special(time); }),
      scheduler_({.depth = parts_.batches_in_flight, .drain_cap = options_.drain_cap}),
      rates_(options_.rates, parts_.graph->inputs().size()) {
  try {
    start();
  } catch (...) {
    end();
    throw;
  }
}

void BatchLoop::start() {
  const Time began = now();
  const Recovery recovery = StreamStart(parts_).run(
      {.on_checkpoint = [this](const CheckpointInfo& info) { send(Checkpointed{info}); },
       .on_failure = [this](auto failure) { send(JournalFailed{failure}); }});
  const Time started = now();
  perform(generator_.on(BatchGenerator::Start{recovery.last, recovery.zero_time}, started));
  parts_.graph->start(generator_.zero_time());
  if (recovery.checkpointed.sequence != 0) checkpoint_time_ = recovery.checkpointed.time;
  parts_.clock.on_move(this, [this] {
    const std::scoped_lock lock(mutex_);
    changed_.notify_all();
  });
  if (options_.stop_on_signal) {
    signals_ = StopSignals::catch_them([this](const char* name, int count) {
      log_warning(std::string(name) +
                  (count == 1 ? ": finishing what was received, then stopping; again to stop now"
                              : ": stopping now"));
      request_stop(count == 1);
    });
  }
  runner_.start();
  parts_.events.post(&StreamingListener::on_streaming_started, StreamingStarted{started});
  if (parts_.journal && recovery.last.sequence != 0) {
    parts_.events.post(&StreamingListener::on_recovered,
                       RecoveryInfo{.epoch = parts_.journal->epoch(),
                                    .checkpointed = recovery.checkpointed.sequence,
                                    .committed = recovery.committed,
                                    .last = recovery.last.sequence,
                                    .duration = now() - began});
  }
  resume(recovery);
  generator_thread_ = std::jthread([this] { generate(); });
}

/// Runs the batches that an earlier driver began, before any new one.
void BatchLoop::resume(const Recovery& recovery) {
  for (const RecordedBatch& recorded : recovery.recorded) {
    const Batch& batch = recorded.batch;
    if (batch.sequence <= recovery.committed) {
      runner_.add_replayable(batch);
      continue;
    }
    BatchInfo info{.sequence = batch.sequence, .batch_time = batch.time};
    info.inputs = recorded.inputs;
    WEIR_CRASH_POINT("recovery.before-open-batch");
    submit(std::move(info));
  }
}

void BatchLoop::end() {
  runner_.end();
  if (parts_.journal) parts_.journal->close();
  parts_.graph->forget(Time::max());
  parts_.clock.on_move(this, {});
  stop_inputs(*parts_.graph);
  signals_.reset();
}

BatchLoop::~BatchLoop() {
  request_stop(false);
  generator_thread_.join();
}

void BatchLoop::request_stop(bool graceful) { send(Stop{graceful, now()}); }

void BatchLoop::abandon() {
  runner_.abandon();
  if (parts_.journal) parts_.journal->abandon();
  request_stop(false);
}

void BatchLoop::send(Message message) {
  const std::scoped_lock lock(mutex_);
  inbox_.push_back(std::move(message));
  changed_.notify_all();
}

// --- the generator thread ---

void BatchLoop::generate() {
  const InsideStreaming scope(parts_.events, "a source of the stream");
  try {
    generate_batches();
  } catch (...) {  // nothing that is known of: end the stream, not the process
    if (!error_) error_ = located("cutting batches");
    runner_.cancel();
  }
  finish();
}

void BatchLoop::generate_batches() {
  while (scheduler_.state() != BatchScheduler::State::kFinished) {
    const std::optional<Message> message = next_message();
    const Time time = now();
    if (message) {
      on_message(*message);
    } else if (tick_ && time >= *tick_) {
      tick_.reset();
      const bool wait = scheduler_.waiting() >= options_.max_waiting;
      perform(generator_.on(BatchGenerator::TimerDue{.wait = wait}, time));
    } else {
      perform(scheduler_.on(BatchScheduler::TimerDue{}, time));
    }
  }
}

std::optional<Time> BatchLoop::next_timer() const {
  const std::optional<Time> other = scheduler_.timer();
  if (!tick_ || !other) return tick_ ? tick_ : other;
  return std::min(*tick_, *other);
}

/// Nothing when a timer is due.
std::optional<BatchLoop::Message> BatchLoop::next_message() {
  const std::optional<Time> due = next_timer();
  std::unique_lock lock(mutex_);
  while (inbox_.empty()) {
    if (runner_.is_cancelled()) {
      if (changed_.wait_for(lock, kCancelAgainAfter) == std::cv_status::no_timeout) continue;
      lock.unlock();
      runner_.cancel();
      lock.lock();
    } else if (!due) {
      changed_.wait(lock);
    } else if (now() >= *due) {
      return std::nullopt;
    } else {
      parts_.clock.wait_until(lock, changed_, *due);
    }
  }
  Message message = std::move(inbox_.front());
  inbox_.pop_front();
  return message;
}

void BatchLoop::on_message(const Message& message) {
  if (const auto* stop = std::get_if<Stop>(&message)) {
    if (stop->graceful) {
      perform(scheduler_.on(BatchScheduler::Drain{}, stop->requested));
      perform(generator_.on(BatchGenerator::StopGracefully{}, stop->requested));
    } else {
      perform(scheduler_.on(BatchScheduler::Abort{}, stop->requested));
    }
    return;
  }
  if (const auto* done = std::get_if<Checkpointed>(&message)) {
    checkpoint_time_ = done->info.batch_time;
    parts_.events.post(&StreamingListener::on_checkpoint_completed, done->info);
    to_release_ = Batch{done->info.sequence, done->info.batch_time};
    release_what_can_be();
    return;
  }
  if (const auto* failed = std::get_if<JournalFailed>(&message)) {
    if (!error_) error_ = failed->failure;
    perform(scheduler_.on(BatchScheduler::Abort{}, now()));
    return;
  }
  const auto& ended = std::get<BatchEnded>(message);
  batch_failure_ = ended.failure;
  release_what_can_be();
  if (ended.failure && !error_) {
    const bool wanted = scheduler_.state() == BatchScheduler::State::kAborting;
    if (!wanted) {
      error_ = ended.failure;
    } else if (!is_cancellation(ended.failure)) {
      log_warning("while stopping: " + message_of(ended.failure));
    }
  }
  perform(scheduler_.on(BatchScheduler::Ended{ended.sequence, ended.failure != nullptr}, now()));
  catch_up();
}

void BatchLoop::catch_up() {
  if (scheduler_.waiting() >= options_.max_waiting) return;
  perform(generator_.on(BatchGenerator::CatchUp{}, now()));
}

void BatchLoop::perform(const std::vector<BatchGenerator::Action>& actions) {
  const bool last = std::any_of(actions.begin(), actions.end(), [](const auto& action) {
    return std::holds_alternative<BatchGenerator::Finished>(action);
  });
  for (const auto& action : actions) {
    if (const auto* timer = std::get_if<BatchGenerator::SetTimer>(&action)) {
      tick_ = timer->due;
    } else if (const auto* generate = std::get_if<BatchGenerator::Generate>(&action)) {
      cut(generate->batch, last);
    } else if (const auto* skip = std::get_if<BatchGenerator::Skip>(&action)) {
      for (const auto& input : parts_.graph->inputs()) input->skip(skip->first, skip->last);
    } else {
      tick_.reset();
      perform(scheduler_.on(BatchScheduler::Close{}, now()));
    }
  }
}

void BatchLoop::perform(const std::vector<BatchScheduler::Action>& actions) {
  for (const auto& action : actions) {
    if (const auto* start = std::get_if<BatchScheduler::StartBatch>(&action)) {
      BatchInfo& info = batches_.at(start->times.batch.sequence);
      info.processing_start_time = start->times.started;
      parts_.events.post(&StreamingListener::on_batch_started, info);
      runner_.run(start->times.batch);
    } else if (const auto* done = std::get_if<BatchScheduler::BatchDone>(&action)) {
      finish_batch(*done);
    } else if (std::holds_alternative<BatchScheduler::StopCutting>(action)) {
      perform(generator_.on(BatchGenerator::StopNow{}, now()));
    } else if (std::holds_alternative<BatchScheduler::CancelRunning>(action)) {
      runner_.cancel();
    } else if (const auto dropped = std::get<BatchScheduler::Finished>(action).dropped;
               dropped != 0) {
      log_warning("batches that were cut but not processed: " + std::to_string(dropped));
    }
  }
}

/// How long each input may take for the last batch of a graceful stop: together half of the time
/// that the stop has, the other half is for what it finds.
Duration BatchLoop::last_wait() const {
  const auto inputs = static_cast<std::int64_t>(parts_.graph->inputs().size());
  return options_.drain_cap / (2 * std::max<std::int64_t>(1, inputs));
}

/// Fixes the batch's input and queues it.
void BatchLoop::cut(const Batch& batch, bool last) {
  BatchInfo info{.sequence = batch.sequence, .batch_time = batch.time};
  const std::optional<Duration> wait = last ? std::optional(last_wait()) : std::nullopt;
  std::string what;
  try {
    const auto& inputs = parts_.graph->inputs();
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      what = "input " + inputs[i]->name();
      info.inputs.push_back(inputs[i]->cut(batch, rates_.limit(i, wait)));
    }
    WEIR_CRASH_POINT("batch.cut");
    what = "recording its input";
    if (parts_.journal) parts_.journal->intent(batch, generator_.zero_time(), info.inputs);
  } catch (...) {
    if (!error_) error_ = located(to_text(batch) + ", " + what);
    perform(scheduler_.on(BatchScheduler::Abort{}, now()));
    return;
  }
  WEIR_CRASH_POINT("batch.after-intent");
  submit(std::move(info));
}

void BatchLoop::submit(BatchInfo info) {
  const Batch batch{info.sequence, info.batch_time};
  const Time time = now();
  info.submission_time = time;
  parts_.events.post(&StreamingListener::on_batch_submitted, info);
  batches_.emplace(batch.sequence, std::move(info));
  perform(scheduler_.on(BatchScheduler::Submit{batch}, time));
}

void BatchLoop::finish_batch(const BatchScheduler::BatchDone& done) {
  const Batch& batch = done.times.batch;
  BatchInfo info = std::move(batches_.extract(batch.sequence).mapped());
  info.processing_end_time = done.times.ended;
  if (done.failed) info.failure = message_of(batch_failure_);
  if (!done.failed) rates_.on_completed(info, scheduler_.waiting());
  info.states = states();
  if (parts_.journal) info.log = parts_.journal->log_info();
  info.checkpoint_time = checkpoint_time_;
  parts_.events.post(&StreamingListener::on_batch_completed, std::move(info));
  if (done.failed) return;
  for (const auto& input : parts_.graph->inputs()) input->done(batch.time);
  if (parts_.journal == nullptr) release_inputs(batch);
  options_.on_batch_done(batch.sequence);
}

void BatchLoop::release_what_can_be() {
  if (!to_release_) return;
  const Batch batch = *to_release_;
  if (runner_.try_release(batch, [&] { release_inputs(batch); })) to_release_.reset();
}

std::vector<StateInfo> BatchLoop::states() const {
  std::vector<StateInfo> states;
  for (const auto& stateful : parts_.graph->stateful()) {
    const auto totals = parts_.context.engine()->states().totals(stateful->state());
    states.push_back({.uid = totals.name,
                      .keys = totals.keys,
                      .bytes = totals.bytes,
                      .restored_partitions = totals.restored_partitions,
                      .restored_bytes = totals.restored_bytes,
                      .lost_partitions = totals.lost_partitions});
  }
  return states;
}

/// The batch and those before it will not be run again.
void BatchLoop::release_inputs(const Batch& batch) {
  try {
    for (const auto& input : parts_.graph->inputs()) input->release(batch.time);
  } catch (...) {
    if (!error_) error_ = located(to_text(batch) + ", releasing input");
    perform(scheduler_.on(BatchScheduler::Abort{}, now()));
  }
}

void BatchLoop::finish() {
  if (parts_.journal && !runner_.is_abandoned()) {
    WEIR_CRASH_POINT("stop.before-checkpoint");
    try {
      parts_.journal->last_checkpoint();
      WEIR_CRASH_POINT("stop.after-checkpoint");
    } catch (...) {
      if (!error_) error_ = located("the last checkpoint");
    }
  }
  end();
  parts_.events.stop();
  options_.on_end(error_);
}

}  // namespace weir::internal
