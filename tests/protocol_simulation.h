#pragma once

#include <cstdint>
#include <cstdio>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "weir/core/memory_store.h"
#include "weir/core/state/state_restore.h"
#include "weir/dstream/log/log_reader_internal.h"

#include "protocol_driver.h"
#include "simulation.h"

namespace weir::protocol {

/// How bad the world is: chances of each step, in a thousand.
struct Weather {
  unsigned worker_dies = 0;
  unsigned worker_freezes = 0;
  unsigned task_breaks = 0;
  unsigned driver_dies = 0;
  unsigned second_driver = 0;
  unsigned race = 0;          ///< of each call of the disk: others run before it
  unsigned machine_dies = 0;  ///< or all processes of it, at the next step or in the middle of one
  unsigned disk_full = 0;
  unsigned sync_fails = 0;
  unsigned sync_is_slow = 0;  ///< of each: others get on meanwhile
  unsigned log_is_slow = 0;   ///< its thread does not get to write
};

/// Drivers, workers, a source, sinks and a disk in one thread, in an order that one seed decides:
/// what the exactly-once protocol has to bear. The log, the records, the state tracker, the state
/// store with its files, the operators, the sinks and the disk are the product's own; drivers are
/// models that keep its order.
///
/// After each event that can break it is checked that every effect is covered by a durable INTENT,
/// that nothing is in a sink twice or missing or from a wrong state, that a snapshot holds its
/// version and nothing else, that no replaced driver has effects, that the machine could die now,
/// losing all that is not synced, and a new driver would find whatever it needs, and that a log
/// damaged where no crash damages it is refused. In the end, after one more start, everything that
/// the source ever had is in the sinks and in the state. A breach throws std::logic_error.
class Simulation {
 public:
  explicit Simulation(std::uint64_t seed, Mutant mutant = Mutant::kNone)
      : chance_(seed),
        world_(mutant, chance_.one_in(2) ? 1 : 6),
        disk_(std::make_unique<MemoryDisk>()) {
    log_options_.on_callers_thread = true;
    log_options_.segment_bytes = chance_.one_in(2) ? 64u << 20 : 200 + chance_.below(1500);
    if (chance_.one_in(8)) log_options_.durability = Durability::kNone;
    changelog_bytes_ = chance_.one_in(2) ? 64u << 20 : 100 + chance_.below(500);
    weather_ = forecast();
    if (!syncs()) weather_.sync_fails = 0;  // what was written is all there is
    disk_->ignore_locks();
    probe_ = disk_->start();
  }

  simulation::Trace trace;
  /// Otherwise a breach is only found by what it leads to.
  bool looks_inside = true;

  void run() {
    const std::uint64_t events = 20 + chance_.below(100);
    for (std::uint64_t left = events; left > 0; --left) step();
    end();
  }

  // What happened, to see that seeds are worth something.
  int starts = 0;
  int crashes = 0;
  int fenced = 0;
  int losses = 0;
  int late = 0;
  int raced = 0;
  int commits = 0;
  int checkpoints = 0;
  int snapshots = 0;

 private:
  struct Running {
    std::unique_ptr<Driver> driver;
    std::vector<std::shared_ptr<Worker>> slots;
    bool busy = false;       ///< is in the middle of a step
    std::uint64_t home = 0;  ///< the slot of partition 0
  };
  static constexpr std::uint64_t kPlaces = 4;
  struct Sent {
    Task task;
    std::shared_ptr<Worker> worker;
    bool frozen = false;
    std::shared_ptr<Worker::Begun> begun = nullptr;
  };

  bool syncs() const { return log_options_.durability == Durability::kBatch; }

  Weather forecast() {
    const auto sometimes = [&](unsigned most) {
      return chance_.one_in(2) ? 0U : static_cast<unsigned>(1 + chance_.below(most));
    };
    Weather weather;
    weather.worker_dies = sometimes(40);
    weather.worker_freezes = sometimes(150);
    weather.task_breaks = sometimes(200);
    weather.driver_dies = sometimes(30);
    weather.second_driver = sometimes(20);
    if (weather.second_driver != 0) weather.race = one_in(3) ? 100 : 25;
    weather.machine_dies = sometimes(30);
    weather.disk_full = sometimes(10);
    weather.sync_fails = sometimes(10);
    weather.sync_is_slow = sometimes(300);
    weather.log_is_slow = sometimes(1000);
    return weather;
  }

