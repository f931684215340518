#pragma once

#include <memory>
#include <ranges>
#include <type_traits>
#include <utility>
#include <vector>

#include "weir/core/pipes.h"

/// The leaves of the graph: data of the driver's, partitions that a function reads, unions.
namespace weir::internal {

/// Adds the counting of records (and so progress and cancellation) to a leaf's stream.
template <class T>
class CountedStream final : public ChunkStream<T> {
 public:
  CountedStream(StreamPtr<T> input, TaskRun& run) : input_(std::move(input)), run_(run) {}
  ChunkRef<T> next() override {
    const ChunkRef<T> chunk = input_->next();
    run_.count_records(chunk.size);
    return chunk;
  }

 private:
  const StreamPtr<T> input_;
  TaskRun& run_;
};

/// The driver's own data, one block per partition.
template <class T>
class ParallelizedDataset final : public Dataset<T> {
 public:
  ParallelizedDataset(const std::shared_ptr<Engine>& engine,
                      std::vector<std::shared_ptr<const MemoryBlock<T>>> blocks)
      : Dataset<T>(engine, "parallelize", static_cast<std::uint32_t>(blocks.size()), {}, {}),
        blocks_(std::move(blocks)) {}
  explicit ParallelizedDataset(StageReader&) {}

  static std::shared_ptr<StageNode> load(StageReader& in) {
    return std::make_shared<ParallelizedDataset>(in);
  }
  CodeId code() const override {
    (void)Registered<ParallelizedDataset>::value;
    return code_id(&ParallelizedDataset::load);
  }
  void write(SlimWriter&) const override {}
  bool is_source() const override { return true; }
  void describe_input(std::uint32_t p, LeafInput& input) const override {
    input.block = blocks_[p];
  }

 protected:
  StreamPtr<T> compute(TaskRun& run, std::uint32_t partition) const override {
    const LeafInput& input = run.input(this->node_index(), partition);
    auto block = input.block;
    if (block == nullptr) {
      block = std::make_shared<const MemoryBlock<T>>(decode<std::vector<T>>(input.bytes.view()));
    }
    return std::make_unique<CountedStream<T>>(open_block<T>(std::move(block)), run);
  }

 private:
  const std::vector<std::shared_ptr<const MemoryBlock<T>>> blocks_;
};

template <class Result>
struct ReaderElement {
  static_assert(std::ranges::input_range<Result>,
                "a reader must return a range of elements or a std::unique_ptr<ChunkStream<T>>");
  using type = std::ranges::range_value_t<Result>;
};
template <class T>
struct ReaderElement<std::unique_ptr<ChunkStream<T>>> {
  using type = T;
};
template <class Derived>
requires requires { typename Derived::element_type; }
struct ReaderElement<std::unique_ptr<Derived>> {
  using type = typename Derived::element_type;
};

/// Partitions that a function reads on the worker: partition i is `reader(partitions[i])`.
template <class F, class P>
class ReaderDataset final : public Dataset<typename ReaderElement<result_of_t<F, const P&>>::type> {
 public:
  using Result = result_of_t<F, const P&>;
  using T = typename ReaderElement<Result>::type;

  ReaderDataset(const std::shared_ptr<Engine>& engine, const char* operation, F reader,
                std::vector<P> partitions)
      : Dataset<T>(engine, operation, static_cast<std::uint32_t>(partitions.size()), {}, {}),
        reader_(std::move(reader)),
        partitions_(std::move(partitions)) {}
  explicit ReaderDataset(StageReader& in) : reader_(read_function<F>(in.bytes())) {}

  static std::shared_ptr<StageNode> load(StageReader& in) {
    return std::make_shared<ReaderDataset>(in);
  }
  CodeId code() const override {
    (void)Registered<ReaderDataset>::value;
    return code_id(&ReaderDataset::load);
  }
  void write(SlimWriter& out) const override { write_function(out, reader_); }
  bool is_source() const override { return true; }
  void describe_input(std::uint32_t p, LeafInput& input) const override {
    input.bytes = encode_bytes(partitions_[p]);
  }

 protected:
  StreamPtr<T> compute(TaskRun& run, std::uint32_t partition) const override {
    const P described = decode<P>(run.input(this->node_index(), partition).bytes.view());
    return std::make_unique<CountedStream<T>>(open(described), run);
  }

