#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "weir/core/dataset.h"

namespace weir {

namespace internal {

/// One leaf partition that a task reads: a source's (`input.is_shuffle` false, complete) or a
/// shuffle's or broadcast's (its segments are filled in when the task is launched).
struct LeafNeed {
  LeafInput input;
  /// The stored block that spares the task this leaf while it exists: (dataset, partition).
  std::optional<std::pair<DatasetId, std::uint32_t>> behind;
};

/// A version of a partition's state that a task reads or updates.
struct StateNeed {
  StateInput input;              ///< as `DatasetBase::describe_state` says
  std::uint32_t partitions = 0;  ///< of the state
  /// As of a leaf.
  std::optional<std::pair<DatasetId, std::uint32_t>> behind;
};

/// A stage as the scheduler sees it: ids and bytes.
struct StagePlan {
  std::string name;
  std::shared_ptr<const StageProgram> program;
  std::vector<CacheSlot> cached;
  /// What task i (not partition i: a job may want some partitions only) computes and needs.
  std::vector<std::uint32_t> partitions;
  std::vector<std::vector<LeafNeed>> needs;
  std::vector<std::vector<StateNeed>> states;  ///< empty: no task has any
  std::optional<ShuffleId> writes;             ///< a map stage
  std::uint32_t reducers = 0;                  ///< of what it writes: pieces per task
  bool has_effects = false;  ///< results left the task already (foreach): never undone
};

/// Map stages in an order in which each stage comes after those it reads; the result stage last, or
/// the map stage for whose outputs the job is run.
struct JobPlan {
  std::vector<StagePlan> stages;
  std::uint64_t hash_seed = 0;
  std::uint64_t batch = 0;
  Time batch_time{};
  Bytes job_bytes;  ///< given to every task of the job, see TaskSpec
  /// Keeps the datasets, and so their map outputs and blocks, alive while the job runs.
  std::vector<std::shared_ptr<DatasetBase>> keep;
};

/// Cuts the graph above `root` at its shuffles and serializes the stages.
JobPlan plan_job(const std::shared_ptr<DatasetBase>& root, const StageOutput& action,
                 bool has_effects, const std::vector<std::uint32_t>& partitions);

/// Jobs that make the map outputs which a job on `root` will read, one for each shuffle that its
/// result stage reads. Shuffles of what is made from state are left out: they can be made only when
/// the state is there.
std::vector<JobPlan> plan_map_stages(const std::shared_ptr<DatasetBase>& root);

}  // namespace internal

/// A stage recreated from its bytes. Immutable, so any number of tasks may run it at once.
class LoadedStage {
 public:
  /// Throws Error(kCorrupt) if the bytes are malformed or name code that is not in this binary.
  explicit LoadedStage(std::string_view program);

  Done run(internal::TaskRun& run, std::uint32_t partition) const {
    return output_->run(run, partition);
  }

 private:
  std::vector<std::unique_ptr<internal::StageNode>> nodes_;
  const internal::StageOutput* output_ = nullptr;
};

}  // namespace weir
