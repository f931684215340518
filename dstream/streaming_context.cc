#include "weir/dstream/streaming_context.h"

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <mutex>

#include "weir/core/config.h"
#include "weir/core/error.h"
#include "weir/core/log.h"
#include "weir/dstream/batch_loop_internal.h"
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

  void start();
  void stop(StopOptions options);
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

  std::mutex starting_;  // one start at a time; locked before mutex_
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
  if (options_.clock == nullptr) {
    log_warning("no checkpoint directory: a restarted driver starts afresh");
  }
  auto loop = std::make_unique<internal::BatchLoop>(
      internal::BatchLoop::Options{.context = context_,
                                   .graph = graph_,
                                   .clock = options_.clock ? *options_.clock : BatchClock::system(),
                                   .events = events_,
                                   .drain_cap = drain_cap_,
                                   .stop_on_signal = context_.config().get(kStopOnSignal),
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
                                       }});
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
void StreamingContext::start() { impl_->start(); }
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