  template <class... Args>
  void happened(fmt::format_string<Args...> format, Args&&... args) {
    trace.note(format, std::forward<Args>(args)...);
  }

  // --- what happens ---

  void step() {
    if (happens(300)) {
      world_.latest += 1 + below(5);
      return;
    }
    if (happens(weather_.disk_full)) {
      disk_->fill_after(below(300));
      happened("the disk fills up");
    }
    if (happens(100)) disk_->make_room();
    if (happens(weather_.sync_fails)) {
      disk_->fail_sync(1 + below(4));
      happened("a sync is going to fail");
    }
    if (happens(weather_.machine_dies)) {
      disk_->stop_after(1 + below(12));
      happened("the machine is going to die");
    } else if (happens(weather_.machine_dies / 2)) {
      machine_dies();
    }
    if (!drivers_.empty() && happens(weather_.driver_dies)) {
      end_driver(below(drivers_.size()), "is killed", false);
    }
    if (drivers_.empty() || (drivers_.size() < 3 && happens(weather_.second_driver)))
      start_driver();
    if (!drivers_.empty() && happens(weather_.worker_dies)) lose_worker(false);
    if (!drivers_.empty() && happens(weather_.worker_freezes)) lose_worker(true);
    for (std::uint64_t left = 1 + below(40); left > 0; --left) something_goes_on(nullptr);
    notice_death();
  }

  /// A task, an outcome or a snapshot gets on, or else a driver, but not `other_than`.
  void something_goes_on(const Running* other_than) {
    switch (below(5)) {
      case 0:
        if (run_task()) return;
        break;
      case 1:
        if (deliver_outcome(other_than)) return;
        break;
      case 2:
        if (write_snapshot()) return;
        break;
      default: break;
    }
    if (drivers_.empty()) return;
    const std::shared_ptr<Running> running = drivers_[below(drivers_.size())];
    if (running->busy || running.get() == other_than) return;
    drive(running);
  }

  void drive(const std::shared_ptr<Running>& running) {
    guarded(running, [&](Driver& driver) {
      switch (below(7)) {
        case 0:
          if (driver.can_cut()) {
            driver.cut();
            happened("driver {} cuts", driver.id());
          }
          break;
        case 1:
          if (!happens(weather_.log_is_slow)) driver.write_log();
          break;
        case 2:
        case 3:
          if (driver.checkpoint()) {
            ++checkpoints;
            happened("driver {} goes on with a checkpoint", driver.id());
            expect_recoverable();
            break;
          }
          [[fallthrough]];
        default: {
          const std::uint64_t before = driver.committed();
          if (driver.run()) {
            happened("driver {} goes on with batch {}", driver.id(), before + 1);
            commits += driver.committed() != before ? 1 : 0;
            expect_recoverable();
          }
        }
      }
    });
  }

  void start_driver() {
    const auto running = std::make_shared<Running>();
    const std::uint64_t id = ++starts;
    happened("driver {} starts", id);
    const auto before_call = [this, held = std::weak_ptr(running)] {
      if (const auto it = held.lock()) race(*it);
    };
    const auto during_sync = [this, held = std::weak_ptr(running)] {
      if (const auto it = held.lock()) go_on_during_sync(*it->driver);
    };
    const auto store = std::make_shared<WatchedStore>(
        disk_->start(),
        WatchedStore::Options{
            .mutant = world_.mutant(), .before_call = before_call, .during_sync = during_sync});
    running->driver = std::make_unique<Driver>(Driver::Options{
        .world = world_,
        .store = store,
        .id = id,
        .partitions = static_cast<std::uint32_t>(1 + below(3)),
        .log = log_options_,
        .chance = [this](unsigned percent) { return below(100) < percent; },
        .send = [this, held = std::weak_ptr(running)](Task& task) { send(*held.lock(), task); },
        .before_effect = before_call,
        .on_snapshot = [this](const StateOutput& output,
                              const StateStep& snapshot) { expect_snapshot(output, snapshot); }});
    const std::uint64_t slots = 1 + below(kPlaces);
    for (std::uint64_t slot = 0; slot < slots; ++slot) running->slots.push_back(new_worker());
    drivers_.push_back(running);
    guarded(running, [&](Driver& driver) {
      driver.open();
      happened("driver {} has epoch {}", id, driver.epoch());
      newest_epoch_ = std::max(newest_epoch_, driver.epoch());
      expect_recoverable();
    });
  }

