#include <algorithm>
#include <chrono>
#include <filesystem>
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
#include "weir/dstream/stream_sink.h"

namespace weir::internal {
namespace {

/// Times that a batch is begun anew because state was lost meanwhile.
constexpr int kMostReplays = 8;
constexpr std::uint64_t kBatchesToCleanUp = 64;
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

bool is_computed_from(const StreamNode& stream, const StreamNode& other) {
  return std::ranges::any_of(stream.parents(), [&](const auto& parent) {
    return parent.get() == &other || is_computed_from(*parent, other);
  });
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
      scheduler_({.depth = 1, .drain_cap = options_.drain_cap}),
      rates_(options_.rates, options_.graph->inputs().size()) {
  try {
    start();
  } catch (...) {
    end();
    throw;
  }
}

void BatchLoop::start() {
  const Time began = now();
  attach_states();
  Recovery recovery = recover();
  for (const auto& input : options_.graph->inputs()) {
    input->start(recovery.last.sequence == 0 ? Time::min() : recovery.last.time);
  }
  if (options_.journal && recovery.last.sequence == 0) begin(recovery);
  recovery.last.sequence = std::max(recovery.last.sequence, open_sinks(recovery));
  WEIR_CRASH_POINT("recovery.sinks-opened");
  const Time started = now();
  perform(generator_.on(BatchGenerator::Start{recovery.last, recovery.zero_time}, started));
  options_.graph->start(generator_.zero_time());
  checkpoint_due_ = started + options_.checkpoint_interval;
  if (recovery.checkpointed.sequence != 0) checkpoint_time_ = recovery.checkpointed.time;
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
  if (options_.journal && recovery.last.sequence != 0) {
    options_.events.post(&StreamingListener::on_recovered,
                         RecoveryInfo{.epoch = options_.journal->epoch(),
                                      .checkpointed = recovery.checkpointed.sequence,
                                      .committed = recovery.committed,
                                      .last = recovery.last.sequence,
                                      .duration = now() - began});
  }
  resume(recovery);
  generator_thread_ = std::jthread([this] { generate(); });
}

void BatchLoop::attach_states() {
  const auto identities = options_.graph->operator_identities();
  const auto& engine = options_.context.engine();
  const auto& stateful = options_.graph->stateful();
  for (std::size_t i = 0; i < stateful.size(); ++i) {
    stateful[i]->attach(declare_state(engine, {.name = identities[i].uid,
                                               .partitions = stateful[i]->num_partitions(),
                                               .key_groups = options_.key_groups,
                                               .directory = options_.state_directory,
                                               .expires_after = stateful[i]->expires_after()}));
  }
}

/// Gives inputs and state back what an earlier driver recorded.
Recovery BatchLoop::recover() {
  if (options_.journal == nullptr) return {};
  const auto& inputs = options_.graph->inputs();
  for (const auto& input : inputs) {
    if (input->is_replayable()) continue;
    throw Error(ErrorCode::kInvalidArgument,
                input->name() +
                    " cannot be read again after a restart, so it cannot be used with a "
                    "checkpoint directory; use a replayable source (source_stream)");
  }
  if (const StatefulOperator* const stateful = options_.graph->under_a_window()) {
    throw Error(ErrorCode::kInvalidArgument,
                std::string("a window over the stream of ") + stateful->kind() +
                    " cannot be made again after a restart, because what earlier batches made of "
                    "the state is gone; use reduce_by_key_and_window, which is state itself, or no "
                    "checkpoint directory");
  }
  Recovery recovery = options_.journal->recover(
      *options_.graph,
      {.on_checkpoint = [this](const CheckpointInfo& info) { send(Checkpointed{info}); },
       .on_failure = [this](auto failure) { send(JournalFailed{failure}); }});
  const auto find = [&](const std::string& name) {
    const auto found = std::ranges::find(inputs, name, [](const auto& i) { return i->name(); });
    return found == inputs.end() ? nullptr : found->get();
  };
  require_windows_have(recovery);
  for (const auto& [name, position] : recovery.positions) {
    if (StreamInput* input = find(name)) {
      input->resume(position);
    } else {
      log_warning("the program has no input " + name +
                  " any more, whose position the checkpoint holds: it is forgotten");
    }
  }
  for (const RecordedBatch& recorded : recovery.recorded) {
    for (const BatchInput& part : recorded.inputs) {
      if (StreamInput* input = find(part.name)) {
        input->restore(recorded.batch, part);
      } else if (recorded.batch.sequence > recovery.committed) {
        throw Error(ErrorCode::kDataLoss,
                    to_text(recorded.batch) + " was begun and owns elements of the input " +
                        part.name +
                        ", which the program does not have any more: they would be "
                        "lost; start the former program once and stop it gracefully");
      }
    }
  }
  return recovery;
}

/// A stream without a batch: what comes from now on belongs to it, also if this driver ends before
/// it cuts one.
void BatchLoop::begin(const Recovery& recovery) const {
  std::map<std::string, std::string> positions;
  for (const auto& input : options_.graph->inputs()) positions[input->name()] = input->position();
  if (positions != recovery.positions) options_.journal->begin(positions);
}

/// Windows are made of the batches at today's grid points and are due at these. Throws
/// Error(kDataLoss) if an earlier driver's batch would be missing in one.
void BatchLoop::require_windows_have(const Recovery& recovery) const {
  const StreamGraph& graph = *options_.graph;
  const bool raw = graph.has_raw_windows();
  const bool any = raw || std::ranges::any_of(graph.stateful(), [](const auto& stateful) {
                     return stateful->expires_after() != 0;
                   });
  for (const RecordedBatch& recorded : recovery.recorded) {
    const Batch& batch = recorded.batch;
    const bool is_open = batch.sequence > recovery.committed;
    const bool is_needed = is_open ? any : raw && batch.time > recovery.last.time - graph.reach();
    const bool on_grid = batch.time.time_since_epoch() % graph.batch_interval() == Duration::zero();
    if (!is_needed || on_grid) continue;
    throw Error(ErrorCode::kDataLoss,
                to_text(batch) + " was cut at another batch interval and is not on the grid of " +
                    to_string(graph.batch_interval()) +
                    ": a window of the program would miss it; " +
                    (is_open ? "start the program once with the former interval and stop it "
                               "gracefully"
                             : "use an interval that divides the former one"));
  }
}

std::uint64_t BatchLoop::open_sinks(const Recovery& recovery) {
  std::uint64_t newest = 0;
  for (const auto& sink : options_.graph->sinks()) {
    const auto most = recovery.sink_partitions.find(sink->uid());
    sink->open(commit_id(*sink, {}, 0), most == recovery.sink_partitions.end() ? 0 : most->second);
    sink->take_back(recovery.last.sequence);
    const std::optional<CommitId> last = sink->last_committed();
    const std::uint64_t sequence = last ? last->sequence : 0;
    const auto held = recovery.sinks.find(sink->uid());
    if (held != recovery.sinks.end() && sequence < held->second) {
      throw Error(ErrorCode::kDataLoss,
                  "the sink " + sink->uid() + " holds batches up to " + std::to_string(sequence) +
                      ", but those up to " + std::to_string(held->second) +
                      " were committed and would be missing in it; bring its data back, or begin "
                      "anew with an empty checkpoint directory and an empty sink");
    }
    const auto recorded = std::ranges::find(
        recovery.recorded, sequence, [](const RecordedBatch& each) { return each.batch.sequence; });
    if (last && recorded != recovery.recorded.end() && recorded->intent != last->intent) {
      throw Error(ErrorCode::kDataLoss,
                  "the sink " + sink->uid() + " holds a " + to_text(recorded->batch) +
                      " of other input than the log records: the checkpoint directory and the "
                      "sink do not belong together, or one was set back; bring both to the same "
                      "point");
    }
    if (last && recorded != recovery.recorded.end() &&
        recorded->binary != options_.journal->binary() && sequence > recovery.committed &&
        !options_.journal->replays_with_new_code()) {
      throw Error(ErrorCode::kDataLoss,
                  "the program was changed since it wrote " + to_text(recorded->batch) +
                      " to the sink " + sink->uid() +
                      " and before that batch was done: what it still has to do would be done by "
                      "other code. Start the former program once, or accept it with "
                      "--weir.replay-with-new-code");
    }
    if (sequence > recovery.last.sequence) {
      log_warning("the sink " + sink->uid() + " holds batches up to " + std::to_string(sequence) +
                  ", the log ends with " + std::to_string(recovery.last.sequence) +
                  ": the log lost its end; what came after it is written again, as batches from " +
                  std::to_string(sequence + 1) + " on");
    }
    newest = std::max(newest, sequence);
  }
  return newest;
}

/// Runs the batches that an earlier driver began, before any new one.
void BatchLoop::resume(const Recovery& recovery) {
  for (const RecordedBatch& recorded : recovery.recorded) {
    const Batch& batch = recorded.batch;
    if (batch.sequence <= recovery.committed) {
      const std::scoped_lock lock(mutex_);
      replayable_.emplace(batch.sequence, batch);
      continue;
    }
    BatchInfo info{.sequence = batch.sequence, .batch_time = batch.time};
    info.inputs = recorded.inputs;
    WEIR_CRASH_POINT("recovery.before-open-batch");
    submit(std::move(info));
  }
}

void BatchLoop::end() {
  {
    const std::scoped_lock lock(mutex_);
    no_more_work_ = true;
    work_changed_.notify_all();
  }
  if (batch_thread_.joinable()) batch_thread_.join();
  if (options_.journal) options_.journal->close();
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

void BatchLoop::abandon() {
  abandoned_ = true;
  if (options_.journal) options_.journal->abandon();
  request_stop(false);
}

void BatchLoop::send(Message message) {
  const std::scoped_lock lock(mutex_);
  inbox_.push_back(std::move(message));
  changed_.notify_all();
}

// --- the generator thread ---

void BatchLoop::generate() {
  const InsideStreaming scope(options_.events, "a source of the stream");
  try {
    generate_batches();
  } catch (...) {  // nothing that is known of: end the stream, not the process
    if (!error_) error_ = located("cutting batches");
    cancel_running();
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
      perform(generator_.on(BatchGenerator::TimerDue{}, time));
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
  if (const auto* done = std::get_if<Checkpointed>(&message)) {
    checkpoint_time_ = done->info.batch_time;
    options_.events.post(&StreamingListener::on_checkpoint_completed, done->info);
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
  std::string what;
  try {
    const auto& inputs = options_.graph->inputs();
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      what = "input " + inputs[i]->name();
      info.inputs.push_back(inputs[i]->cut(batch, rates_.limit(i, scheduler_.waiting(), wait)));
    }
    WEIR_CRASH_POINT("batch.cut");
    what = "recording its input";
    if (options_.journal) options_.journal->intent(batch, generator_.zero_time(), info.inputs);
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
  options_.events.post(&StreamingListener::on_batch_submitted, info);
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
  if (options_.journal) info.log = options_.journal->log_info();
  info.checkpoint_time = checkpoint_time_;
  options_.events.post(&StreamingListener::on_batch_completed, std::move(info));
  if (done.failed) return;
  if (options_.journal == nullptr) release_inputs(batch);
  options_.on_batch_done(batch.sequence);
}

/// Not while batches are run again: they read what would be released.
void BatchLoop::release_what_can_be() {
  const std::unique_lock releasing(release_mutex_, std::try_to_lock);
  if (!to_release_ || !releasing) return;
  const Batch batch = *std::exchange(to_release_, std::nullopt);
  release_inputs(batch);
  const std::scoped_lock lock(mutex_);
  replayable_.erase(replayable_.begin(), replayable_.upper_bound(batch.sequence));
}

std::vector<StateInfo> BatchLoop::states() const {
  std::vector<StateInfo> states;
  for (const auto& stateful : options_.graph->stateful()) {
    const auto totals = options_.context.engine()->states().totals(stateful->state());
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
    for (const auto& input : options_.graph->inputs()) input->release(batch.time);
  } catch (...) {
    if (!error_) error_ = located(to_text(batch) + ", releasing input");
    perform(scheduler_.on(BatchScheduler::Abort{}, now()));
  }
}

void BatchLoop::finish() {
  if (options_.journal && !abandoned_) {
    WEIR_CRASH_POINT("stop.before-checkpoint");
    try {
      options_.journal->last_checkpoint();
      WEIR_CRASH_POINT("stop.after-checkpoint");
    } catch (...) {
      if (!error_) error_ = located("the last checkpoint");
    }
  }
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
  std::string lost;
  for (int attempt = 1;; ++attempt) {
    try {
      if (!lost.empty()) replay_lost_states(batch, lost);
      try_batch(batch);
      break;
    } catch (const Error& error) {
      const bool again = error.code() == ErrorCode::kStateLost && options_.journal != nullptr &&
                         attempt < kMostReplays && !cancelled_;
      if (!again) throw;
      lost = error.what();
      log_warning(lost + "; making it again from the recorded input");
    }
  }
  options_.context.engine()->states().committed(batch.sequence);
  if (options_.journal && !abandoned_) {
    WEIR_CRASH_POINT("batch.before-commit");
    options_.journal->commit(batch);
    WEIR_CRASH_POINT("batch.after-commit");
    const std::scoped_lock lock(mutex_);
    replayable_.emplace(batch.sequence, batch);
  }
  options_.graph->forget(batch.time);
  if (!options_.journal && batch.sequence % kBatchesToCleanUp == 0) delete_unused_files();
  if (options_.journal && !abandoned_ && now() >= checkpoint_due_) {
    options_.journal->checkpoint();
    checkpoint_due_ = now() + options_.checkpoint_interval;
  }
}

CommitId BatchLoop::commit_id(const StreamSink& sink, const Batch& batch,
                              std::uint64_t intent) const {
  return {.application = options_.application,
          .sink = sink.uid(),
          .sequence = batch.sequence,
          .epoch = options_.journal ? options_.journal->epoch() : 1,
          .intent = intent};
}

/// Without a journal, whose checkpoints do it otherwise.
void BatchLoop::delete_unused_files() const {
  for (const std::string& file : options_.context.engine()->states().take_unused_files()) {
    std::error_code ignored;
    std::filesystem::remove(std::filesystem::path(options_.state_directory) / file, ignored);
  }
}

/// State first: it needs no INTENT, since what a task changes counts only when it is named by a
/// record. So the log is synced while the state is updated.
void BatchLoop::try_batch(const Batch& batch) {
  const BatchScope scope(this, batch.sequence, batch.time, options_.hash_seed);
  WEIR_CRASH_POINT("batch.before-states");
  update_states(batch);
  WEIR_CRASH_POINT("batch.after-states");
  RecordedBatch recorded;
  if (options_.journal) {
    options_.journal->await_intent(batch.sequence);
    WEIR_CRASH_POINT("batch.intent-durable");
    recorded = options_.journal->recorded(batch.sequence);
  }
  for (const auto& sink : options_.graph->sinks()) {
    sink->begin_batch(commit_id(*sink, batch, recorded.intent),
                      recorded.sink_partitions[sink->uid()]);
  }
  const auto& outputs = options_.graph->outputs();
  for (std::size_t id = 0; id < outputs.size(); ++id) {
    if (!outputs[id].stream->due(batch.time)) continue;
    run_output(batch, id);
    WEIR_CRASH_POINT("batch.after-output");
  }
}

/// Brings every stateful operator to the version of the batch, those first that others read.
void BatchLoop::update_states(const Batch& batch) {
  const StateTracker& states = options_.context.engine()->states();
  for (const auto& stateful : options_.graph->stateful()) {
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
void BatchLoop::set_back_what_is_needed(std::uint64_t sequence) {
  StateTracker& states = options_.context.engine()->states();
  const auto& stateful = options_.graph->stateful();
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
void BatchLoop::require_replayable(const std::map<std::uint64_t, Batch>& batches,
                                   const Batch& before, const std::string& lost) const {
  const StateTracker& states = options_.context.engine()->states();
  const std::uint64_t first = batches.empty() ? before.sequence : batches.begin()->first;
  for (const auto& stateful : options_.graph->stateful()) {
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
void BatchLoop::replay_lost_states(const Batch& before, const std::string& lost) {
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
  options_.graph->forget_since(batches.empty() ? before.time : batches.begin()->second.time);
  WEIR_CRASH_POINT("replay.before-batches");
  for (const auto& [sequence, batch] : batches) {
    if (sequence >= before.sequence) break;
    const BatchScope scope(this, sequence, batch.time, options_.hash_seed);
    update_states(batch);
    options_.graph->forget(batch.time);
    WEIR_CRASH_POINT("replay.after-batch");
  }
  if (batches.empty()) return;
  options_.events.post(
      &StreamingListener::on_state_replayed,
      StateReplayInfo{
          .first = batches.begin()->first, .last = before.sequence - 1, .duration = now() - began});
}

void BatchLoop::run_output(const Batch& batch, std::size_t id) {
  const OutputOperation& output = options_.graph->outputs()[id];
  OutputOperationInfo info{.sequence = batch.sequence,
                           .batch_time = batch.time,
                           .id = id,
                           .name = output.name,
                           .start_time = now()};
  if (output.sink != nullptr) {
    info.sink = output.sink->uid();
    info.guarantee = output.sink->guarantee();
  }
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
