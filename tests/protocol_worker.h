#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "weir/core/hash.h"
#include "weir/core/state/map_with_state.h"
#include "weir/core/state/state_store.h"
#include "weir/core/state/window_state.h"
#include "weir/core/task.h"

#include "protocol_world.h"

/// A worker of the simulation: the real state store, its changelog and snapshots over the simulated
/// disk, and two real stateful operators. Part of protocol_simulation.h.
namespace weir::protocol {

struct Task {
  std::uint64_t driver = 0;
  AttemptId attempt = 0;
  std::size_t slot = 0;
  std::uint64_t worker = 0;  ///< incarnation
  std::size_t op = 0;        ///< whose state it updates, or whose sink it prepares for
  std::uint64_t sequence = 0;
  std::uint64_t from = 0;
  std::uint64_t end = 0;
  bool writes_state = false;  ///< else it prepares for a sink
  StateInput input;
};

struct TaskFailed {
  ErrorCode code = ErrorCode::kUnreachable;
  std::string message;
};
struct Outcome {
  Task task;
  std::variant<TaskFailed, StateOutput, StateLost, NeedInputs, std::vector<Line>> result;
};

struct AddToSum {
  std::int64_t operator()(const std::uint64_t&, std::optional<std::int64_t> value,
                          State<std::int64_t>& sum) const {
    sum.update(sum.get_optional().value_or(0) + value.value_or(0));
    return sum.get();
  }
};
struct Add {
  std::int64_t operator()(std::int64_t a, std::int64_t b) const { return a + b; }
};
using SumOperator =
    internal::MapWithStateOperator<std::uint64_t, std::int64_t, std::int64_t, AddToSum>;
using WindowedOperator = internal::WindowOperator<std::uint64_t, std::int64_t, Add>;

/// Calls `use` with the operator.
template <class F>
auto with_operator(const World& world, std::size_t op, F&& use) {
  if (op == kSums) return use(SumOperator());
  using std::chrono::seconds;
  return use(
      WindowedOperator({seconds(world.window()), seconds(kWindowSlide), seconds(1), Time{}}, {}));
}

inline internal::MakeStateTable maker_of(const World& world, std::size_t op) {
  return [&world, op](const internal::KeyGroups& groups) {
    return with_operator(world, op, [&](const auto& each) { return each.make_table(groups); });
  };
}

/// All that a version holds.
inline Sums sums_in(const World& world, std::size_t op, const internal::StateView& view) {
  return with_operator(world, op, [&](const auto& each) {
    Sums sums;
    const auto elements = each.snapshot(view);
    for (auto chunk = elements->next(); !chunk.empty(); chunk = elements->next()) {
      for (const auto& [key, sum] : chunk) sums[key] = sum;
    }
    return sums;
  });
}

class Worker {
 public:
  Worker(std::shared_ptr<DurableStore> disk, const World& world, std::uint64_t incarnation,
         std::uint64_t changelog_bytes)
      : incarnation_(incarnation),
        world_(world),
        disk_(std::make_shared<WatchedStore>(
            std::move(disk), WatchedStore::Options{.mutant = world.mutant(),
                                                   .folder = std::string(kStateFolder) + "/"})),
        states_({.files = {[this](const std::string&) { return disk_; },
                           [this] { return (incarnation_ << 16) | ++files_; }},
                 .changelog_bytes = changelog_bytes,
                 .on_callers_thread = true}) {}

  std::uint64_t incarnation() const { return incarnation_; }

  /// A task that has the version that it works on, and nothing else yet.
  struct Begun {
    Task task;
    StateLease base;
  };

  std::variant<Begun, Outcome> begin(const Task& task) {
    if (!world_.can_read(task.from, task.end)) {
      return Outcome{task, TaskFailed{ErrorCode::kDataLoss, "the source has dropped the input"}};
    }
    try {
      auto opened = open(task);
      if (auto* lost = std::get_if<StateLost>(&opened)) return Outcome{task, std::move(*lost)};
      if (std::holds_alternative<NeedInputs>(opened)) return Outcome{task, NeedInputs{}};
      return Begun{task, std::get<StateLease>(std::move(opened))};
    } catch (const Error& error) {
      return Outcome{task, TaskFailed{error.code(), error.what()}};
    }
  }