  std::shared_ptr<Worker> new_worker() {
    return std::make_shared<Worker>(disk_->start(), world_, ++workers_, changelog_bytes_);
  }

  /// Does something with a driver and ends it if that throws. Only drivers that were replaced may
  /// find things missing.
  template <class F>
  void guarded(const std::shared_ptr<Running>& running, F&& act) {
    running->busy = true;
    std::optional<Error> failure;
    try {
      act(*running->driver);
    } catch (const Error& error) {
      failure = error;
    }
    running->busy = false;
    if (!failure) return;
    last_failure_ = failure->what();
    // A later driver that did not come up may have begun an epoch, or an older one be there still.
    const Driver& driver = *running->driver;
    const bool is_fenced =
        failure->code() == ErrorCode::kNotAllowed &&
        (driver.id() < static_cast<std::uint64_t>(starts) || driver.epoch() == 0);
    const bool replaced = is_fenced || driver.epoch() < newest_epoch_seen();
    fenced += is_fenced ? 1 : 0;
    const bool has_lost_a_file = last_failure_.find("does not exist") != std::string::npos;
    if ((failure->code() != ErrorCode::kUnreachable || has_lost_a_file) && !replaced) {
      throw Breach(
          fmt::format("driver {} has to stop: {}", running->driver->id(), failure->what()));
    }
    for (std::size_t i = 0; i < drivers_.size(); ++i) {
      if (drivers_[i] == running) end_driver(i, failure->what(), one_in(2));
    }
  }

  /// Of drivers that are being started too.
  std::uint64_t newest_epoch_seen() {
    std::uint64_t newest = newest_epoch_;
    for (const auto& each : drivers_) newest = std::max(newest, each->driver->epoch());
    return newest;
  }

  /// What others do in the middle of a driver's step.
  void race(const Running& by) {
    if (racing_ || ending_ || !happens(weather_.race)) return;
    racing_ = true;
    ++raced;
    happened("while driver {} is at it:", by.driver->id());
    if (drivers_.size() < 3 && one_in(2)) start_driver();
    const std::uint64_t most = one_in(4) ? 100 : 12;
    for (std::uint64_t left = below(most); left > 0; --left) something_goes_on(&by);
    happened("driver {} goes on", by.driver->id());
    racing_ = false;
  }

  /// What a slow fsync does not hold up: workers, and the thread of the driver that cuts batches.
  void go_on_during_sync(Driver& driver) {
    if (racing_ || ending_ || !happens(weather_.sync_is_slow)) return;
    racing_ = true;
    happened("a sync of driver {} takes its time:", driver.id());
    for (std::uint64_t left = below(6); left > 0; --left) {
      switch (below(3)) {
        case 0: run_task(); break;
        case 1: write_snapshot(); break;
        default:
          world_.latest += below(3);
          if (driver.can_cut()) driver.cut();
      }
    }
    happened("the sync of driver {} ends", driver.id());
    racing_ = false;
  }

  // --- tasks ---

  void send(Running& running, Task& task) {
    task.attempt = ++attempts_;
    // A partition stays where it is for a while.
    if (one_in(8)) running.home = below(2);
    const std::uint64_t place = one_in(15) ? below(kPlaces) : task.input.partition + running.home;
    task.slot = place % running.slots.size();
    task.worker = running.slots[task.slot]->incarnation();
    sent_.push_back({task, running.slots[task.slot]});
    happened("attempt {} on worker {}: partition {} of batch {}, {} {}", task.attempt, task.worker,
             task.input.partition, task.sequence, task.writes_state ? "state" : "output", task.op);
  }

  template <class T>
  T take_any(std::vector<T>& from) {
    std::swap(from[below(from.size())], from.back());
    T taken = std::move(from.back());
    from.pop_back();
    return taken;
  }

  /// A task's first half, in which it gets its version, or its second one.
  bool run_task() {
    if (sent_.empty()) return false;
    Sent sent = take_any(sent_);
    constexpr std::uint64_t kThaw = 30;
    if (sent.frozen && !one_in(kThaw)) {
      sent_.push_back(std::move(sent));
      return false;
    }
    if (sent.begun != nullptr) {
      outcomes_.push_back(sent.worker->finish(*sent.begun, happens(weather_.task_breaks)));
    } else {
      auto begun = sent.worker->begin(sent.task);
      if (auto* working = std::get_if<Worker::Begun>(&begun)) {
        sent.begun = std::make_shared<Worker::Begun>(std::move(*working));
        sent_.push_back(std::move(sent));
        return true;
      }
      if (have_all_died()) return true;  // nobody says that what a dead one cannot read is lost
      outcomes_.push_back(std::get<Outcome>(std::move(begun)));
    }
    happened("attempt {} ends as {}", sent.task.attempt, outcomes_.back().result.index());
    return true;
  }

