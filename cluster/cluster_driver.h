#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

#include "weir/cluster/membership.h"
#include "weir/cluster/messages.h"
#include "weir/cluster/placement.h"
#include "weir/core/task.h"

namespace weir {

/// The driver's side of a cluster: a pure state machine that places attempts on workers and sees
/// each of them to exactly one outcome, whatever messages and processes do. No threads, sockets or
/// clock: events come in by the functions below, each with the time it happened at; what is to be
/// done comes out of `next_action`, in order. The driver's loop runs it over processes and sockets,
/// the simulation over neither.
///
/// An attempt is queued, then launched, then settled:
///
///     launch() -> queued --placed, Launch sent--> launched --Outcome--------------> settled
///                   |                                |  worker lost: AttemptLost
///                   | cancel(): nothing              |  not known to its worker in due time:
///                   v                                |  given up, AttemptLost without blame
///                settled                             +  cannot be sent: Failed
///
/// Every heartbeat states what each slot of a worker does, and is compared with what the slot
/// should do; so nothing depends on any single message arriving (README.md has the table).
class ClusterDriver {
 public:
  struct Options {
    ClusterSettings settings;
    std::uint32_t places = 1;       ///< worker processes
    std::vector<ModuleId> modules;  ///< of this binary: every worker must have them all
  };

  // What is to be done.
  struct StartProcess {
    WorkerId worker;
  };
  struct KillProcess {
    WorkerId worker;
    int signal = 0;
  };
  struct Send {
    WorkerId worker;
    wire::ToWorker message;    ///< goes to the control channel, but for a `Launch`
    std::uint32_t thread = 0;  ///< that of the launch's slot: it goes to its channel
  };
  struct TellOutcome {
    AttemptId attempt = 0;
    WorkerId worker;
    TaskOutcome outcome;
  };
  struct TellReport {
    AttemptId attempt = 0;
    WorkerId worker;
    Bytes report;
  };
  struct TellAdded {
    WorkerId worker;
    std::uint32_t slots = 0;
  };
  struct TellLost {
    WorkerId worker;
    std::string reason;
  };
  struct TellRefused {
    WorkerId worker;
    AttemptId attempt = 0;
  };
  struct TellFailure {
    std::string reason;
  };
  /// What operators should read: a worker that never came up, a place that keeps failing.
  struct Warn {
    std::string message;
  };
  using Action = std::variant<StartProcess, KillProcess, Send, TellOutcome, TellReport, TellAdded,
                              TellLost, TellRefused, TellFailure, Warn>;

  explicit ClusterDriver(Options options);

  // --- what the scheduler wants (see TaskRunner) ---
  void start(SteadyTime now);
  void launch(TaskSpec task, SteadyTime now);
  void cancel(AttemptId attempt, SteadyTime now);
  void tell(AttemptId attempt, Bytes message);
  void release_shuffle(ShuffleId shuffle, SteadyTime now);
  void release_dataset(DatasetId dataset, SteadyTime now);
  void release_state(StateId state, SteadyTime now);
  void stop(SteadyTime now);

  // --- what happens ---
  void received(WorkerId from, wire::ToDriver message, SteadyTime now);
  void disconnected(WorkerId worker, SteadyTime now);
  void exited(WorkerId worker, const ProcessExit& exit, SteadyTime now);
  /// A `Launch` went out as a frame of that size. From now on it has time to arrive.
  void sent(WorkerId worker, const wire::LaunchId& launch, std::uint64_t bytes, SteadyTime now);
  /// A `Launch` could not be made into a frame.
  void unsendable(WorkerId worker, const wire::LaunchId& launch, const std::string& why);
  /// The driver's process can do no more: every job fails.
  void fail(const std::string& reason, SteadyTime now);
  /// Time passes: see Membership::tick. Every few heartbeat intervals at least.
  void tick(SteadyTime at);
  void on_timer(SteadyTime now);

  std::optional<Action> next_action();
  /// When `on_timer` has something to do.
  std::optional<SteadyTime> next_deadline() const;
  bool stopped() const { return membership_.stopped(); }

  const Membership& membership() const { return membership_; }
  std::uint64_t refused_results() const { return refused_results_; }
  std::size_t unsettled_attempts() const { return attempts_.size(); }
  /// Throws std::logic_error naming what does not fit together. For tests.
  void check_invariants() const;

 private:
  /// A slot as it should be.
  struct Slot {
    std::uint64_t sequence = 0;             ///< of the last launch
    std::optional<AttemptId> attempt;       ///< launched there and not settled
    std::set<std::uint64_t> given_up;       ///< launches whose outcomes will be refused
    std::optional<SteadyTime> stray_since;  ///< it runs a launch that was given up
    std::uint64_t unsettled_seen = 0;  ///< launch of which a heartbeat said that it is unsettled

