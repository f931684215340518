#pragma once

#include <algorithm>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "weir/core/context.h"
#include "weir/core/error.h"
#include "weir/dstream/dstream.h"
#include "weir/dstream/stream_input.h"

namespace weir {

/// RDDs waiting to become batches, for tests and programs that make their own. Thread-safe.
template <class T>
class RddQueue {
 public:
  void push(Rdd<T> rdd) {
    const std::scoped_lock lock(mutex_);
    rdds_.push_back(std::move(rdd));
  }
  std::size_t size() const {
    const std::scoped_lock lock(mutex_);
    return rdds_.size();
  }

  /// Takes the first `limit` of those that are there, in order.
  std::vector<Rdd<T>> take(std::size_t limit) {
    const std::scoped_lock lock(mutex_);
    const auto end = rdds_.begin() + static_cast<std::ptrdiff_t>(std::min(limit, rdds_.size()));
    std::vector<Rdd<T>> taken(rdds_.begin(), end);
    rdds_.erase(rdds_.begin(), end);
    return taken;
  }

 private:
  mutable std::mutex mutex_;
  std::deque<Rdd<T>> rdds_;  // guarded by mutex_
};

template <class T>
struct QueueOptions {
  bool one_at_a_time = true;  ///< a batch takes one RDD; else the union of all that are there
  std::optional<Rdd<T>> default_rdd = {};  ///< when the queue is empty; else an empty RDD
};

namespace internal {

/// Takes RDDs from a queue at each tick. Not replayable: its batches' positions are empty.
template <class T>
class QueueInput final : public StreamInput {
 public:
  QueueInput(const std::shared_ptr<StreamGraph>& graph, std::string name,
             std::shared_ptr<RddQueue<T>> queue, QueueOptions<T> options)
      : node_(std::make_shared<InputStreamNode<T>>(graph, "queue_stream", graph->batch_interval())),
        context_(graph->context()),
        name_(std::move(name)),
        queue_(std::move(queue)),
        options_(std::move(options)) {
    if (queue_ == nullptr) {
      throw Error(ErrorCode::kInvalidArgument,
                  "queue_stream: the queue is null; make one with std::make_shared");
    }
  }

  const std::string& name() const override { return node_->uid().empty() ? name_ : node_->uid(); }
  std::shared_ptr<StreamNode> stream() const override { return node_; }
  DStream<T> dstream() const { return DStream<T>(node_); }

  BatchInput cut(const Batch& batch, const CutLimit&) override {
    node_->deliver(batch.time, [rdd = next()] { return rdd; });
    return {.name = name(), .from = {}, .end = {}, .records = {}};
  }
  void skip(Time first, Time last) override { node_->skip(first, last); }
  void release(Time time) override { node_->release(time); }

 private:
  Rdd<T> next() {
    auto rdds = queue_->take(options_.one_at_a_time ? 1 : static_cast<std::size_t>(-1));
    if (rdds.size() == 1) return std::move(rdds.front());
    if (!rdds.empty()) return context_.union_of(std::move(rdds));
    return options_.default_rdd ? *options_.default_rdd : context_.template empty_rdd<T>();
  }

  const std::shared_ptr<InputStreamNode<T>> node_;
  Context& context_;
  const std::string name_;
  const std::shared_ptr<RddQueue<T>> queue_;
  const QueueOptions<T> options_;
};

}  // namespace internal
}  // namespace weir