  /// A step of what some worker does in the background.
  bool write_snapshot() {
    if (drivers_.empty()) return false;
    const auto& slots = drivers_[below(drivers_.size())]->slots;
    return slots[below(slots.size())]->write_snapshot();
  }

  bool deliver_outcome(const Running* other_than) {
    if (outcomes_.empty()) return false;
    const Outcome outcome = take_any(outcomes_);
    for (const auto& running : drivers_) {
      if (running->driver->id() != outcome.task.driver) continue;
      if (running->busy || running.get() == other_than) {
        outcomes_.push_back(outcome);
        return false;
      }
      const bool stale = running->slots[outcome.task.slot]->incarnation() != outcome.task.worker;
      late += stale ? 1 : 0;
      if (stale && !world_.is(Mutant::kStaleOutcomeAccepted)) return true;
      losses += std::holds_alternative<StateLost>(outcome.result) ? 1 : 0;
      happened("attempt {} is heard of", outcome.task.attempt);
      const auto held = running;
      guarded(held, [&](Driver& driver) { driver.on_outcome(outcome); });
      return true;
    }
    return true;
  }

  /// A frozen one is given up by its driver and does its tasks late.
  void lose_worker(bool frozen) {
    const auto running = drivers_[below(drivers_.size())];
    if (running->busy) return;
    std::size_t index = below(running->slots.size());
    if (!sent_.empty()) {  // rather one that has something to do
      const Task& task = sent_[below(sent_.size())].task;
      if (task.driver == running->driver->id()) index = task.slot;
    }
    auto& slot = running->slots[index];
    happened("worker {} {}", slot->incarnation(), frozen ? "freezes" : "dies");
    for (Sent& sent : sent_) sent.frozen |= sent.worker == slot;
    if (!frozen) {
      std::erase_if(sent_, [&](const Sent& sent) { return sent.worker == slot; });
      slot->kill();
    }
    running->driver->on_worker_lost(slot->incarnation());
    slot = new_worker();
  }

  // --- death ---

  void end_driver(std::size_t index, const std::string& why, bool writes) {
    const auto running = drivers_[index];
    if (running->busy) return;
    happened("driver {} ends: {}", running->driver->id(), why);
    drivers_.erase(drivers_.begin() + static_cast<std::ptrdiff_t>(index));
    if (writes) running->driver->leave();
  }

  void machine_dies() {
    const bool all_of_it = syncs() && one_in(2);
    happened("{}", all_of_it ? "the machine dies" : "all processes die");
    ++crashes;
    drivers_.clear();
    sent_.clear();
    outcomes_.clear();
    if (all_of_it) {
      disk_->crash(chance_.engine());
    } else {
      disk_->kill();
    }
    probe_ = disk_->start();
    expect_recoverable();
  }

  /// Whether a call was the last one of all processes.
  bool have_all_died() {
    try {
      (void)probe_->list("");
      return false;
    } catch (const Error&) {
      return true;
    }
  }
  void notice_death() {
    if (have_all_died()) machine_dies();
  }

  // --- what must hold ---

