#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "weir/core/pipes.h"

/// Operators over two datasets with as many partitions: partition p of the result is made of both
/// partitions p, without a shuffle. The scheduler sees only a dataset with two parents. What is
/// made of two partitions, a *zip* says, a shippable object with
///
///     using Left; using Right; using Out;
///     StreamPtr<Out> operator()(StreamPtr<Left>, StreamPtr<Right>, const TaskRun&) const;
namespace weir::internal {

template <class Zip>
class ZippedDataset final : public Dataset<typename Zip::Out> {
 public:
  using Left = typename Zip::Left;
  using Right = typename Zip::Right;
  using Out = typename Zip::Out;

  /// Both have as many partitions.
  ZippedDataset(const DatasetPtr<Left>& left, const DatasetPtr<Right>& right, const char* operation,
                Zip zip, std::optional<Partitioner> partitioner)
      : Dataset<Out>(left->engine(), operation, left->num_partitions(), {left, right}, partitioner),
        zip_(std::move(zip)) {}
  explicit ZippedDataset(StageReader& in)
      : left_(in.parent<Left>(0)),
        right_(in.parent<Right>(1)),
        zip_(read_function<Zip>(in.bytes())) {}

  static std::unique_ptr<StageNode> load(StageReader& in) {
    return std::unique_ptr<StageNode>(new ZippedDataset(in));
  }
  CodeId code() const override {
    (void)Registered<ZippedDataset>::value;
    return code_id(&ZippedDataset::load);
  }
  void write(SlimWriter& out) const override { write_function(out, zip_); }

  StreamPtr<Out> open(TaskRun& run, std::uint32_t partition) const override {
    return StreamPtr(new SteppedStream<Out>(
        zip_(left_->open(run, partition), right_->open(run, partition), run), run));
  }

 private:
  const Dataset<Left>* const left_ = nullptr;  // loaded stages only, as the next
  const Dataset<Right>* const right_ = nullptr;
  const Zip zip_;
};

/// Element by element.
template <class T, class U>
struct PairUp {
  using Left = T;
  using Right = U;
  using Out = std::pair<T, U>;

  struct Stream final : ChunkStream<Out> {
    Stream(StreamPtr<T> l, StreamPtr<U> r) : left(std::move(l)), right(std::move(r)) {}
    ChunkRef<Out> next() override {
      out.clear();
      if (left_at == left_chunk.size) left_chunk = left->next(), left_at = 0;
      if (right_at == right_chunk.size) right_chunk = right->next(), right_at = 0;
      if (left_chunk.empty() != right_chunk.empty()) {
        throw_uneven_zip(left_chunk.empty() ? "this dataset" : "the other");
      }
      while (left_at < left_chunk.size && right_at < right_chunk.size) {
        out.emplace_back(std::as_const(left_chunk.data[left_at++]),
                         std::as_const(right_chunk.data[right_at++]));
      }
      return out.ref();
    }
    StreamPtr<T> left;
    StreamPtr<U> right;
    ChunkRef<T> left_chunk;
    ChunkRef<U> right_chunk;
    std::size_t left_at = 0;
    std::size_t right_at = 0;
    ChunkBuffer<Out> out;
  };

  StreamPtr<Out> operator()(StreamPtr<T> left, StreamPtr<U> right, const TaskRun&) const {
    return StreamPtr<Out>(new Stream(std::move(left), std::move(right)));
  }
  template <class Archive>
  void serialize(Archive&, unsigned) {}
};

/// The function sees both partitions as single-pass ranges and returns a range; see
/// MapPartitionsPipe.
template <class T, class U, class F>
struct ZipPartitions : FunctionHolder<F> {
  using Left = T;
  using Right = U;
  using Range = result_of_t<F, ElementRange<T>, ElementRange<U>>;
  static_assert(std::ranges::input_range<Range>,
                "zip_partitions: the function must take two ranges of elements and return a range");
  using Out = std::ranges::range_value_t<Range>;

