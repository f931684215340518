#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "weir/core/time.h"
#include "weir/dstream/batch.h"

namespace weir {

class Context;

namespace internal {

class DatasetBase;

class StatefulOperator;
class StreamInput;
class StreamNode;
class StreamSink;
struct OperatorIdentity;

/// Something done with a stream's RDD at each of its due times: the reason why anything is
/// computed.
struct OutputOperation {
  std::string name;
  std::shared_ptr<StreamNode> stream;
  std::function<void(Time)> run;
  std::shared_ptr<const StreamSink> sink = nullptr;  ///< what it writes to, if that is one
};

/// All streams of one streaming context: inputs in order of creation, outputs in order of
/// registration. Grows on the user's threads until `start`, does not change afterwards.
class StreamGraph {
 public:
  /// `context` must outlive the graph. Throws Error(kInvalidArgument) unless the interval is
  /// positive.
  StreamGraph(Context& context, Duration batch_interval);
  ~StreamGraph();

  Context& context() const { return context_; }
  Duration batch_interval() const { return batch_interval_; }

  void add_input(std::shared_ptr<StreamInput> input);
  void add_output(OutputOperation output);
  /// In the order of creation, so each comes after those it reads.
  void add_stateful(std::shared_ptr<StatefulOperator> stateful, std::shared_ptr<StreamNode> stream);
  /// Throws Error(kInvalidArgument) unless its uid is new.
  void add_sink(std::shared_ptr<StreamSink> sink);
  /// Every stream keeps its RDDs at least this long.
  void remember(Duration duration);
  /// A stream wants its state to be durable this often.
  void checkpoint(Duration interval);
  /// The shortest that a stream wants, if any does.
  std::optional<Duration> checkpoint_interval() const;
  /// Throws Error(kInvalidArgument) that names `operation`.
  void require_not_started(const char* operation) const;

  /// Throws Error(kInvalidArgument) unless it can be started.
  void validate() const;
  void start(Time zero_time);
  /// Drops RDDs that no batch after `time` can need, all of them for `Time::max()`.
  void forget(Time time);
  /// Drops RDDs from this time on, so that they are computed anew.
  void forget_since(Time time);
  /// RDDs of streams are made by one thread at a time, the one that has this.
  std::unique_lock<std::recursive_mutex> making() { return std::unique_lock(making_); }
  /// The RDDs at a time of what outputs and states need and no state feeds: all that can be made
  /// of a batch before those ahead of it are done. Within a BatchScope.
  std::vector<std::shared_ptr<DatasetBase>> make_ahead(Time time);
  /// Frees everything, user functions too. Nothing of it may be running.
  void clear();

  const std::vector<std::shared_ptr<StreamInput>>& inputs() const { return inputs_; }
  const std::vector<OutputOperation>& outputs() const { return outputs_; }
  const std::vector<std::shared_ptr<StatefulOperator>>& stateful() const { return stateful_; }
  const std::vector<std::shared_ptr<StreamSink>>& sinks() const { return sinks_; }
  /// Of the stateful operators, in their order. Throws Error(kInvalidArgument) if two have one uid.
  std::vector<OperatorIdentity> operator_identities() const;
  /// A stateful operator whose stream a window reaches back over; null if there is none.
  const StatefulOperator* under_a_window() const;
  /// How far before a batch's time streams may still ask for input.
  Duration reach() const;
  /// Whether an output or a state is due at this grid point that is not due at every one.
  bool is_special(Time time) const;
  /// Whether a stream is computed from others' RDDs of earlier times.
  bool has_raw_windows() const;

 private:
  void find_what_comes_ahead();

  Context& context_;
  const Duration batch_interval_;
  mutable std::mutex mutex_;  // guards the members below until `started_`
  bool started_ = false;
  Duration remember_{};
  std::optional<Duration> checkpoint_interval_;
  std::vector<std::shared_ptr<StreamInput>> inputs_;
  std::vector<OutputOperation> outputs_;
  std::vector<std::shared_ptr<StatefulOperator>> stateful_;
  std::vector<std::shared_ptr<StreamNode>> stateful_nodes_;  // their streams
  std::vector<std::shared_ptr<StreamSink>> sinks_;
  std::vector<std::shared_ptr<StreamNode>> nodes_;  // all that outputs need, and all inputs
  // What `make_ahead` makes: the last streams before a state or an output, and the states that only
  // such streams feed.
  std::vector<std::shared_ptr<StreamNode>> ahead_streams_;
  std::vector<std::shared_ptr<StatefulOperator>> ahead_states_;
  std::recursive_mutex making_;
};

/// "2500ms" and "1000ms": both in the coarsest unit that shows them exactly.
std::pair<std::string, std::string> in_one_unit(Duration a, Duration b);
/// Throws Error(kInvalidArgument), "window length 2500ms is not a multiple of the batch interval
/// 1000ms", unless `value` is a positive multiple of `unit`.
void require_multiple(const char* what, Duration value, const char* of, Duration unit);

}  // namespace internal
}  // namespace weir
