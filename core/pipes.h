#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <ranges>
#include <type_traits>
#include <utility>
#include <vector>

#include "weir/core/aggregation_table.h"
#include "weir/core/dataset.h"
#include "weir/core/function.h"
#include "weir/core/hash.h"
#include "weir/core/map_output.h"
#include "weir/core/spilled_groups.h"

/// What happens between the chunks of one dataset and those of the next: each pipe makes the stream
/// of a narrow operator out of its parent's. A pipe is a shippable function object; the streams it
/// makes do one virtual call per chunk and plain loops inside.
namespace weir::internal {

template <class F, class... Args>
using result_of_t = std::decay_t<std::invoke_result_t<const F&, Args...>>;

/// How a stream holds the function of its pipe, which outlives it: functions with captured values
/// may be large.
template <class F>
using Held = std::conditional_t<std::is_empty_v<F>, const F, const F&>;

/// Holds the function of a pipe and ships it.
template <class F>
struct FunctionHolder {
  F function;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    serialize_function(ar, function);
  }
};

template <class T, class F>
struct MapPipe : FunctionHolder<F> {
  using Out = result_of_t<F, const T&>;

  struct Stream final : ChunkStream<Out> {
    Stream(StreamPtr<T> in, const F& f) : input(std::move(in)), function(f) {}
    ChunkRef<Out> next() override {
      out.clear();
      const ChunkRef<T> chunk = input->next();
      const T* from = chunk.data;
      out.append(chunk.size, [&](std::size_t i) -> Out { return function(from[i]); });
      return out.ref();
    }
    StreamPtr<T> input;
    Held<F> function;
    ChunkBuffer<Out> out;
  };

  StreamPtr<Out> operator()(StreamPtr<T> in, const TaskRun&) const {
    return StreamPtr<Out>(new Stream(std::move(in), this->function));
  }
};

/// Keys pass through: moved when the chunk is ours, never looked at.
template <class K, class V, class F>
struct MapValuesPipe : FunctionHolder<F> {
  using In = std::pair<K, V>;
  using Out = std::pair<K, result_of_t<F, const V&>>;

  struct Stream final : ChunkStream<Out> {
    Stream(StreamPtr<In> in, const F& f) : input(std::move(in)), function(f) {}
    ChunkRef<Out> next() override {
      out.clear();
      const ChunkRef<In> chunk = input->next();
      for (std::size_t i = 0; i < chunk.size; ++i) {
        In& element = chunk.data[i];
        if (chunk.exclusive) {
          auto value = function(std::as_const(element.second));
          out.emplace_back(std::move(element.first), std::move(value));
        } else {
          out.emplace_back(std::as_const(element.first), function(std::as_const(element.second)));
        }
      }
      return out.ref();
    }
    StreamPtr<In> input;
    Held<F> function;
    ChunkBuffer<Out> out;
  };

  StreamPtr<Out> operator()(StreamPtr<In> in, const TaskRun&) const {
    return StreamPtr<Out>(new Stream(std::move(in), this->function));
  }
};

template <class T, class F>
struct FilterPipe : FunctionHolder<F> {
  using Out = T;

  struct Stream final : ChunkStream<T> {
    Stream(StreamPtr<T> in, const F& f) : input(std::move(in)), function(f) {}
    ChunkRef<T> next() override {
      out.clear();
      while (true) {
        ChunkRef<T> chunk = input->next();
        if (chunk.empty()) return chunk;
        chunk = chunk.exclusive ? compact(chunk) : copy(chunk);
        if (!chunk.empty()) return chunk;
      }
    }
    ChunkRef<T> compact(ChunkRef<T> chunk) const {
      std::size_t kept = 0;
      T* const data = chunk.data;
      for (std::size_t i = 0; i < chunk.size; ++i) {
        if constexpr (std::is_trivially_copyable_v<T>) {  // no branch to mispredict
          const T element = data[i];
          data[kept] = element;
          kept += static_cast<std::size_t>(static_cast<bool>(function(element)));
        } else if (function(std::as_const(data[i]))) {
          if (kept != i) data[kept] = std::move(data[i]);
          ++kept;
        }
      }
      return {data, kept, true};
    }
    ChunkRef<T> copy(ChunkRef<T> chunk) {
      for (const T& element : chunk) {
        if (function(element)) out.emplace_back(element);
      }
      return out.ref();
    }
    StreamPtr<T> input;
    Held<F> function;
    ChunkBuffer<T> out;
  };

  StreamPtr<T> operator()(StreamPtr<T> in, const TaskRun&) const {
    return StreamPtr<Out>(new Stream(std::move(in), this->function));
  }
};

