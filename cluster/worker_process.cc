#include "weir/cluster/worker_process.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include <fmt/format.h>

#include "weir/cluster/block_copier_internal.h"
#include "weir/cluster/block_fetcher_internal.h"
#include "weir/cluster/block_server_internal.h"
#include "weir/cluster/channel_internal.h"
#include "weir/cluster/process_exit.h"
#include "weir/cluster/quiet_thread.h"
#include "weir/cluster/worker_boot.h"
#include "weir/cluster/worker_state.h"
#include "weir/core/error.h"
#include "weir/core/log.h"
#include "weir/core/resident_host.h"
#include "weir/core/task_executor.h"

namespace weir::internal {
namespace {

using namespace std::chrono_literals;

constexpr Duration kFlushTime = 300ms;

SteadyTime now() { return Clock::system().steady_now(); }

std::uint64_t rss_bytes() {
  std::ifstream file("/proc/self/statm");
  std::uint64_t total = 0;
  std::uint64_t resident = 0;
  file >> total >> resident;
  return resident * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

TaskExecutor::Options executor_options(const WorkerBoot& boot) {
  TaskExecutor::Options options;
  options.self = boot.self;
  options.inline_limit = boot.settings.inline_bytes;
  options.stage_cache_bytes = boot.settings.stage_cache_bytes;
  options.task_bytes = boot.memory.task_bytes;
  options.store = boot.memory.store_options();
  options.compress = boot.memory.compress;
  return options;
}

wire::SlotLayout layout_of(const WorkerBoot& boot) {
  constexpr std::uint32_t kMostAhead = 1024;  // so that they fit into a heartbeat
  return {boot.slots, boot.settings.resident_slots,
          std::min(boot.settings.tasks_ahead, kMostAhead / boot.slots)};
}

WorkerState::Options state_options(const WorkerBoot& boot) {
  return {{boot.self, getpid(), boot.slots, loaded_modules(),
           exchange_endpoint(boot.directory, boot.self), boot.settings.resident_slots,
           layout_of(boot).ahead},
          boot.settings.worker_start_timeout,
          boot.settings.driver_timeout};
}

/// A worker without one of its parts is of no use.
[[noreturn]] void end_process(const std::string& why) {
  log_error("this worker process cannot go on: " + why);
  _exit(kWorkerEndedItself);
}

/// A worker process.
///
/// Threads: the control thread (the process's main thread) registers, cancels, frees and ends; each
/// slot, those for resident tasks too, has a thread that waits for a task on a socket of its own,
/// runs it and answers there, so that nothing is handed from thread to thread (slots for tasks that
/// are sent ahead share it, see wire::SlotLayout); one thread sends heartbeats, one serves blocks,
/// one waits for the driver's end. What they know in common is `state_`, under one mutex.
class WorkerProcess {
 public:
  explicit WorkerProcess(WorkerBoot boot)
      : boot_(std::move(boot)),
        context_(make_zmq_context()),
        fetcher_(context_, boot_.key, boot_.settings),
        replicator_(*this),
        executor_(executor_options(boot_), &fetcher_, &replicator_),
        server_(context_, exchange_endpoint(boot_.directory, boot_.self), boot_.key,
                executor_.blocks(), end_process),
        layout_(layout_of(boot_)),
        progress_(layout_.num_threads()),
        state_(state_options(boot_),
               [this](StageHash hash) { return executor_.knows_stage(hash); }) {
    for (auto& progress : progress_) progress = std::make_unique<TaskExecutor::Progress>();
  }

  /// Returns when it is time to end; false if slots still run user code.
  bool serve() {
    for (std::uint32_t thread = 0; thread < layout_.num_threads(); ++thread) {
      threads_.emplace_back([this, thread] {  // open to signals: user code may want them
        until_context_ends([&] { serve_slots(thread); }, end_process);
        const std::scoped_lock lock(mutex_);
        --open_threads_;
        changed_.notify_all();
      });
    }
    {
      std::unique_lock lock(mutex_);
      const bool open = changed_.wait_for(lock, boot_.settings.worker_start_timeout,
                                          [&] { return open_threads_ == layout_.num_threads(); });
      if (!open) throw Error(ErrorCode::kUnreachable, "cannot reach its driver");
    }
    threads_.push_back(
        quiet_thread([this] { until_context_ends([this] { send_heartbeats(); }, end_process); }));
    control();
    return flush();
  }

 private:
  zmq::socket_t connect(ChannelName::Kind kind, std::uint32_t slot = 0) {
    const std::string endpoint = kind == ChannelName::Kind::kHeartbeat
                                     ? heartbeat_endpoint(boot_.directory)
                                     : driver_endpoint(boot_.directory);
    return connect_dealer(context_, endpoint, routing_id({boot_.self, kind, slot}), {});
  }

  void send(zmq::socket_t& socket, const wire::ToDriver& message) {
    zmq::message_t frame = to_message(to_frame(message, boot_.key));
    despite_signals([&] { return socket.send(frame, zmq::send_flags::none); });
  }

  /// An outcome that cannot be made into a frame is a failure of its task, not of the worker.
  void send_or_fail(zmq::socket_t& socket, const wire::ToDriver& message) {
    try {
      return send(socket, message);
    } catch (const zmq::error_t&) {
      throw;
    } catch (const std::exception& error) {
      const auto* outcome = std::get_if<wire::Outcome>(&message);
      if (outcome == nullptr || std::holds_alternative<Failed>(outcome->outcome)) throw;
      perform(socket, feed([&](WorkerState& state) {
                return state.unsendable(outcome->launch, error.what(), now());
              }));
    }
  }

  /// The next message, waiting at most `timeout` for it (-1: for ever). Throws zmq::error_t when
  /// the worker ends.
  std::optional<wire::ToWorker> receive(zmq::socket_t& socket, std::chrono::milliseconds timeout) {
    if (timeout.count() >= 0 && !await_message(socket, timeout)) return std::nullopt;
    zmq::message_t message;
    if (!despite_signals([&] { return socket.recv(message); })) return std::nullopt;
    const auto opened = open_frame(view(message), boot_.key);
    if (const auto* fault = std::get_if<FrameFault>(&opened)) {
      log_warning(fmt::format("refused a message: {}", to_string(*fault)));
      return std::nullopt;
    }
    try {
      return wire::from_frame<wire::ToWorker>(std::get<OpenedFrame>(opened));
    } catch (const Error& error) {
      log_warning(fmt::format("refused a message: {}", error.what()));
      return std::nullopt;
    }
  }

  /// Gives an event to the state. A task is stopped before anything else can happen, so that its
  /// slot cannot have gone on to the next one.
  template <class Event>
  WorkerState::Actions feed(Event event) {
    const std::scoped_lock lock(mutex_);
    WorkerState::Actions actions = event(state_);
    for (const WorkerState::Action& action : actions) {
      const auto* stop = std::get_if<WorkerState::StopRunning>(&action);
      if (stop != nullptr) progress_of(stop->slot).cancelled.store(true, std::memory_order_relaxed);
    }
    return actions;
  }

  /// Carries out what the state decided, on the thread that brought the event and with its socket.
  void perform(zmq::socket_t& socket, WorkerState::Actions actions) {
    for (WorkerState::Action& action : actions) {
      if (auto* message = std::get_if<WorkerState::Send>(&action)) {
        send_or_fail(socket, message->message);
      } else if (auto* task = std::get_if<WorkerState::Run>(&action)) {
        run(socket, *task);
      } else if (const auto* free = std::get_if<WorkerState::Free>(&action)) {
        for (const ShuffleId shuffle : free->shuffles) executor_.blocks().release_shuffle(shuffle);
        for (const DatasetId dataset : free->datasets) executor_.blocks().release_dataset(dataset);
        for (const StateId state : free->states) executor_.states().release(state);
      } else if (auto* told = std::get_if<WorkerState::Deliver>(&action)) {
        fetcher_.add_peers(told->peers);
        const std::scoped_lock lock(hosts_mutex_);
        const auto host = hosts_.find(told->launch.attempt);
        if (host != hosts_.end()) host->second->deliver(std::move(told->message));
      } else if (const auto* peer = std::get_if<WorkerState::ForgetPeer>(&action)) {
        fetcher_.forget(peer->worker);
      } else if (const auto* ending = std::get_if<WorkerState::End>(&action)) {
        log_info(fmt::format("ends: {}", ending->reason));
        ending_.store(true);  // the control thread looks at it now and then
      }
    }
  }

  void run(zmq::socket_t& socket, const WorkerState::Run& task) {
    fetcher_.add_peers(task.peers);
    TaskExecutor::Progress& progress = progress_of(task.launch.slot);
    std::unique_ptr<Host> host;
    if (task.task->resident) host = std::make_unique<Host>(*this, socket, task.launch, progress);
    auto outcome = executor_.run(*task.task, progress, host.get());
    perform(socket, feed([&](WorkerState& state) {
              // Another slot's stage may have taken the place of this one's meanwhile.
              if (!outcome) return state.stage_missing(task.launch.slot);
              return state.finished(task.launch.slot, sendable(*std::move(outcome)), now());
            }));
  }

  /// A result that does not fit into a message is a failure of its task, not of the connection.
  static TaskOutcome sendable(TaskOutcome outcome) {
    constexpr std::uint64_t kRoomForTheRest = 1 << 20;
    const std::uint64_t limit = payload_cap(MessageType::kOutcome) - kRoomForTheRest;
    const auto* done = std::get_if<Done>(&outcome);
    if (done == nullptr) return outcome;
    std::uint64_t size = done->result.size();
    if (done->output) {
      for (const Segment& segment : done->output->segments) {
        size += sizeof segment + (segment.inline_data ? segment.inline_data->size() : 0);
      }
    }
    for (const AccumulatorUpdate& update : done->accumulated) size += update.added.size();
    if (size <= limit) return outcome;
    return Failed{fmt::format(
        "the task's result takes {} bytes, with what it added to accumulators; at most {} can be "
        "sent to the driver. Return less of it (aggregate, count, save) or use more partitions",
        size, limit)};
  }

  /// Of the thread that runs what is launched in the slot.
  TaskExecutor::Progress& progress_of(std::uint32_t slot) {
    return *progress_[layout_.thread_of(slot)];
  }

  void serve_slots(std::uint32_t thread) {
    auto socket = connect(ChannelName::Kind::kSlot, thread);
    send(socket, wire::Open{});
    while (!receive(socket, std::chrono::milliseconds(-1))) continue;
    {
      const std::scoped_lock lock(mutex_);
      ++open_threads_;
    }
    changed_.notify_all();
    while (true) {
      auto message = receive(socket, std::chrono::milliseconds(-1));
      if (!message) continue;
      perform(socket, feed([&](WorkerState& state) {
                auto& progress = *progress_[thread];
                progress.steps.store(0, std::memory_order_relaxed);
                progress.records.store(0, std::memory_order_relaxed);
                progress.cancelled.store(false, std::memory_order_relaxed);
                return state.received(std::move(*message), now());
              }));
    }
  }

  void send_heartbeats() {
    auto socket = connect(ChannelName::Kind::kHeartbeat);
    std::vector<std::uint64_t> steps(layout_.slots());
    for (SteadyTime next = now();; next += boot_.settings.heartbeat_interval) {
      for (SteadyTime at = now(); at < next; at = now()) {
        auto message = receive(socket, std::chrono::ceil<std::chrono::milliseconds>(next - at));
        if (!message) continue;
        feed([&](WorkerState& state) { return state.received(std::move(*message), now()); });
      }
      next = std::max(next,
                      now() - boot_.settings.heartbeat_interval);  // not in bursts after a freeze
      const std::uint64_t rss = rss_bytes();
      std::unique_lock lock(mutex_);
      for (std::uint32_t slot = 0; slot < steps.size(); ++slot) {
        steps[slot] = progress_of(slot).steps.load(std::memory_order_relaxed);
      }
      const auto beat = state_.heartbeat(steps, rss);
      lock.unlock();
      if (beat) send(socket, *beat);
    }
  }

  void control() {
    auto socket = connect(ChannelName::Kind::kControl);
    perform(socket, feed([](WorkerState& state) { return state.start(now()); }));
    while (!ending_.load()) {
      SteadyTime deadline;
      {
        const std::scoped_lock lock(mutex_);
        deadline = state_.next_deadline();
      }
      const Duration left = std::max(deadline - now(), Duration{});
      auto message = receive(socket, std::chrono::ceil<std::chrono::milliseconds>(left));
      if (message) {
        perform(socket, feed([&](WorkerState& state) {
                  return state.received(std::move(*message), now());
                }));
      }
      perform(socket, feed([](WorkerState& state) { return state.on_timer(now()); }));
    }
  }

  /// Gives what was sent time to leave the process. Slots that run user code are not waited for:
  /// false then.
  bool flush() {
    context_.shutdown();  // waiting threads wake up and close their sockets
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, kFlushTime, [&] { return open_threads_ == 0; })) return false;
    lock.unlock();
    threads_.clear();
    executor_.release_locals();
    replicator_.close();
    server_.join();
    fetcher_.close();
    context_.close();  // returns when all is sent, or soon
    return true;
  }

