#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "weir/core/dataset.h"
#include "weir/core/engine.h"
#include "weir/core/error.h"

namespace weir::internal {

/// What stands for a dataset whose only copy are its stored blocks.
template <class T>
class StoredOnlyDataset final : public Dataset<T> {
 public:
  explicit StoredOnlyDataset(const Dataset<T>& dataset)
      : Dataset<T>(dataset.engine(), "local_checkpoint", dataset.num_partitions(), {}, {}) {}
  explicit StoredOnlyDataset(StageReader&) {}

  static std::unique_ptr<StageNode> load(StageReader& in) {
    return std::unique_ptr<StageNode>(new StoredOnlyDataset(in));
  }
  CodeId code() const override {
    (void)Registered<StoredOnlyDataset>::value;
    return code_id(&StoredOnlyDataset::load);
  }
  void write(SlimWriter&) const override {}
  bool is_source() const override { return true; }

  StreamPtr<T> open(TaskRun&, std::uint32_t partition) const override {
    throw Error(
        ErrorCode::kJobFailed,
        "partition " + std::to_string(partition) +
            " of a dataset whose lineage local_checkpoint() cut is not stored any more: its "
            "worker was lost, or had no room for it. Use checkpoint(), or a level with a "
            "second replica");
  }
};

}  // namespace weir::internal