  /// `breaks`: behind the update of the state, before anything is said of it.
  Outcome finish(const Begun& begun, bool breaks) {
    const Task& task = begun.task;
    try {
      if (!task.writes_state) return {task, lines(begun)};
      return {task, update(begun, breaks)};
    } catch (const Error& error) {
      return {task, TaskFailed{error.code(), error.what()}};
    }
  }

  /// A step of what goes on in the background; returns whether there was one.
  bool write_snapshot() {
    const bool any = states_.write_snapshot_group();
    if (!any) snapshot_of_.reset();
    return any;
  }

  void kill() { disk_->kill(); }

 private:
  using Opened = std::variant<StateLease, NeedInputs, StateLost>;

  Opened open(const Task& task) {
    StateInput input = task.input;
    if (world_.is(Mutant::kDeltaUnchecked)) forgive_damage(input);
    for (StateStep& step : input.history) {
      if (task.op == kWindow && world_.is(Mutant::kDeltaOfAllGroups)) {
        step.begin_group = step.end_group = 0;
      }
    }
    if (input.snapshot) snapshot_of_ = input.partition;
    auto opened = open(task.op, input);
    if (std::holds_alternative<StateLost>(opened) && world_.is(Mutant::kLossTakenForEmpty)) {
      input.history.clear();
      return open(task.op, input);
    }
    return opened;
  }
  Opened open(std::size_t op, const StateInput& input) {
    return states_.open(
        input, maker_of(world_, op), [] {}, cancelled_);
  }

  /// A mutant's: whatever is where a delta was written is what was written.
  void forgive_damage(StateInput& input) const {
    for (StateStep& step : input.history) {
      const auto file = disk_->open(step.piece.file);
      if (step.is_snapshot || file == nullptr) continue;
      std::string bytes(step.piece.length, '\0');
      bytes.resize(file->read(step.piece.offset, bytes));
      step.piece.hash = hash_bytes(bytes);
    }
  }

  StateOutput update(const Begun& begun, bool breaks) {
    return with_operator(world_, begun.task.op, [&](const auto& op) {
      const Task& task = begun.task;
      auto changes = op.begin(
          begun.base.view(),
          internal::StateBatch{task.sequence, time_of(task.sequence), 0, task.input.groups});
      for (std::uint64_t id = task.from; id < task.end; ++id) {
        const Record each = record(id);
        if (task.input.groups.owns(each.key)) {
          changes.add(each.key, std::uint64_t{each.key}, std::int64_t{each.value});
        }
      }
      auto results = std::vector<typename std::decay_t<decltype(op)>::Out>();
      std::shared_ptr<const internal::StateOverlay> changed = changes.finish(results);
      if (changes_in_place(task)) {
        const_cast<internal::StateTable&>(*begun.base.view().table).fold(*changed);
      }
      if (breaks) throw Error(ErrorCode::kUnreachable, "the task broke off");
      return states_.keep(task.input, begun.base, task.attempt, changed, changes.total_keys());
    });
  }

  /// For mutants. (A window's table cannot take in a slice twice.)
  bool changes_in_place(const Task& task) const {
    if (task.op != kSums) return false;
    return world_.is(Mutant::kStateInPlace) ||
           (world_.is(Mutant::kSnapshotSlips) && snapshot_of_ == task.input.partition);
  }

  std::vector<Line> lines(const Begun& begun) const {
    const Task& task = begun.task;
    Sums sums = sums_in(world_, task.op, begun.base.view());
    std::vector<Line> lines;
    if (task.op == kWindow) {
      for (const auto& [key, sum] : sums) lines.push_back({key, sum});
      return lines;
    }
    for (std::uint64_t id = task.from; id < task.end; ++id) {
      const std::uint64_t key = record(id).key;
      if (task.input.groups.owns(key)) lines.push_back({id, sums[key]});
    }
    return lines;
  }

  const std::uint64_t incarnation_;
  const World& world_;
  const std::shared_ptr<WatchedStore> disk_;
  std::uint64_t files_ = 0;
  std::optional<std::uint32_t> snapshot_of_;  // partition; for a mutant
  const std::atomic<bool> cancelled_{false};
  StateStore states_;
};

}  // namespace weir::protocol
