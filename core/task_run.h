#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "weir/core/resident_host.h"
#include "weir/core/task_executor.h"

namespace weir {

namespace internal {
class WorkerLocals;

/// What one attempt adds to one accumulator.
class TaskSumBase {
 public:
  explicit TaskSumBase(AccumulatorId id) : id_(id) {}
  virtual ~TaskSumBase() = default;
  AccumulatorId id() const { return id_; }
  virtual Bytes encode() const = 0;

 private:
  const AccumulatorId id_;
};
}  // namespace internal

/// What user code on a worker may ask about the task it runs in.
class TaskContext {
 public:
  /// The task of the calling thread; throws Error(kInvalidArgument) outside a task.
  static const TaskContext& current();

  std::uint64_t batch() const { return task_->batch; }  ///< sequence number, 0 outside streaming
  Time time() const { return task_->batch_time; }       ///< of the batch
  std::uint32_t partition() const { return task_->partition; }
  std::uint32_t attempt() const { return task_->attempt_number; }  ///< 1 for the first try
  /// Whether the result is no longer wanted; long-running functions should return soon.
  bool cancelled() const { return progress_->cancelled.load(std::memory_order_relaxed); }

 protected:
  TaskContext(const TaskSpec& task, const TaskExecutor::Progress& progress)
      : task_(&task), progress_(&progress) {}
  ~TaskContext() = default;

 private:
  const TaskSpec* task_;
  const TaskExecutor::Progress* progress_;
};

namespace internal {

/// Thrown to end an attempt from deep inside a stage with an outcome that is not the user's fault;
/// see `TaskRun::signalled`.
struct TaskSignal {};

/// One attempt while it runs: gives the nodes of a loaded stage their inputs, stored blocks and
/// counters. Used by the task's thread only.
class TaskRun final : public TaskContext {
 public:
  /// What a worker keeps between tasks; outlives them.
  struct Worker {
    const TaskExecutor::Options& options;
    BlockStore& blocks;
    StateStore& states;
    WorkerLocals& locals;
    SegmentFetcher* fetcher;      ///< null where every segment is local
    BlockReplicator* replicator;  ///< null where there is no other worker
  };

  /// `host`: null unless the task is resident.
  TaskRun(const TaskSpec& task, const Worker& worker, TaskExecutor::Progress& progress,
          ResidentHost* host = nullptr);
  ~TaskRun();
  TaskRun(const TaskRun&) = delete;
  TaskRun& operator=(const TaskRun&) = delete;

  /// That of the calling thread; there is one.
  static TaskRun& current();

  const TaskSpec& task() const { return task_; }
  /// Throws Error(kInternal) unless the task is resident.
  ResidentHost& host() const;
  BlockStore& blocks() { return worker_.blocks; }
  WorkerLocals& locals() { return worker_.locals; }
  std::uint64_t hash_seed() const { return task_.hash_seed; }
  const TaskExecutor::Options& options() const { return worker_.options; }

  /// The attempt's part of an accumulator; Sum is the same for every call with one id.
  template <class Sum>
  Sum& sum(AccumulatorId id) {
    for (const auto& known : sums_) {
      if (known->id() == id) return static_cast<Sum&>(*known);
    }
    return static_cast<Sum&>(*sums_.emplace_back(std::make_unique<Sum>(id)));
  }

  /// The worker's copy of the stage's broadcast of that index; `decode` makes it of all bytes.
  /// Signals `FetchFailed`.
  using DecodeBroadcast = std::shared_ptr<const void> (*)(std::string_view bytes);
  const void* broadcast(std::uint32_t index, DecodeBroadcast decode);

  /// The input of a leaf; signals `NeedInputs` if it was withheld.
  const LeafInput& input(std::uint32_t node, std::uint32_t partition) const;
  /// Null if the node is not persisted in this task.
  const CacheSlot* cached_as(std::uint32_t node) const;
  /// The map outputs of a shuffle leaf, in map-partition order. Signals `FetchFailed`.
  void read_segments(const LeafInput& input, const std::function<void(const Bytes&)>& consume);
  /// The same, of what is on the disk not yet read. `is_shared`: the worker's store holds them too.
  void read_segments(const LeafInput& input,
                     const std::function<void(HeldBytes piece, bool is_shared)>& consume);

  /// A block that a receiver kept, from this worker or the one that the input names; nothing if it
  /// names none. Signals `FetchFailed`.
  std::optional<Bytes> read_received(const LeafInput& input);

  /// The version of state that a leaf works on; signals `NeedInputs` if it was withheld.
  const StateInput& state(std::uint32_t node, std::uint32_t partition) const;
  /// Its base, to read. Signals `NeedInputs` or `StateLost`.
  StateLease open_state(const StateInput& input, const StateStore::MakeTable& make_table);
  /// The version that the task makes over it, of `keys` keys in all.
  void keep_state(const StateInput& input, const StateLease& base,
                  std::shared_ptr<const StateOverlay> overlay, std::uint64_t keys);

  /// Leaves call it for every chunk they produce; signals `Cancelled`.
  void count_records(std::size_t records);
  /// The task is getting somewhere; signals `Cancelled`.
  void step();

  /// The block of a persisted node, if there is one that may be used; see `CacheSlot::states`.
  std::optional<StoredElements> stored_block(std::uint32_t node, std::uint32_t partition) const;
  /// Nothing is kept of a cancelled attempt: nobody would free it.
  /// Or if there is no room for it.
  void keep_block(std::uint32_t node, std::uint32_t partition, StoredElements elements);
  void keep_map_output(std::uint32_t map_partition, std::vector<HeldBytes> pieces);

  /// How much memory the task may take for what it holds of its input; then it spills.
  std::uint64_t memory_budget() const { return worker_.options.task_bytes; }
  /// Puts bytes on the worker's disk. Throws Error(kUnreachable).
  HeldBytes spill(const Bytes& bytes);
  std::vector<HeldBytes> spill(const std::vector<HeldBytes>& parts);

  /// The outcome that was signalled, whether or not user code let the exception pass: then what the
  /// stage returned is incomplete.
  std::optional<TaskOutcome> signalled() { return std::move(signalled_); }
  std::vector<StoredBlock> take_stored() { return std::move(stored_); }
  std::vector<StateOutput> take_states() { return std::move(made_); }
  std::vector<AccumulatorUpdate> accumulated() const;
  TaskMetrics metrics() const;

 private:
  bool updates_state_behind(const CacheSlot& slot, std::uint32_t partition) const;
  [[noreturn]] void signal(TaskOutcome outcome) const;
  bool is_cancelled() const { return progress_.cancelled.load(std::memory_order_relaxed); }

  const TaskSpec& task_;
  const Worker worker_;
  TaskExecutor::Progress& progress_;
  ResidentHost* const host_;
  const TaskContext* const outer_;
  mutable std::optional<TaskOutcome> signalled_;
  std::vector<StoredBlock> stored_;
  std::vector<StateOutput> made_;
  std::vector<std::unique_ptr<TaskSumBase>> sums_;
  std::vector<std::shared_ptr<const void>> broadcasts_;  // by index, null where not asked for
  TaskMetrics metrics_;
};

}  // namespace internal
}  // namespace weir
