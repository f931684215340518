#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "weir/core/pipes.h"

/// Sorting: elements are dealt to partitions by ranges of their keys, whose bounds come from a
/// sample, and each partition is sorted. Equal keys stay in one partition and in the order of the
/// input.
namespace weir::internal {

/// The numbers 0 to size - 1 in the order of what they stand for, equal ones as they come.
std::vector<std::size_t> stable_order(std::size_t size,
                                      const std::function<bool(std::size_t, std::size_t)>& less);

/// Bounds between `partitions` ranges of about equal weight, in ascending order of `less`: fewer
/// than partitions - 1 if there are too few keys. Each sample is what a partition says of itself.
template <class K, class Less>
std::vector<K> range_bounds(std::vector<std::pair<std::uint64_t, std::vector<K>>> samples,
                            std::uint32_t partitions, const Less& less) {
  std::vector<K> keys;
  std::vector<double> weights;
  double total = 0;
  for (auto& [count, sampled] : samples) {
    weights.resize(weights.size() + sampled.size(),
                   static_cast<double>(count) / static_cast<double>(sampled.size()));
    for (K& key : sampled) keys.push_back(std::move(key));
    total += static_cast<double>(count);
  }
  const std::vector<std::size_t> order = stable_order(
      keys.size(), [&](std::size_t a, std::size_t b) { return less(keys[a], keys[b]); });
  std::vector<K> bounds;
  double before = 0;
  for (const std::size_t i : order) {
    if (bounds.size() + 1 == partitions) break;
    const double due = total * static_cast<double>(bounds.size() + 1) / partitions;
    if (before >= due && (bounds.empty() || less(bounds.back(), keys[i]))) {
      bounds.push_back(std::move(keys[i]));
    }
    before += weights[i];
  }
  return bounds;
}

/// A key's order in a sort.
struct KeyOrder {
  bool ascending = true;

  template <class K>
  bool operator()(const K& a, const K& b) const {
    return ascending ? a < b : b < a;
  }
};

/// A deal (see redistribute.h): piece i has the keys from bound i - 1 on, before bound i.
template <class T, class F>
struct DealByRange {
  using In = T;
  using K = owned_t<result_of_t<F, const T&>>;
  std::uint32_t partitions = 1;
  std::vector<K> bounds;
  KeyOrder order;
  F key;

  std::uint32_t pieces() const { return partitions; }
  auto start(const TaskRun&, std::uint32_t) const {
    return [this](const T& element) {
      if (bounds.empty()) return std::uint32_t{0};
      const K& of = to_owned(key(element));
      return static_cast<std::uint32_t>(std::upper_bound(bounds.begin(), bounds.end(), of, order) -
                                        bounds.begin());
    };
  }
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & partitions & bounds & order.ascending;
    serialize_function(ar, key);
  }
};

/// Sorted runs as one, equal elements in the order of the runs. Holds a part of each in memory.
template <class Out, class Less>
class MergeStream final : public ChunkStream<Out> {
 public:
  MergeStream(std::vector<StreamPtr<Out>> runs, Less less) : less_(std::move(less)) {
    for (StreamPtr<Out>& run : runs) {
      Run& each = runs_.emplace_back();
      each.stream = std::move(run);
      if (each.refill()) heap_.push_back(runs_.size() - 1);
    }
    std::make_heap(heap_.begin(), heap_.end(), comes_later());
  }

  ChunkRef<Out> next() override {
    out_.clear();
    while (!heap_.empty() && !out_.full()) {
      std::pop_heap(heap_.begin(), heap_.end(), comes_later());
      Run& run = runs_[heap_.back()];
      out_.emplace_back(std::move(run.chunk.data[run.at++]));
      if (run.at == run.chunk.size && !run.refill()) {
        heap_.pop_back();
      } else {
        std::push_heap(heap_.begin(), heap_.end(), comes_later());
      }
    }
    return out_.ref();
  }

 private:
  struct Run {
    bool refill() {
      chunk = stream->next();
      at = 0;
      return !chunk.empty();
    }
    StreamPtr<Out> stream;
    ChunkRef<Out> chunk;
    std::size_t at = 0;
  };

  auto comes_later() const {
    return [this](std::size_t a, std::size_t b) {
      const Out& x = runs_[a].chunk.data[runs_[a].at];
      const Out& y = runs_[b].chunk.data[runs_[b].at];
      if (less_(y, x)) return true;
      return !less_(x, y) && b < a;
    };
  }

  const Less less_;
  std::vector<Run> runs_;
  std::vector<std::size_t> heap_;  // the run whose element is next in front
  ChunkBuffer<Out> out_;
};