  /// Each thread of a slot has a connection of its own.
  class Replicator final : public BlockReplicator {
   public:
    explicit Replicator(WorkerProcess& worker) : worker_(worker) {}

    std::optional<WorkerId> copy(DatasetId dataset, std::uint32_t partition,
                                 const StoredElements& elements, StorageLevel level,
                                 const std::atomic<bool>& cancelled) override {
      std::string whole;
      const auto add = [&](const Bytes& part) { whole += part.view(); };
      if (elements.block != nullptr) {
        for (const Bytes& part : elements.block->encode_elements()) add(part);
      }
      for (const HeldBytes& part : elements.parts) add(part.get());
      if (whole.size() > wire::kMaxBlockBytes) {
        log_warning(
            fmt::format("partition {} of dataset {} has no second replica: it takes {} "
                        "bytes, of which at most {} can be copied; use more partitions",
                        partition, dataset, whole.size(), wire::kMaxBlockBytes));
        return std::nullopt;
      }
      return copier().copy({dataset, partition, 0, level}, Bytes(std::move(whole)), cancelled);
    }
    /// Nothing is copied any more.
    void close() { copiers_.clear(); }

   private:
    BlockCopier& copier() {
      const std::scoped_lock lock(mutex_);
      auto& mine = copiers_[std::this_thread::get_id()];
      if (mine == nullptr) {
        mine = std::make_unique<BlockCopier>(worker_.context_, worker_.boot_.key,
                                             worker_.boot_.settings, worker_.fetcher_,
                                             worker_.boot_.self);
      }
      return *mine;
    }

