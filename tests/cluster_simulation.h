#pragma once

#include <atomic>
#include <csignal>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <fmt/format.h>

#include "weir/cluster/cluster_driver.h"
#include "weir/cluster/worker_state.h"
#include "weir/core/dag_scheduler.h"
#include "weir/core/hash.h"
#include "weir/core/storage/block_store.h"

#include "simulation.h"

namespace weir::simulation {

using namespace std::chrono_literals;

/// How bad the world is. Chances are of 1; times are mean distances.
struct Weather {
  double drop = 0;
  double duplicate = 0;
  double slow = 0;     ///< a message takes up to 2 s instead of up to 1 ms
  double corrupt = 0;  ///< a bit of it flips
  double crash = 0;    ///< a task takes its process down
  double hang = 0;     ///< a task never ends
  double bad_start = 0;
  double lost_block = 0;  ///< a map output cannot be fetched
  double full_disk = 0;   ///< what a task makes cannot be kept
  Duration kill{};        ///< 0: never, as below
  Duration freeze{};
  Duration disconnect{};
  Duration driver_freeze{};
};

/// A driver (scheduler and cluster driver) and its workers in one thread, on a clock, a network and
/// processes that one seed decides. Everything is the product's own code, workers' stores with
/// little memory too, except for what tasks compute and how map outputs and replicas travel, which
/// are models. Jobs that persist their result run twice, so that they find it, or not any more.
///
/// The weather lasts for `kStorm`; jobs that are not over some time after it never will be.
/// Breaches of what must hold throw std::logic_error.
class Simulation {
 public:
  /// With `poison` the reduce tasks of job 1 throw, always: it must fail, and no other.
  explicit Simulation(std::uint64_t seed, bool poison = false)
      : chance_(seed),
        poison_(poison),
        places_(between(1, 3)),
        slots_(between(1, 2)),
        ahead_(static_cast<std::uint32_t>(between(0, 2))),
        weather_(forecast()),
        scheduler_({poison ? 4U : kWithoutLimit, kWithoutLimit, kWithoutLimit}),
        driver_(options()) {
    if (poison)
      weather_.crash = weather_.hang = 0;  // they count as failures of tasks, as they should
  }

  void run() {
    plan_jobs();
    driver_.start(now_);
    perform();
    after(0us, [this] { tick(); });
    schedule_faults();
    while (!over()) {
      if (now_ > kStart + kTooLate) broken("jobs have not ended");
      step();
    }
    settle_down();
    driver_.stop(now_);
    perform();
    while (!driver_.stopped()) {
      if (now_ > kStart + kTooLate) broken("the cluster has not stopped");
      step();
    }
    while (!events_.empty() && !processes_.empty()) step();
    if (!processes_.empty()) broken("a process outlives its driver");
  }

  Trace trace;
  std::uint64_t events() const { return steps_; }

  // What happened, to see that seeds are worth something.
  int losses = 0;
  int refusals = 0;
  int retries = 0;
  int spills = 0;     ///< map outputs and blocks that went to the disk
  int evictions = 0;  ///< blocks that were dropped
  int hits = 0;       ///< results that were read from a block
  int replicas = 0;   ///< of which were second ones
  int ahead = 0;      ///< launches that came to a thread beside its first slot
  int missing = 0;    ///< blocks that were counted on and not there

 private:
  static constexpr SteadyTime kStart{1000s};
  static constexpr Duration kStorm = 4s;
  static constexpr Duration kTooLate = 120s;
  static constexpr std::uint64_t kTooMany = 1'000'000;
  static constexpr std::uint64_t kInlineBytes = 8;
  static constexpr std::uint32_t kWithoutLimit = 1'000'000;
  inline static const std::atomic<bool> kWanted{false};  // by nobody cancelled

