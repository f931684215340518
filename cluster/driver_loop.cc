#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <variant>

#include <fmt/format.h>

#include "weir/cluster/channel_internal.h"
#include "weir/cluster/driver_loop_internal.h"
#include "weir/cluster/quiet_thread.h"
#include "weir/core/error.h"
#include "weir/core/log.h"

namespace weir::internal {

using namespace std::chrono_literals;

namespace {

constexpr int kMessagesPerRound = 64;
/// How much longer the others may take to register than the first.
constexpr Duration kStartSpread = 1s;
constexpr std::uint64_t kRefusedFramesLogged = 10;

int make_eventfd() {
  const int descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (descriptor < 0) {
    throw Error(ErrorCode::kUnreachable, fmt::format("eventfd: {}", std::strerror(errno)));
  }
  return descriptor;
}

std::chrono::milliseconds round_up(Duration duration) {
  return std::chrono::ceil<std::chrono::milliseconds>(std::max(duration, Duration{}));
}

}  // namespace

DriverLoop::DriverLoop(Options options, TaskRunner::Observer& observer)
    : options_(std::move(options)),
      observer_(observer),
      context_(make_zmq_context()),
      router_(bind_router(context_, driver_endpoint(options_.boot.directory), {})),
      heartbeats_(bind_router(context_, heartbeat_endpoint(options_.boot.directory), {})),
      wake_(make_eventfd()),
      driver_(options_.cluster) {}

DriverLoop::~DriverLoop() {
  stop();
  router_.close();
  heartbeats_.close();
  close(wake_);
}

void DriverLoop::start() {
  processes_ = std::make_unique<WorkerProcesses>([this](WorkerId worker, const ProcessExit& exit) {
    unlink(exchange_path(options_.boot.directory, worker).c_str());
    post([this, worker, exit] { driver_.exited(worker, exit, now()); });
  });
  heartbeat_thread_ = quiet_thread([this] {
    until_context_ends(
        [this] { listen_to_heartbeats(); },
        [this](const std::string& why) {
          post([this, why] { driver_.fail("cannot hear its workers: " + why, now()); });
        });
  });
  decision_thread_ = quiet_thread([this] { decide(); });
  post([this] { driver_.start(now()); });

  std::unique_lock lock(mutex_);
  const Duration longest = options_.cluster.settings.worker_start_timeout + kStartSpread;
  start_changed_.wait_for(lock, longest, [&] { return registered_ > 0 || !failure_.empty(); });
  if (failure_.empty() && registered_ > 0) {
    start_changed_.wait_for(lock, kStartSpread, [&] {
      return registered_ >= options_.cluster.places || !failure_.empty();
    });
  }
  starting_ = false;
  if (!failure_.empty()) throw Error(ErrorCode::kUnreachable, failure_);
  if (registered_ == 0) {
    throw Error(ErrorCode::kUnreachable,
                fmt::format("no worker process has registered within {}{}{}", to_string(longest),
                            last_trouble_.empty() ? "" : ": ", last_trouble_));
  }
}

void DriverLoop::stop() {
  if (decision_thread_.joinable()) {
    post([this] { driver_.stop(now()); });
    decision_thread_.join();
  }
  processes_.reset();
  context_.shutdown();  // wakes the heartbeat thread
  if (heartbeat_thread_.joinable()) heartbeat_thread_.join();
}

void DriverLoop::post(std::function<void()> event) {
  bool was_empty = false;
  {
    const std::scoped_lock lock(mutex_);
    if (ended_) return;
    was_empty = posted_.empty();
    posted_.push_back(std::move(event));
  }
  if (was_empty) eventfd_write(wake_, 1);
}

void DriverLoop::launch(TaskSpec task) {
  driver_.launch(std::move(task), now());
  perform();
}

void DriverLoop::cancel(AttemptId attempt) {
  driver_.cancel(attempt, now());
  perform();
}

void DriverLoop::tell(AttemptId attempt, Bytes message) {
  driver_.tell(attempt, std::move(message));
  perform();
}

void DriverLoop::release_shuffle(ShuffleId shuffle) { driver_.release_shuffle(shuffle, now()); }
void DriverLoop::release_dataset(DatasetId dataset) { driver_.release_dataset(dataset, now()); }
void DriverLoop::release_state(StateId state) { driver_.release_state(state, now()); }

void DriverLoop::decide() {
  while (!driver_.stopped()) {
    bool busy = true;
    guarded([&] { busy = receive(); });
    busy = run_posted() || busy;
    guarded([&] {
      const auto deadline = driver_.next_deadline();
      const SteadyTime at = now();
      if (deadline && *deadline <= at) {
        driver_.on_timer(at);
        perform();
      } else if (!busy) {
        wait(deadline.has_value(), deadline ? *deadline - at : Duration{});
      }
    });
  }
  const std::scoped_lock lock(mutex_);
  ended_ = true;
  posted_.clear();
}

/// The boundary of the loop: what escapes from a part of a round ends all jobs, not the program,
/// and the loop goes on, so that it can be stopped.
void DriverLoop::guarded(const std::function<void()>& part) {
  try {
    return part();
  } catch (...) {
    performing_ = false;
    driver_.fail("the driver's decision thread: " + describe_current_exception(), now());
  }
  try {
    perform();
  } catch (...) {
    performing_ = false;
    log_error("while all jobs were failed: " + describe_current_exception());
  }
}

/// Handles what has come; false if nothing has.
bool DriverLoop::receive() {
  bool any = false;
  for (int i = 0; i < kMessagesPerRound; ++i) {
    const auto message = receive_from_peer(router_);
    if (!message) break;
    any = true;
    received(message->peer, view(message->frame));
  }
  return any;
}

void DriverLoop::received(const std::string& peer, std::string_view bytes) {
  const auto name = parse_channel_name(peer);
  if (!name) return on_refused_frame(peer, "its routing id is no worker's");
  const auto opened = open_frame(bytes, options_.boot.key);
  if (const auto* fault = std::get_if<FrameFault>(&opened)) {
    return on_refused_frame(peer, to_string(*fault));
  }
  try {
    auto message = wire::from_frame<wire::ToDriver>(std::get<OpenedFrame>(opened));
    if (std::holds_alternative<wire::Open>(message)) {
      send_to_peer(router_, peer,
                   to_message(to_frame(wire::ToWorker{wire::Opened{}}, options_.boot.key)));
      return;
    }
    driver_.received(name->worker, std::move(message), now());
  } catch (const Error& error) {
    return on_refused_frame(peer, error.what());
  }
  perform();
}

bool DriverLoop::run_posted() {
  std::deque<std::function<void()>> events;
  {
    const std::scoped_lock lock(mutex_);
    events.swap(posted_);
  }
  for (const auto& event : events) {
    guarded([&] {
      event();
      perform();
    });
  }
  return !events.empty();
}

void DriverLoop::wait(bool is_timer_due_later, Duration until_timer) {
  zmq::pollitem_t polled[] = {{router_.handle(), 0, ZMQ_POLLIN, 0},
                              {nullptr, wake_, ZMQ_POLLIN, 0}};
  await_any(polled, is_timer_due_later ? round_up(until_timer) : std::chrono::milliseconds(-1));
  if ((polled[1].revents & ZMQ_POLLIN) != 0) {
    eventfd_t ignored = 0;
    eventfd_read(wake_, &ignored);
  }
}

/// Carries out what the driver decided. What observers do in the meantime (launch, cancel) is
/// decided at once and carried out behind it, in order.
void DriverLoop::perform() {
  if (performing_) return;
  performing_ = true;
  while (auto action = driver_.next_action()) perform(std::move(*action));
  performing_ = false;
}

void DriverLoop::perform(ClusterDriver::Action action) {
  if (auto* what = std::get_if<ClusterDriver::Send>(&action)) {
    send(*what);
  } else if (auto* outcome = std::get_if<ClusterDriver::TellOutcome>(&action)) {
    observer_.on_outcome(outcome->attempt, outcome->worker, std::move(outcome->outcome));
  } else if (const auto* said = std::get_if<ClusterDriver::TellReport>(&action)) {
    observer_.on_report(said->attempt, said->worker, said->report);
  } else if (const auto* begin = std::get_if<ClusterDriver::StartProcess>(&action)) {
    WorkerBoot boot = options_.boot;
    boot.self = begin->worker;
    processes_->start(begin->worker, pack(boot));
  } else if (const auto* end = std::get_if<ClusterDriver::KillProcess>(&action)) {
    processes_->kill(end->worker, end->signal);
  } else if (const auto* added = std::get_if<ClusterDriver::TellAdded>(&action)) {
    log_info(fmt::format("worker {} has registered", to_string(added->worker)));
    observer_.on_worker_added(added->worker, added->slots);
    const std::scoped_lock lock(mutex_);
    ++registered_;
    start_changed_.notify_all();
  } else if (const auto* lost = std::get_if<ClusterDriver::TellLost>(&action)) {
    observer_.on_worker_lost(lost->worker, lost->reason);
  } else if (const auto* refused = std::get_if<ClusterDriver::TellRefused>(&action)) {
    log_info(fmt::format("refused a late result of worker {}", to_string(refused->worker)));
    observer_.on_result_refused(refused->worker, refused->attempt);
  } else if (const auto* warning = std::get_if<ClusterDriver::Warn>(&action)) {
    log_warning(warning->message);
    const std::scoped_lock lock(mutex_);
    last_trouble_ = warning->message;
  } else if (const auto* failed = std::get_if<ClusterDriver::TellFailure>(&action)) {
    {
      const std::scoped_lock lock(mutex_);
      failure_ = failed->reason;
      start_changed_.notify_all();
      if (starting_) return;  // `start` throws it
    }
    observer_.on_failure(failed->reason);
  }
}

void DriverLoop::send(const ClusterDriver::Send& what) {
  const auto* launch = std::get_if<wire::Launch>(&what.message);
  const std::string peer = launch != nullptr
                               ? routing_id({what.worker, ChannelName::Kind::kSlot, what.thread})
                               : routing_id({what.worker, ChannelName::Kind::kControl, 0});
  std::string frame;
  try {
    frame = to_frame(what.message, options_.boot.key);
  } catch (...) {  // user code writes the elements of parallelize, for one
    const std::string why = describe_current_exception();
    if (launch != nullptr) return driver_.unsendable(what.worker, launch->launch, why);
    log_error(fmt::format("worker {} cannot be told something: {}", to_string(what.worker), why));
    return;
  }
  const std::size_t size = frame.size();
  const SendResult result = send_to_peer(router_, peer, to_message(std::move(frame)));
  if (launch != nullptr) driver_.sent(what.worker, launch->launch, size, now());
  switch (result) {
    case SendResult::kSent: return;
    case SendResult::kFull:  // it reads nothing; heartbeats will find out what it lacks
      return;
    case SendResult::kNobodyThere: driver_.disconnected(what.worker, now()); return;
  }
}

void DriverLoop::on_refused_frame(const std::string& peer, const std::string& why) {
  if (++refused_frames_ > kRefusedFramesLogged) return;
  log_warning(
      fmt::format("refused a message of '{}': {}", parse_channel_name(peer) ? peer : "?", why));
}

void DriverLoop::listen_to_heartbeats() {
  const auto tick = round_up(Membership::tick_period(options_.cluster.settings));
  while (true) {
    await_message(heartbeats_, tick);
    auto beats = std::make_shared<std::vector<Beat>>();
    const SteadyTime at = now();
    while (const auto message = receive_from_peer(heartbeats_)) hear(*message, at, *beats);
    post([this, beats, at] {
      for (Beat& beat : *beats) driver_.received(beat.from, std::move(beat.message), at);
      driver_.tick(at);
    });
  }
}

void DriverLoop::hear(const FromPeer& received, SteadyTime at, std::vector<Beat>& beats) {
  const auto name = parse_channel_name(received.peer);
  const auto opened = open_frame(view(received.frame), options_.boot.key);
  const auto* frame = std::get_if<OpenedFrame>(&opened);
  if (!name || frame == nullptr || frame->type != MessageType::kHeartbeat) return;
  try {
    beats.push_back({name->worker, wire::from_frame<wire::ToDriver>(*frame)});
  } catch (const Error&) {
    return;  // who only sends nonsense falls silent this way
  }
  const wire::ToWorker reply = wire::HeartbeatReply{at};
  send_to_peer(heartbeats_, received.peer, to_message(to_frame(reply, options_.boot.key)));
}

}  // namespace weir::internal