    WorkerProcess& worker_;
    std::mutex mutex_;
    std::map<std::thread::id, std::unique_ptr<BlockCopier>> copiers_;  // guarded by mutex_
  };

  /// Of a resident task while it runs, on its slot's thread and with that one's socket.
  class Host final : public ResidentHost {
   public:
    Host(WorkerProcess& worker, zmq::socket_t& socket, const wire::LaunchId& launch,
         const TaskExecutor::Progress& progress)
        : worker_(worker),
          socket_(socket),
          launch_(launch),
          cancelled_(progress.cancelled),
          copier_(worker.context_, worker.boot_.key, worker.boot_.settings, worker.fetcher_,
                  worker.boot_.self) {
      const std::scoped_lock lock(worker_.hosts_mutex_);
      worker_.hosts_.emplace(launch_.attempt, this);
    }
    ~Host() override {
      const std::scoped_lock lock(worker_.hosts_mutex_);
      worker_.hosts_.erase(launch_.attempt);
    }

    void report(Bytes report) override {
      worker_.send(socket_, wire::Report{launch_, std::move(report)});
    }
    void listen(std::function<void(Bytes)> take) override {
      const std::scoped_lock lock(worker_.hosts_mutex_);
      take_ = std::move(take);
    }
    std::optional<WorkerId> copy(ShuffleId receiver, std::uint32_t number, const Bytes& block,
                                 std::uint32_t release_before) override {
      return copier_.copy({receiver, number, release_before}, block, cancelled_);
    }
    /// Called with `hosts_mutex_` held.
    void deliver(Bytes message) {
      if (take_) take_(std::move(message));
    }

