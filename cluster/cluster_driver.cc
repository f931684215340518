#include "weir/cluster/cluster_driver.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include <fmt/format.h>

#include "weir/cluster/placement.h"

namespace weir {

using namespace std::chrono_literals;

namespace {

/// Releases go with the next launch to the worker; an idle worker gets them by themselves after
/// this.
constexpr Duration kReleaseDelay = 50ms;
constexpr Duration kReleaseResend = 1s;
/// What a worker takes in of a launch, at the least, while the machine is busy: received, checked
/// and decoded.
constexpr Duration::rep kLaunchBytesPerSecond = 16 << 20;
/// A task is sent ahead if it begins within this time, by what tasks of its stage took.
constexpr Duration kAhead = 2ms;
/// Stages remembered to be at a worker. More only means that some are sent again.
constexpr std::size_t kMaxStages = 64 * 1024;

Duration arrival_time(std::uint64_t bytes) {
  return Duration(1s) * static_cast<Duration::rep>(bytes) / kLaunchBytesPerSecond;
}

std::optional<SteadyTime> earlier(std::optional<SteadyTime> a, std::optional<SteadyTime> b) {
  if (!a || !b) return a ? a : b;
  return std::min(*a, *b);
}

/// The first module of ours that the other process does not have; null if it has them all.
const ModuleId* first_missing(const std::vector<ModuleId>& ours,
                              const std::vector<ModuleId>& theirs) {
  for (const ModuleId& module : ours) {
    if (std::ranges::find(theirs, module.id, &ModuleId::id) == theirs.end()) return &module;
  }
  return nullptr;
}

}  // namespace

ClusterDriver::ClusterDriver(Options options)
    : options_(std::move(options)), membership_(options_.settings, options_.places) {}

void ClusterDriver::start(SteadyTime now) {
  membership_.start(now);
  absorb_membership(now);
}

void ClusterDriver::launch(TaskSpec task, SteadyTime now) {
  if (stopping_) return;
  if (membership_.failed()) {
    actions_.push_back(TellFailure{failure_});
    return;
  }
  const AttemptId id = task.attempt;
  if (!task.resident) last_attempt_ = std::max(last_attempt_, id);
  Attempt& attempt = attempts_[id];
  attempt.task = std::make_shared<const TaskSpec>(std::move(task));
  attempt.queued = now;
  auto& queue = attempt.task->resident ? resident_queue_ : queue_;
  auto at = queue.end();
  while (at != queue.begin() && lets_pass(*attempts_.at(*std::prev(at)).task, *attempt.task)) --at;
  queue.insert(at, id);
  place_waiting(now);
}

void ClusterDriver::cancel(AttemptId id, SteadyTime) {
  const auto found = attempts_.find(id);
  if (found == attempts_.end()) return;
  Attempt& attempt = found->second;
  if (!attempt.launched) {
    std::erase(attempt.task->resident ? resident_queue_ : queue_, id);
    attempts_.erase(found);
    return;
  }
  attempt.cancelled = true;  // its slot stays taken until the worker says how it ended
  send(attempt.worker, wire::Cancel{attempt.launch});
}

void ClusterDriver::tell(AttemptId id, Bytes message) {
  const auto found = attempts_.find(id);
  if (found == attempts_.end() || !found->second.launched) return;
  const Attempt& attempt = found->second;
  send(attempt.worker,
       wire::Tell{attempt.launch, std::move(message), all_peers_of(attempt.worker)});
}

void ClusterDriver::release_shuffle(ShuffleId shuffle, SteadyTime now) {
  for (auto& [id, worker] : workers_) {
    worker.open_release.shuffles.push_back(shuffle);
    if (!worker.open_release_since) worker.open_release_since = now;
  }
}

void ClusterDriver::release_dataset(DatasetId dataset, SteadyTime now) {
  for (auto& [id, worker] : workers_) {
    worker.open_release.datasets.push_back(dataset);
    worker.open_release.last_attempt = last_attempt_;
    if (!worker.open_release_since) worker.open_release_since = now;
  }
}

void ClusterDriver::release_state(StateId state, SteadyTime now) {
  for (auto& [id, worker] : workers_) {
    worker.open_release.states.push_back(state);
    if (!worker.open_release_since) worker.open_release_since = now;
  }
}

void ClusterDriver::stop(SteadyTime now) {
  stopping_ = true;
  membership_.stop(now);
  absorb_membership(now);
}

void ClusterDriver::received(WorkerId from, wire::ToDriver message, SteadyTime now) {
  membership_.heard(from, now);
  std::visit([&](auto& held) { on(from, std::move(held), now); }, message);
  absorb_membership(now);
}

void ClusterDriver::disconnected(WorkerId worker, SteadyTime now) {
  membership_.disconnected(worker, now);
}

void ClusterDriver::exited(WorkerId worker, const ProcessExit& exit, SteadyTime now) {
  membership_.exited(worker, exit, now);
  std::erase_if(refused_, [&](const auto& entry) { return entry.first == worker; });
  absorb_membership(now);
}

void ClusterDriver::sent(WorkerId, const wire::LaunchId& launch, std::uint64_t bytes,
                         SteadyTime now) {
  const auto found = attempts_.find(launch.attempt);
  if (found == attempts_.end() || found->second.launch != launch) return;
  found->second.due = now + options_.settings.launch_grace + arrival_time(bytes);
}

void ClusterDriver::unsendable(WorkerId worker, const wire::LaunchId& launch,
                               const std::string& why) {
  const auto found = attempts_.find(launch.attempt);
  if (found == attempts_.end() || found->second.launch != launch) return;
  settle(launch.attempt, worker, Failed{"the task could not be sent to a worker: " + why});
}

void ClusterDriver::fail(const std::string& reason, SteadyTime now) {
  membership_.fail(reason);
  absorb_membership(now);
}

/// Time that this process was away itself is not held against tasks either.
void ClusterDriver::forgive_absence(SteadyTime at) {
  const Duration gap = membership_.absence(at);
  if (gap == Duration{}) return;
  for (auto& [id, attempt] : attempts_) {
    attempt.progress_at = std::min(at, attempt.progress_at + gap);
    if (attempt.due) *attempt.due += gap;
  }
  for (auto& [id, worker] : workers_) {
    for (Slot& slot : worker.slots) {
      if (slot.stray_since) slot.stray_since = std::min(at, *slot.stray_since + gap);
    }
  }
}

void ClusterDriver::tick(SteadyTime at) {
  forgive_absence(at);
  membership_.tick(at);
  absorb_membership(at);
}

void ClusterDriver::on_timer(SteadyTime now) {
  membership_.on_timer(now);
  absorb_membership(now);
  for (auto& [id, worker] : workers_) {
    if (worker.open_release_since && *worker.open_release_since + kReleaseDelay <= now) {
      send(id, take_release(worker, now));
    }
  }
  place_waiting(now);
}

std::optional<ClusterDriver::Action> ClusterDriver::next_action() {
  if (actions_.empty()) return std::nullopt;
  Action action = std::move(actions_.front());
  actions_.pop_front();
  return action;
}

std::optional<SteadyTime> ClusterDriver::next_deadline() const {
  std::optional<SteadyTime> next = earlier(membership_.next_deadline(), locality_deadline_);
  for (const auto& [id, worker] : workers_) {
    if (worker.open_release_since) next = earlier(next, *worker.open_release_since + kReleaseDelay);
  }
  return next;
}

// --- messages ---

void ClusterDriver::on(WorkerId from, wire::Register message, SteadyTime now) {
  if (const ModuleId* missing = first_missing(options_.modules, message.modules)) {
    const std::string reason = fmt::format(
        "(process {}) is of another binary: it does not have {} (build id {:016x}) as the "
        "driver does",
        message.pid, missing->name, missing->id);
    send(from, wire::Refused{reason});
    membership_.unfit(from, reason, now);
    return;
  }
  const bool was_member = membership_.is_member(from);
  if (!membership_.registered(from, message.slots, std::move(message.shuffle_endpoint), now)) {
    send(from, wire::Refused{fmt::format("worker {} is not expected", to_string(from))});
    return;
  }
  send(from, wire::Registered{now});
  if (was_member) return;
  Worker& worker = workers_[from];
  worker.layout = message.layout();
  worker.slots.resize(worker.layout.slots());
  actions_.push_back(TellAdded{from, message.slots});
  place_waiting(now);
}

void ClusterDriver::on(WorkerId from, const wire::Heartbeat& beat, SteadyTime now) {
  const auto found = workers_.find(from);
  if (found == workers_.end()) {
    if (!stopping_) membership_.dismiss(from, now);
    return;
  }
  Worker& worker = found->second;
  if (beat.worker != from || beat.sequence <= worker.last_heartbeat ||
      beat.slots.size() != worker.slots.size()) {
    return;
  }
  worker.last_heartbeat = beat.sequence;
  forgive_absence(now);
  resend_releases(from, worker, beat.releases, now);
  for (std::uint32_t slot = 0; slot < beat.slots.size(); ++slot) {
    reconcile(from, slot, beat.slots[slot], beat.echo, now);
  }
  place_waiting(now);
}

void ClusterDriver::on(WorkerId from, wire::Outcome message, SteadyTime now) {
  const wire::LaunchId& launch = message.launch;
  const auto found = workers_.find(from);
  if (found == workers_.end()) {
    if (!stopping_) {
      if (refused_.count({from, launch.attempt}) == 0) refuse(from, launch.attempt);
      if (membership_.find(from) != nullptr) refused_.emplace(from, launch.attempt);
      membership_.dismiss(from, now);
    }
    return;
  }
  Worker& worker = found->second;
  if (launch.slot >= worker.slots.size()) return;
  Slot& slot = worker.slots[launch.slot];
  if (slot.given_up.erase(launch.sequence) != 0) {
    stray_ended(slot, now);
    refuse(from, launch.attempt);
    send(from, wire::Settled{launch});
  } else if (slot.attempt == launch.attempt && slot.sequence == launch.sequence) {
    if (!std::holds_alternative<Failed>(message.outcome)) {
      note_stage(worker, attempts_.at(launch.attempt).task->program->hash, message.outcome);
    }
    settle(launch.attempt, from, std::move(message.outcome));
  } else {
    return;  // said before
  }
  place_waiting(now);
}

/// The worker has the stage. What its tasks take is noted so that it rises at once and falls
/// slowly: nothing is to wait behind a long one.
void ClusterDriver::note_stage(Worker& worker, StageHash stage, const TaskOutcome& outcome) {
  if (worker.stages.size() >= kMaxStages) worker.stages.clear();
  const auto* done = std::get_if<Done>(&outcome);
  const Duration took = done != nullptr ? done->metrics.run_time : Duration::max();
  const auto [known, is_new] = worker.stages.try_emplace(stage, took);
  if (is_new || took == Duration::max()) return;
  if (known->second == Duration::max()) known->second = took;
  known->second = std::max(took, known->second - (known->second - took) / 8);
}

void ClusterDriver::on(WorkerId from, const wire::UnknownStage& message, SteadyTime now) {
  const auto found = workers_.find(from);
  if (found == workers_.end() || message.launch.slot >= found->second.slots.size()) return;
  Worker& worker = found->second;
  const Slot& slot = worker.slots[message.launch.slot];
  if (slot.attempt != message.launch.attempt || slot.sequence != message.launch.sequence) return;
  worker.stages.erase(message.stage);
  send_launch(attempts_.at(*slot.attempt), true, now);
}

void ClusterDriver::on(WorkerId from, wire::Report message, SteadyTime) {
  const auto found = workers_.find(from);
  if (found == workers_.end() || message.launch.slot >= found->second.slots.size()) return;
  const Slot& slot = found->second.slots[message.launch.slot];
  if (slot.attempt != message.launch.attempt || slot.sequence != message.launch.sequence) return;
  actions_.push_back(TellReport{message.launch.attempt, from, std::move(message.report)});
}

void ClusterDriver::refuse(WorkerId from, AttemptId attempt) {
  ++refused_results_;
  actions_.push_back(TellRefused{from, attempt});
}

// --- what a worker says it does, against what it should do ---

void ClusterDriver::reconcile(WorkerId id, std::uint32_t slot_index, const wire::SlotStatus& status,
                              SteadyTime echo, SteadyTime now) {
  const auto found = workers_.find(id);
  if (found == workers_.end()) return;  // declared lost over an earlier slot
  Worker& worker = found->second;
  Slot& slot = worker.slots[slot_index];
  const wire::LaunchId stated{slot_index, status.sequence, status.attempt};
  const bool is_current = slot.attempt.has_value() && status.sequence == slot.sequence;

  if (status.running && slot.given_up.count(status.sequence) != 0) {
    if (!slot.stray_since) slot.stray_since = now;
    send(id, wire::Cancel{stated});
    if (now - *slot.stray_since > options_.settings.task_hang_timeout) {
      membership_.hung(id, "does not stop a task that was given up; killed", now);
      absorb_membership(now);
    }
    return;
  }
  if (slot.stray_since) stray_ended(slot, now);
  // It goes on from launch to launch: what it has not told of earlier ones it never will.
  slot.given_up.erase(slot.given_up.begin(), slot.given_up.lower_bound(status.sequence));

  if (is_current) {
    if (status.running) check_progress(id, slot, status, now);
    return;
  }
  if (status.unsettled) {
    if (slot.unsettled_seen == status.sequence) send(id, wire::Settled{stated});
    slot.unsettled_seen = status.sequence;
  }
  if (!slot.attempt || status.running || status.sequence > slot.sequence) return;
  const Attempt& attempt = attempts_.at(*slot.attempt);
  if (!attempt.due || echo < *attempt.due) return;
  slot.given_up.insert(slot.sequence);
  worker.stages.erase(attempt.task->program->hash);
  send(id, wire::Cancel{attempt.launch});  // it may wait for a task that takes longer than thought
  settle(*slot.attempt, id,
         AttemptLost{id, false,
                     fmt::format("the task sent to worker {} did not arrive", to_string(id))});
}

/// What was sent to the slot meanwhile could not be taken before.
void ClusterDriver::stray_ended(Slot& slot, SteadyTime now) {
  slot.stray_since.reset();
  if (!slot.attempt) return;
  std::optional<SteadyTime>& due = attempts_.at(*slot.attempt).due;
  if (due) due = std::max(*due, now + options_.settings.launch_grace);
}

void ClusterDriver::check_progress(WorkerId id, Slot& slot, const wire::SlotStatus& status,
                                   SteadyTime now) {
  Attempt& attempt = attempts_.at(*slot.attempt);
  if (attempt.cancelled) send(id, wire::Cancel{attempt.launch});
  if (status.steps != attempt.steps) {
    attempt.steps = status.steps;
    attempt.progress_at = now;
  }
  if (attempt.task->resident) return;  // it may have nothing to do for ever
  if (now - attempt.progress_at <= options_.settings.task_hang_timeout) return;
  hung_ = slot.attempt;
  membership_.hung(id,
                   fmt::format("ran a task that made no progress for {}; killed",
                               to_string(options_.settings.task_hang_timeout)),
                   now);
  absorb_membership(now);
  hung_.reset();
}

void ClusterDriver::resend_releases(WorkerId id, Worker& worker, std::uint64_t done,
                                    SteadyTime now) {
  while (!worker.releases.empty() && worker.releases.front().release.sequence <= done) {
    worker.releases.pop_front();
  }
  for (PendingRelease& pending : worker.releases) {
    if (now - pending.sent < kReleaseResend) continue;
    pending.sent = now;
    send(id, pending.release);
  }
}

wire::Release ClusterDriver::take_release(Worker& worker, SteadyTime now) {
  if (!worker.open_release_since) return {};
  wire::Release release = std::exchange(worker.open_release, {});
  worker.open_release_since.reset();
  release.sequence = ++worker.last_release;
  worker.releases.push_back({release, now});
  return release;
}

// --- members ---

void ClusterDriver::absorb_membership(SteadyTime now) {
  while (auto event = membership_.next_event()) {
    if (const auto* begin = std::get_if<Membership::Start>(&*event)) {
      actions_.push_back(StartProcess{begin->worker});
    } else if (const auto* end = std::get_if<Membership::Kill>(&*event)) {
      actions_.push_back(KillProcess{end->worker, end->signal});
    } else if (auto* tell = std::get_if<Membership::TellShutdown>(&*event)) {
      send(tell->worker, wire::Shutdown{std::move(tell->reason), tell->drain});
    } else if (const auto* lost = std::get_if<Membership::Lost>(&*event)) {
      on_lost(*lost, now);
    } else if (const auto* failed = std::get_if<Membership::ClusterFailed>(&*event)) {
      failure_ = failed->reason;
      actions_.push_back(TellFailure{failure_});
    }
  }
}

void ClusterDriver::on_lost(const Membership::Lost& lost, SteadyTime now) {
  if (!lost.was_member) {
    actions_.push_back(Warn{fmt::format("worker {} {}", to_string(lost.worker), lost.reason)});
    return;
  }
  const auto node = workers_.extract(lost.worker);
  if (node.empty()) return;
  actions_.push_back(TellLost{lost.worker, lost.reason});
  if (workers_.empty()) actions_.push_back(Warn{"0 workers are left; tasks wait for the next"});
  for (const auto& [id, worker] : workers_) send(id, wire::PeerLost{lost.worker});
  const Worker& worker = node.mapped();
  std::map<std::uint32_t, AttemptId> running;  // by thread: of what it was sent the first
  for (const Slot& slot : worker.slots) {
    if (!slot.attempt) continue;
    const Attempt& attempt = attempts_.at(*slot.attempt);
    AttemptId& first =
        running.try_emplace(worker.layout.thread_of(attempt.launch.slot), *slot.attempt)
            .first->second;
    if (attempt.order < attempts_.at(first).order) first = *slot.attempt;
  }
  for (const Slot& slot : worker.slots) {
    if (!slot.attempt) continue;
    const AttemptId id = *slot.attempt;
    const bool ran = running.at(worker.layout.thread_of(attempts_.at(id).launch.slot)) == id;
    const bool blame = (lost.blame && ran) || id == hung_;
    settle(id, lost.worker, AttemptLost{lost.worker, blame, lost.reason});
  }
  place_waiting(now);  // what waited for it
}

// --- attempts ---

std::pair<std::uint32_t, std::uint32_t> ClusterDriver::Worker::threads(bool resident) const {
  if (resident) return {layout.threads, layout.num_threads()};
  return {0, layout.threads};
}

/// How many launches the thread has to see to.
std::uint32_t ClusterDriver::Worker::load(std::uint32_t thread) const {
  std::uint32_t load = 0;
  for (std::uint32_t i = 0; i < layout.slots_of(thread); ++i) {
    load += static_cast<std::uint32_t>(slots[layout.slot_of(thread, i)].taken());
  }
  return load;
}

/// How many more launches there may be if no thread is to have more than `most_load`.
std::uint32_t ClusterDriver::Worker::room(bool resident, std::uint32_t most_load) const {
  std::uint32_t room = 0;
  const auto [begin, end] = threads(resident);
  for (std::uint32_t thread = begin; thread < end; ++thread) {
    room += most_load - std::min(most_load, load(thread));
  }
  return room;
}

void ClusterDriver::place_waiting(SteadyTime now) {
  locality_deadline_.reset();
  if (stopping_) return;
  if (!queue_.empty()) {
    place(queue_, false, now, [&](const Attempt& attempt, const auto& candidates) {
      return choose(attempt, candidates, now);
    });
  }
  if (!queue_.empty()) place_ahead(now);
  if (!resident_queue_.empty()) {
    place(resident_queue_, true, now,
          [](const Attempt&, const auto& candidates) { return choose_roomiest(candidates); });
  }
}

std::optional<WorkerId> ClusterDriver::choose(const Attempt& attempt,
                                              const std::vector<PlacementCandidate>& candidates,
                                              SteadyTime now) {
  if (const auto original = attempts_.find(attempt.task->copy_of);
      original != attempts_.end() && original->second.launched) {
    auto others = candidates;
    std::erase_if(others, [&](const PlacementCandidate& candidate) {
      return candidate.worker == original->second.worker;
    });
    return choose_roomiest(others);
  }
  const SteadyTime wait_until = attempt.queued + options_.settings.locality_wait;
  const auto chosen = choose_worker(*attempt.task, candidates, options_.places, now < wait_until);
  // After that it is sticky, and only a worker's slot or a worker's end gets it on.
  if (!chosen && now < wait_until) locality_deadline_ = earlier(locality_deadline_, wait_until);
  return chosen;
}

/// Launches short tasks at threads that still run others, so that they need not wait for the word
/// that those have ended. In their order: the first that cannot be sent ends it.
void ClusterDriver::place_ahead(SteadyTime now) {
  std::vector<PlacementCandidate> candidates;
  while (!queue_.empty()) {
    Attempt& attempt = attempts_.at(queue_.front());
    candidates.clear();
    std::uint32_t room = 0;
    for (const auto& [id, worker] : workers_) {
      if (membership_.alive_at(id.slot) == nullptr) continue;
      candidates.push_back({id, worker.room(false, most_launches(worker, *attempt.task))});
      room += candidates.back().idle_slots;
    }
    if (room == 0) return;
    const std::optional<WorkerId> chosen = choose(attempt, candidates, now);
    if (!chosen) return;
    put(attempt, *chosen, now);
    queue_.pop_front();
  }
}

/// That a thread may have at a time, if the last is to be such a task.
std::uint32_t ClusterDriver::most_launches(const Worker& worker, const TaskSpec& task) {
  if (!task.states.empty() || task.copy_of != 0) return 1;
  const auto known = worker.stages.find(task.program->hash);
  if (known == worker.stages.end()) return 1;
  const Duration::rep ahead = kAhead / std::max(known->second, Duration(1));
  return 1 + static_cast<std::uint32_t>(std::min<Duration::rep>(ahead, worker.layout.ahead));
}

/// Launches what has a slot, as long as there is an idle one: `choose` says which.
template <class Choose>
void ClusterDriver::place(std::deque<AttemptId>& queue, bool resident, SteadyTime now,
                          const Choose& choose) {
  std::vector<PlacementCandidate> candidates;
  std::uint32_t idle = 0;
  for (const auto& [id, worker] : workers_) {
    if (membership_.alive_at(id.slot) == nullptr) continue;
    candidates.push_back({id, worker.room(resident, 1)});
    idle += candidates.back().idle_slots;
  }
  for (auto next = queue.begin(); next != queue.end() && idle > 0;) {
    Attempt& attempt = attempts_.at(*next);
    const std::optional<WorkerId> chosen = choose(attempt, candidates);
    if (!chosen) {
      ++next;
      continue;
    }
    put(attempt, *chosen, now);
    next = queue.erase(next);
    --std::ranges::find(candidates, *chosen, &PlacementCandidate::worker)->idle_slots;
    --idle;
  }
}

void ClusterDriver::put(Attempt& attempt, WorkerId on, SteadyTime now) {
  Worker& worker = workers_.at(on);
  const auto [begin, end] = worker.threads(attempt.task->resident);
  // Like the worker, so the thread: a home that most batches find free. Else the least busy.
  const std::uint32_t home = attempt.task->partition / options_.places % (end - begin);
  std::uint32_t thread = begin + home;
  for (std::uint32_t i = 1; i < end - begin && worker.load(thread) != 0; ++i) {
    const std::uint32_t other = begin + (home + i) % (end - begin);
    if (worker.load(other) < worker.load(thread)) thread = other;
  }
  std::uint32_t index = thread;
  for (std::uint32_t i = 1; worker.slots[index].taken(); ++i) {
    index = worker.layout.slot_of(thread, i);
  }
  Slot& slot = worker.slots[index];
  slot.attempt = attempt.task->attempt;
  attempt.launched = true;
  attempt.worker = on;
  attempt.launch = {index, ++slot.sequence, attempt.task->attempt};
  send_launch(attempt, worker.stages.count(attempt.task->program->hash) == 0, now);
}

void ClusterDriver::send_launch(Attempt& attempt, bool with_program, SteadyTime now) {
  attempt.due.reset();
  Worker& worker = workers_.at(attempt.worker);
  attempt.order = ++worker.launches;
  actions_.push_back(
      Send{attempt.worker,
           wire::Launch{attempt.launch, with_program, attempt.task,
                        may_copy(*attempt.task) ? all_peers_of(attempt.worker)
                                                : peers_of(*attempt.task, attempt.worker),
                        take_release(worker, now)},
           worker.layout.thread_of(attempt.launch.slot)});
}

/// Whether the task puts copies of what it keeps on a worker of its choice.
bool ClusterDriver::may_copy(const TaskSpec& task) {
  return task.resident || std::ranges::any_of(task.cached, [](const CacheSlot& slot) {
           return internal::has_replica(slot.level);
         });
}

std::vector<wire::Peer> ClusterDriver::peers_of(const TaskSpec& task, WorkerId on) const {
  std::vector<wire::Peer> peers;
  for (const LeafInput& input : task.inputs) {
    for (const Segment& segment : input.segments) {
      if (segment.size == 0 || segment.inline_data || segment.worker == on) continue;
      if (std::ranges::find(peers, segment.worker, &wire::Peer::worker) != peers.end()) continue;
      const Membership::Member* member = membership_.find(segment.worker);
      if (member != nullptr) peers.push_back({segment.worker, member->endpoint});
    }
  }
  return peers;
}

std::vector<wire::Peer> ClusterDriver::all_peers_of(WorkerId on) const {
  std::vector<wire::Peer> peers;
  for (const auto& [id, worker] : workers_) {
    const Membership::Member* member = membership_.find(id);
    if (id != on && member != nullptr) peers.push_back({id, member->endpoint});
  }
  return peers;
}

void ClusterDriver::settle(AttemptId id, WorkerId worker, TaskOutcome outcome) {
  const auto found = attempts_.find(id);
  if (found->second.launched) {
    const auto at = workers_.find(found->second.worker);
    if (at != workers_.end()) at->second.slots[found->second.launch.slot].attempt.reset();
  }
  attempts_.erase(found);
  actions_.push_back(TellOutcome{id, worker, std::move(outcome)});
}

void ClusterDriver::check_invariants() const {
  const auto require = [](bool holds, const char* what) {
    if (!holds) throw std::logic_error(what);
  };
  for (const auto& [id, attempt] : attempts_) {
    if (!attempt.launched) {
      require(std::ranges::count(attempt.task->resident ? resident_queue_ : queue_, id) == 1,
              "a waiting attempt is not in its queue once");
      continue;
    }
    const auto worker = workers_.find(attempt.worker);
    require(worker != workers_.end(), "an attempt is launched on a worker that is no member");
    const Slot& slot = worker->second.slots.at(attempt.launch.slot);
    require(slot.attempt == id, "an attempt's slot does not have it");
    require(slot.sequence == attempt.launch.sequence, "an attempt is not its slot's last launch");
  }
  for (const auto* queue : {&queue_, &resident_queue_}) {
    for (const AttemptId id : *queue) {
      require(attempts_.count(id) != 0 && !attempts_.at(id).launched, "a queue holds a stranger");
    }
  }
  for (const auto& [id, worker] : workers_) {
    require(stopping_ || membership_.is_member(id), "books are kept of a worker that is no member");
    for (const Slot& slot : worker.slots) {
      require(!slot.attempt || attempts_.count(*slot.attempt) != 0, "a slot has a settled attempt");
      require(slot.given_up.empty() || *slot.given_up.rbegin() <= slot.sequence,
              "a launch that never was is given up");
    }
  }
}

}  // namespace weir