 private:
  struct RangeStream final : ChunkStream<T> {
    RangeStream(const F& reader, const P& p) : partition(p) { cursor.start(reader(partition)); }
    ChunkRef<T> next() override {
      out.clear();
      if (cursor.active()) cursor.fill(out);
      return out.ref();
    }
    const P partition;  // the range may refer to it
    RangeCursor<T, Result, is_owned<T> ? kChunkElements : 1> cursor;
    ChunkBuffer<T> out;
  };

  StreamPtr<T> open(const P& partition) const {
    if constexpr (std::is_convertible_v<Result, StreamPtr<T>>) {
      return reader_(partition);
    } else {
      return std::make_unique<RangeStream>(reader_, partition);
    }
  }

  const F reader_;
  const std::vector<P> partitions_;  // in the driver only
};

/// Partitions one after another, each opened when those before it have ended.
template <class T>
class SequenceStream final : public ChunkStream<T> {
 public:
  explicit SequenceStream(TaskRun& run) : run_(run) {}

  void add(const Dataset<T>& dataset, std::uint32_t partition) {
    rest_.emplace_back(&dataset, partition);
  }
  ChunkRef<T> next() override {
    while (true) {
      if (current_ != nullptr) {
        const ChunkRef<T> chunk = current_->next();
        if (!chunk.empty()) return chunk;
        current_ = nullptr;
      }
      if (at_ == rest_.size()) return {};
      const auto& [dataset, partition] = rest_[at_++];
      current_ = dataset->open(run_, partition);
    }
  }

 private:
  TaskRun& run_;
  std::vector<std::pair<const Dataset<T>*, std::uint32_t>> rest_;
  std::size_t at_ = 0;
  StreamPtr<T> current_;
};

/// Several datasets as one. Where all have the same partitioner, partition p of the result is their
/// partitions p one after another and the partitioner is kept; else their partitions stand in a
/// row.
template <class T>
class UnionDataset final : public Dataset<T> {
 public:
  UnionDataset(const std::shared_ptr<Engine>& engine,
               const std::vector<std::shared_ptr<Dataset<T>>>& parents)
      : Dataset<T>(engine, "union", count(parents),
                   std::vector<std::shared_ptr<DatasetBase>>(parents.begin(), parents.end()),
                   common_partitioner(parents)),
        zipped_(common_partitioner(parents).has_value()) {
    for (const auto& parent : parents) sizes_.push_back(parent->num_partitions());
  }
  explicit UnionDataset(StageReader& in) {
    in.bytes() & zipped_& sizes_;
    for (std::size_t i = 0; i < in.num_parents(); ++i) loaded_.push_back(in.parent<T>(i));
    if (sizes_.size() != loaded_.size()) {
      throw Error(ErrorCode::kCorrupt, "a union in a stage has another number of parents");
    }
  }

  static std::shared_ptr<StageNode> load(StageReader& in) {
    return std::make_shared<UnionDataset>(in);
  }
  CodeId code() const override {
    (void)Registered<UnionDataset>::value;
    return code_id(&UnionDataset::load);
  }
  void write(SlimWriter& out) const override { out& zipped_& sizes_; }

  void visit_dependencies(
      std::uint32_t p,
      const std::function<void(std::uint32_t, std::uint32_t)>& visit) const override {
    for (std::uint32_t i = 0; i < sizes_.size(); ++i) {
      if (zipped_) {
        visit(i, p);
      } else if (p < sizes_[i]) {
        return visit(i, p);
      } else {
        p -= sizes_[i];
      }
    }
  }

 protected:
  StreamPtr<T> compute(TaskRun& run, std::uint32_t partition) const override {
    auto stream = std::make_unique<SequenceStream<T>>(run);
    visit_dependencies(partition,
                       [&](std::uint32_t i, std::uint32_t q) { stream->add(*loaded_[i], q); });
    return stream;
  }

 private:
  static std::optional<Partitioner> common_partitioner(
      const std::vector<std::shared_ptr<Dataset<T>>>& parents) {
    if (parents.empty()) return std::nullopt;
    for (const auto& parent : parents) {
      if (parent->partitioner() != parents[0]->partitioner()) return std::nullopt;
    }
    return parents[0]->partitioner();
  }
  static std::uint32_t count(const std::vector<std::shared_ptr<Dataset<T>>>& parents) {
    if (const auto common = common_partitioner(parents)) return common->partitions;
    std::uint32_t sum = 0;
    for (const auto& parent : parents) sum += parent->num_partitions();
    return sum;
  }

  bool zipped_ = false;
  std::vector<std::uint32_t> sizes_;
  std::vector<std::shared_ptr<const Dataset<T>>> loaded_;  // loaded stages only
};

}  // namespace weir::internal