  struct Store {
    std::unique_ptr<BlockStore> blocks;
    std::set<StageHash> stages;
    std::set<std::pair<DatasetId, std::uint32_t>> replicas;  ///< came from other workers
  };
  /// A thread that runs what is launched in its slots.
  struct SimSlot {
    std::deque<wire::ToWorker> inbox;  ///< it is busy
    std::optional<WorkerState::Run> task;
    std::uint64_t run = 0;  ///< tells the end of this run from that of an earlier one
    std::uint64_t records = 0;
    bool hangs = false;
    bool cancelled = false;
  };
  struct Process {
    WorkerId id;
    std::unique_ptr<WorkerState> state;  ///< null: it never registers
    Store store;
    std::vector<SimSlot> slots;  ///< threads
    wire::SlotLayout layout;
    std::set<WorkerId> lost_peers;
    SteadyTime frozen_until{};
  };
  struct JobModel {
    std::uint32_t maps = 1;
    std::uint32_t reducers = 1;
    bool done = false;
    StorageLevel level = StorageLevel::kNone;  ///< of its result
  };
  struct Event {
    SteadyTime at;
    std::uint64_t order;
    std::function<void()> happens;
    bool operator<(const Event& other) const {
      return std::pair(other.at, other.order) < std::pair(at, order);
    }
  };

  // --- chance ---

  std::uint64_t between(std::uint64_t least, std::uint64_t most) {
    return chance_.between(least, most);
  }
  bool chance(double probability) { return chance_.with(probability); }
  Duration time_up_to(Duration longest) {
    return Duration(
        static_cast<Duration::rep>(between(1, static_cast<std::uint64_t>(longest.count()))));
  }
  bool storm() const { return now_ < kStart + kStorm; }
  bool strikes(double p) { return storm() && chance(p); }

  Weather forecast() {
    Weather weather;
    if (chance(0.1)) return weather;  // a fine day
    const auto some = [&](double most) {
      return chance(0.5) ? most * static_cast<double>(between(1, 100)) / 100 : 0;
    };
    weather.drop = some(0.2);
    weather.duplicate = some(0.3);
    weather.slow = some(0.1);
    weather.corrupt = some(0.05);
    weather.crash = some(0.1);
    weather.hang = some(0.03);
    weather.bad_start = some(0.3);
    weather.lost_block = some(0.1);
    weather.full_disk = some(0.1);
    const auto every = [&] { return chance(0.5) ? 200ms + time_up_to(3s) : Duration{}; };
    weather.kill = every();
    weather.freeze = every();
    weather.disconnect = every();
    weather.driver_freeze = every();
    return weather;
  }

  // --- time ---

  void at(SteadyTime when, std::function<void()> happens) {
    events_.push({when, ++order_, std::move(happens)});
  }
  void after(Duration delay, std::function<void()> happens) {
    at(now_ + delay, std::move(happens));
  }

  void step() {
    if (events_.empty()) broken("nothing will ever happen again");
    Event event = events_.top();
    events_.pop();
    now_ = std::max(now_, event.at);
    if (++steps_ > kTooMany) broken("it goes round in circles");
    event.happens();
    check();
    if (const auto deadline = driver_.next_deadline()) set_driver_timer(*deadline);
  }

  void set_driver_timer(SteadyTime deadline) {
    const SteadyTime when = std::max({deadline, now_, driver_frozen_until_});
    if (driver_timer_ && *driver_timer_ <= when) return;
    driver_timer_ = when;
    at(when, [this, when] {
      if (driver_timer_ != when) return;
      driver_timer_.reset();
      on_driver([this] { driver_.on_timer(now_); });
    });
  }

  template <class... Args>
  void note(fmt::format_string<Args...> what, Args&&... args) {
    trace.note("{} {}", (now_ - kStart).count(), fmt::format(what, std::forward<Args>(args)...));
  }
  [[noreturn]] void broken(const std::string& what) const {
    throw std::logic_error(fmt::format("{} ({} us into the run)", what, (now_ - kStart).count()));
  }

  // --- the driver's process ---

  ClusterDriver::Options options() const {
    ClusterDriver::Options options;
    ClusterSettings& s = options.settings;
    s.heartbeat_interval = 200ms;
    s.heartbeat_timeout = 1s;
    s.driver_timeout = 20s;
    s.task_hang_timeout = 1s;
    s.launch_grace = 400ms;
    s.locality_wait = 20ms;
    s.worker_start_timeout = 2s;
    s.start_attempts = 1'000'000;  // starts are bad only for a while
    s.restart_backoff = 50ms;
    s.restart_backoff_max = 1s;
    s.restart_reset = 3s;
    s.stop_grace = 1s;
    s.lost_worker_linger = 3s;
    options.places = static_cast<std::uint32_t>(places_);
    options.modules = {{1, "job"}};
    return options;
  }

