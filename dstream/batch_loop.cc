#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "weir/core/context.h"
#include "weir/core/error.h"
#include "weir/core/log.h"
#include "weir/dstream/batch_loop_internal.h"
#include "weir/dstream/stop_signals_internal.h"
#include "weir/dstream/stream_graph.h"
#include "weir/dstream/stream_input.h"

namespace weir::internal {
namespace {

constexpr auto kCancelAgainAfter = std::chrono::milliseconds(100);

std::string message_of(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (...) {
    return describe_current_exception();
  }
}

bool is_cancellation(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const Error& error) {
    return error.code() == ErrorCode::kCancelled;
  } catch (...) {
    return false;
  }
}

/// The exception being handled, said to be `where`'s.
std::exception_ptr located(const std::string& where) {
  ErrorCode code = ErrorCode::kJobFailed;
  try {
    throw;
  } catch (const Error& error) {
    code = error.code();
  } catch (...) {
  }
  return std::make_exception_ptr(Error(code, where + ": " + describe_current_exception()));
}

std::string to_text(const Batch& batch) {
  return "batch " + std::to_string(batch.sequence) + " of " + to_string(batch.time);
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

BatchLoop::BatchLoop(Options options)
    : options_(std::move(options)),
      generator_(options_.graph->batch_interval()),
      scheduler_({.depth = 1, .drain_cap = options_.drain_cap}) {
  try {
    start();
  } catch (...) {
    end();
    throw;
  }
}

void BatchLoop::start() {
  for (const auto& input : options_.graph->inputs()) input->start();
  const Time started = now();
  perform(generator_.on(BatchGenerator::Start{}, started));
  options_.graph->start(generator_.zero_time());
  options_.clock.on_move(this, [this] {
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
  batch_thread_ = std::jthread([this] { run_batches(); });
  options_.events.post(&StreamingListener::on_streaming_started, StreamingStarted{started});
  generator_thread_ = std::jthread([this] { generate(); });
}

void BatchLoop::end() {
  {
    const std::scoped_lock lock(mutex_);
    no_more_work_ = true;
    work_changed_.notify_all();
  }
  if (batch_thread_.joinable()) batch_thread_.join();
  options_.graph->forget(Time::max());
  options_.clock.on_move(this, {});
  stop_inputs(*options_.graph);
  signals_.reset();
}

BatchLoop::~BatchLoop() {
  request_stop(false);
  generator_thread_.join();
}

void BatchLoop::request_stop(bool graceful) { send(Stop{graceful, now()}); }

void BatchLoop::send(Message message) {
  const std::scoped_lock lock(mutex_);
  inbox_.push_back(std::move(message));
  changed_.notify_all();
}

// --- the generator thread ---

void BatchLoop::generate() {
  const InsideStreaming scope(options_.events, "a source of the stream");
  while (scheduler_.state() != BatchScheduler::State::kFinished) {
    const std::optional<Message> message = next_message();
    const Time time = now();
    if (message) {
      on_message(*message);
    } else if (tick_ && time >= *tick_) {
      tick_.reset();
      perform(generator_.on(BatchGenerator::TimerDue{}, time));
    } else {
      perform(scheduler_.on(BatchScheduler::TimerDue{}, time));
    }
  }
  finish();
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
    if (cancelled_) {
      // In real time, whatever the clock: the batch may have begun a job just after the last try.
      if (changed_.wait_for(lock, kCancelAgainAfter) == std::cv_status::no_timeout) continue;
      lock.unlock();
      cancel_running();
      lock.lock();
    } else if (!due) {
      changed_.wait(lock);
    } else if (now() >= *due) {
      return std::nullopt;
    } else {
      options_.clock.wait_until(lock, changed_, *due);
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
  const auto& ended = std::get<BatchEnded>(message);
  batch_failure_ = ended.failure;
  if (ended.failure && !error_) {
    const bool wanted = scheduler_.state() == BatchScheduler::State::kAborting;
    if (!wanted) {
      error_ = ended.failure;
    } else if (!is_cancellation(ended.failure)) {
      log_warning("while stopping: " + message_of(ended.failure));
    }
  }
  perform(scheduler_.on(BatchScheduler::Ended{ended.sequence, ended.failure != nullptr}, now()));
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
      options_.events.post(&StreamingListener::on_batch_started, info);
      const std::scoped_lock lock(mutex_);
      work_.push_back(start->times.batch);
      work_changed_.notify_all();
    } else if (const auto* done = std::get_if<BatchScheduler::BatchDone>(&action)) {
      finish_batch(*done);
    } else if (std::holds_alternative<BatchScheduler::StopCutting>(action)) {
      perform(generator_.on(BatchGenerator::StopNow{}, now()));
    } else if (std::holds_alternative<BatchScheduler::CancelRunning>(action)) {
      cancel_running();
    } else if (const auto dropped = std::get<BatchScheduler::Finished>(action).dropped;
               dropped != 0) {
      log_warning("batches that were cut but not processed: " + std::to_string(dropped));
    }
  }
}

void BatchLoop::cancel_running() {
  cancelled_ = true;
  options_.context.engine()->cancel_jobs(this, "the stream is stopping");
}

/// How long each input may take for the last batch of a graceful stop: together half of the time
/// that the stop has, the other half is for what it finds.
Duration BatchLoop::last_wait() const {
  const auto inputs = static_cast<std::int64_t>(options_.graph->inputs().size());
  return options_.drain_cap / (2 * std::max<std::int64_t>(1, inputs));
}

/// Fixes the batch's input and queues it.
void BatchLoop::cut(const Batch& batch, bool last) {
  BatchInfo info{.sequence = batch.sequence, .batch_time = batch.time};
  const std::optional<Duration> wait = last ? std::optional(last_wait()) : std::nullopt;
  std::string input_name;
  try {
    for (const auto& input : options_.graph->inputs()) {
      input_name = input->name();
      info.inputs.push_back(input->cut(batch, wait));
    }
  } catch (...) {
    if (!error_) error_ = located(to_text(batch) + ", input " + input_name);
    perform(scheduler_.on(BatchScheduler::Abort{}, now()));
    return;
  }
  info.submission_time = now();
  options_.events.post(&StreamingListener::on_batch_submitted, info);
  batches_.emplace(batch.sequence, std::move(info));
  perform(
      scheduler_.on(BatchScheduler::Submit{batch}, batches_.at(batch.sequence).submission_time));
}

void BatchLoop::finish_batch(const BatchScheduler::BatchDone& done) {
  const Batch& batch = done.times.batch;
  BatchInfo info = std::move(batches_.extract(batch.sequence).mapped());
  info.processing_end_time = done.times.ended;
  if (done.failed) info.failure = message_of(batch_failure_);
  options_.events.post(&StreamingListener::on_batch_completed, std::move(info));
  if (done.failed) return;
  try {
    for (const auto& input : options_.graph->inputs()) input->release(batch.time);
  } catch (...) {
    if (!error_) error_ = located(to_text(batch) + ", releasing input");
    perform(scheduler_.on(BatchScheduler::Abort{}, now()));
  }
  options_.on_batch_done(batch.sequence);
}

void BatchLoop::finish() {
  end();
  options_.events.stop();
  options_.on_end(error_);
}

// --- the batch thread ---

void BatchLoop::run_batches() {
  const InsideStreaming scope(options_.events, "an output operation or transform of the stream");
  while (true) {
    Batch batch;
    {
      std::unique_lock lock(mutex_);
      work_changed_.wait(lock, [&] { return no_more_work_ || !work_.empty(); });
      if (work_.empty()) return;
      batch = work_.front();
      work_.pop_front();
    }
    std::exception_ptr failure;
    try {
      run_batch(batch);
    } catch (...) {
      failure = std::current_exception();
    }
    send(BatchEnded{batch.sequence, failure});
  }
}

void BatchLoop::run_batch(const Batch& batch) {
  const BatchScope scope(this, batch.sequence, batch.time);
  const auto& outputs = options_.graph->outputs();
  for (std::size_t id = 0; id < outputs.size(); ++id) {
    if (outputs[id].stream->due(batch.time)) run_output(batch, id);
  }
  options_.graph->forget(batch.time);
}

void BatchLoop::run_output(const Batch& batch, std::size_t id) {
  const OutputOperation& output = options_.graph->outputs()[id];
  OutputOperationInfo info{.sequence = batch.sequence,
                           .batch_time = batch.time,
                           .id = id,
                           .name = output.name,
                           .start_time = now()};
  options_.events.post(&StreamingListener::on_output_operation_started, info);
  std::exception_ptr failure;
  try {
    if (cancelled_) throw Error(ErrorCode::kCancelled, "the stream is stopping");
    output.run(batch.time);
  } catch (...) {
    failure = located(to_text(batch) + ", " + output.name);
    info.failure = message_of(failure);
  }
  info.end_time = now();
  options_.events.post(&StreamingListener::on_output_operation_completed, std::move(info));
  if (failure) std::rethrow_exception(failure);
}

}  // namespace weir::internal