   private:
    WorkerProcess& worker_;
    zmq::socket_t& socket_;
    const wire::LaunchId launch_;
    const std::atomic<bool>& cancelled_;
    BlockCopier copier_;
    std::function<void(Bytes)> take_;  // guarded by hosts_mutex_
  };

  const WorkerBoot boot_;
  zmq::context_t context_;
  BlockFetcher fetcher_;
  Replicator replicator_;
  TaskExecutor executor_;
  BlockServer server_;
  const wire::SlotLayout layout_;
  std::vector<std::unique_ptr<TaskExecutor::Progress>> progress_;  // by thread

  std::mutex hosts_mutex_;
  std::map<AttemptId, Host*> hosts_;  // guarded by hosts_mutex_

  std::mutex mutex_;
  WorkerState state_;               // guarded by mutex_
  std::uint32_t open_threads_ = 0;  // whose channel is open; guarded by mutex_
  std::condition_variable changed_;
  std::atomic<bool> ending_{false};
  std::vector<std::jthread> threads_;
};

/// Ends the process as soon as the driver is gone, whatever its other threads do.
void watch_lifeline(int descriptor) {
  char byte = 0;
  while (read(descriptor, &byte, 1) < 0 && errno == EINTR) continue;
  _exit(kWorkerEndedItself);
}

}  // namespace

void serve_as_worker() {
  const char* variable = std::getenv(kWorkerRoleVariable);
  if (variable == nullptr) return;
  int lifeline = -1;
  const char* end = variable + std::strlen(variable);
  if (std::from_chars(variable, end, lifeline).ptr != end) lifeline = -1;
  try {
    WorkerBoot boot = read_worker_boot(lifeline);
    fcntl(lifeline, F_SETFD, FD_CLOEXEC);  // nothing that this process starts is a worker
    unsetenv(kWorkerRoleVariable);
    quiet_thread([lifeline] { watch_lifeline(lifeline); }).detach();  // as long as the process
    set_log_process("worker " + to_string(boot.self));
    const auto level = boot.config.find("log-level");
    if (level != boot.config.end()) set_log_level(level->second);
    // Never destroyed, not by exit() in user code either: its threads may run user code themselves.
    static WorkerProcess& worker = *new WorkerProcess(std::move(boot));
    // A slot that still runs may hold the lock of a stream for ever.
    if (worker.serve()) std::fflush(nullptr);
  } catch (...) {
    end_process(describe_current_exception());
  }
  _exit(kWorkerEndedItself);
}

}  // namespace weir::internal
