#pragma once

#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "weir/core/context.h"
#include "weir/core/error.h"
#include "weir/dstream/batch.h"
#include "weir/dstream/dstream_node.h"
#include "weir/dstream/stream_graph.h"

/// Where batches get their input from. An input has two sides: `StreamInput` cuts, on the thread
/// that generates batches; `InputStreamNode` is the stream, on the thread that runs them.
namespace weir::internal {

class StreamingEvents;

/// How much a batch may take.
struct CutLimit {
  std::optional<double> max_records_per_second = {};
  /// Set when no batch follows, see `SourceLimit`.
  std::optional<Duration> last_wait = {};
};

/// Where an input finds itself.
struct InputPlace {
  StreamingEvents& events;                ///< outlives it
  std::string checkpoint_directory = {};  ///< absolute; empty: there is none
};

/// What becomes of an earlier driver's batches that have to be run again.
enum class AfterRestart {
  kReadAgain,
  kLost,     ///< they are run without what this input gave them
  kRefused,  ///< so a checkpoint directory makes no sense
};

/// The side that cuts. One thread at a time.
class StreamInput {
 public:
  virtual ~StreamInput() = default;

  /// Unique in the streaming context; names its part of a batch's input.
  virtual const std::string& name() const = 0;
  /// Its stream.
  virtual std::shared_ptr<StreamNode> stream() const = 0;
  /// The first thing that is called. Throws.
  virtual void attach(const InputPlace& /*place*/) {}
  /// Called by `start`, before the first batch; finds where to begin unless that was restored. Grid
  /// points up to `resumed_after` are an earlier driver's. Throws.
  virtual void start(Time /*resumed_after*/) {}
  /// Fixes what the batch owns, hands its RDD to the stream and describes it. Throws.
  virtual BatchInput cut(const Batch& batch, const CutLimit& limit) = 0;
  /// There is no batch at the grid points from `first` to `last`.
  virtual void skip(Time first, Time last) = 0;
  virtual AfterRestart after_restart() const { return AfterRestart::kRefused; }
  /// Before `start`: what an earlier driver's batch owns, in ascending order. Throws
  /// Error(kCorrupt) if the positions cannot be read.
  virtual void restore(const Batch& batch, const BatchInput& input);
  /// After `start`: where the next batch begins, for `resume`; empty if it is not replayable.
  virtual std::string position() const { return {}; }
  /// Before `start`: where the next batch begins, when no restored one says it.
  virtual void resume(const std::string& position);
  /// The batch at this time has succeeded.
  virtual void done(Time) {}
  /// Batches up to `time` are done, will not be run again, and their RDDs are forgotten.
  virtual void release(Time) {}
  /// Nothing is cut any more.
  virtual void stop() {}
};

/// The stream of an input: at each batch time what was cut for it, until that is released.
template <class T>
class InputStreamNode final : public TypedStreamNode<T> {
 public:
  InputStreamNode(std::shared_ptr<StreamGraph> graph, const char* operation, Duration slide)
      : TypedStreamNode<T>(std::move(graph), operation, slide, {}, Duration::zero()) {}

  /// From the thread that cuts. `make` gives the batch's RDD, each time it is asked.
  void deliver(Time time, std::function<Rdd<T>()> make) {
    const std::scoped_lock lock(mutex_);
    delivered_[time] = std::move(make);
  }
  /// From the same thread: what no stream can ask for when batches up to `time` are done.
  void release(Time time) {
    const std::scoped_lock lock(mutex_);
    delivered_.erase(delivered_.begin(), delivered_.upper_bound(time - this->remembered()));
    std::erase_if(skipped_,
                  [&](const auto& range) { return range.second <= time - this->remembered(); });
  }
  /// From the same thread: the grid points from `first` to `last` have no input.
  void skip(Time first, Time last) {
    const std::scoped_lock lock(mutex_);
    skipped_[first] = last;
  }
  /// Grid points up to this one that have no input were missed while there was no driver.
  void resume_after(Time time) { resumed_after_ = time; }

 protected:
  Rdd<T> compute(Time time) override {
    std::function<Rdd<T>()> make;
    bool skipped = false;
    {
      const std::scoped_lock lock(mutex_);
      const auto found = delivered_.find(time);
      if (found != delivered_.end()) make = found->second;
      const auto after = skipped_.upper_bound(time);
      skipped = after != skipped_.begin() && time <= std::prev(after)->second;
    }
    if (make) return make();
    if (skipped || time <= resumed_after_) return this->graph()->context().template empty_rdd<T>();
    throw Error(ErrorCode::kInternal, std::string(this->operation()) + ": the input of " +
                                          to_string(time) + " was never cut or is released");
  }

 private:
  Time resumed_after_ = Time::min();  // set before the first batch
  std::mutex mutex_;
  std::map<Time, std::function<Rdd<T>()>> delivered_;  // guarded by mutex_
  std::map<Time, Time> skipped_;                       // guarded by mutex_; first and last
};

}  // namespace weir::internal
