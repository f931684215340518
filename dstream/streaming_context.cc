#include "weir/dstream/streaming_context.h"

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <sstream>

#include "weir/core/config.h"
#include "weir/core/error.h"
#include "weir/core/log.h"
#include "weir/dstream/batch_journal.h"
#include "weir/dstream/batch_loop_internal.h"
#include "weir/dstream/json_progress.h"
#include "weir/dstream/scratch_directory.h"
#include "weir/dstream/streaming_events_internal.h"

namespace weir {
namespace {

const ConfigKey<bool> kStopOnSignal(
    "stop-on-signal", true,
    "whether SIGINT and SIGTERM stop a stream gracefully (the second one at once)");
const ConfigKey<Duration> kGracefulStopTimeout(
    "graceful-stop-timeout", Duration::zero(),
    "how long a graceful stop may process what was received before it gives up; 0: ten batch "
    "intervals, at least 10s");

const ConfigKey<std::string> kDurability(
    "durability", "batch",
    "when the batch log is synced: batch (before each batch's first effect), interval (every "
    "100ms) or none (at checkpoints only); the last two are at-least-once when the machine dies");
const ConfigKey<Duration> kCheckpointInterval(
    "checkpoint-interval", std::chrono::seconds(10),
    "time between two durable sets of state: how much a restart may have to make again");
const ConfigKey<bool> kReplayWithNewCode(
    "replay-with-new-code", false,
    "whether batches that are committed but not yet part of a durable set of state may be run "
    "again by a changed program");
const ConfigKey<std::string> kDropState(
    "drop-state", "",
    "uids, separated by commas, of stateful operators that the program does not have any more and "
    "whose state may be lost");

const ConfigKey<bool> kBackpressure(
    "backpressure", true,
    "whether inputs are given less when batches take more than 0.8 of their interval or wait");
const ConfigKey<double> kInitialRate(
    "backpressure.initial-rate", 50'000.0,
    "elements per second that each input may give the first batches after a start, doubled by each "
    "batch that took all of it in time; 0: no limit");
const ConfigKey<double> kMinRate("backpressure.min-rate", 100.0,
                                 "elements per second that each input may always give");
const ConfigKey<double> kProportional("backpressure.proportional", 1.0,
                                      "weight of how far the rate was missed");
const ConfigKey<double> kIntegral("backpressure.integral", 0.2,
                                  "weight of the elements that wait in batches");
const ConfigKey<double> kDerivative("backpressure.derivative", 0.0,
                                    "weight of how fast the rate's error changes");
const ConfigKey<double> kMaxRate(
    "max-rate", 0.0, "elements per second that each input may give at most; 0: no limit");
const ConfigKey<std::int64_t> kMaxWaiting(
    "max-waiting-batches", 0,
    "how many batches may wait for those before them: then grid points are coalesced, and what "
    "has come goes to the batch that is cut when there is room; many: each batch has what came in "
    "its own interval, however late it runs; 0: 1, and any number on a clock that the program "
    "gives, which may move faster than batches run");

const ConfigKey<std::int64_t> kInFlight(
    "batches-in-flight", 1,
    "batches that are run at once (1 to 64): while one is finished, map stages that no state feeds "
    "run of those behind it; states, outputs and sinks take their turn, in the order of the "
    "batches");

const ConfigKey<std::int64_t> kOutputAttempts(
    "output-attempts", 1, "times that an output operation which fails is tried (1 to 1000000)");
const ConfigKey<Duration> kOutputRetryDelay("output-retry-delay", std::chrono::seconds(1),
                                            "time between two of them (0us to 1h)");
const ConfigKey<std::string> kOutputFailure(
    "output-failure", "stop",
    "what an output operation that fails for the last time does: stop the stream, or skip, so that "
    "the batch goes on without it; sinks always stop it");
const ConfigKey<std::int64_t> kStateQuota(
    "state-quota", 0,
    "bytes of workers' memory that the state of one operator may grow to; a batch that needs more "
    "ends the stream; 0: no limit");

const ConfigKey<std::string> kProgress(
    "progress", "",
    "file to which a line of JSON is appended for each completed batch; empty: none");

internal::InputRates::Options rates_of(const Config& config, Duration batch_interval) {
  constexpr double kMost = 1e15;
  internal::InputRates::Options options;
  options.backpressure = config.get(kBackpressure);
  options.rate.interval = batch_interval;
  options.rate.initial_rate = config.get(kInitialRate, 0, kMost);
  options.rate.min_rate = config.get(kMinRate, 0, kMost);
  options.rate.max_rate = config.get(kMaxRate, 0, kMost);
  options.rate.proportional = config.get(kProportional, 0, kMost);
  options.rate.integral = config.get(kIntegral, 0, kMost);
  options.rate.derivative = config.get(kDerivative, 0, kMost);
  return options;
}

std::size_t max_waiting_of(const Config& config, bool has_own_clock) {
  constexpr std::int64_t kAny = 1'000'000'000;
  const std::int64_t given = config.get(kMaxWaiting, 0, kAny);
  if (given != 0) return static_cast<std::size_t>(given);
  return has_own_clock ? static_cast<std::size_t>(kAny) : 1;
}

internal::OutputFailures output_failures_of(const Config& config) {
  using namespace std::chrono_literals;
  const std::string after = config.get(kOutputFailure);
  if (after != "stop" && after != "skip") {
    throw Error(ErrorCode::kInvalidArgument,
                "weir.output-failure must be stop or skip, got \"" + after + "\"");
  }
  return {.attempts = config.get(kOutputAttempts, 1, 1'000'000),
          .delay = config.get(kOutputRetryDelay, 0us, 1h),
          .skip = after == "skip"};
}

Durability durability_of(LogDurability option, const Config& config) {
  switch (option) {
    case LogDurability::kBatch: return Durability::kBatch;
    case LogDurability::kInterval: return Durability::kInterval;
    case LogDurability::kNone: return Durability::kNone;
    case LogDurability::kConfigured: break;
  }
  const std::string text = config.get(kDurability);
  if (text == "batch") return Durability::kBatch;
  if (text == "interval") return Durability::kInterval;
  if (text == "none") return Durability::kNone;
  throw Error(ErrorCode::kInvalidArgument,
              "weir.durability must be batch, interval or none, got \"" + text + "\"");
}

std::vector<std::string> separated(const std::string& text) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, ',');) {
    if (!part.empty()) parts.push_back(part);
  }
  return parts;
}