  /// Runs what happens to the driver, when it is not frozen.
  void on_driver(std::function<void()> event) {
    if (now_ < driver_frozen_until_) {
      at(driver_frozen_until_,
         [this, event = std::move(event)]() mutable { on_driver(std::move(event)); });
      return;
    }
    event();
    perform();
  }

  void tick() {
    if (driver_.stopped()) return;
    on_driver([this] { driver_.tick(now_); });
    at(std::max(now_ + 100ms, driver_frozen_until_), [this] { tick(); });
  }

  void perform() {
    if (performing_) return;
    performing_ = true;
    while (auto action = driver_.next_action()) perform(std::move(*action));
    performing_ = false;
  }

  void perform(ClusterDriver::Action action) {
    if (auto* sent = std::get_if<ClusterDriver::Send>(&action)) {
      const WorkerId to = sent->worker;
      note("to {} {}", to_string(to), wire::name_of(sent->message));
      std::string made = to_frame(sent->message, key_);
      if (const auto* launch = std::get_if<wire::Launch>(&sent->message)) {
        driver_.sent(to, launch->launch, made.size(), now_);
      }
      travel(std::move(made), [this, to](const std::string& frame) {
        const auto opened = open_frame(frame, key_);
        if (const auto* good = std::get_if<OpenedFrame>(&opened)) {
          deliver(to, wire::from_frame<wire::ToWorker>(*good));
        }
      });
    } else if (const auto* begin = std::get_if<ClusterDriver::StartProcess>(&action)) {
      start_process(begin->worker);
    } else if (const auto* end = std::get_if<ClusterDriver::KillProcess>(&action)) {
      signal(end->worker, end->signal);
    } else if (auto* told = std::get_if<ClusterDriver::TellOutcome>(&action)) {
      on_outcome(*told);
    } else if (const auto* added = std::get_if<ClusterDriver::TellAdded>(&action)) {
      note("added {}", to_string(added->worker));
      if (!members_.insert(added->worker).second) broken("a worker was added twice");
    } else if (const auto* lost = std::get_if<ClusterDriver::TellLost>(&action)) {
      note("lost {}: {}", to_string(lost->worker), lost->reason);
      ++losses;
      if (members_.erase(lost->worker) == 0) broken("a worker was lost that was no member");
      schedule(scheduler_.on_worker_lost(lost->worker));
    } else if (const auto* refused = std::get_if<ClusterDriver::TellRefused>(&action)) {
      note("refused {} of {}", refused->attempt, to_string(refused->worker));
      ++refusals;
    } else if (const auto* failed = std::get_if<ClusterDriver::TellFailure>(&action)) {
      broken("the cluster gave up: " + failed->reason);
    }
  }

  void on_outcome(ClusterDriver::TellOutcome& told) {
    note("outcome {} of {} is {}", told.attempt, to_string(told.worker), told.outcome.index());
    if (launched_.erase(told.attempt) == 0) broken("an outcome was told twice, or of nothing");
    if (std::holds_alternative<Done>(told.outcome)) {
      if (members_.count(told.worker) == 0) broken("a result of a lost worker was accepted");
      if (ran_.count({told.attempt, told.worker}) == 0) broken("a result was made up");
    } else {
      ++retries;
    }
    schedule(scheduler_.on_outcome(told.attempt, told.worker, std::move(told.outcome)));
  }

  /// What the engine does between the scheduler and the runner.
  void schedule(DagScheduler::Actions actions) {
    for (DagScheduler::Action& action : actions) {
      if (auto* launch = std::get_if<DagScheduler::Launch>(&action)) {
        note("launch {} of job {} stage {} partition {}", launch->task.attempt, launch->task.job,
             launch->task.stage, launch->task.partition);
        if (!launched_.insert(launch->task.attempt).second) broken("an attempt id was used twice");
        driver_.launch(std::move(launch->task), now_);
      } else if (const auto* cancel = std::get_if<DagScheduler::Cancel>(&action)) {
        note("cancel {}", cancel->attempt);
        driver_.cancel(cancel->attempt, now_);
      } else if (const auto* done = std::get_if<DagScheduler::JobSucceeded>(&action)) {
        end_job(done->job, &done->results);
      } else if (const auto* failed = std::get_if<DagScheduler::JobFailed>(&action)) {
        if (!(poison_ && failed->job == 1)) broken("a job failed: " + failed->message);
        if (failed->message.find("poison") == std::string::npos) broken("the cause is not named");
        end_job(failed->job, nullptr);
      }
    }
  }