/// Each partition sorted, stably. What does not fit into the task's memory is sorted in runs, which
/// go to the disk and are merged.
template <class T, class F>
struct SortPipe : FunctionHolder<F> {
  using Out = owned_t<T>;
  KeyOrder order;

  struct Less {
    const SortPipe& pipe;
    bool operator()(const Out& a, const Out& b) const {
      return pipe.order(pipe.function(a), pipe.function(b));
    }
  };

  struct Stream final : ChunkStream<Out> {
    Stream(StreamPtr<T> in, const SortPipe& p, TaskRun& r)
        : input(std::move(in)), pipe(p), run(r) {}
    ChunkRef<Out> next() override {
      if (input != nullptr) sort();
      if (merged != nullptr) return merged->next();
      const std::size_t size = std::min(kChunkElements, sorted.size() - at);
      const std::size_t from = std::exchange(at, at + size);
      return {sorted.data() + from, size, true};
    }
    void sort() {
      const std::size_t most = run.memory_budget() / 2;  // sorting needs as much again
      std::size_t bytes = 0;
      for (auto chunk = input->next(); !chunk.empty(); chunk = input->next()) {
        bytes += append_owned(sorted, chunk);
        if (bytes <= most) continue;
        spill();
        bytes = 0;
      }
      input = nullptr;
      sort_run();
      if (runs.empty()) return;
      if (!sorted.empty()) spill();
      sorted = {};
      merged = StreamPtr(new MergeStream<Out, Less>(std::move(runs), Less{pipe}));
    }
    void sort_run() { std::stable_sort(sorted.begin(), sorted.end(), Less{pipe}); }
    void spill() {
      sort_run();
      constexpr std::size_t kUsualRuns = 64;  // a part of each is in memory, encoded and decoded
      HeldEncoder encoder(run, true,
                          std::clamp<std::size_t>(run.memory_budget() / kUsualRuns / 2,
                                                  std::size_t{16} << 10, kChunkBytes));
      for (const Out& element : sorted) encoder.add(element);
      sorted.clear();
      runs.push_back(StreamPtr<Out>(new EncodedStream<Out>(encoder.finish())));
    }
    StreamPtr<T> input;  // null: sorted
    const SortPipe& pipe;
    TaskRun& run;
    std::vector<Out> sorted;  // or the run that is being made
    std::size_t at = 0;
    std::vector<StreamPtr<Out>> runs;
    StreamPtr<Out> merged;
  };

  StreamPtr<Out> operator()(StreamPtr<T> in, TaskRun& run) const {
    return StreamPtr<Out>(new Stream(std::move(in), *this, run));
  }
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    serialize_function(ar, this->function);
    ar & order.ascending;
  }
};

/// The other way round.
template <class Less>
struct Reversed {
  Less less;

  template <class T>
  bool operator()(const T& a, const T& b) const {
    return less(b, a);
  }
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    serialize_function(ar, less);
  }
};

/// For an action: the first `limit` elements in the order of `less`, sorted, of a heap of as many.
template <class T, class Less>
struct TakeOrderedAction {
  std::uint64_t limit = 0;
  Less less;

  std::vector<owned_t<T>> operator()(ChunkStream<T>& input) const {
    std::vector<owned_t<T>> heap;  // the last of those kept in front
    for (auto chunk = input.next(); !chunk.empty(); chunk = input.next()) {
      for (const T& element : chunk) {
        if (heap.size() < limit) {
          heap.push_back(to_owned(element));
        } else {
          if (limit == 0) continue;
          const owned_t<T>& owned = to_owned(element);
          if (!less(owned, std::as_const(heap.front()))) continue;
          std::pop_heap(heap.begin(), heap.end(), less);
          heap.back() = owned;
        }
        std::push_heap(heap.begin(), heap.end(), less);
      }
    }
    std::sort_heap(heap.begin(), heap.end(), less);
    return heap;
  }
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & limit;
    serialize_function(ar, less);
  }
};

/// For an action: the first element in the order of `less`, if there is one; of equal ones the
/// first.
template <class T, class Less>
struct LeastAction : FunctionHolder<Less> {
  std::optional<owned_t<T>> operator()(ChunkStream<T>& input) const {
    std::optional<owned_t<T>> least;
    for (auto chunk = input.next(); !chunk.empty(); chunk = input.next()) {
      for (const T& element : chunk) {
        const owned_t<T>& owned = to_owned(element);
        if (!least || this->function(owned, std::as_const(*least))) least = owned;
      }
    }
    return least;
  }
};

}  // namespace weir::internal