  struct Stream final : ChunkStream<Out> {
    Stream(StreamPtr<T> l, StreamPtr<U> r, const F& f)
        : left(std::move(l)), right(std::move(r)), function(f) {}
    ChunkRef<Out> next() override {
      out.clear();
      if (!std::exchange(started, true)) {
        cursor.start(function(ElementRange<T>(*left), ElementRange<U>(*right)));
      }
      if (cursor.active()) cursor.fill(out);
      return out.ref();
    }
    StreamPtr<T> left;
    StreamPtr<U> right;
    Held<F> function;
    bool started = false;
    RangeCursor<Out, Range, is_owned<Out> ? kChunkElements : 1> cursor;
    ChunkBuffer<Out> out;
  };

  StreamPtr<Out> operator()(StreamPtr<T> left, StreamPtr<U> right, const TaskRun&) const {
    return StreamPtr<Out>(new Stream(std::move(left), std::move(right), this->function));
  }
};

/// All pairs: partition p of the result is partition p / m of the left side with p % m of the m of
/// the right one, which is held in memory.
template <class T, class U>
class CartesianDataset final : public Dataset<std::pair<T, owned_t<U>>> {
 public:
  using Out = std::pair<T, owned_t<U>>;

  CartesianDataset(const DatasetPtr<T>& left, const DatasetPtr<U>& right, std::uint32_t partitions)
      : Dataset<Out>(left->engine(), "cartesian", partitions, {left, right}, {}),
        right_partitions_(right->num_partitions()) {}
  explicit CartesianDataset(StageReader& in) : left_(in.parent<T>(0)), right_(in.parent<U>(1)) {
    in.bytes() & right_partitions_;
  }

  static std::unique_ptr<StageNode> load(StageReader& in) {
    return std::unique_ptr<StageNode>(new CartesianDataset(in));
  }
  CodeId code() const override {
    (void)Registered<CartesianDataset>::value;
    return code_id(&CartesianDataset::load);
  }
  void write(SlimWriter& out) const override { out.put(right_partitions_); }

  void visit_dependencies(
      std::uint32_t p,
      const std::function<void(std::uint32_t, std::uint32_t)>& visit) const override {
    visit(0, p / right_partitions_);
    visit(1, p % right_partitions_);
  }

  StreamPtr<Out> open(TaskRun& run, std::uint32_t partition) const override {
    return StreamPtr(new SteppedStream<Out>(
        StreamPtr(new Stream(left_->open(run, partition / right_partitions_),
                             right_->open(run, partition % right_partitions_))),
        run));
  }

 private:
  struct Stream final : ChunkStream<Out> {
    Stream(StreamPtr<T> l, StreamPtr<U> r) : left(std::move(l)), right(std::move(r)) {}
    ChunkRef<Out> next() override {
      out.clear();
      if (right != nullptr) {
        held = drain(*right);
        right = nullptr;
      }
      if (held.empty()) return out.ref();
      while (!out.full()) {
        if (at == chunk.size) {
          if (out.size() != 0) break;  // what was made may point into the chunk
          chunk = left->next();
          at = 0;
          if (chunk.empty()) break;
        }
        out.emplace_back(std::as_const(chunk.data[at]), held[held_at]);
        if (++held_at == held.size()) held_at = 0, ++at;
      }
      return out.ref();
    }
    StreamPtr<T> left;
    StreamPtr<U> right;  // null: held
    std::vector<owned_t<U>> held;
    ChunkRef<T> chunk;
    std::size_t at = 0;
    std::size_t held_at = 0;
    ChunkBuffer<Out> out;
  };

  const Dataset<T>* const left_ = nullptr;  // loaded stages only, as the next
  const Dataset<U>* const right_ = nullptr;
  std::uint32_t right_partitions_ = 1;
};

}  // namespace weir::internal