  // --- jobs: the sum of what maps give each reducer ---

  static std::string content(JobId job, std::uint32_t map, std::uint32_t reducer) {
    const std::uint64_t what = hash_bytes(fmt::format("{} {} {}", job, map, reducer));
    return std::string(what % 20, static_cast<char>('a' + what % 26));  // some empty, some inline
  }
  static std::string result(JobId job, std::uint32_t maps, std::uint32_t reducer) {
    std::string all;
    for (std::uint32_t map = 0; map < maps; ++map) all += content(job, map, reducer);
    return all;
  }

  void plan_jobs() {
    const std::uint64_t jobs = between(1, 12);
    for (JobId id = 1; id <= jobs; ++id) {
      jobs_[id] = {static_cast<std::uint32_t>(between(1, 5)),
                   static_cast<std::uint32_t>(between(1, 4)), false,
                   static_cast<StorageLevel>(between(0, 8))};
      at(kStart + time_up_to(kStorm), [this, id] { on_driver([this, id] { submit(id); }); });
    }
  }

  /// The second run of a job is called differently, but shares its shuffle and dataset.
  static constexpr JobId kAgain = 1000;

  void submit(JobId run) {
    note("submit {}", run);
    const JobId id = run % kAgain;
    const JobModel& model = jobs_.at(id);
    internal::JobPlan plan;
    plan.stages.resize(2);
    for (std::uint32_t stage = 0; stage < 2; ++stage) {
      internal::StagePlan& at = plan.stages[stage];
      at.name = stage == 0 ? "map" : "reduce";
      const StageHash hash = id % 2 * 10 + stage;  // jobs share stages
      at.program = std::make_shared<const StageProgram>(StageProgram{hash, Bytes(at.name)});
      const std::uint32_t tasks = stage == 0 ? model.maps : model.reducers;
      for (std::uint32_t p = 0; p < tasks; ++p) {
        at.partitions.push_back(p);
        internal::LeafNeed need;
        need.input.partition = p;
        need.input.is_shuffle = stage == 1;
        need.input.shuffle = id;
        const bool is_persisted = stage == 1 && model.level != StorageLevel::kNone;
        if (is_persisted) need.behind.emplace(id, p);
        at.needs.push_back({need});
      }
    }
    if (model.level != StorageLevel::kNone) {
      plan.stages[1].cached = {{0, DatasetId{id}, {}, model.level}};
    }
    plan.stages[0].writes = ShuffleId{id};
    plan.stages[0].reducers = model.reducers;
    schedule(scheduler_.submit(run, std::move(plan)));
  }

  void end_job(JobId run, const std::vector<Bytes>* results) {
    note("job {} has ended", run);
    const JobId id = run % kAgain;
    JobModel& model = jobs_.at(id);
    if (model.done) broken("a job ended twice");
    for (std::uint32_t r = 0; results != nullptr && r < model.reducers; ++r) {
      if ((*results)[r].view() != result(id, model.maps, r)) broken("a job's result is wrong");
    }
    if (results != nullptr && run < kAgain && model.level != StorageLevel::kNone) {
      after(time_up_to(1s), [this, id] { on_driver([this, id] { submit(id + kAgain); }); });
      return;
    }
    model.done = true;
    scheduler_.release_shuffle(id);
    driver_.release_shuffle(id, now_);
    scheduler_.release_dataset(id);
    driver_.release_dataset(id, now_);
  }

  bool over() const {
    for (const auto& [id, job] : jobs_) {
      if (!job.done) return false;
    }
    return !storm();
  }

  /// Some fair weather after the last job: everything that was released must be gone.
  void settle_down() {
    const SteadyTime end = now_ + 10s;
    while (now_ < end) step();
    if (driver_.unsettled_attempts() != 0 || !scheduler_.is_idle())
      broken("attempts are left over");
    if (members_.size() != places_) broken("a place has no worker");
    for (const auto& [id, process] : processes_) {
      const BlockStore::Usage usage = process->store.blocks->usage();
      if (members_.count(id) != 0 && usage.memory + usage.disk != 0 && !has_stray_replica_) {
        broken("what was released is still kept by worker " + to_string(id));
      }
    }
  }

