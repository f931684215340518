#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "weir/core/engine.h"
#include "weir/core/pipes.h"

/// What actions do with a partition. Each is a shippable function object `R
/// operator()(ChunkStream<T>&)` whose result, one per partition, travels back to the driver.
namespace weir::internal {

template <class T, class Action>
class ResultOutput final : public StageOutput {
 public:
  explicit ResultOutput(Action action) : action_(std::move(action)) {}
  explicit ResultOutput(StageReader& in)
      : parent_(in.parent<T>()), action_(read_function<Action>(in.bytes())) {}

  static std::unique_ptr<StageNode> load(StageReader& in) {
    return std::unique_ptr<StageNode>(new ResultOutput(in));
  }
  CodeId code() const override {
    (void)Registered<ResultOutput>::value;
    return code_id(&ResultOutput::load);
  }
  void write(SlimWriter& out) const override { write_function(out, action_); }

  Done run(TaskRun& run, std::uint32_t partition) const override {
    const auto input = parent_->open(run, partition);
    Done done;
    done.result = encode_bytes(action_(*input));
    return done;
  }

 private:
  const Dataset<T>* const parent_ = nullptr;  // loaded stages only
  const Action action_;
};

/// Runs `action` on the given partitions; results in their order. Blocks the calling thread.
template <class T, class Action>
auto run_action(const DatasetPtr<T>& dataset, Action action,
                const std::vector<std::uint32_t>& partitions, bool has_effects = false) {
  using Result = std::decay_t<std::invoke_result_t<const Action&, ChunkStream<T>&>>;
  const std::vector<Bytes> encoded =
      run_output(dataset, ResultOutput<T, Action>(std::move(action)), has_effects, partitions);
  std::vector<Result> results;
  results.reserve(encoded.size());
  for (const Bytes& bytes : encoded) results.push_back(decode<Result>(bytes.view()));
  return results;
}

struct StatelessAction {
  template <class Archive>
  void serialize(Archive&, unsigned) {}
};

template <class T>
struct CollectAction : StatelessAction {
  std::vector<owned_t<T>> operator()(ChunkStream<T>& input) const { return drain(input); }
};

template <class T>
struct CountAction : StatelessAction {
  std::int64_t operator()(ChunkStream<T>& input) const {
    std::int64_t count = 0;
    for (auto chunk = input.next(); !chunk.empty(); chunk = input.next()) {
      count += static_cast<std::int64_t>(chunk.size);
    }
    return count;
  }
};

template <class T>
struct TakeAction {
  std::uint64_t limit = 0;

  std::vector<owned_t<T>> operator()(ChunkStream<T>& input) const {
    std::vector<owned_t<T>> taken;
    while (taken.size() < limit) {
      const auto chunk = input.next();
      if (chunk.empty()) break;
      for (const T& element : chunk) {
        if (taken.size() == limit) break;
        taken.push_back(to_owned(element));
      }
    }
    return taken;
  }
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & limit;
  }
};

template <class T, class F>
struct ReduceAction : FunctionHolder<F> {
  std::optional<owned_t<T>> operator()(ChunkStream<T>& input) const {
    std::optional<owned_t<T>> result;
    for (auto chunk = input.next(); !chunk.empty(); chunk = input.next()) {
      const T* at = chunk.begin();
      owned_t<T> sum = result ? std::move(*result) : to_owned(*at++);
      for (; at != chunk.end(); ++at) sum = to_owned(this->function(std::as_const(sum), *at));
      result = std::move(sum);
    }
    return result;
  }
};

template <class T, class F>
struct ForeachAction : FunctionHolder<F> {
  bool operator()(ChunkStream<T>& input) const {
    for (auto chunk = input.next(); !chunk.empty(); chunk = input.next()) {
      for (const T& element : chunk) this->function(element);
    }
    return true;
  }
};

template <class T, class F>
struct ForeachPartitionAction : FunctionHolder<F> {
  bool operator()(ChunkStream<T>& input) const {
    this->function(ElementRange<T>(input));
    return true;
  }
};

}  // namespace weir::internal
