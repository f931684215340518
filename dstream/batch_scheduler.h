#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <variant>
#include <vector>

#include "weir/dstream/batch.h"

namespace weir::internal {

/// When a batch went through what; `started` and `ended` are set as it gets there.
struct BatchTimes {
  Batch batch;
  Time submitted{};
  std::optional<Time> started = {};
  std::optional<Time> ended = {};

  bool operator==(const BatchTimes&) const = default;
};

/// Decides which batch runs. Pure: told what happens and what time it is, says what to do.
///
/// Batches start in the order they were submitted, at most `depth` at a time. The first one that
/// fails ends everything: running ones are cancelled, waiting ones are dropped.
class BatchScheduler {
 public:
  enum class State {
    kRunning,
    kDraining,  ///< stopping gracefully: what is there and still comes is processed, until the cap
    kAborting,  ///< waits only for running batches to give up
    kFinished,
  };

  struct Submit {
    Batch batch;
  };
  /// A running batch has ended.
  struct Ended {
    std::uint64_t sequence = 0;
    bool failed = false;
  };
  /// Stop when all batches submitted before `Close` are done, or the cap has passed.
  struct Drain {};
  /// No more batches will be submitted.
  struct Close {};
  struct Abort {};
  struct TimerDue {};
  using Event = std::variant<Submit, Ended, Drain, Close, Abort, TimerDue>;

  struct StartBatch {
    BatchTimes times;
    bool operator==(const StartBatch&) const = default;
  };
  struct BatchDone {
    BatchTimes times;
    bool failed = false;
    bool operator==(const BatchDone&) const = default;
  };
  /// Cut no more batches: they would not be run.
  struct StopCutting {
    bool operator==(const StopCutting&) const = default;
  };
  /// Cancel the jobs of running batches. Repeated until they have ended, because a batch between
  /// two jobs has none to cancel.
  struct CancelRunning {
    bool operator==(const CancelRunning&) const = default;
  };
  struct Finished {
    std::size_t dropped = 0;  ///< submitted and never started
    bool operator==(const Finished&) const = default;
  };
  using Action = std::variant<StartBatch, BatchDone, StopCutting, CancelRunning, Finished>;

  struct Options {
    std::size_t depth = 1;
    Duration drain_cap{};
  };

  explicit BatchScheduler(Options options) : options_(options) {}

  std::vector<Action> on(const Event& event, Time now);

  State state() const { return state_; }
  /// When to send `TimerDue`.
  std::optional<Time> timer() const { return timer_; }
  std::size_t waiting() const { return waiting_.size(); }
  std::size_t running() const { return running_.size(); }

 private:
  void on_submit(const Submit& event, Time now);
  void on_ended(const Ended& event, Time now);
  void on_timer(Time now);
  void abort();
  void start_what_can(Time now);
  void finish_if_done();
  void enter(State state);

  const Options options_;
  State state_ = State::kRunning;
  bool closed_ = false;
  std::deque<BatchTimes> waiting_;
  std::vector<BatchTimes> running_;  // at most options_.depth
  std::optional<Time> timer_;        // kDraining: the cap
  std::size_t dropped_ = 0;
  std::vector<Action> actions_;  // of the event being handled
};

}  // namespace weir::internal
