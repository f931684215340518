#include "weir/dstream/receiver_tracker.h"

#include <algorithm>
#include <chrono>
#include <random>

#include <fmt/format.h>

#include "weir/core/error.h"
#include "weir/core/hash.h"
#include "weir/core/log.h"
#include "weir/dstream/receiver.h"
#include "weir/dstream/receiver_log.h"
#include "weir/dstream/streaming_events_internal.h"

namespace weir::internal {

using namespace std::chrono_literals;

namespace {

const ConfigKey<Duration> kBlockInterval(
    "receiver.block-interval", Duration::zero(),
    "how long a receiver gathers single elements for a block; 0: a quarter of the batch interval, "
    "1ms to 200ms (1ms to 1h)");
const ConfigKey<std::int64_t> kCopies(
    "receiver.copies", 2,
    "workers that keep each block of a receiver, 1 or 2; never more than there are workers");
const ConfigKey<bool> kLog(
    "receiver.log", false,
    "whether blocks of receivers are also written to the checkpoint directory and synced, so that "
    "a driver that is started again has them");
const ConfigKey<Duration> kRestartDelay("receiver.restart-delay", 2s,
                                        "time until a receiver that failed is started again (0us "
                                        "to 1h)");
const ConfigKey<Duration> kStoreTimeout(
    "receiver.store-timeout", 30s, "how long a receiver waits for a block to be safe (10ms to 1h)");
const ConfigKey<std::int64_t> kBufferBytes(
    "receiver.buffer-bytes", 64 << 20,
    "bytes that a receiver holds for batches to come; it waits then (4096 to 1099511627776)");

/// A receiver that nobody has room for is no error, but nobody wants it.
constexpr Duration kPatience = 5s;
/// Orders may get lost: while the receiver is to end they are said again this often.
constexpr auto kTellAgain = 50ms;

SteadyTime now() { return Clock::system().steady_now(); }

}  // namespace

std::string random_run_name() {
  std::random_device device;
  return fmt::format("{:08x}{:08x}", device(), device());
}

std::string folder_name(const std::string& input) {
  std::string name = input;
  const auto is_plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
  };
  std::ranges::replace_if(
      name, [&](char c) { return !is_plain(c); }, '_');
  if (name != input) name += fmt::format("-{:016x}", hash_bytes(input));
  return "received/" + name;
}

ReceiverPlan::ReceiverPlan(const Config& config, const ReceiverOptions& options,
                           Duration batch_interval) {
  copies = options.copies ? *options.copies : static_cast<int>(config.get(kCopies, 1, 2));
  if (copies < 1 || copies > 2) {
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format("receiver_stream: blocks can be kept by 1 or 2 workers, not by {}", copies));
  }
  log = options.log ? *options.log : config.get(kLog);
  block_interval = config.get(kBlockInterval, 0us, 1h);
  if (block_interval == Duration::zero()) {
    block_interval = std::clamp<Duration>(batch_interval / 4, 1ms, 200ms);
  } else if (block_interval < 1ms) {
    block_interval = config.get(kBlockInterval, 1ms, 1h);  // refuses it
  }
  restart_delay = config.get(kRestartDelay, 0us, 1h);
  store_timeout = config.get(kStoreTimeout, 10ms, 1h);
  buffer_bytes = static_cast<std::uint64_t>(config.get(kBufferBytes, 4096, std::int64_t{1} << 40));
}

ReceiverTracker::ReceiverTracker(std::shared_ptr<Engine> engine, ReceiverPlan plan,
                                 MakePlan make_plan)
    : engine_(std::move(engine)), plan_(plan), make_plan_(std::move(make_plan)) {}

ReceiverTracker::~ReceiverTracker() { stop(); }

void ReceiverTracker::attach(std::string name, const std::string& directory,
                             StreamingEvents& events) {
  name_ = std::move(name);
  events_ = &events;
  if (plan_.log && directory.empty()) {
    throw Error(ErrorCode::kInvalidArgument,
                name_ +
                    ": a receiver's log needs a checkpoint directory; call checkpoint(), or set "
                    "weir.receiver.log to false");
  }
  if (directory.empty()) return;
  directory_ = directory;
  folder_ = folder_name(name_);
  store_ = directory_store_at(directory_);  // a program before this one may have kept a log
}

void ReceiverTracker::resume(const ReceiverPosition& position) {
  const std::scoped_lock lock(mutex_);
  for (const auto& [name, next] : position.next) {
    Run& run = runs_[name];
    run.ended = true;
    run.known = std::max(run.known, next);
    run.cut = std::max(run.cut, next);
  }
}

