#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "weir/core/state/state_store.h"
#include "weir/core/storage/block_store.h"
#include "weir/core/task.h"

namespace weir {

class LoadedStage;
class ResidentHost;
namespace internal {
class WorkerLocals;
}

/// Gets the segments of map outputs that are not in this process. One per runner; thread-safe.
class SegmentFetcher {
 public:
  virtual ~SegmentFetcher() = default;

  /// The bytes of every segment, in the given order, each as soon as it and its predecessors are
  /// there: `consume` is called once per segment on the calling thread. Returns a failure instead
  /// when a worker does not deliver. `segments` have sizes above 0, no inline data, and are not
  /// local.
  virtual std::optional<FetchFailed> fetch(
      ShuffleId shuffle, std::uint32_t reduce_partition,
      const std::vector<const Segment*>& segments,
      const std::function<void(const Segment&, Bytes)>& consume,
      const std::atomic<bool>& cancelled) = 0;
};

/// Puts second replicas of blocks on other workers. One per runner; thread-safe.
class BlockReplicator {
 public:
  virtual ~BlockReplicator() = default;

  /// Who keeps the copy now; nothing if no other worker takes it, or the task is cancelled.
  virtual std::optional<WorkerId> copy(DatasetId dataset, std::uint32_t partition,
                                       const StoredElements& elements, StorageLevel level,
                                       const std::atomic<bool>& cancelled) = 0;
};

/// Runs tasks on the calling thread: what the threads of a local runner and the slots of a worker
/// process share. Keeps loaded stages (bounded) and stores blocks, map outputs and state.
/// Thread-safe.
class TaskExecutor {
 public:
  struct Options {
    WorkerId self;
    std::uint64_t inline_limit = 8 * 1024;  ///< map output bytes per reducer sent inline; 0: none
    /// Of the loaded stages kept: their serialized sizes and 16 KiB for each.
    std::size_t stage_cache_bytes = 16u << 20;
    /// What a task may hold before it spills.
    std::uint64_t task_bytes = std::numeric_limits<std::uint64_t>::max();
    BlockStore::Options store = {};
    bool compress = false;  ///< map outputs
  };

  /// `fetcher` may be null where every segment is local, `replicator` where there is no other
  /// worker; they must outlive the executor.
  explicit TaskExecutor(Options options, SegmentFetcher* fetcher = nullptr,
                        BlockReplicator* replicator = nullptr);
  ~TaskExecutor();

  /// Whether the stage is loaded, so that a task may name it without its bytes.
  bool knows_stage(StageHash hash) const;
  /// Loads a stage from its bytes; throws Error(kCorrupt) if they do not hash to `hash` or name
  /// code that is not in this binary.
  void add_stage(const StageProgram& program);

  /// What a running task shows to others. Written by the task's thread, read by any.
  struct Progress {
    std::atomic<std::uint64_t> records{0};  ///< read from inputs
    std::atomic<std::uint64_t> steps{0};    ///< grows while the task gets anywhere
    std::atomic<bool> cancelled{false};     ///< written by whoever wants the result no longer
  };

  /// Runs one attempt to its end. User exceptions become `Failed`. Nothing if
  /// `task.program->bytes` is empty and the stage is not loaded (any more). Never throws. `host`:
  /// of a resident task.
  std::optional<TaskOutcome> run(const TaskSpec& task, Progress& progress,
                                 ResidentHost* host = nullptr);

  BlockStore& blocks() { return blocks_; }
  StateStore& states() { return states_; }
  /// Destroys what `worker_local` made. Nothing runs any more.
  void release_locals();

 private:
  /// Null if it is not loaded and there are no bytes to load it from.
  std::shared_ptr<const LoadedStage> stage(const StageProgram& program);

  const Options options_;
  SegmentFetcher* const fetcher_;
  BlockReplicator* const replicator_;
  BlockStore blocks_;
  StateStore states_;
  const std::unique_ptr<internal::WorkerLocals> locals_;

  mutable std::mutex mutex_;  // guards the stages
  struct Entry {
    std::shared_ptr<const LoadedStage> stage;
    std::size_t bytes = 0;
    std::uint64_t last_use = 0;
  };
  std::unordered_map<StageHash, Entry> stages_;
  std::size_t stage_bytes_ = 0;
  std::uint64_t uses_ = 0;
};

}  // namespace weir