/// How long user code in the driver may take to return when it is asked to.
constexpr Duration kAbortPatience = std::chrono::seconds(10);

}  // namespace

/// What all handles share. Thread-safe.
class StreamingContext::Impl {
 public:
  Impl(Context& context, Duration batch_interval, StreamingOptions options)
      : context_(context),
        graph_(std::make_shared<internal::StreamGraph>(context, batch_interval)),
        options_(std::move(options)),
        drain_cap_(drain_cap(context.config().get(kGracefulStopTimeout), batch_interval)) {}

  ~Impl() {
    loop_.reset();
    events_.stop();
  }

  void checkpoint(const std::string& directory);
  void start();
  void stop(StopOptions options);
  void abandon();
  bool await(Duration timeout);
  void await();
  void await_batch(std::uint64_t sequence);

  StreamingState state() const {
    const std::scoped_lock lock(mutex_);
    return state_;
  }
  Context& context() const { return context_; }
  const std::shared_ptr<internal::StreamGraph>& graph() const { return graph_; }
  internal::StreamingEvents& events() { return events_; }

 private:
  Duration checkpoint_interval() const {
    const Duration given = options_.checkpoint_interval != Duration::zero()
                               ? options_.checkpoint_interval
                               : context_.config().get(kCheckpointInterval);
    const std::optional<Duration> wanted = graph_->checkpoint_interval();
    return wanted ? std::min(given, *wanted) : given;
  }
  std::string state_directory() const {
    if (journal_) return journal_->state_directory();
    return scratch_ ? scratch_->path() : std::string();
  }
  static Duration drain_cap(Duration configured, Duration batch_interval) {
    if (configured != Duration::zero()) return configured;
    return std::max<Duration>(10 * batch_interval, std::chrono::seconds(10));
  }

  void enter(StreamingState state);
  void require_started(const char* operation) const;
  /// Frees the graph, whose user functions may hold handles of this, and rethrows the first error.
  void after_end(std::unique_lock<std::mutex> lock);

