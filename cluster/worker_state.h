#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "weir/cluster/messages.h"
#include "weir/core/task.h"

namespace weir {

/// The worker's side of the conversation: a pure state machine that registers, decides which
/// launches to run, keeps outcomes until the driver has them and states all of it in heartbeats.
///
///     kRegistering --Registered--> kRegistered --Shutdown, driver silent--> kEnding
///          |                                                                  ^
///          +-----------------------Refused, nobody answers--------------------+
///
/// Events come in by the functions below and each returns what to do about it. In a worker process
/// several threads feed one machine under a mutex, and the thread that brought an event carries out
/// what it returns: a slot's thread its `Run`s, for instance.
class WorkerState {
 public:
  enum class State { kRegistering, kRegistered, kEnding };

  // What is to be done.
  struct Send {
    wire::ToDriver message;
  };
  struct Run {
    wire::LaunchId launch;
    std::shared_ptr<const TaskSpec> task;
    std::vector<wire::Peer> peers;
  };
  /// Something for the resident task that runs this launch.
  struct Deliver {
    wire::LaunchId launch;
    Bytes message;
    std::vector<wire::Peer> peers;
  };
  struct StopRunning {
    std::uint32_t slot = 0;
  };
  struct Free {
    std::vector<ShuffleId> shuffles;
    std::vector<DatasetId> datasets;
    std::vector<StateId> states;
  };
  struct ForgetPeer {
    WorkerId worker;
  };
  struct End {
    std::string reason;
  };
  using Action = std::variant<Send, Run, Deliver, StopRunning, Free, ForgetPeer, End>;
  using Actions = std::vector<Action>;

  struct Options {
    wire::Register introduction;  ///< what is sent to register
    Duration start_timeout{};
    Duration driver_timeout{};
  };

  /// `knows_stage` says whether a task may name a stage without its bytes.
  WorkerState(Options options, std::function<bool(StageHash)> knows_stage);

  Actions start(SteadyTime now);
  /// A `Launch` must not be given before the last run of its slot's thread has `finished`.
  Actions received(wire::ToWorker message, SteadyTime now);
  Actions finished(std::uint32_t slot, TaskOutcome outcome, SteadyTime now);
  /// What is to be run needs its stage, which was dropped since the launch was accepted.
  Actions stage_missing(std::uint32_t slot);
  /// The outcome of a launch cannot be made into a message.
  Actions unsendable(const wire::LaunchId& launch, const std::string& why, SteadyTime now);
  /// Retries, and ends that are due. Every now and then, and at `next_deadline`.
  Actions on_timer(SteadyTime now);
  SteadyTime next_deadline() const { return next_timer_; }
  /// `steps[i]` is the progress of slot i, that is of its thread. Empty unless registered.
  std::optional<wire::Heartbeat> heartbeat(std::span<const std::uint64_t> steps,
                                           std::uint64_t rss_bytes);

  State state() const { return state_; }
  bool is_running(std::uint32_t slot) const { return slots_[slot].task != nullptr; }

 private:
  struct Slot {
    wire::LaunchId launch;                 ///< the last accepted; sequence 0: none
    std::shared_ptr<const TaskSpec> task;  ///< while it runs
    wire::Release release;                 ///< to carry out after it
    bool output_released = false;          ///< nobody else will free what it writes
    std::vector<DatasetId> released;       ///< nor what it keeps of these
    std::optional<wire::Outcome> outcome;  ///< until it is settled
    SteadyTime sent{};                     ///< the outcome, last
    SteadyTime driver_time{};              ///< known when it was sent
    Duration resend_after{};
    std::uint64_t cancelled = 0;  ///< sequence that was cancelled before it came
  };

  void on(const wire::Opened&, SteadyTime, Actions&) {}
  void on(const wire::Registered& message, SteadyTime now, Actions& actions);
  void on(const wire::Refused& message, SteadyTime now, Actions& actions);
  void on(const wire::HeartbeatReply& message, SteadyTime now, Actions& actions);
  void on(wire::Launch& message, SteadyTime now, Actions& actions);
  void on(wire::Tell& message, SteadyTime now, Actions& actions);
  void on(const wire::Cancel& message, SteadyTime now, Actions& actions);
  void on(const wire::Settled& message, SteadyTime now, Actions& actions);
  void on(wire::Release& message, SteadyTime now, Actions& actions);
  void on(const wire::PeerLost& message, SteadyTime now, Actions& actions);
  void on(const wire::Shutdown& message, SteadyTime now, Actions& actions);

  void enter(State state) { state_ = state; }
  void end(std::string reason, SteadyTime deadline, SteadyTime now, Actions& actions);
  void end_if_due(SteadyTime now, Actions& actions);
  void finish(std::uint32_t slot, TaskOutcome outcome, SteadyTime now, Actions& actions);
  void send_outcome(Slot& slot, SteadyTime now, Actions& actions);
  void carry_out(wire::Release& release, Actions& actions);
  static void note_released(Slot& slot, DatasetId dataset, AttemptId last_attempt);

  const Options options_;
  const std::function<bool(StageHash)> knows_stage_;
  State state_ = State::kRegistering;
  std::vector<Slot> slots_;
  SteadyTime started_{};
  SteadyTime last_heard_{};
  SteadyTime driver_time_{};  ///< the latest that the driver told
  SteadyTime next_timer_{};
  std::uint64_t heartbeats_ = 0;
  std::uint64_t releases_ = 0;               ///< 1 to this are carried out
  std::set<std::uint64_t> releases_ahead_;   ///< and these
  std::deque<ShuffleId> released_shuffles_;  ///< lately, for launches that come after the release
  /// And datasets, for attempts up to the second.
  std::deque<std::pair<DatasetId, AttemptId>> released_datasets_;
  std::string end_reason_;
  SteadyTime end_deadline_{};
  bool ended_ = false;
};

}  // namespace weir
