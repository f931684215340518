#include "weir/dstream/stream_graph.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "weir/core/error.h"
#include "weir/dstream/stateful.h"
#include "weir/dstream/stream_input.h"
#include "weir/dstream/stream_sink.h"

namespace weir::internal {
namespace {

void collect(const std::shared_ptr<StreamNode>& node, std::unordered_set<StreamNode*>& seen,
             std::vector<std::shared_ptr<StreamNode>>& nodes) {
  if (!seen.insert(node.get()).second) return;
  for (const auto& parent : node->parents()) collect(parent, seen, nodes);
  nodes.push_back(node);
}

std::string exact(Duration duration, Duration unit) {
  if (unit == std::chrono::seconds(1)) return std::to_string(duration / unit) + "s";
  if (unit == std::chrono::milliseconds(1)) return std::to_string(duration / unit) + "ms";
  return std::to_string(duration.count()) + "us";
}

void require_positive(const std::string& what, Duration value) {
  if (value > Duration::zero()) return;
  throw Error(ErrorCode::kInvalidArgument,
              what + " must be positive, got " + std::to_string(value.count()) + "us");
}

}  // namespace

StreamGraph::StreamGraph(Context& context, Duration batch_interval)
    : context_(context), batch_interval_(batch_interval) {
  require_positive("batch interval", batch_interval);
}

StreamGraph::~StreamGraph() = default;

void StreamGraph::add_input(std::shared_ptr<StreamInput> input) {
  const std::scoped_lock lock(mutex_);
  inputs_.push_back(std::move(input));
}

void StreamGraph::add_output(OutputOperation output) {
  require_not_started(output.name.c_str());
  const std::scoped_lock lock(mutex_);
  outputs_.push_back(std::move(output));
}

void StreamGraph::add_stateful(std::shared_ptr<StatefulOperator> stateful,
                               std::shared_ptr<StreamNode> stream) {
  require_not_started(stateful->kind());
  const std::scoped_lock lock(mutex_);
  stateful_.push_back(std::move(stateful));
  stateful_nodes_.push_back(std::move(stream));
}

void StreamGraph::add_sink(std::shared_ptr<StreamSink> sink) {
  require_not_started("write_to");
  const std::scoped_lock lock(mutex_);
  const auto same = [&](const auto& other) { return other->uid() == sink->uid(); };
  if (std::ranges::any_of(sinks_, same)) {
    throw Error(ErrorCode::kInvalidArgument, "write_to: there is a sink with the uid " +
                                                 sink->uid() +
                                                 " already; give each its "
                                                 "own");
  }
  sinks_.push_back(std::move(sink));
}

std::vector<OperatorIdentity> StreamGraph::operator_identities() const {
  std::vector<OperatorIdentity> identities;
  for (const auto& each : stateful_) {
    const std::string& uid = each->stream().uid();
    OperatorIdentity identity{.uid = uid,
                              .is_named = !uid.empty(),
                              .kind = each->kind(),
                              .fingerprint = each->fingerprint(),
                              .expires_after = each->expires_after()};
    if (uid.empty()) {
      const auto before = std::ranges::count_if(
          identities, [](const OperatorIdentity& other) { return !other.is_named; });
      identity.uid = identity.kind + "-" + std::to_string(before);
    }
    if (std::ranges::find(identities, identity.uid, &OperatorIdentity::uid) != identities.end()) {
      throw Error(ErrorCode::kInvalidArgument,
                  "two stateful operators have the uid " + identity.uid + "; give each its own");
    }
    identities.push_back(std::move(identity));
  }
  return identities;
}

const StatefulOperator* StreamGraph::under_a_window() const {
  std::unordered_set<StreamNode*> seen;
  std::vector<std::shared_ptr<StreamNode>> nodes;
  for (const auto& output : outputs_) collect(output.stream, seen, nodes);
  for (const auto& each : stateful_nodes_) collect(each, seen, nodes);
  for (const auto& node : nodes) {
    if (node->reach() == Duration::zero()) continue;
    std::unordered_set<StreamNode*> below;
    std::vector<std::shared_ptr<StreamNode>> ancestors;
    collect(node, below, ancestors);
    for (const auto& stateful : stateful_) {
      if (&stateful->stream() != node.get() && std::ranges::any_of(ancestors, [&](const auto& a) {
            return a.get() == &stateful->stream();
          })) {
        return stateful.get();
      }
    }
  }
  return nullptr;
}

Duration StreamGraph::reach() const {
  Duration longest{};
  for (const auto& input : inputs_) longest = std::max(longest, input->stream()->remembered());
  return longest;
}

bool StreamGraph::is_special(Time time) const {
  const auto is_due = [&](const StreamNode& stream) {
    return stream.slide() != batch_interval_ && stream.due(time);
  };
  return std::ranges::any_of(outputs_, [&](const auto& each) { return is_due(*each.stream); }) ||
         std::ranges::any_of(stateful_, [&](const auto& each) { return is_due(each->stream()); });
}

bool StreamGraph::has_raw_windows() const {
  std::vector<std::shared_ptr<StreamNode>> nodes;
  std::unordered_set<StreamNode*> seen;
  for (const auto& output : outputs_) collect(output.stream, seen, nodes);
  for (const auto& each : stateful_nodes_) collect(each, seen, nodes);
  return std::ranges::any_of(nodes, [](const auto& node) {
    return std::ranges::any_of(node->parents(),
                               [&](const auto& parent) { return node->reach() > parent->slide(); });
  });
}

void StreamGraph::remember(Duration duration) {
  require_not_started("remember");
  require_multiple("remember duration", duration, "the batch interval", batch_interval_);
  const std::scoped_lock lock(mutex_);
  remember_ = std::max(remember_, duration);
}

void StreamGraph::checkpoint(Duration interval) {
  require_not_started("checkpoint");
  const std::scoped_lock lock(mutex_);
  checkpoint_interval_ = std::min(interval, checkpoint_interval_.value_or(interval));
}

std::optional<Duration> StreamGraph::checkpoint_interval() const {
  const std::scoped_lock lock(mutex_);
  return checkpoint_interval_;
}

void StreamGraph::require_not_started(const char* operation) const {
  const std::scoped_lock lock(mutex_);
  if (!started_) return;
  throw Error(ErrorCode::kInvalidArgument,
              std::string(operation) +
                  ": adding inputs, transformations or output operations after "
                  "starting a streaming context is not supported");
}

void StreamGraph::validate() const {
  const std::scoped_lock lock(mutex_);
  if (outputs_.empty()) {
    throw Error(ErrorCode::kInvalidArgument,
                "No output operations registered, so nothing to execute; call print or foreach_rdd "
                "on a stream before start");
  }
}

void StreamGraph::start(Time zero_time) {
  validate();
  const std::scoped_lock lock(mutex_);
  started_ = true;
  nodes_.clear();  // of a start that failed afterwards
  std::unordered_set<StreamNode*> seen;
  for (const auto& input : inputs_) collect(input->stream(), seen, nodes_);
  for (const auto& output : outputs_) collect(output.stream, seen, nodes_);
  for (const auto& each : stateful_nodes_) collect(each, seen, nodes_);
  for (const auto& node : nodes_) {
    node->remember(remember_);
    node->start(zero_time);
  }
  find_what_comes_ahead();
}

void StreamGraph::find_what_comes_ahead() {
  ahead_streams_.clear();
  ahead_states_.clear();
  std::unordered_set<const StreamNode*> from_state;
  for (const auto& node : stateful_nodes_) from_state.insert(node.get());
  const auto is_from_state = [&](const auto& node) { return from_state.contains(node.get()); };
  for (const auto& node : nodes_) {  // each after its parents
    if (std::ranges::any_of(node->parents(), is_from_state)) from_state.insert(node.get());
  }
  std::unordered_set<const StreamNode*> added;
  const auto add = [&](const std::shared_ptr<StreamNode>& node) {
    if (!is_from_state(node) && added.insert(node.get()).second) ahead_streams_.push_back(node);
  };
  for (std::size_t i = 0; i < stateful_.size(); ++i) {
    const auto& parents = stateful_nodes_[i]->parents();
    if (std::ranges::none_of(parents, is_from_state)) {
      ahead_states_.push_back(stateful_[i]);
      for (const auto& parent : parents) added.insert(parent.get());  // with it
    }
  }
  for (const auto& node : nodes_) {
    if (is_from_state(node)) std::ranges::for_each(node->parents(), add);
  }
  for (const auto& output : outputs_) add(output.stream);
}

std::vector<std::shared_ptr<DatasetBase>> StreamGraph::make_ahead(Time time) {
  std::vector<std::shared_ptr<DatasetBase>> made;
  for (const auto& stateful : ahead_states_) {
    if (stateful->stream().due(time)) made.push_back(stateful->prepare(time));
  }
  for (const auto& stream : ahead_streams_) {
    if (auto dataset = stream->dataset_at(time)) made.push_back(std::move(dataset));
  }
  return made;
}

void StreamGraph::forget(Time time) {
  for (const auto& node : nodes_) node->forget(time);
}

void StreamGraph::forget_since(Time time) {
  for (const auto& node : nodes_) node->forget_since(time);
}

void StreamGraph::clear() {
  std::vector<std::shared_ptr<StreamInput>> inputs;
  std::vector<OutputOperation> outputs;
  std::vector<std::shared_ptr<StatefulOperator>> stateful;
  std::vector<std::shared_ptr<StreamNode>> stateful_nodes;
  std::vector<std::shared_ptr<StreamSink>> sinks;
  std::vector<std::shared_ptr<StreamNode>> nodes;
  std::vector<std::shared_ptr<StreamNode>> ahead_streams;
  std::vector<std::shared_ptr<StatefulOperator>> ahead_states;
  {
    const std::scoped_lock lock(mutex_);
    started_ = true;
    ahead_streams.swap(ahead_streams_);
    ahead_states.swap(ahead_states_);
    inputs.swap(inputs_);
    outputs.swap(outputs_);
    stateful.swap(stateful_);
    stateful_nodes.swap(stateful_nodes_);
    sinks.swap(sinks_);
    nodes.swap(nodes_);
  }
}

std::pair<std::string, std::string> in_one_unit(Duration a, Duration b) {
  for (const Duration unit : {Duration(1'000'000), Duration(1'000)}) {
    if (a % unit == Duration::zero() && b % unit == Duration::zero()) {
      return {exact(a, unit), exact(b, unit)};
    }
  }
  return {exact(a, Duration(1)), exact(b, Duration(1))};
}

void require_multiple(const char* what, Duration value, const char* of, Duration unit) {
  require_positive(what, value);
  if (value % unit == Duration::zero()) return;
  const auto [shown, shown_unit] = in_one_unit(value, unit);
  throw Error(ErrorCode::kInvalidArgument,
              std::string(what) + " " + shown + " is not a multiple of " + of + " " + shown_unit);
}

}  // namespace weir::internal
