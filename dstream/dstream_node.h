#pragma once

#include <algorithm>
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "weir/core/engine.h"
#include "weir/core/rdd.h"
#include "weir/core/time.h"

/// The graph behind `DStream<T>`.
///
/// A stream is a contract of three things: how often it has an RDD (its slide), the streams it is
/// computed from, and how its RDD at a time is made from theirs. There are two kinds: input streams
/// (stream_input.h), whose RDDs are cut at the tick, and computed streams, all of one class.
namespace weir::internal {

class StreamGraph;

/// The untyped half. Changed by the user's thread until the graph starts, afterwards used by the
/// threads that run batches (see BatchAhead), and for slices by any.
class StreamNode {
 public:
  StreamNode(const StreamNode&) = delete;
  StreamNode& operator=(const StreamNode&) = delete;
  virtual ~StreamNode() = default;

  const char* operation() const { return operation_; }
  Duration slide() const { return slide_; }
  /// How far before its own time it asks its parents for RDDs.
  Duration reach() const { return reach_; }
  const std::vector<std::shared_ptr<StreamNode>>& parents() const { return parents_; }
  /// Throws Error(kInvalidArgument) if the streaming context is gone.
  std::shared_ptr<StreamGraph> graph() const;

  /// Every slide after zero time; streams that are due with every batch also with one that was cut
  /// at another interval, when it is run again.
  bool due(Time time) const;

  /// What finds its state or its positions again after a restart; empty: the user gave none.
  const std::string& uid() const { return uid_; }
  /// Of this stream, or of the one that has the state which this one shows.
  void set_uid(std::string uid);
  void shows_state_of(std::shared_ptr<StreamNode> stateful) { stateful_ = std::move(stateful); }

  void persist(StorageLevel level);
  StorageLevel storage_level() const { return level_; }

  /// Keeps RDDs at least this long, and the parents' long enough to compute them.
  void remember(Duration at_least);
  Duration remembered() const { return remembered_; }

  /// Fixes the grid. Called by the graph's start, inputs first.
  void start(Time zero_time) {
    zero_time_ = zero_time;
    started_.store(true);
  }
  Time zero_time() const { return zero_time_; }
  /// Its RDD at a time, made if there is none yet; null when it is not due. Within a BatchScope.
  virtual std::shared_ptr<DatasetBase> dataset_at(Time time) = 0;
  /// Drops RDDs that nothing can ask for when batches up to `time` are done.
  virtual void forget(Time time) = 0;
  /// Drops RDDs from this time on, so that they are computed anew.
  virtual void forget_since(Time time) = 0;

 protected:
  /// `reach`: how far before its own time it asks its parents for RDDs.
  StreamNode(std::shared_ptr<StreamGraph> graph, const char* operation, Duration slide,
             std::vector<std::shared_ptr<StreamNode>> parents, Duration reach);

  /// RDDs are made by one thread at a time, each once.
  std::unique_lock<std::recursive_mutex> making() const;

  /// The last of its times that is not after `time`, at least zero time. Throws
  /// Error(kInvalidArgument) before the start.
  Time aligned(const char* operation, Time time) const;

 private:
  const std::weak_ptr<StreamGraph> graph_;  // weak: user functions in the graph may hold handles
  const char* const operation_;
  const Duration slide_;
  const std::vector<std::shared_ptr<StreamNode>> parents_;
  const Duration reach_;
  Duration remembered_{};
  StorageLevel level_ = StorageLevel::kNone;
  std::string uid_;
  std::shared_ptr<StreamNode> stateful_;  // whose state this stream shows, if any
  Time zero_time_{};
  std::atomic<bool> started_{false};  // then zero_time_ does not change
};

/// The typed half: an RDD for each due time, made once and kept until it is forgotten.
template <class T>
class TypedStreamNode : public StreamNode {
 public:
  /// Nothing when it is not due.
  std::optional<Rdd<T>> rdd_at(Time time) {
    if (!due(time)) return std::nullopt;
    const auto making = this->making();
    {
      const std::scoped_lock lock(mutex_);
      const auto found = kept_.find(time);
      if (found != kept_.end()) return found->second.rdd;
    }
    Kept made{.rdd = compute(time)};
    if (storage_level() != StorageLevel::kNone &&
        made.rdd.dataset()->storage_level() == StorageLevel::kNone) {
      made.rdd.persist(storage_level());
      made.to_unpersist = true;
    }
    const std::scoped_lock lock(mutex_);
    return kept_.emplace(time, std::move(made)).first->second.rdd;
  }

