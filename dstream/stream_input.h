#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "weir/core/error.h"
#include "weir/dstream/batch.h"
#include "weir/dstream/dstream_node.h"

/// Where batches get their input from. An input has two sides: `StreamInput` cuts, on the thread
/// that generates batches; `InputStreamNode` is the stream, on the thread that runs them.
namespace weir::internal {

/// The side that cuts. One thread at a time.
class StreamInput {
 public:
  virtual ~StreamInput() = default;

  /// Unique in the streaming context; names its part of a batch's input.
  virtual const std::string& name() const = 0;
  /// Its stream.
  virtual std::shared_ptr<StreamNode> stream() const = 0;
  /// Called by `start`, before the first batch; finds where to begin. Throws.
  virtual void start() {}
  /// Fixes what the batch owns, hands its RDD to the stream and describes it. Throws.
  /// `last_wait`: set when no batch follows, see `SourceLimit`.
  virtual BatchInput cut(const Batch& batch, std::optional<Duration> last_wait) = 0;
  /// Batches up to `time` are done and their RDDs forgotten.
  virtual void release(Time) {}
  /// Nothing is cut any more.
  virtual void stop() {}
};

/// The stream of an input: at each batch time what was cut for it.
template <class T>
class InputStreamNode final : public TypedStreamNode<T> {
 public:
  InputStreamNode(std::shared_ptr<StreamGraph> graph, const char* operation, Duration slide)
      : TypedStreamNode<T>(std::move(graph), operation, slide, {}, Duration::zero()) {}

  /// From the thread that cuts.
  void deliver(Time time, Rdd<T> rdd) {
    const std::scoped_lock lock(mutex_);
    delivered_.emplace(time, std::move(rdd));
  }

  void forget(Time time) override {
    TypedStreamNode<T>::forget(time);
    const std::scoped_lock lock(mutex_);
    delivered_.erase(delivered_.begin(), delivered_.upper_bound(time - this->remembered()));
  }

 protected:
  Rdd<T> compute(Time time) override {
    const std::scoped_lock lock(mutex_);
    const auto found = delivered_.find(time);
    if (found == delivered_.end()) {
      throw Error(ErrorCode::kInternal, std::string(this->operation()) + ": the input of " +
                                            to_string(time) + " was never cut or is forgotten");
    }
    return delivered_.extract(found).mapped();
  }

 private:
  std::mutex mutex_;
  std::map<Time, Rdd<T>> delivered_;  // guarded by mutex_; cut and not yet asked for
};

}  // namespace weir::internal