  void check() const {
    driver_.check_invariants();
    std::set<std::uint32_t> places;
    for (const WorkerId member : members_) {
      if (!places.insert(member.slot).second) broken("a place has two members");
    }
  }

  // --- the network ---

  void travel(std::string frame, std::function<void(const std::string&)> arrive) {
    if (strikes(weather_.drop)) return;
    const int copies = strikes(weather_.duplicate) ? 2 : 1;
    for (int i = 0; i < copies; ++i) {
      std::string copy = frame;
      if (strikes(weather_.corrupt))
        copy[between(0, copy.size() - 1)] ^= static_cast<char>(1 << between(0, 7));
      const Duration delay = strikes(weather_.slow) ? time_up_to(2s) : 20us + time_up_to(1ms);
      after(delay, [copy = std::move(copy), arrive] { arrive(copy); });
    }
  }

  void send_to_driver(WorkerId from, const wire::ToDriver& message) {
    note("from {} {}", to_string(from), wire::name_of(message));
    travel(to_frame(message, key_), [this, from](const std::string& frame) {
      const auto opened = open_frame(frame, key_);
      const auto* good = std::get_if<OpenedFrame>(&opened);
      if (good == nullptr) return;
      on_driver([this, from, held = wire::from_frame<wire::ToDriver>(*good)]() mutable {
        if (std::holds_alternative<wire::Heartbeat>(held)) {  // as the heartbeat thread does
          travel(to_frame(wire::ToWorker(wire::HeartbeatReply{now_}), key_),
                 [this, from](const std::string& reply) {
                   const auto answer = open_frame(reply, key_);
                   if (const auto* ok = std::get_if<OpenedFrame>(&answer))
                     deliver(from, wire::from_frame<wire::ToWorker>(*ok));
                 });
        }
        driver_.received(from, std::move(held), now_);
      });
    });
  }

  // --- worker processes ---

  Process* find(WorkerId id) {
    const auto found = processes_.find(id);
    return found == processes_.end() ? nullptr : found->second.get();
  }

  void start_process(WorkerId id) {
    note("start {}", to_string(id));
    auto& process = processes_[id];
    process = std::make_unique<Process>();
    process->id = id;
    BlockStore::Options little;
    if (chance(0.7)) little.memory_limit = between(0, 150);
    process->store.blocks = std::make_unique<BlockStore>(little);
    const bool bad = strikes(weather_.bad_start);
    if (bad && chance(0.5)) return;  // hangs before it gets anywhere
    if (bad) {
      after(time_up_to(50ms), [this, id] { exit_process(id, {ProcessExit::Kind::kExited, 1}); });
      return;
    }
    after(time_up_to(100ms), [this, id] {
      Process* started = find(id);
      if (started == nullptr) return;
      started->slots.resize(slots_);
      started->layout = {static_cast<std::uint32_t>(slots_), 0, ahead_};
      started->state = std::make_unique<WorkerState>(
          WorkerState::Options{
              {id, 1, static_cast<std::uint32_t>(slots_), {{1, "job"}}, to_string(id), 0, ahead_},
              10s,
              20s},
          [started](StageHash hash) { return started->store.stages.count(hash) != 0; });
      act(id, started->state->start(now_));
      worker_timer(id);
      heartbeat(id);
    });
  }

  void exit_process(WorkerId id, ProcessExit exit) {
    const auto process = processes_.extract(id);
    if (process.empty()) return;
    const BlockStore::Usage usage = process.mapped()->store.blocks->usage();
    spills += static_cast<int>(usage.spilled);
    evictions += static_cast<int>(usage.dropped);
    note("exit {} {}", to_string(id), to_string(exit));
    after(time_up_to(5ms),
          [this, id, exit] { on_driver([this, id, exit] { driver_.exited(id, exit, now_); }); });
  }

  void signal(WorkerId id, int number) {
    note("signal {} {}", to_string(id), number);
    const bool waits = number != SIGKILL;
    after(time_up_to(1ms), [this, id, number, waits] {
      const auto die = [this, id, number] {
        exit_process(id, {ProcessExit::Kind::kSignalled, number});
      };
      waits ? on_worker(id, [die](Process&) { die(); }) : die();
    });
  }