void ReceiverTracker::start() {
  std::unique_lock lock(mutex_);
  if (started_) return;
  if (plan_.log) (void)open_directory_store(absolute(folder_));  // made where it is missing
  if (store_ != nullptr) {
    adopt_logged({});
    forget_runs();
  }
  started_ = true;
  state_ = State::kWaiting;
  restart_at_ = now();
  thread_ = std::jthread([this] { keep_track(); });
}

// --- the tracker's thread ---

void ReceiverTracker::leave(Word word) {
  const std::scoped_lock lock(words_mutex_);
  words_.push_back(std::move(word));
  words_changed_.notify_all();
}

/// Nothing when it is due.
std::optional<ReceiverTracker::Word> ReceiverTracker::next_word(std::optional<SteadyTime> due) {
  std::unique_lock lock(words_mutex_);
  const auto any = [&] { return !words_.empty(); };
  if (!due) {
    words_changed_.wait(lock, any);
  } else if (!words_changed_.wait_until(lock, *due, any)) {
    return std::nullopt;
  }
  Word word = std::move(words_.front());
  words_.pop_front();
  return word;
}

void ReceiverTracker::keep_track() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    const auto due = state_ == State::kWaiting ? std::optional(restart_at_) : std::nullopt;
    lock.unlock();
    const std::optional<Word> word = next_word(due);
    lock.lock();
    if (stopping_) return;
    if (!word) {
      if (state_ == State::kWaiting) start_run(lock);
      continue;
    }
    try {
      std::visit([&](const auto& held) { on(held); }, *word);
    } catch (...) {  // a log cannot be read
      last_error_ = describe_current_exception();
      log_warning(name_ + ": " + last_error_);
      events_->post(&StreamingListener::on_receiver_error, info());
    }
    changed_.notify_all();
  }
}

Engine::ResidentCallbacks ReceiverTracker::words_of(const std::string& run) const {
  const std::weak_ptr<ReceiverTracker> tracker =
      std::const_pointer_cast<ReceiverTracker>(shared_from_this());
  return {.on_report =
              [tracker, run](WorkerId worker, const Bytes& report) {
                if (const auto self = tracker.lock()) {
                  self->leave(Reported{run, worker, decode<ReceiverReport>(report.view())});
                }
              },
          .on_ended =
              [tracker, run](WorkerId worker, TaskOutcome outcome) {
                if (const auto self = tracker.lock()) {
                  self->leave(Ended{run, worker, std::move(outcome)});
                }
              }};
}

void ReceiverTracker::start_run(std::unique_lock<std::mutex>& lock) {
  current_ = random_run_name();
  Run& run = runs_[current_];
  run.receiver = engine_->next_dataset_id();
  const ReceiverSettings settings{.receiver = run.receiver,
                                  .run = current_,
                                  .copies = plan_.copies > 1 && engine_->total_workers() > 1,
                                  .log_directory = plan_.log ? directory_ : std::string(),
                                  .log_folder = folder_,
                                  .block_interval = plan_.block_interval,
                                  .store_timeout = plan_.store_timeout,
                                  .buffer_bytes = plan_.buffer_bytes};
  const double rate = orders_.max_rate;
  orders_ = {};
  orders_.max_rate = rate;
  worker_.reset();
  errors_told_ = 0;
  attempt_ = 0;
  waits_since_ = now();
  state_ = State::kRunning;
  lock.unlock();
  engine_->received_blocks().open(
      settings.receiver, [tracker = weak_from_this(), run_name = settings.run](std::uint32_t n) {
        if (const auto self = tracker.lock()) self->leave(BlockLost{run_name, n});
      });
  AttemptId started = 0;
  try {
    started = engine_->start_resident(make_plan_(settings), words_of(settings.run));
  } catch (const Error& error) {
    log_warning(name_ + " cannot be started: " + error.what());
  }
  lock.lock();
  if (started == 0) {  // the context was stopped
    state_ = State::kEnded;
    end_run(current_);
  } else if (state_ == State::kRunning) {
    attempt_ = started;
  } else {
    engine_->stop_resident(started);
  }
}

void ReceiverTracker::on(const Reported& word) {
  if (state_ != State::kRunning || word.run != current_) return;
  Run& run = runs_.at(current_);
  if (!worker_) {
    worker_ = word.worker;
    events_->post(&StreamingListener::on_receiver_started, info());
  }
  for (const BlockReport& reported : word.report.blocks) {
    if (reported.number != run.known) continue;  // known already, or one before it got lost
    std::vector<WorkerId> holders{word.worker};
    if (reported.copy) holders.push_back(*reported.copy);
    engine_->received_blocks().add(run.receiver, reported.number, std::move(holders));
    accept(current_, run,
           {run.receiver, reported.number, reported.records, reported.size, reported.hash,
            reported.log, reported.offset});
  }
  if (word.report.errors > errors_told_) {
    errors_told_ = word.report.errors;
    last_error_ = word.report.error;
    events_->post(&StreamingListener::on_receiver_error, info());
  }
  tell_orders();
}

