#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "weir/cluster/process_exit.h"
#include "weir/cluster/settings.h"
#include "weir/core/task.h"
#include "weir/core/time.h"

namespace weir {

/// Who belongs to the cluster: the lives of worker processes, one after another in each of a fixed
/// number of places. A pure state machine, part of `ClusterDriver`, which feeds it and takes what
/// it decides from `next_event`.
///
///                    registered              connection broken
///     kStarting ------------------> kAlive --------------------> kSuspect
///         |                            |                             |
///         | too late, refused          | silent, hung                | no exit reported soon
///         +------------------------> kLost <-------------------------+
///                                      |
///                                      +---- process ended ----> forgotten
///
/// The end of the process forgets a worker in any state, by way of kLost. As soon as a worker is
/// lost its place gets the next incarnation: at once after a long life, after a growing back-off
/// when lives are short. The process of a silent worker is not killed at once: it may be frozen,
/// and is told to end when it comes back.
///
/// When the first workers of every place end `start_attempts` times in a row before they register,
/// the cluster has failed. Once a worker has registered, this program can run as one: then it goes
/// on trying for ever, since what is in the way (no memory, no processes) may pass.
class Membership {
 public:
  enum class State { kStarting, kAlive, kSuspect, kLost };

  struct Member {
    WorkerId id;
    State state = State::kStarting;
    std::uint32_t slots = 0;
    std::string endpoint;  ///< of its block exchange
    std::optional<SteadyTime> alive_since;
    SteadyTime last_heard{};             ///< judged by `tick`
    std::optional<SteadyTime> deadline;  ///< when something happens to it unless it changes
    int last_signal = 0;                 ///< sent to its process
  };

  // What it decides.
  struct Start {
    WorkerId worker;
  };
  struct Kill {
    WorkerId worker;
    int signal = 0;
  };
  struct TellShutdown {
    WorkerId worker;
    std::string reason;
    Duration drain{};
  };
  struct Lost {
    WorkerId worker;
    bool was_member = false;  ///< it had registered
    bool blame = false;       ///< probably by the fault of what ran in it
    std::string reason;  ///< goes on after the worker's name: "was killed by signal 9 (Killed)"
  };
  struct ClusterFailed {
    std::string reason;
  };
  using Event = std::variant<Start, Kill, TellShutdown, Lost, ClusterFailed>;

  Membership(const ClusterSettings& settings, std::uint32_t places);

  void start(SteadyTime now);
  /// Whether the worker is now, or was already, alive.
  bool registered(WorkerId worker, std::uint32_t slots, std::string endpoint, SteadyTime now);
  /// A worker that can never work: the cluster has failed.
  void unfit(WorkerId worker, const std::string& reason, SteadyTime now);
  /// The cluster has failed; no worker is started any more.
  void fail(const std::string& reason);
  void heard(WorkerId worker, SteadyTime at);
  /// A worker that is not a member spoke up: it is told to end, and its process soon killed.
  void dismiss(WorkerId worker, SteadyTime now);
  void disconnected(WorkerId worker, SteadyTime now);
  void exited(WorkerId worker, const ProcessExit& exit, SteadyTime now);
  void hung(WorkerId worker, const std::string& reason, SteadyTime now);
  /// How long this process was itself away (frozen, starved) before `at`, mostly 0; that time is
  /// not held against workers. It is told from calls that were missing: call it before anything
  /// that was heard at `at` is judged, and before each `tick`.
  Duration absence(SteadyTime at);
  /// Judges silence as of `at`, when all that had arrived by then has been handled.
  void tick(SteadyTime at);
  /// How often `tick` must be called.
  static Duration tick_period(const ClusterSettings& settings);
  void on_timer(SteadyTime now);
  /// Ends all processes; nothing is started or declared lost any more.
  void stop(SteadyTime now);

  std::optional<Event> next_event();
  /// When `on_timer` has something to do.
  std::optional<SteadyTime> next_deadline() const;

  /// Null if the worker is unknown or its process has ended.
  const Member* find(WorkerId worker) const;
  /// Whether outcomes of the worker count.
  bool is_member(WorkerId worker) const;
  /// The worker of a place if it can be given tasks, else null.
  const Member* alive_at(std::uint32_t place) const;
  std::uint32_t places() const { return static_cast<std::uint32_t>(places_.size()); }
  std::uint32_t alive_count() const;
  bool failed() const { return failed_; }
  /// After `stop`: every process has ended, or has survived SIGKILL for as long as we wait.
  bool stopped() const { return stopping_ && members_.empty(); }
  /// What went wrong last, for messages; empty if nothing has.
  const std::string& last_trouble() const { return last_trouble_; }

 private:
  struct Place {
    std::uint32_t incarnations = 0;
    std::uint32_t young_deaths = 0;   ///< in a row
    std::uint32_t failed_starts = 0;  ///< in a row
    std::optional<WorkerId> current;
    std::optional<SteadyTime> start_at;
  };

  Member* mutable_find(WorkerId worker);
  void enter(Member& member, State state, std::optional<SteadyTime> deadline);
  void start_at(std::uint32_t place, SteadyTime now);
  void lose(Member& member, bool blame, const std::string& reason, SteadyTime now);
  void replace(Member& member, SteadyTime now);
  void kill(Member& member, int signal, SteadyTime now);
  void overdue(Member& member, SteadyTime now);
  void fail_if_hopeless();

  const ClusterSettings settings_;
  std::vector<Place> places_;
  std::map<WorkerId, Member> members_;
  std::vector<Event> events_;
  std::size_t next_event_ = 0;
  std::optional<SteadyTime> last_awake_;
  std::string last_trouble_;
  bool ever_registered_ = false;
  bool failed_ = false;
  bool stopping_ = false;
};

}  // namespace weir