  /// Runs what happens to a worker, when it is not frozen; nothing if it is gone.
  void on_worker(WorkerId id, std::function<void(Process&)> event) {
    Process* process = find(id);
    if (process == nullptr) return;
    if (now_ < process->frozen_until) {
      at(process->frozen_until,
         [this, id, event = std::move(event)]() mutable { on_worker(id, std::move(event)); });
      return;
    }
    event(*process);
  }

  void worker_timer(WorkerId id) {
    on_worker(id, [this, id](Process& process) {
      act(id, process.state->on_timer(now_));
      if (Process* still = find(id))
        at(std::max(still->state->next_deadline(), now_ + 1ms), [this, id] { worker_timer(id); });
    });
  }

  void heartbeat(WorkerId id) {
    on_worker(id, [this, id](Process& process) {
      std::vector<std::uint64_t> records;
      for (SimSlot& slot : process.slots) {
        if (!slot.hangs) ++slot.records;
      }
      for (std::uint32_t i = 0; i < process.layout.slots(); ++i) {
        records.push_back(process.slots[process.layout.thread_of(i)].records);
      }
      if (const auto beat = process.state->heartbeat(records, 1)) send_to_driver(id, *beat);
      after(200ms, [this, id] { heartbeat(id); });
    });
  }

  void deliver(WorkerId to, wire::ToWorker message) {
    on_worker(to, [this, to, message = std::move(message)](Process& process) mutable {
      if (process.state == nullptr) return;
      if (const auto* launch = std::get_if<wire::Launch>(&message)) {
        const std::uint32_t thread = process.layout.thread_of(launch->launch.slot);
        ahead += static_cast<int>(launch->launch.slot != thread);
        process.slots[thread].inbox.push_back(std::move(message));
        next_in_slot(to, thread);
      } else {
        act(to, process.state->received(std::move(message), now_));
      }
    });
  }

  /// What a slot's thread does when it is idle.
  void next_in_slot(WorkerId id, std::uint32_t index) {
    for (Process* process = find(id); process != nullptr; process = find(id)) {
      SimSlot& slot = process->slots[index];
      if (slot.task || slot.inbox.empty()) return;
      wire::ToWorker message = std::move(slot.inbox.front());
      slot.inbox.pop_front();
      act(id, process->state->received(std::move(message), now_));
    }
  }

  void act(WorkerId id, WorkerState::Actions actions) {
    for (WorkerState::Action& action : actions) {
      Process* process = find(id);
      if (process == nullptr) return;
      if (auto* message = std::get_if<WorkerState::Send>(&action)) {
        send_to_driver(id, message->message);
      } else if (auto* run = std::get_if<WorkerState::Run>(&action)) {
        begin(*process, std::move(*run));
      } else if (const auto* stop = std::get_if<WorkerState::StopRunning>(&action)) {
        const std::uint32_t index = process->layout.thread_of(stop->slot);
        SimSlot& slot = process->slots[index];
        if (!slot.task || slot.task->launch.slot != stop->slot) broken("what is stopped runs not");
        slot.cancelled = true;
        if (!slot.hangs)
          after(time_up_to(1ms),
                [this, id, index, run_id = slot.run] { end_task(id, index, run_id); });
      } else if (const auto* free = std::get_if<WorkerState::Free>(&action)) {
        BlockStore& blocks = *process->store.blocks;
        for (const ShuffleId shuffle : free->shuffles) blocks.release_shuffle(shuffle);
        for (const DatasetId dataset : free->datasets) blocks.release_dataset(dataset);
      } else if (const auto* peer = std::get_if<WorkerState::ForgetPeer>(&action)) {
        process->lost_peers.insert(peer->worker);
      } else if (const auto* end = std::get_if<WorkerState::End>(&action)) {
        note("end {}: {}", to_string(id), end->reason);
        after(time_up_to(1ms), [this, id] {
          exit_process(id, {ProcessExit::Kind::kExited, kWorkerEndedItself});
        });
      }
    }
  }

  // --- tasks ---

