#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "weir/core/sources.h"

namespace weir::internal {

/// Fewer partitions: partition p of n is the parent's [p*m/n, (p+1)*m/n) of m, one after another.
template <class T>
class CoalescedDataset final : public Dataset<T> {
 public:
  CoalescedDataset(const DatasetPtr<T>& parent, std::uint32_t partitions)
      : Dataset<T>(parent->engine(), "coalesce", partitions, {parent}, {}),
        from_(parent->num_partitions()),
        to_(partitions) {}
  explicit CoalescedDataset(StageReader& in) : parent_(in.parent<T>()) { in.bytes() & from_& to_; }

  static std::unique_ptr<StageNode> load(StageReader& in) {
    return std::unique_ptr<StageNode>(new CoalescedDataset(in));
  }
  CodeId code() const override {
    (void)Registered<CoalescedDataset>::value;
    return code_id(&CoalescedDataset::load);
  }
  void write(SlimWriter& out) const override { out& from_& to_; }

  void visit_dependencies(
      std::uint32_t p,
      const std::function<void(std::uint32_t, std::uint32_t)>& visit) const override {
    const auto begin = [this](std::uint64_t i) {
      return static_cast<std::uint32_t>(i * from_ / to_);
    };
    for (std::uint32_t q = begin(p); q < begin(p + 1ULL); ++q) visit(0, q);
  }

  StreamPtr<T> open(TaskRun& run, std::uint32_t partition) const override {
    std::vector<DatasetPartition> partitions;
    visit_dependencies(partition, [&](std::uint32_t, std::uint32_t q) {
      partitions.push_back({parent_, q});
    });
    return StreamPtr<T>(new SequenceStream<T>(run, std::move(partitions)));
  }

 private:
  const Dataset<T>* const parent_ = nullptr;  // loaded stages only
  std::uint32_t from_ = 0;
  std::uint32_t to_ = 1;
};

}  // namespace weir::internal