  /// If the machine died now and lost what is not synced (or, without syncs, all processes).
  void expect_recoverable() {
    constexpr std::uint64_t kLooks = 8;  // it is the most expensive thing here
    if (!looks_inside || !(is_over_ || one_in(kLooks))) return;
    if (one_in(4)) expect_damage_is_seen();
    const auto survivor = syncs() ? disk_->without_unsynced() : nullptr;
    const auto store = (survivor != nullptr ? *survivor : *disk_).start();
    internal::RecoveredLog log;
    try {
      log = internal::read_log(*store);
    } catch (const Error& error) {
      throw Breach(fmt::format("the log cannot be read: {}", error.what()));
    }
    const internal::RecordedStream recorded(log.history);
    const internal::Recovery& recovery = recorded.recovery();
    std::uint64_t at = 0;  // all before is part of the CHECKPOINT
    if (const auto found = recovery.positions.find(kInput); found != recovery.positions.end()) {
      at = position(found->second);
    }
    std::uint64_t sequence = recorded.checkpointed();
    for (std::size_t op = 0; op < kOperators && sequence != 0; ++op) {
      expect_state(store, op, recorded.checkpointed_state(operator_uid(op)),
                   world_.state_after(op, sequence));
    }
    std::map<std::uint64_t, std::uint64_t> intents;
    for (const internal::RecordedBatch& each : recovery.recorded) {
      intents[each.batch.sequence] = each.intent;
      if (each.batch.sequence <= recorded.checkpointed()) continue;
      const std::uint64_t from = position(each.inputs.at(0).from);
      const std::uint64_t end = position(each.inputs.at(0).end);
      if (each.batch.sequence != ++sequence || from != at) {
        throw Breach(fmt::format("batch {} of [{}, {}) is recorded behind {}, which ends at {}",
                                 each.batch.sequence, from, end, sequence - 1, at));
      }
      at = end;
      if (!world_.can_read(from, end)) {
        throw Breach(fmt::format("the input of batch {} is gone", each.batch.sequence));
      }
    }
    if (world_.released > at) {
      throw Breach(fmt::format("the input from {} on is gone and in no record", at));
    }
    for (std::size_t sink = 0; sink < kOperators; ++sink) {
      const auto last = world_.last_committed(sink);
      const std::uint64_t held = last ? last->sequence : 0;
      if (held > sequence) throw Breach(fmt::format("batch {} has no INTENT", held));
      std::uint64_t due = recovery.committed;
      while (due != 0 && !is_due(sink, due)) --due;
      if (held < due)
        throw Breach(fmt::format("batch {} is committed and not in sink {}", due, sink));
      if (const auto intent = intents.find(held);
          last && intent != intents.end() && intent->second != last->intent) {
        throw Breach(fmt::format("batch {} has other input than in sink {}", held, sink));
      }
    }
  }

  /// What the real restore makes of a partition's steps.
  std::variant<internal::RestoredState, StateLost> put_together(
      const std::shared_ptr<DurableStore>& disk, std::size_t op, const internal::KeyGroups& groups,
      const std::vector<StateStep>& history) const {
    const auto folder = std::make_shared<WatchedStore>(
        disk, WatchedStore::Options{.folder = std::string(kStateFolder) + "/"});
    StateInput input;
    input.state = state_of(op);
    input.groups = groups;
    input.history = history;
    return internal::restore_state({[&](const std::string&) { return folder; }, {}}, input,
                                   maker_of(world_, op), [] {});
  }

  void expect_state(const std::shared_ptr<DurableStore>& disk, std::size_t op,
                    const internal::StateLineage& lineage, const Sums& expected) const {
    Sums sums;
    for (std::uint32_t p = 0; p < lineage.partitions; ++p) {
      const auto part = put_together(
          disk, op, internal::KeyGroups::of_partition(p, lineage.partitions, kKeyGroups),
          lineage.steps[p]);
      if (const auto* lost = std::get_if<StateLost>(&part)) {
        throw Breach("a CHECKPOINT's state is lost: " + lost->message);
      }
      sums.merge(sums_in(world_, op, {std::get<internal::RestoredState>(part).table.get(), {}}));
    }
    if (sums != expected) throw Breach("a CHECKPOINT's state is not what its input says");
  }

  /// A snapshot that can be read is its version: a part of that of the batch's input.
  void expect_snapshot(const StateOutput& output, const StateStep& snapshot) {
    ++snapshots;
    const std::size_t op = output.state - 1;
    const auto whole = put_together(disk_->start(), op, {kKeyGroups, 0, kKeyGroups}, {snapshot});
    const auto* restored = std::get_if<internal::RestoredState>(&whole);
    if (!looks_inside || restored == nullptr) return;
    const Sums expected = world_.state_after(op, snapshot.sequence);
    for (const auto& [key, sum] : sums_in(world_, op, {restored->table.get(), {}})) {
      const auto found = expected.find(key);
      if (found != expected.end() && found->second == sum) continue;
      throw Breach(fmt::format("the snapshot of batch {} holds what that did not leave: {} of {:x}",
                               snapshot.sequence, sum, key));
    }
  }