  void begin(Process& process, WorkerState::Run run) {
    const WorkerId id = process.id;
    const std::uint32_t index = process.layout.thread_of(run.launch.slot);
    SimSlot& slot = process.slots[index];
    if (slot.task) broken("a slot runs two tasks");
    if (run.task->program->bytes.empty() &&
        process.store.stages.count(run.task->program->hash) == 0) {
      broken("a task runs without its stage");
    }
    process.store.stages.insert(run.task->program->hash);
    if (strikes(0.05)) process.store.stages.clear();  // its cache is small
    slot.task = std::move(run);
    slot.cancelled = false;
    slot.hangs = strikes(weather_.hang);
    const std::uint64_t run_id = ++slot.run;
    note("run {} at {}", slot.task->launch.attempt, to_string(id));
    if (slot.hangs) return;
    const Duration time = chance(0.05) ? time_up_to(1s) : time_up_to(20ms);
    after(time, [this, id, index, run_id] { end_task(id, index, run_id); });
  }

  void end_task(WorkerId id, std::uint32_t index, std::uint64_t run_id) {
    on_worker(id, [this, id, index, run_id](Process& process) {
      SimSlot& slot = process.slots[index];
      if (!slot.task || slot.run != run_id) return;
      if (strikes(weather_.crash))
        return exit_process(id, {ProcessExit::Kind::kSignalled, SIGSEGV});
      const WorkerState::Run task = *slot.task;
      Duration wait{};
      TaskOutcome outcome =
          slot.cancelled ? TaskOutcome(Cancelled{}) : compute(process, task, wait);
      if (wait > 0us) {  // a fetch that times out
        slot.run++;
        after(wait, [this, id, index, later = slot.run, outcome = std::move(outcome)] {
          on_worker(id, [this, index, later, outcome](Process& then) {
            if (then.slots[index].run == later) report(then, index, outcome);
          });
        });
        return;
      }
      report(process, index, std::move(outcome));
    });
  }

  void report(Process& process, std::uint32_t index, TaskOutcome outcome) {
    const WorkerId id = process.id;
    SimSlot& slot = process.slots[index];
    ran_.insert({slot.task->launch.attempt, id});
    const std::uint32_t of = slot.task->launch.slot;
    slot.task.reset();
    ++slot.run;
    act(id, process.state->finished(of, std::move(outcome), now_));
    next_in_slot(id, index);
  }

  TaskOutcome compute(Process& process, const WorkerState::Run& run, Duration& wait) {
    const TaskSpec& task = *run.task;
    if (poison_ && task.job == 1 && task.stage == 1) return Failed{"poison"};
    if (!poison_ && strikes(weather_.full_disk)) return Failed{"the disk is full"};
    Done done;
    if (task.writes_shuffle) {
      const JobId job = task.job % kAgain;
      const JobModel& model = jobs_.at(job);
      std::vector<Bytes> pieces;
      done.output = MapOutput{process.id, {}};
      for (std::uint32_t r = 0; r < model.reducers; ++r) {
        pieces.emplace_back(content(job, task.partition, r));
        const Bytes& piece = pieces.back();
        Segment segment{task.partition, process.id, piece.size(), hash_bytes(piece.view()), {}};
        if (segment.size <= kInlineBytes) segment.inline_data = piece;
        done.output->segments.push_back(segment);
      }
      process.store.blocks->put_map_output(*task.writes_shuffle, task.partition, pieces, kWanted);
      return done;
    }
    const CacheSlot* slot = task.cached.empty() ? nullptr : &task.cached[0];
    if (slot != nullptr) {
      const auto stored = process.store.blocks->block(slot->dataset, task.partition);
      if (stored) {
        ++hits;
        replicas += static_cast<int>(process.store.replicas.count({slot->dataset, task.partition}));
        done.result = stored->parts.empty() ? Bytes() : stored->parts[0].get();
        return done;
      }
    }
    if (task.inputs_withheld) {
      ++missing;
      return NeedInputs{};
    }
    std::string all;
    for (const Segment& segment : task.inputs.at(0).segments) {
      if (segment.size == 0) continue;
      if (segment.inline_data) {
        all += segment.inline_data->view();
        continue;
      }
      const auto held = fetch(process, run, task.inputs[0].shuffle, segment, wait);
      if (!held)
        return FetchFailed{
            task.inputs[0].shuffle, segment.worker, {segment.map_partition}, "not to be had"};
      const Bytes piece = held->get();
      if (hash_bytes(piece.view()) != segment.hash) {
        broken("a map output is not what was announced");
      }
      all += piece.view();
    }
    done.result = Bytes(all);
    if (slot != nullptr) keep(process, task, *slot, done);
    return done;
  }