    bool taken() const { return attempt.has_value() || stray_since.has_value(); }
  };
  struct PendingRelease {
    wire::Release release;
    SteadyTime sent{};
  };
  struct Worker {
    wire::SlotLayout layout;
    std::vector<Slot> slots;

    /// Those that run tasks, or resident ones, as [begin, end).
    std::pair<std::uint32_t, std::uint32_t> threads(bool resident) const;
    std::uint32_t load(std::uint32_t thread) const;
    std::uint32_t room(bool resident, std::uint32_t most_load) const;

    /// Proven to be there by outcomes, with the time that a task of it takes.
    std::unordered_map<StageHash, Duration> stages;
    std::uint64_t launches = 0;
    std::uint64_t last_heartbeat = 0;
    std::uint64_t last_release = 0;
    wire::Release open_release;  ///< to go with the next launch, or by itself soon
    std::optional<SteadyTime> open_release_since;
    std::deque<PendingRelease> releases;  ///< sent, not known to be carried out
  };
  struct Attempt {
    std::shared_ptr<const TaskSpec> task;
    SteadyTime queued{};
    bool cancelled = false;
    bool launched = false;
    WorkerId worker;  // the following once launched
    wire::LaunchId launch;
    std::uint64_t order = 0;        ///< of the launch among all of the worker
    std::optional<SteadyTime> due;  ///< when its worker must know of it; not before it is sent
    SteadyTime progress_at{};
    std::optional<std::uint64_t> steps;  ///< once it was seen to run
  };

  void on(WorkerId from, const wire::Open&, SteadyTime) { (void)from; }
  void on(WorkerId from, wire::Register message, SteadyTime now);
  void on(WorkerId from, const wire::Heartbeat& beat, SteadyTime now);
  void on(WorkerId from, wire::Outcome message, SteadyTime now);
  void on(WorkerId from, const wire::UnknownStage& message, SteadyTime now);
  void on(WorkerId from, wire::Report message, SteadyTime now);

  void absorb_membership(SteadyTime now);
  void on_lost(const Membership::Lost& lost, SteadyTime now);
  void refuse(WorkerId from, AttemptId attempt);
  static void note_stage(Worker& worker, StageHash stage, const TaskOutcome& outcome);
  void forgive_absence(SteadyTime at);
  void stray_ended(Slot& slot, SteadyTime now);
  void reconcile(WorkerId id, std::uint32_t slot, const wire::SlotStatus& status, SteadyTime echo,
                 SteadyTime now);
  void check_progress(WorkerId id, Slot& slot, const wire::SlotStatus& status, SteadyTime now);
  void resend_releases(WorkerId id, Worker& worker, std::uint64_t done, SteadyTime now);

  void place_waiting(SteadyTime now);
  void place_ahead(SteadyTime now);
  std::optional<WorkerId> choose(const Attempt& attempt,
                                 const std::vector<PlacementCandidate>& candidates, SteadyTime now);
  static std::uint32_t most_launches(const Worker& worker, const TaskSpec& task);
  template <class Choose>
  void place(std::deque<AttemptId>& queue, bool resident, SteadyTime now, const Choose& choose);
  void put(Attempt& attempt, WorkerId on, SteadyTime now);
  void send_launch(Attempt& attempt, bool with_program, SteadyTime now);
  void settle(AttemptId attempt, WorkerId worker, TaskOutcome outcome);
  static bool may_copy(const TaskSpec& task);
  std::vector<wire::Peer> peers_of(const TaskSpec& task, WorkerId on) const;
  std::vector<wire::Peer> all_peers_of(WorkerId on) const;

  wire::Release take_release(Worker& worker, SteadyTime now);
  void send(WorkerId worker, wire::ToWorker message) {
    actions_.push_back(Send{worker, std::move(message), 0});
  }

  const Options options_;
  Membership membership_;
  std::map<WorkerId, Worker> workers_;               ///< members
  std::unordered_map<AttemptId, Attempt> attempts_;  ///< not settled
  AttemptId last_attempt_ = 0;                       ///< of those that are not resident
  std::deque<AttemptId> queue_;           ///< not launched, in the order in which they will be
  std::deque<AttemptId> resident_queue_;  ///< the same of resident tasks
  std::optional<SteadyTime> locality_deadline_;  ///< when a waiting task takes what it can get
  std::deque<Action> actions_;
  std::uint64_t refused_results_ = 0;
  std::set<std::pair<WorkerId, AttemptId>> refused_;  ///< of lost workers whose processes live
  std::optional<AttemptId> hung_;  ///< to be blamed while its worker is being declared lost
  std::string failure_;
  bool stopping_ = false;
};

}  // namespace weir