  /// A bit flips in a group that was durable before the next one was written. No crash does that:
  /// the log is refused, or it was needed no more.
  void expect_damage_is_seen() {
    if (!syncs()) return;  // then a crash may do that
    const auto copy = disk_->without_unsynced();
    const auto ids = internal::list_segments(*copy->start());
    if (ids.empty()) return;
    const internal::SegmentId id = ids[below(ids.size())];
    const std::string path = internal::path_of(id);
    std::string bytes = copy->start()->read(path, 0, std::numeric_limits<std::int64_t>::max());
    const internal::SegmentScan scan = internal::scan_segment(id, bytes);
    if (scan.groups.size() < 2) return;
    const internal::Group& group = scan.groups[below(scan.groups.size() - 1)];
    const LogHistory history = internal::read_log(*copy->start()).history;
    bytes[group.offset + below(group.bytes)] ^= static_cast<char>(1U << below(8));
    copy->put(path, bytes);
    try {
      WatchedStore store(copy->start(), WatchedStore::Options{.mutant = world_.mutant()});
      const LogHistory damaged = internal::read_log(store).history;
      if (damaged.checkpoint == history.checkpoint && damaged.intents == history.intents &&
          damaged.commits == history.commits && damaged.last_sequence == history.last_sequence) {
        return;
      }
    } catch (const Error&) {
      return;
    }
    throw Breach("a log with a damaged group was read as if that had never been written");
  }

  /// The weather clears up; one more start; then everything must be done.
  void end() {
    ending_ = true;
    weather_ = {};
    machine_dies();
    // What was armed may still go off.
    disk_->make_room();
    disk_->fail_sync(1u << 30);
    start_driver();
    if (drivers_.empty()) throw Breach("the last driver does not start: " + last_failure_);
    const auto running = drivers_.front();
    constexpr int kTooMany = 20'000;
    const auto go_on_until = [&](const std::function<bool(Driver&)>& done) {
      for (int left = kTooMany; !done(*running->driver); --left) {
        if (left == 0) throw Breach("the last driver does not come to an end");
        something_goes_on(nullptr);
        if (drivers_.empty()) throw Breach("the last driver failed: " + last_failure_);
      }
    };
    world_.latest += 1;  // a graceful stop has a last batch, in which all state is read
    go_on_until([](Driver& driver) { return !driver.can_cut() && driver.is_idle(); });
    guarded(running, [](Driver& driver) { driver.make_set(); });
    go_on_until([](Driver& driver) {
      driver.make_set();
      return !driver.wants_checkpoint() && !driver.checkpoint();
    });
    running->driver->log().flush();
    is_over_ = true;
    expect_recoverable();
    if (world_.released != world_.latest) throw Breach("input that is done was not released");
    if (world_.expect_exactly_once(kSums) != world_.latest) {
      throw Breach("the sink of sums has not everything");
    }
    const std::uint64_t last = world_.last_sequence();
    const auto last_window = world_.last_committed(kWindow);
    if (last >= kWindowSlide &&
        (!last_window || last_window->sequence != last / kWindowSlide * kWindowSlide)) {
      throw Breach("the sink of the window has not everything");
    }
    (void)world_.expect_exactly_once(kWindow);
    for (std::size_t op = 0; op < kOperators; ++op) {
      internal::StateLineage state;
      state.partitions = running->driver->partitions();
      state.steps = running->driver->states().steps(state_of(op), running->driver->committed());
      expect_state(disk_->start(), op, state, world_.state_after(op, last));
    }
  }

  std::uint64_t below(std::uint64_t limit) { return chance_.below(limit); }
  bool one_in(std::uint64_t n) { return chance_.one_in(n); }
  bool happens(unsigned in_a_thousand) { return chance_.in_a_thousand(in_a_thousand); }

  simulation::Chance chance_;
  World world_;
  const std::unique_ptr<MemoryDisk> disk_;
  BatchLog::Options log_options_;
  std::uint64_t changelog_bytes_ = 0;
  Weather weather_;
  std::shared_ptr<DurableStore> probe_;
  std::vector<std::shared_ptr<Running>> drivers_;
  std::vector<Sent> sent_;
  std::vector<Outcome> outcomes_;
  std::uint64_t workers_ = 0;
  AttemptId attempts_ = 0;
  std::uint64_t newest_epoch_ = 0;
  std::string last_failure_;
  bool racing_ = false;
  bool ending_ = false;
  bool is_over_ = false;
};

}  // namespace weir::protocol