  /// Where there is room, and with a second replica where the level says so.
  void keep(Process& process, const TaskSpec& task, const CacheSlot& slot, Done& done) {
    const std::uint32_t partition = task.partition;
    const StoredElements elements{nullptr, {HeldBytes(done.result)}};
    StoredBlock stored{slot.dataset, partition, done.result.size(), std::nullopt};
    if (internal::has_replica(slot.level)) {
      const auto other = somebody();
      Process* holder = other ? find(*other) : nullptr;
      if (holder != nullptr && members_.count(*other) != 0 && *other != process.id &&
          now_ >= holder->frozen_until &&
          holder->store.blocks->put_block(slot.dataset, partition, elements, slot.level, kWanted,
                                          true) == BlockStore::Kept::kYes) {
        stored.replica = *other;
        holder->store.replicas.insert({slot.dataset, partition});
        // An attempt that was given up may go on, and nobody frees what it sends elsewhere.
        if (launched_.count(task.attempt) == 0) has_stray_replica_ = true;
      }
    }
    if (process.store.blocks->put_block(slot.dataset, partition, elements, slot.level, kWanted) ==
        BlockStore::Kept::kYes) {
      done.stored.push_back(stored);
    }
  }

  std::optional<HeldBytes> fetch(Process& process, const WorkerState::Run& run, ShuffleId shuffle,
                                 const Segment& segment, Duration& wait) {
    if (segment.worker != process.id) {
      const bool has_peer =
          std::any_of(run.peers.begin(), run.peers.end(),
                      [&](const wire::Peer& peer) { return peer.worker == segment.worker; });
      if (!has_peer || process.lost_peers.count(segment.worker) != 0 ||
          strikes(weather_.lost_block))
        return std::nullopt;
    }
    Process* holder = find(segment.worker);
    if (holder == nullptr || now_ < holder->frozen_until) {
      wait = 500ms;
      return std::nullopt;
    }
    return holder->store.blocks->map_output(shuffle, segment.map_partition, run.task->partition);
  }

  // --- disasters ---

  void schedule_faults() {
    repeat(weather_.kill, [this] {
      if (const auto id = somebody()) exit_process(*id, {ProcessExit::Kind::kSignalled, SIGKILL});
    });
    repeat(weather_.freeze, [this] {
      const auto id = somebody();
      if (!id) return;
      note("freeze {}", to_string(*id));
      find(*id)->frozen_until = now_ + time_up_to(chance(0.5) ? 500ms : 6s);
    });
    repeat(weather_.disconnect, [this] {
      const auto id = somebody();
      if (!id) return;
      note("disconnect {}", to_string(*id));
      on_driver([this, id] { driver_.disconnected(*id, now_); });
    });
    repeat(weather_.driver_freeze, [this] {
      note("freeze the driver");
      driver_frozen_until_ = now_ + time_up_to(chance(0.5) ? 300ms : 3s);
    });
  }

  void repeat(Duration mean, const std::function<void()>& disaster) {
    if (mean == Duration{}) return;
    after(time_up_to(2 * mean), [this, mean, disaster] {
      if (!storm()) return;
      disaster();
      repeat(mean, disaster);
    });
  }

  std::optional<WorkerId> somebody() {
    if (processes_.empty()) return std::nullopt;
    auto chosen = processes_.begin();
    std::advance(chosen, static_cast<std::ptrdiff_t>(between(0, processes_.size() - 1)));
    return chosen->first;
  }

  Chance chance_;
  const bool poison_;
  const std::uint64_t places_;
  const std::uint64_t slots_;
  const std::uint32_t ahead_;
  Weather weather_;
  const FrameKey key_{7, {1, 2, 3}};

  SteadyTime now_ = kStart;
  std::priority_queue<Event> events_;
  std::uint64_t order_ = 0;
  std::uint64_t steps_ = 0;

  DagScheduler scheduler_;
  ClusterDriver driver_;
  bool performing_ = false;
  SteadyTime driver_frozen_until_{};
  std::optional<SteadyTime> driver_timer_;
  std::map<JobId, JobModel> jobs_;
  std::set<WorkerId> members_;
  std::set<AttemptId> launched_;  ///< without outcome
  std::set<std::pair<AttemptId, WorkerId>> ran_;
  std::map<WorkerId, std::unique_ptr<Process>> processes_;
  bool has_stray_replica_ = false;
};

}  // namespace weir::simulation