  Context& context_;
  const std::shared_ptr<internal::StreamGraph> graph_;
  const StreamingOptions options_;
  const Duration drain_cap_;
  internal::StreamingEvents events_;
  std::shared_ptr<internal::BatchJournal> journal_;  // set before start
  std::optional<internal::ScratchDirectory> scratch_;

  std::mutex starting_;                          // one start at a time; locked before mutex_
  std::shared_ptr<StreamingListener> progress_;  // guarded by starting_
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  StreamingState state_ = StreamingState::kInitialized;  // guarded by mutex_
  std::uint64_t done_ = 0;                     // guarded by mutex_; the last batch that succeeded
  std::exception_ptr error_;                   // guarded by mutex_; the first one, when stopped
  std::unique_ptr<internal::BatchLoop> loop_;  // set once by start
};

void StreamingContext::Impl::enter(StreamingState state) {
  state_ = state;
  changed_.notify_all();
}

void StreamingContext::Impl::checkpoint(const std::string& directory) {
  graph_->require_not_started("checkpoint");
  if (journal_ != nullptr) {
    throw Error(ErrorCode::kInvalidArgument,
                "checkpoint: the streaming context has a checkpoint directory already");
  }
  const Config& config = context_.config();
  internal::BatchJournal::Options options;
  options.directory = directory;
  options.log.durability = durability_of(options_.durability, config);
  options.replay_with_new_code = config.get(kReplayWithNewCode);
  options.drop_state = separated(config.get(kDropState));
  journal_ = std::make_shared<internal::BatchJournal>(context_.engine(), std::move(options));
}

void StreamingContext::Impl::start() {
  const std::scoped_lock starting(starting_);
  switch (state()) {
    case StreamingState::kActive:
      log_warning("start: the streaming context has been started already");
      return;
    case StreamingState::kStopped:
      throw Error(ErrorCode::kInvalidArgument,
                  "start: a stopped streaming context cannot be started again; make a new one");
    case StreamingState::kInitialized: break;
  }
  graph_->validate();
  if (const std::string path = context_.config().get(kProgress); !path.empty() && !progress_) {
    progress_ = std::make_shared<JsonProgress>(path);
    events_.add(progress_);
  }
  if (journal_ == nullptr && !graph_->stateful().empty()) scratch_.emplace();
  if (options_.clock == nullptr && journal_ == nullptr) {
    log_warning("no checkpoint directory: a restarted driver starts afresh");
  }
  internal::StreamParts parts{
      .context = context_,
      .graph = graph_,
      .clock = options_.clock ? *options_.clock : BatchClock::system(),
      .events = events_,
      .journal = journal_,
      .application =
          journal_ ? journal_->identity().application : internal::fresh_identity().application,
      .checkpoint_interval = checkpoint_interval(),
      .state_directory = state_directory(),
      .output_failures = output_failures_of(context_.config()),
      .state_quota = static_cast<std::uint64_t>(
          context_.config().get(kStateQuota, 0, std::numeric_limits<std::int64_t>::max())),
      .batches_in_flight = static_cast<std::size_t>(context_.config().get(kInFlight, 1, 64))};
  if (journal_) {
    parts.key_groups = journal_->identity().key_groups;
    parts.hash_seed = journal_->identity().hash_seed;
  }
  internal::BatchLoop::Options options{
      .drain_cap = drain_cap_,
      .stop_on_signal = context_.config().get(kStopOnSignal),
      .rates = rates_of(context_.config(), graph_->batch_interval()),
      .max_waiting = max_waiting_of(context_.config(), options_.clock != nullptr),
      .on_batch_done =
          [this](std::uint64_t sequence) {
            const std::scoped_lock lock(mutex_);
            done_ = sequence;
            changed_.notify_all();
          },
      .on_end =
          [this](std::exception_ptr error) {
            const std::scoped_lock lock(mutex_);
            error_ = std::move(error);
            enter(StreamingState::kStopped);
          }};
  auto loop = std::make_unique<internal::BatchLoop>(std::move(parts), std::move(options));
  const std::scoped_lock lock(mutex_);
  loop_ = std::move(loop);
  if (state_ == StreamingState::kInitialized) enter(StreamingState::kActive);
}

