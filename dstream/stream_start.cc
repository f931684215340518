#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "weir/core/context.h"
#include "weir/core/crash_point.h"
#include "weir/core/error.h"
#include "weir/core/log.h"
#include "weir/core/state/state_dataset.h"
#include "weir/dstream/stateful.h"
#include "weir/dstream/stream_graph.h"
#include "weir/dstream/stream_input.h"
#include "weir/dstream/stream_sink.h"
#include "weir/dstream/stream_start_internal.h"

namespace weir::internal {

Recovery StreamStart::run(BatchJournal::Callbacks callbacks) const {
  const std::string directory = parts_.journal ? parts_.journal->directory() : std::string();
  for (const auto& input : parts_.graph->inputs()) input->attach({parts_.events, directory});
  attach_states();
  Recovery recovery = recover(std::move(callbacks));
  for (const auto& input : parts_.graph->inputs()) {
    input->start(recovery.last.sequence == 0 ? Time::min() : recovery.last.time);
  }
  if (parts_.journal && recovery.last.sequence == 0) begin(recovery);
  recovery.last.sequence = std::max(recovery.last.sequence, open_sinks(recovery));
  WEIR_CRASH_POINT("recovery.sinks-opened");
  return recovery;
}

void StreamStart::attach_states() const {
  const auto identities = parts_.graph->operator_identities();
  const auto& engine = parts_.context.engine();
  const auto& stateful = parts_.graph->stateful();
  for (std::size_t i = 0; i < stateful.size(); ++i) {
    stateful[i]->attach(declare_state(engine, {.name = identities[i].uid,
                                               .partitions = stateful[i]->num_partitions(),
                                               .key_groups = parts_.key_groups,
                                               .directory = parts_.state_directory,
                                               .expires_after = stateful[i]->expires_after()}));
  }
}

/// Gives inputs and state back what an earlier driver recorded.
Recovery StreamStart::recover(BatchJournal::Callbacks callbacks) const {
  if (parts_.journal == nullptr) return {};
  const auto& inputs = parts_.graph->inputs();
  for (const auto& input : inputs) {
    if (input->after_restart() == AfterRestart::kReadAgain) continue;
    if (input->after_restart() == AfterRestart::kLost) {
      log_warning("what " + input->name() +
                  " has received and no batch has finished with is lost when the driver dies; set "
                  "weir.receiver.log to keep it");
      continue;
    }
    throw Error(ErrorCode::kInvalidArgument,
                input->name() +
                    " cannot be read again after a restart, so it cannot be used with a "
                    "checkpoint directory; use a replayable source (source_stream) or a receiver");
  }
  if (const StatefulOperator* const stateful = parts_.graph->under_a_window()) {
    throw Error(ErrorCode::kInvalidArgument,
                std::string("a window over the stream of ") + stateful->kind() +
                    " cannot be made again after a restart, because what earlier batches made of "
                    "the state is gone; use reduce_by_key_and_window, which is state itself, or no "
                    "checkpoint directory");
  }
  Recovery recovery = parts_.journal->recover(*parts_.graph, std::move(callbacks));
  const auto find = [&](const std::string& name) {
    const auto found = std::ranges::find(inputs, name, [](const auto& i) { return i->name(); });
    return found == inputs.end() ? nullptr : found->get();
  };
  require_windows_have(recovery);
  for (const auto& [name, position] : recovery.positions) {
    if (StreamInput* input = find(name)) {
      input->resume(position);
    } else {
      log_warning("the program has no input " + name +
                  " any more, whose position the checkpoint holds: it is forgotten");
    }
  }
  for (const RecordedBatch& recorded : recovery.recorded) {
    for (const BatchInput& part : recorded.inputs) {
      if (StreamInput* input = find(part.name)) {
        input->restore(recorded.batch, part);
      } else if (recorded.batch.sequence > recovery.committed) {
        throw Error(ErrorCode::kDataLoss,
                    to_text(recorded.batch) + " was begun and owns elements of the input " +
                        part.name +
                        ", which the program does not have any more: they would be "
                        "lost; start the former program once and stop it gracefully");
      }
    }
  }
  return recovery;
}

/// A stream without a batch: what comes from now on belongs to it, also if this driver ends before
/// it cuts one.
void StreamStart::begin(const Recovery& recovery) const {
  std::map<std::string, std::string> positions;
  for (const auto& input : parts_.graph->inputs()) positions[input->name()] = input->position();
  if (positions != recovery.positions) parts_.journal->begin(positions);
}

/// Windows are made of the batches at today's grid points and are due at these. Throws
/// Error(kDataLoss) if an earlier driver's batch would be missing in one.
void StreamStart::require_windows_have(const Recovery& recovery) const {
  const StreamGraph& graph = *parts_.graph;
  const bool raw = graph.has_raw_windows();
  const bool any = raw || std::ranges::any_of(graph.stateful(), [](const auto& stateful) {
                     return stateful->expires_after() != 0;
                   });
  for (const RecordedBatch& recorded : recovery.recorded) {
    const Batch& batch = recorded.batch;
    const bool is_open = batch.sequence > recovery.committed;
    const bool is_needed = is_open ? any : raw && batch.time > recovery.last.time - graph.reach();
    const bool on_grid = batch.time.time_since_epoch() % graph.batch_interval() == Duration::zero();
    if (!is_needed || on_grid) continue;
    throw Error(ErrorCode::kDataLoss,
                to_text(batch) + " was cut at another batch interval and is not on the grid of " +
                    to_string(graph.batch_interval()) +
                    ": a window of the program would miss it; " +
                    (is_open ? "start the program once with the former interval and stop it "
                               "gracefully"
                             : "use an interval that divides the former one"));
  }
}

std::uint64_t StreamStart::open_sinks(const Recovery& recovery) const {
  std::uint64_t newest = 0;
  for (const auto& sink : parts_.graph->sinks()) {
    const auto most = recovery.sink_partitions.find(sink->uid());
    sink->open(parts_.commit_id(*sink, {}, 0),
               most == recovery.sink_partitions.end() ? 0 : most->second);
    sink->take_back(recovery.last.sequence);
    const std::optional<CommitId> last = sink->last_committed();
    const std::uint64_t sequence = last ? last->sequence : 0;
    const auto held = recovery.sinks.find(sink->uid());
    if (held != recovery.sinks.end() && sequence < held->second) {
      throw Error(ErrorCode::kDataLoss,
                  "the sink " + sink->uid() + " holds batches up to " + std::to_string(sequence) +
                      ", but those up to " + std::to_string(held->second) +
                      " were committed and would be missing in it; bring its data back, or begin "
                      "anew with an empty checkpoint directory and an empty sink");
    }
    const auto recorded = std::ranges::find(
        recovery.recorded, sequence, [](const RecordedBatch& each) { return each.batch.sequence; });
    if (last && recorded != recovery.recorded.end() && recorded->intent != last->intent) {
      throw Error(ErrorCode::kDataLoss,
                  "the sink " + sink->uid() + " holds a " + to_text(recorded->batch) +
                      " of other input than the log records: the checkpoint directory and the "
                      "sink do not belong together, or one was set back; bring both to the same "
                      "point");
    }
    if (last && recorded != recovery.recorded.end() &&
        recorded->binary != parts_.journal->binary() && sequence > recovery.committed &&
        !parts_.journal->replays_with_new_code()) {
      throw Error(ErrorCode::kDataLoss,
                  "the program was changed since it wrote " + to_text(recorded->batch) +
                      " to the sink " + sink->uid() +
                      " and before that batch was done: what it still has to do would be done by "
                      "other code. Start the former program once, or accept it with "
                      "--weir.replay-with-new-code");
    }
    if (sequence > recovery.last.sequence) {
      log_warning("the sink " + sink->uid() + " holds batches up to " + std::to_string(sequence) +
                  ", the log ends with " + std::to_string(recovery.last.sequence) +
                  ": the log lost its end; what came after it is written again, as batches from " +
                  std::to_string(sequence + 1) + " on");
    }
    newest = std::max(newest, sequence);
  }
  return newest;
}

}  // namespace weir::internal