/// Fills chunks from ranges made on the way; a range is left half-read when the chunk is full.
/// `kLimit` is the most elements per call.
template <class Out, class Range, std::size_t kLimit = kChunkElements>
class RangeCursor {
 public:
  bool active() const { return at_.has_value(); }
  /// The range before it is dropped here: its last elements must have been consumed.
  void start(Range range) {
    at_.reset();
    range_.emplace(std::move(range));
    at_.emplace(std::ranges::begin(*range_));
    pending_increment_ = false;
  }
  /// Moves elements over; inactive afterwards if the range has ended. The range itself stays, for
  /// elements may be views into it.
  void fill(ChunkBuffer<Out>& out) {
    // Incrementing may pull the next input chunk and so end the views made from this one; it is put
    // off until the elements made so far have been consumed.
    if (std::exchange(pending_increment_, false)) ++*at_;
    const auto end = std::ranges::end(*range_);
    for (auto& at = *at_; at != end; ++at) {
      if constexpr (!std::is_reference_v<Range> && !std::ranges::view<Range>) {
        out.emplace_back(std::ranges::iter_move(at));  // the range is ours
      } else {
        out.emplace_back(*at);
      }
      if (out.size() >= kLimit || out.full()) {
        pending_increment_ = true;
        return;
      }
    }
    at_.reset();
  }

 private:
  std::optional<Range> range_;
  std::optional<std::ranges::iterator_t<Range>> at_;
  bool pending_increment_ = false;
};

template <class Range>
inline constexpr bool is_optional = false;
template <class T>
inline constexpr bool is_optional<std::optional<T>> = true;

/// Whether elements are views that may point into a range which owns what they point to (an owning
/// view, say), and so end with it. Vectors of views own nothing.
template <class Range>
inline constexpr bool elements_end_with_range =
    !is_owned<std::ranges::range_value_t<Range>> && !std::ranges::borrowed_range<Range> &&
    !std::is_same_v<Range, std::vector<std::ranges::range_value_t<Range>>>;
template <class T>
inline constexpr bool elements_end_with_range<std::optional<T>> = false;

template <class T, class F>
struct FlatMapPipe : FunctionHolder<F> {
  using Range = result_of_t<F, const T&>;
  static_assert(std::ranges::input_range<Range> || is_optional<Range>,
                "flat_map: the function must return a range (a std::vector, a view) or a "
                "std::optional");

  template <class R>
  struct ElementOf {
    using type = std::ranges::range_value_t<R>;
  };
  template <class E>
  struct ElementOf<std::optional<E>> {
    using type = E;
  };
  using Out = typename ElementOf<Range>::type;
  /// Such a range is the last of its chunk.
  static constexpr bool kOneRangePerChunk = elements_end_with_range<Range>;

  struct Stream final : ChunkStream<Out> {
    Stream(StreamPtr<T> in, const F& f) : input(std::move(in)), function(f) {}

    ChunkRef<Out> next() override {
      out.clear();
      while (!out.full()) {
        if constexpr (!is_optional<Range>) {
          if (cursor.active()) {
            cursor.fill(out);
            if (cursor.active() || (kOneRangePerChunk && out.size() != 0)) break;
          }
        }
        if (at == chunk.size) {
          if (out.size() != 0) break;  // what was made may point into the input chunk
          chunk = input->next();
          at = 0;
          if (chunk.empty()) break;
        }
        take(std::as_const(chunk.data[at++]));
      }
      return out.ref();
    }
    void take(const T& element) {
      if constexpr (is_optional<Range>) {
        if (auto made = function(element)) out.emplace_back(std::move(*made));
      } else {
        cursor.start(function(element));
      }
    }

    StreamPtr<T> input;
    Held<F> function;
    ChunkRef<T> chunk;
    std::size_t at = 0;
    std::conditional_t<is_optional<Range>, std::monostate, RangeCursor<Out, Range>> cursor;
    ChunkBuffer<Out> out;
  };

  StreamPtr<Out> operator()(StreamPtr<T> in, const TaskRun&) const {
    return StreamPtr<Out>(new Stream(std::move(in), this->function));
  }
};