void ReceiverTracker::on(const Ended& word) {
  if (state_ != State::kRunning || word.run != current_) return;
  const bool lost = std::holds_alternative<AttemptLost>(word.outcome);
  const bool finished = std::holds_alternative<Done>(word.outcome);
  if (const auto* failed = std::get_if<Failed>(&word.outcome)) last_error_ = failed->message;
  if (const auto* gone = std::get_if<AttemptLost>(&word.outcome)) last_error_ = gone->message;
  worker_ = word.worker;
  if (!finished) {
    log_warning(fmt::format("{} on worker {}: {}", name_, to_string(word.worker), last_error_));
    events_->post(&StreamingListener::on_receiver_error, info());
  }
  events_->post(&StreamingListener::on_receiver_stopped, info());
  end_run(current_);
  state_ = finished || orders_.stop ? State::kEnded : State::kWaiting;
  restart_at_ = now() + (lost ? Duration::zero() : plan_.restart_delay);
}

void ReceiverTracker::end_run(const std::string& name) {
  runs_.at(name).ended = true;
  if (store_ != nullptr) adopt_logged(name);
  forget_runs();
}

/// Blocks that were written and not reported, of one run or of all.
void ReceiverTracker::adopt_logged(const std::string& run_name) {
  const std::string prefix = run_name.empty() ? "" : run_name + ".";
  for (const std::string& file : store_->list(folder_)) {  // those without a whole block too
    if (!file.starts_with(prefix)) continue;
    Run& run = runs_[run_of(file)];
    run.ended = true;
    run.files.try_emplace(folder_ + "/" + file, 0);
  }
  for (LoggedBlock& block : read_receiver_logs(*store_, folder_, prefix)) {
    Run& run = runs_[block.run];
    std::uint32_t& last = run.files[block.file];
    last = std::max(last, block.number);
    if (block.number < run.known) continue;
    run.known = block.number;  // what is missing before it was never safe
    accept(block.run, run,
           {0, block.number, block.records, block.size, block.hash, block.file, block.offset});
  }
}

void ReceiverTracker::accept(const std::string& name, Run& run, ReceivedBlock block) {
  run.known = block.number + 1;
  run.records[block.number] = block.records;
  if (!block.log.empty()) run.files[block.log] = block.number;
  pending_.emplace_back(name, std::move(block));
}

void ReceiverTracker::tell_orders() {
  if (state_ != State::kRunning || attempt_ == 0) return;
  const Run& run = runs_.at(current_);
  ++orders_.version;
  orders_.acknowledged_below = run.known;
  orders_.cut_below = run.cut;
  orders_.released_below = run.released;
  engine_->tell_resident(attempt_, encode_bytes(orders_));
}

void ReceiverTracker::on(const BlockLost& word) {
  const auto found = runs_.find(word.run);
  if (found == runs_.end() || plan_.log) return;
  const Run& run = found->second;
  const auto records = run.records.find(word.number);
  if (records == run.records.end() || word.number < run.done) return;
  log_warning(
      fmt::format("{}: block {} with {} elements is on no worker any more and was not "
                  "processed: it is lost",
                  name_, word.number, records->second));
  events_->post(&StreamingListener::on_received_data_lost,
                ReceivedDataLost{.name = name_, .blocks = 1, .records = records->second});
}

ReceiverInfo ReceiverTracker::info() const {
  return {.name = name_, .worker = worker_.value_or(WorkerId{}), .last_error = last_error_};
}

// --- the generator's ---

ReceiverTracker::Cut ReceiverTracker::cut(const Batch& batch, const CutLimit& limit) {
  std::unique_lock lock(mutex_);
  warn_if_there_is_no_room();
  const double rate = limit.max_records_per_second.value_or(0);
  const bool new_rate = rate != orders_.max_rate;
  orders_.max_rate = rate;
  if (limit.last_wait) {
    const SteadyTime give_up = now() + *limit.last_wait;
    orders_.stop = true;
    if (state_ == State::kWaiting || (state_ == State::kRunning && !worker_)) {
      if (attempt_ != 0) engine_->stop_resident(attempt_);
      if (state_ == State::kRunning) end_run(current_);
      state_ = State::kEnded;
    }
    while (state_ != State::kEnded && now() < give_up) {
      tell_orders();
      changed_.wait_for(lock, kTellAgain);
    }
  }
  Cut made;
  for (auto& [name, block] : std::exchange(pending_, {})) {
    runs_.at(name).cut = block.number + 1;
    made.records += block.records;
    made.blocks.push_back(std::move(block));
  }
  CutBatch where{batch.time, {}};
  for (const auto& [name, run] : runs_) where.cut[name] = run.cut;
  unreleased_.push_back(where);
  undone_.push_back(std::move(where));
  if (!directory_.empty()) {
    ReceiverPosition position;
    for (const auto& [name, run] : runs_) position.next[name] = run.cut;
    for (ReceivedBlock block : made.blocks) {
      if (block.log.empty()) continue;
      block.receiver = 0;  // means nothing to another driver
      position.blocks.push_back(std::move(block));
    }
    made.position = encode(position);
    made.blocks = readable(std::move(made.blocks));
  }
  if (!made.blocks.empty() || new_rate) tell_orders();
  return made;
}

