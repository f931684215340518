#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "weir/core/archive.h"
#include "weir/core/hash.h"
#include "weir/core/task.h"

#include "protocol_world.h"

/// A worker of the simulation, under the rules of the real ones: versions in memory by the attempt
/// that made them, what a batch changed appended to a file of its own without a sync, and a version
/// that is not there put together from the pieces that the task names. Part of
/// protocol_simulation.h.
namespace weir::protocol {

constexpr const char* kStateFolder = "state";

struct Task {
  std::uint64_t driver = 0;
  AttemptId attempt = 0;
  std::size_t slot = 0;
  std::uint64_t worker = 0;  ///< incarnation
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
  std::variant<TaskFailed, StateOutput, StateLost, std::vector<Line>> result;
};

/// A piece's bytes; throws Error(kCorrupt).
inline Sums read_piece(DurableStore& store, const StatePiece& piece) {
  const std::string path = std::string(kStateFolder) + "/" + piece.file;
  const std::string bytes = store.read(path, piece.offset, piece.length);
  if (bytes.size() != piece.length || hash_bytes(bytes) != piece.hash) {
    throw Error(ErrorCode::kCorrupt, fmt::format("{} is damaged at {}", path, piece.offset));
  }
  return decode<Sums>(bytes);
}

/// What is left of a version by its steps, for the groups of one partition.
inline std::variant<Sums, StateLost> put_together(DurableStore& store,
                                                  const internal::KeyGroups& groups,
                                                  const std::vector<StateStep>& history) {
  Sums sums;
  for (const StateStep& step : history) {
    try {
      for (const auto& [key, sum] : read_piece(store, step.piece)) {
        const std::uint32_t group = groups.group_of(key);
        const bool counts =
            step.end_group == 0 || (step.begin_group <= group && group < step.end_group);
        if (counts && groups.owns(key)) sums[key] = sum;
      }
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kCorrupt) throw;
      StateLost lost{kState, 0, 0, error.what()};
      for (const StateStep& other : history) {
        if (other.sequence < step.sequence) lost.sequence = std::max(lost.sequence, other.sequence);
      }
      return lost;
    }
  }
  return sums;
}

class Worker {
 public:
  Worker(std::shared_ptr<DurableStore> store, const World& world, std::uint64_t incarnation)
      : incarnation_(incarnation), store_(std::move(store)), world_(world) {}

  std::uint64_t incarnation() const { return incarnation_; }

  /// `breaks`: behind the update of the state, before anything is said of it.
  Outcome run(const Task& task, bool breaks) {
    if (task.input.gone) {
      return {task, TaskFailed{ErrorCode::kDataLoss, "the version is no longer known"}};
    }
    if (!world_.can_read(task.from, task.end)) {
      return {task, TaskFailed{ErrorCode::kDataLoss, "the source has dropped the input"}};
    }
    try {
      auto found = find(task.input);
      if (auto* lost = std::get_if<StateLost>(&found)) return {task, std::move(*lost)};
      Sums& base = *std::get<Sums*>(found);
      if (!task.writes_state) return {task, lines(task, base)};
      return {task, update(task, base, breaks)};
    } catch (const Error& error) {
      return {task, TaskFailed{error.code(), error.what()}};
    }
  }

 private:
  using Version = std::pair<std::uint64_t, AttemptId>;  // by whom it was made; 0: restored
  using Versions = std::map<Version, Sums>;

  std::variant<Sums*, StateLost> find(const StateInput& input) {
    Versions& versions = versions_[input.partition];
    const Version base{input.base_sequence, input.base_attempt};
    std::erase_if(versions, [&](const auto& entry) {
      return entry.first.first < input.fold_to && entry.first != base;
    });
    if (const auto known = versions.find(base); known != versions.end()) return &known->second;
    auto whole = put_together(*store_, input.groups, input.history);
    if (auto* lost = std::get_if<StateLost>(&whole)) {
      lost->partition = input.partition;
      if (!world_.is(Mutant::kLossTakenForEmpty)) return std::move(*lost);
      whole = Sums{};
    }
    return &(versions[base] = std::get<Sums>(std::move(whole)));
  }

  StateOutput update(const Task& task, Sums& base, bool breaks) {
    Sums next = base;
    Sums changed;
    Sums& target = world_.is(Mutant::kStateInPlace) ? base : next;
    for (std::uint64_t id = task.from; id < task.end; ++id) {
      const Record each = record(id);
      if (task.input.groups.owns(each.key)) changed[each.key] = target[each.key] += each.value;
    }
    if (breaks) throw Error(ErrorCode::kUnreachable, "the task broke off");
    StateOutput output;
    output.state = kState;
    output.partition = task.input.partition;
    output.sequence = task.sequence;
    output.base_sequence = task.input.base_sequence;
    output.delta = append(encode(changed));
    if (task.input.snapshot) {
      output.snapshots.push_back({task.input.base_sequence, true, append(encode(base))});
    }
    versions_[task.input.partition][{task.sequence, task.attempt}] = target;
    return output;
  }

  std::vector<Line> lines(const Task& task, Sums& sums) const {
    std::vector<Line> lines;
    for (std::uint64_t id = task.from; id < task.end; ++id) {
      const std::uint64_t key = record(id).key;
      if (task.input.groups.owns(key)) lines.push_back({id, sums[key]});
    }
    return lines;
  }

  StatePiece append(const std::string& bytes) {
    auto file = std::move(file_);  // given up unless all of it is written
    if (file == nullptr || store_->size(path()) < 0) {
      name_ = fmt::format("log-{:04}-{:02}.chg", incarnation_, ++files_);
      file = store_->create(path());
      if (file == nullptr) throw Error(ErrorCode::kInternal, path() + " is there already");
    }
    const StatePiece piece{name_, file->size(), bytes.size(), hash_bytes(bytes)};
    file->append(bytes);
    file_ = std::move(file);
    return piece;
  }
  std::string path() const { return std::string(kStateFolder) + "/" + name_; }

  const std::uint64_t incarnation_;
  const std::shared_ptr<DurableStore> store_;
  const World& world_;
  std::map<std::uint32_t, Versions> versions_;  // by partition
  std::string name_;
  std::uint64_t files_ = 0;
  std::unique_ptr<DurableFile> file_;
};

}  // namespace weir::protocol