/// The function sees the whole partition as a single-pass range, with `kIndexed` after the
/// partition's index, and returns a range. A range of views is handed on one element at a time,
/// because reading on may end the chunk they point into: return owning elements, or use the
/// row-wise operators, where that matters.
template <class T, class F, bool kIndexed = false>
struct MapPartitionsPipe : FunctionHolder<F> {
  template <bool kWithIndex, class = void>
  struct Returned {
    using type = result_of_t<F, ElementRange<T>>;
  };
  template <class Unused>
  struct Returned<true, Unused> {
    using type = result_of_t<F, std::uint32_t, ElementRange<T>>;
  };
  using Range = typename Returned<kIndexed>::type;
  static_assert(
      std::ranges::input_range<Range>,
      "map_partitions: the function must take a range of the elements and return a range");
  using Out = std::ranges::range_value_t<Range>;

  struct Stream final : ChunkStream<Out> {
    Stream(StreamPtr<T> in, const F& f, std::uint32_t i)
        : input(std::move(in)), function(f), index(i) {}
    ChunkRef<Out> next() override {
      out.clear();
      if (!std::exchange(started, true)) cursor.start(call(ElementRange<T>(*input)));
      if (cursor.active()) cursor.fill(out);
      return out.ref();
    }
    Range call(ElementRange<T> elements) const {
      if constexpr (kIndexed) {
        return function(index, elements);
      } else {
        return function(elements);
      }
    }
    StreamPtr<T> input;
    Held<F> function;
    const std::uint32_t index;
    bool started = false;
    RangeCursor<Out, Range, is_owned<Out> ? kChunkElements : 1> cursor;
    ChunkBuffer<Out> out;
  };

  StreamPtr<Out> operator()(StreamPtr<T> in, std::uint32_t partition) const {
    return StreamPtr<Out>(new Stream(std::move(in), this->function, partition));
  }
};

/// Each element with a number: the first of the partition's, and then one every `step`.
template <class T>
struct NumberPipe {
  using Out = std::pair<T, std::int64_t>;
  std::vector<std::int64_t> firsts;
  std::int64_t step = 1;

  struct Stream final : ChunkStream<Out> {
    Stream(StreamPtr<T> in, std::int64_t first, std::int64_t s)
        : input(std::move(in)), next_number(first), step(s) {}
    ChunkRef<Out> next() override {
      out.clear();
      const ChunkRef<T> chunk = input->next();
      for (const T& element : chunk) {
        out.emplace_back(element, next_number);
        next_number += step;
      }
      return out.ref();
    }
    StreamPtr<T> input;
    std::int64_t next_number;
    const std::int64_t step;
    ChunkBuffer<Out> out;
  };

  StreamPtr<Out> operator()(StreamPtr<T> in, std::uint32_t partition) const {
    return StreamPtr<Out>(new Stream(std::move(in), firsts.at(partition), step));
  }
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & firsts & step;
  }
};

/// How values of a key become one combined value C; what combine_by_key is told by users.
/// Shippable.
///   C create(V&&);  void merge_value(C&, V&&);  void merge_combined(C&, C&&)
template <class V, class F>
struct ReduceAggregator : FunctionHolder<F> {
  using Combined = owned_t<V>;
  static constexpr bool kCombinesEarly = true;
  /// What is kept of a key grows with its values, so that there may be too many.
  static constexpr bool kGathers = false;

  template <class Value>
  Combined create(Value&& value) const {
    return to_owned(std::forward<Value>(value));
  }
  template <class Value>
  void merge_value(Combined& combined, Value&& value) const {
    combined = to_owned(this->function(std::as_const(combined), std::as_const(value)));
  }
  void merge_combined(Combined& combined, Combined&& other) const { merge_value(combined, other); }
};

template <class V>
struct GroupAggregator {
  using Combined = std::vector<owned_t<V>>;
  /// All values cross the shuffle, so collecting them before it would save nothing.
  static constexpr bool kCombinesEarly = false;
  static constexpr bool kGathers = true;

  template <class Value>
  Combined create(Value&& value) const {
    Combined group;
    group.push_back(to_owned(std::forward<Value>(value)));
    return group;
  }
  template <class Value>
  void merge_value(Combined& combined, Value&& value) const {
    combined.push_back(to_owned(std::forward<Value>(value)));
  }
  void merge_combined(Combined& combined, Combined&& other) const {
    for (auto& value : other) combined.push_back(std::move(value));
  }
  template <class Archive>
  void serialize(Archive&, unsigned) {}
};

inline constexpr std::size_t kHashRun = 32;

struct LeaveTable {
  template <class Table>
  void operator()(Table&) const {}
};

