#include "weir/dstream/dstream_node.h"

#include <algorithm>
#include <cctype>

#include "weir/core/engine.h"
#include "weir/core/error.h"
#include "weir/dstream/stream_graph.h"

namespace weir::internal {

StreamNode::StreamNode(std::shared_ptr<StreamGraph> graph, const char* operation, Duration slide,
                       std::vector<std::shared_ptr<StreamNode>> parents, Duration reach)
    : graph_(graph),
      operation_(operation),
      slide_(slide),
      parents_(std::move(parents)),
      reach_(reach) {
  graph->require_not_started(operation);
  remember(slide);
}

std::shared_ptr<StreamGraph> StreamNode::graph() const {
  auto graph = graph_.lock();
  if (graph == nullptr) {
    throw Error(
        ErrorCode::kInvalidArgument,
        std::string(operation_) + ": the stream's StreamingContext does not exist any more");
  }
  return graph;
}

std::unique_lock<std::recursive_mutex> StreamNode::making() const { return graph()->making(); }

bool StreamNode::due(Time time) const {
  if (time <= zero_time_) return false;
  if ((time - zero_time_) % slide_ == Duration::zero()) return true;
  return BatchScope::running().time == time && slide_ == graph()->batch_interval();
}

Time StreamNode::aligned(const char* operation, Time time) const {
  if (!started_.load()) {
    throw Error(ErrorCode::kInvalidArgument,
                std::string(operation) +
                    ": the stream has no RDDs: its StreamingContext was not started, or no output "
                    "operation needs the stream");
  }
  return time <= zero_time_ ? zero_time_ : time - (time - zero_time_) % slide_;
}

void StreamNode::persist(StorageLevel level) {
  graph()->require_not_started("persist");
  level_ = level;
}

void StreamNode::set_uid(std::string uid) {
  graph()->require_not_started("uid");
  const auto is_fit = [](unsigned char c) { return std::isalnum(c) != 0 || c == '-' || c == '_'; };
  if (uid.empty() || uid.size() > 64 || !std::ranges::all_of(uid, is_fit)) {
    throw Error(ErrorCode::kInvalidArgument,
                "uid: \"" + uid + "\" must be 1 to 64 letters, digits, '-' or '_'");
  }
  (stateful_ ? stateful_->uid_ : uid_) = std::move(uid);
}

void StreamNode::remember(Duration at_least) {
  if (at_least <= remembered_) return;
  remembered_ = at_least;
  for (const auto& parent : parents_) parent->remember(remembered_ + reach_);
}

void require_combinable(const char* operation,
                        const std::vector<std::shared_ptr<StreamNode>>& streams) {
  const auto refuse = [&](const std::string& why) {
    throw Error(ErrorCode::kInvalidArgument, std::string(operation) + ": " + why);
  };
  if (streams.empty()) refuse("there are no streams to combine");
  const StreamNode& first = *streams.front();
  for (const auto& stream : streams) {
    if (stream->graph() != first.graph()) {
      refuse("the streams belong to different streaming contexts");
    }
    if (stream->slide() != first.slide()) {
      const auto [a, b] = in_one_unit(first.slide(), stream->slide());
      refuse("the streams have different slide intervals, " + a + " and " + b);
    }
  }
}

void require_window(Duration length, Duration slide, const StreamNode& stream) {
  const char* unit = stream.slide() == stream.graph()->batch_interval()
                         ? "the batch interval"
                         : "the slide interval of its parent stream";
  require_multiple("window length", length, unit, stream.slide());
  require_multiple("window slide", slide, unit, stream.slide());
}

}  // namespace weir::internal