std::vector<ReceivedBlock> ReceiverTracker::restored(const Batch& batch,
                                                     const ReceiverPosition& position) {
  resume(position);
  const std::scoped_lock lock(mutex_);
  unreleased_.push_back({batch.time, position.next});
  return readable(position.blocks);
}

std::vector<ReceivedBlock> ReceiverTracker::readable(std::vector<ReceivedBlock> blocks) const {
  for (ReceivedBlock& block : blocks) {
    if (!block.log.empty()) block.log = absolute(block.log);
  }
  return blocks;
}

std::string ReceiverTracker::position() const {
  if (directory_.empty()) return {};
  const std::scoped_lock lock(mutex_);
  ReceiverPosition position;
  for (const auto& [name, run] : runs_) position.next[name] = run.cut;
  return encode(position);
}

void ReceiverTracker::warn_if_there_is_no_room() {
  if (state_ != State::kRunning || worker_ || !waits_since_) return;
  if (now() - *waits_since_ < kPatience) return;
  waits_since_.reset();  // once
  log_warning(name_ +
              " waits for a worker that has room for it: give workers more "
              "(weir.cluster.receivers-per-worker), or use more workers");
}

void ReceiverTracker::done(Time time) {
  const std::scoped_lock lock(mutex_);
  for (; !undone_.empty() && undone_.front().time <= time; undone_.pop_front()) {
    for (const auto& [name, cut] : undone_.front().cut) {
      const auto run = runs_.find(name);
      if (run != runs_.end()) run->second.done = std::max(run->second.done, cut);
    }
  }
}

void ReceiverTracker::release(Time time) {
  const std::scoped_lock lock(mutex_);
  for (; !unreleased_.empty() && unreleased_.front().time <= time; unreleased_.pop_front()) {
    for (const auto& [name, cut] : unreleased_.front().cut) {
      const auto found = runs_.find(name);
      if (found == runs_.end() || cut <= found->second.released) continue;
      Run& run = found->second;
      run.released = cut;
      run.records.erase(run.records.begin(), run.records.lower_bound(cut));
      if (run.receiver != 0) engine_->received_blocks().release_before(run.receiver, cut);
    }
  }
  forget_runs();
  tell_orders();
}

/// Files whose blocks are all released, and runs that have ended and have nothing any more.
void ReceiverTracker::forget_runs() {
  for (auto at = runs_.begin(); at != runs_.end();) {
    Run& run = at->second;
    for (auto file = run.files.begin(); file != run.files.end();) {
      // The last one of a run that goes on is still written.
      const bool is_open = !run.ended && std::next(file) == run.files.end();
      const bool is_empty = run.known == 0;
      if (is_open || (file->second >= run.released && !(run.ended && is_empty))) {
        ++file;
        continue;
      }
      store_->remove(file->first);
      file = run.files.erase(file);
    }
    if (!run.ended || run.released < run.known || !run.files.empty()) {
      ++at;
      continue;
    }
    if (run.receiver != 0) {
      engine_->received_blocks().close(run.receiver);
      engine_->release_shuffle(run.receiver);
    }
    at = runs_.erase(at);
  }
}

void ReceiverTracker::stop() {
  {
    const std::scoped_lock lock(mutex_);
    stopping_ = true;
  }
  leave(Stop{});
  if (thread_.joinable()) thread_.join();
  std::vector<ShuffleId> receivers;
  {
    const std::scoped_lock lock(mutex_);
    if (state_ == State::kRunning) engine_->stop_resident(attempt_);
    state_ = State::kEnded;
    for (const auto& [name, run] : runs_) {
      if (run.receiver != 0) receivers.push_back(run.receiver);
    }
    runs_.clear();
  }
  for (const ShuffleId receiver : receivers) {
    engine_->received_blocks().close(receiver);
    engine_->release_shuffle(receiver);
  }
}

}  // namespace weir::internal