/// Aggregates a stream by key. Hashes a run of keys first and then looks them up, so that the
/// table's cache misses overlap. `on_chunk(table)` may empty the table; what is left is returned.
template <class K, class V, class Aggregator, class OnChunk = LeaveTable>
auto aggregate(ChunkStream<std::pair<K, V>>& input, const Aggregator& aggregator,
               std::uint64_t seed, const OnChunk& on_chunk = {}) {
  using C = typename Aggregator::Combined;
  require_storable<owned_t<K>>();
  require_storable<C>();
  AggregationTable<owned_t<K>, C> table;
  std::uint64_t hashes[kHashRun];
  for (auto chunk = input.next(); !chunk.empty(); chunk = input.next()) {
    for (std::size_t base = 0; base < chunk.size; base += kHashRun) {
      const std::size_t run = std::min(kHashRun, chunk.size - base);
      for (std::size_t i = 0; i < run; ++i) {
        hashes[i] = key_hash(chunk.data[base + i].first, seed);
        table.prefetch(hashes[i]);
      }
      for (std::size_t i = 0; i < run; ++i) {
        auto& [key, value] = chunk.data[base + i];
        const auto absorb = [&](auto&& k, auto&& v) {
          std::size_t grows = 0;
          if constexpr (!owns_nothing<C>) grows = sizeof(v) + table_growth(v);
          const auto [entry, is_new] =
              table.find_or_insert(hashes[i], std::forward<decltype(k)>(k),
                                   [&] { return aggregator.create(std::forward<decltype(v)>(v)); });
          if (is_new) {
            table.add_owned(table_growth(entry->first) + table_growth(entry->second));
          } else {
            aggregator.merge_value(entry->second, std::forward<decltype(v)>(v));
            if constexpr (!owns_nothing<C>) table.add_owned(grows);
          }
        };
        if (chunk.exclusive) {
          absorb(std::move(key), std::move(value));
        } else {
          absorb(std::as_const(key), std::as_const(value));
        }
      }
    }
    on_chunk(table);
  }
  return table;
}

/// Aggregation of data whose equal keys are already in one partition.
template <class K, class V, class Aggregator>
struct CombinePipe {
  using In = std::pair<K, V>;
  using Out = std::pair<owned_t<K>, typename Aggregator::Combined>;
  Aggregator aggregator;

  struct Stream final : ChunkStream<Out> {
    Stream(StreamPtr<In> in, const Aggregator& a, TaskRun& r)
        : input(std::move(in)), aggregator(a), run(r) {}
    ChunkRef<Out> next() override {
      if (result == nullptr) {
        using Groups = SpilledGroups<owned_t<K>, typename Aggregator::Combined, Aggregator>;
        Groups spilled(run, aggregator);
        auto table = aggregate(*input, aggregator, run.hash_seed(), [&](auto& full) {
          if (spilled.is_full(full)) spilled.spill(full);
        });
        result = Groups::finish(std::move(spilled), std::move(table));
      }
      return result->next();
    }
    StreamPtr<In> input;
    const Aggregator& aggregator;
    TaskRun& run;
    StreamPtr<Out> result;
  };

  StreamPtr<Out> operator()(StreamPtr<In> in, TaskRun& run) const {
    return StreamPtr<Out>(new Stream(std::move(in), aggregator, run));
  }
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & aggregator;
  }
};

/// A narrow operator: partition p of the result is the pipe over partition p of the parent. A pipe
/// is told of the task's run or of the number of the partition, whichever it takes.
template <class T, class Pipe>
class PipeDataset final : public Dataset<typename Pipe::Out> {
 public:
  using Out = typename Pipe::Out;

  PipeDataset(const DatasetPtr<T>& parent, const char* operation, Pipe pipe,
              const std::optional<Partitioner>& partitioner)
      : Dataset<Out>(parent, operation, partitioner), pipe_(std::move(pipe)) {}
  explicit PipeDataset(StageReader& in)
      : parent_(in.parent<T>()), pipe_(read_function<Pipe>(in.bytes())) {}

  static std::unique_ptr<StageNode> load(StageReader& in) {
    return std::unique_ptr<StageNode>(new PipeDataset(in));
  }
  CodeId code() const override {
    (void)Registered<PipeDataset>::value;
    return code_id(&PipeDataset::load);
  }
  void write(SlimWriter& out) const override { write_function(out, pipe_); }

  StreamPtr<Out> open(TaskRun& run, std::uint32_t partition) const override {
    if constexpr (std::is_invocable_v<const Pipe&, StreamPtr<T>, std::uint32_t>) {
      return pipe_(parent_->open(run, partition), partition);
    } else {
      return pipe_(parent_->open(run, partition), run);
    }
  }

 private:
  const Dataset<T>* const parent_ = nullptr;  // loaded stages only
  const Pipe pipe_;
};

}  // namespace weir::internal