  std::shared_ptr<DatasetBase> dataset_at(Time time) override {
    const auto rdd = rdd_at(time);
    return rdd ? rdd->dataset().base() : nullptr;
  }

  /// Whether it was made and is kept.
  bool has_rdd_at(Time time) const {
    const std::scoped_lock lock(mutex_);
    return kept_.contains(time);
  }

  /// See DStream; from any thread.
  std::vector<Rdd<T>> slice(Time from, Time to) {
    from = aligned("slice", from);
    to = aligned("slice", to);
    const Time running = BatchScope::running().time;
    if (from <= running && running <= to) (void)rdd_at(running);
    std::vector<Rdd<T>> rdds;
    const std::scoped_lock lock(mutex_);
    for (auto at = kept_.lower_bound(from); at != kept_.end() && at->first <= to; ++at) {
      rdds.push_back(at->second.rdd);
    }
    return rdds;
  }

  void forget(Time time) override {
    const std::scoped_lock lock(mutex_);
    const auto end = kept_.upper_bound(time - remembered());
    for (auto at = kept_.begin(); at != end; ++at) {
      if (at->second.to_unpersist) release(at->second.rdd, end);
    }
    kept_.erase(kept_.begin(), end);
  }
  void forget_since(Time time) override {
    const std::scoped_lock lock(mutex_);
    const auto begin = kept_.lower_bound(time);
    for (auto at = begin; at != kept_.end(); ++at) {
      if (at->second.to_unpersist) release(at->second.rdd, kept_.end());
    }
    kept_.erase(begin, kept_.end());
  }

 protected:
  using StreamNode::StreamNode;

  virtual Rdd<T> compute(Time time) = 0;

 private:
  struct Kept {
    Rdd<T> rdd;
    bool to_unpersist = false;  // persisted by this stream: it was not when it was made
  };
  using KeptRdds = std::map<Time, Kept>;

  /// Unpersists with the last time that has it: several times may have the same RDD.
  void release(const Rdd<T>& rdd, typename KeptRdds::iterator later) {
    const auto heir = std::find_if(
        later, kept_.end(), [&](const auto& each) { return each.second.rdd.id() == rdd.id(); });
    if (heir != kept_.end()) {
      heir->second.to_unpersist = true;
    } else {
      rdd.unpersist();
    }
  }

  mutable std::mutex mutex_;
  KeptRdds kept_;  // guarded by mutex_
};

/// A stream whose RDDs a function in the driver makes of its parents'.
template <class T>
class ComputedStreamNode final : public TypedStreamNode<T> {
 public:
  ComputedStreamNode(std::shared_ptr<StreamGraph> graph, const char* operation, Duration slide,
                     std::vector<std::shared_ptr<StreamNode>> parents, Duration reach,
                     std::function<Rdd<T>(Time)> make)
      : TypedStreamNode<T>(std::move(graph), operation, slide, std::move(parents), reach),
        make_(std::move(make)) {}

 protected:
  Rdd<T> compute(Time time) override { return make_(time); }

 private:
  const std::function<Rdd<T>(Time)> make_;
};

/// Throws Error(kInvalidArgument) unless there are streams, of one context, that are due together.
void require_combinable(const char* operation,
                        const std::vector<std::shared_ptr<StreamNode>>& streams);

/// Throws Error(kInvalidArgument) unless both are positive multiples of the stream's slide.
void require_window(Duration length, Duration slide, const StreamNode& stream);

}  // namespace weir::internal
