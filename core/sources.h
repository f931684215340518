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
                      std::vector<std::shared_ptr<const Block>> blocks)
      : Dataset<T>(engine, "parallelize", static_cast<std::uint32_t>(blocks.size()), {}, {}),
        blocks_(std::move(blocks)) {}
  explicit ParallelizedDataset(StageReader&) {}

  static std::unique_ptr<StageNode> load(StageReader& in) {
    return std::unique_ptr<StageNode>(new ParallelizedDataset(in));
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

  StreamPtr<T> open(TaskRun& run, std::uint32_t partition) const override {
    const LeafInput& input = run.input(this->node_index(), partition);
    auto block = input.block;
    if (block == nullptr) block = make_block(decode<std::vector<T>>(input.bytes.view()));
    return StreamPtr(new CountedStream<T>(open_block<T>(std::move(block)), run));
  }

 private:
  const std::vector<std::shared_ptr<const Block>> blocks_;
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
template <class T>
struct ReaderElement<StreamPtr<T>> {
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

  static std::unique_ptr<StageNode> load(StageReader& in) {
    return std::unique_ptr<StageNode>(new ReaderDataset(in));
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

  StreamPtr<T> open(TaskRun& run, std::uint32_t partition) const override {
    const P described = decode<P>(run.input(this->node_index(), partition).bytes.view());
    return StreamPtr(new CountedStream<T>(read(described), run));
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

  StreamPtr<T> read(const P& partition) const {
    if constexpr (std::is_same_v<Result, StreamPtr<T>>) {
      return reader_(partition);
    } else if constexpr (std::is_convertible_v<Result, std::unique_ptr<ChunkStream<T>>>) {
      return StreamPtr<T>(reader_(partition).release());
    } else {
      return StreamPtr<T>(new RangeStream(reader_, partition));
    }
  }

  const F reader_;
  const std::vector<P> partitions_;  // in the driver only
};

/// Partitions one after another, each opened when those before it have ended.
template <class T>
class SequenceStream final : public ChunkStream<T> {
 public:
  /// The datasets' elements are T.
  SequenceStream(TaskRun& run, std::vector<DatasetPartition> partitions)
      : run_(run), rest_(std::move(partitions)) {}

  ChunkRef<T> next() override {
    while (true) {
      if (current_ != nullptr) {
        const ChunkRef<T> chunk = current_->next();
        if (!chunk.empty()) return chunk;
        current_ = nullptr;
      }
      if (at_ == rest_.size()) return {};
      const auto& [dataset, partition] = rest_[at_++];
      current_ = static_cast<const Dataset<T>*>(dataset)->open(run_, partition);
    }
  }

 private:
  TaskRun& run_;
  const std::vector<DatasetPartition> rest_;
  std::size_t at_ = 0;
  StreamPtr<T> current_;
};

/// Several datasets as one. Where all have the same partitioner, partition p of the result is their
/// partitions p one after another and the partitioner is kept; else their partitions stand in a
/// row.
template <class T>
class UnionDataset final : public Dataset<T> {
 public:
  /// The parents' elements are T.
  UnionDataset(const std::shared_ptr<Engine>& engine,
               const std::vector<std::shared_ptr<DatasetBase>>& parents)
      : Dataset<T>(engine, "union", partitions_of_union(parents), parents,
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

  static std::unique_ptr<StageNode> load(StageReader& in) {
    return std::unique_ptr<StageNode>(new UnionDataset(in));
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

  StreamPtr<T> open(TaskRun& run, std::uint32_t partition) const override {
    std::vector<DatasetPartition> partitions;
    visit_dependencies(partition, [&](std::uint32_t i, std::uint32_t q) {
      partitions.push_back({loaded_[i], q});
    });
    return StreamPtr<T>(new SequenceStream<T>(run, std::move(partitions)));
  }

 private:
  bool zipped_ = false;
  std::vector<std::uint32_t> sizes_;
  std::vector<const DatasetBase*> loaded_;  // loaded stages only
};

}  // namespace weir::internal