void StreamingContext::Impl::stop(StopOptions options) {
  internal::InsideStreaming::refuse(events_, "stop");
  bool ended = true;
  {
    std::unique_lock starting(starting_);
    std::unique_lock lock(mutex_);
    const auto has_ended = [&] { return state_ == StreamingState::kStopped; };
    if (state_ == StreamingState::kInitialized) enter(StreamingState::kStopped);
    starting.unlock();
    if (!has_ended()) {
      loop_->request_stop(options.graceful);
      if (options.graceful && !changed_.wait_for(lock, drain_cap_ + kAbortPatience, has_ended)) {
        loop_->request_stop(false);
      }
      ended = changed_.wait_for(lock, kAbortPatience, has_ended);
    }
  }
  if (ended) graph_->clear();
  if (options.stop_context) context_.stop();
  if (!ended) {
    throw Error(ErrorCode::kCancelled,
                "stop: an output operation, transform or listener has not returned after " +
                    to_string(kAbortPatience) +
                    "; it runs in the driver and cannot be interrupted");
  }
}

void StreamingContext::Impl::abandon() {
  {
    const std::scoped_lock starting(starting_);
    const std::scoped_lock lock(mutex_);
    if (loop_ == nullptr) return;
    loop_->abandon();
  }
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return state_ == StreamingState::kStopped; });
  lock.unlock();
  graph_->clear();
  loop_.reset();
  journal_.reset();  // and the lock of its directory
}

void StreamingContext::Impl::require_started(const char* operation) const {
  internal::InsideStreaming::refuse(events_, operation);
  if (state() != StreamingState::kInitialized) return;
  throw Error(ErrorCode::kInvalidArgument,
              std::string(operation) + ": the streaming context has not been started");
}

void StreamingContext::Impl::after_end(std::unique_lock<std::mutex> lock) {
  const std::exception_ptr error = error_;
  lock.unlock();
  graph_->clear();
  if (error) std::rethrow_exception(error);
}

void StreamingContext::Impl::await() {
  require_started("await_termination");
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return state_ == StreamingState::kStopped; });
  after_end(std::move(lock));
}

bool StreamingContext::Impl::await(Duration timeout) {
  require_started("await_termination_for");
  std::unique_lock lock(mutex_);
  const bool ended =
      changed_.wait_for(lock, timeout, [&] { return state_ == StreamingState::kStopped; });
  if (ended) after_end(std::move(lock));
  return ended;
}

void StreamingContext::Impl::await_batch(std::uint64_t sequence) {
  require_started("await_batch");
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return done_ >= sequence || state_ == StreamingState::kStopped; });
  if (state_ != StreamingState::kStopped) return;
  const std::uint64_t done = done_;
  after_end(std::move(lock));
  if (done < sequence) {
    throw Error(ErrorCode::kCancelled, "await_batch: the stream ended after batch " +
                                           std::to_string(done) + ", before batch " +
                                           std::to_string(sequence));
  }
}

StreamingContext::StreamingContext(Context& context, Duration batch_interval,
                                   StreamingOptions options)
    : impl_(std::make_shared<Impl>(context, batch_interval, std::move(options))) {}

void StreamingContext::remember(Duration duration) { graph()->remember(duration); }
void StreamingContext::checkpoint(const std::string& directory) { impl_->checkpoint(directory); }
void StreamingContext::start() { impl_->start(); }
void StreamingContext::abandon() { impl_->abandon(); }
void StreamingContext::stop(StopOptions options) { impl_->stop(options); }
void StreamingContext::await_termination() { impl_->await(); }
bool StreamingContext::await_termination_for(Duration timeout) { return impl_->await(timeout); }
void StreamingContext::await_batch(std::uint64_t sequence) { impl_->await_batch(sequence); }
StreamingState StreamingContext::state() const { return impl_->state(); }
Context& StreamingContext::context() const { return impl_->context(); }
Duration StreamingContext::batch_interval() const { return graph()->batch_interval(); }

void StreamingContext::add_listener(std::shared_ptr<StreamingListener> listener) {
  impl_->events().add(std::move(listener));
}

void StreamingContext::remove_listener(const std::shared_ptr<StreamingListener>& listener) {
  impl_->events().remove(listener);
}

const std::shared_ptr<internal::StreamGraph>& StreamingContext::graph() const {
  return impl_->graph();
}

std::string StreamingContext::input_name(const char* kind) const {
  return std::string(kind) + "-" + std::to_string(graph()->inputs().size());
}

}  // namespace weir
