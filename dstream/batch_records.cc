#include "weir/dstream/batch_records.h"

#include <algorithm>
#include <utility>

#include "weir/core/archive.h"
#include "weir/core/error.h"
#include "weir/core/hash.h"

namespace weir::internal {
namespace {

// Names of sections; all are slim archives of version 1.
const std::string kInputPrefix = "input/";   // INTENT: InputSection; CHECKPOINT: the end alone;
                                             // CHECKPOINT(0): where the first batch begins
const std::string kStatePrefix = "state/";   // COMMIT: StateDeltas; CHECKPOINT: StateLineage
const std::string kOperators = "operators";  // first INTENT of an epoch, CHECKPOINT
const std::string kSinks = "sinks";          // COMMIT, CHECKPOINT: what they hold, by uid
// INTENT: that the batch has; CHECKPOINT: the most so far. Left out where no sink's tasks commit.
const std::string kSinkPartitions = "sink-partitions";
const std::string kJob = "job";  // INTENT, CHECKPOINT: RecordedJob
constexpr std::uint32_t kVersion = 1;

struct InputSection {
  std::string from;
  std::string end;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & from & end;
  }
};

/// What one batch changed in one operator's state, by partition.
struct StateDeltas {
  std::vector<StatePiece> pieces;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & pieces;
  }
};

template <class T>
LogSection section(const std::string& name, T content) {
  return {name, kVersion, encode(content)};
}

template <class T>
T read_section(const LogRecord& record, const LogSection& section) {
  const std::string where =
      "section " + section.name + " of batch " + std::to_string(record.sequence);
  if (section.version != kVersion) {
    throw Error(ErrorCode::kCorrupt, where + " has version " + std::to_string(section.version) +
                                         ", this program reads version " +
                                         std::to_string(kVersion));
  }
  try {
    return decode<T>(section.bytes);
  } catch (const Error& error) {
    throw Error(ErrorCode::kCorrupt, where + ": " + error.what());
  }
}

template <class T>
std::optional<T> read_section(const LogRecord& record, const std::string& name) {
  const LogSection* found = record.find(name);
  if (found == nullptr) return std::nullopt;
  return read_section<T>(record, *found);
}

std::vector<BatchInput> inputs_of(const LogRecord& intent) {
  std::vector<BatchInput> inputs;
  for (const LogSection& each : intent.sections) {
    if (!each.name.starts_with(kInputPrefix)) continue;
    auto input = read_section<InputSection>(intent, each);
    inputs.push_back({each.name.substr(kInputPrefix.size()), std::move(input.from),
                      std::move(input.end), std::nullopt});
  }
  return inputs;
}

}  // namespace

std::uint64_t hash_of(const Batch& batch, const std::vector<BatchInput>& inputs) {
  SlimWriter out;
  out.put(batch.sequence);
  out.put(static_cast<std::int64_t>(batch.time.time_since_epoch().count()));
  for (const BatchInput& input : inputs) out& input.name& input.from& input.end;
  return hash_bytes(out.view());
}

void keep_most(SinkPartitions& most, const SinkPartitions& partitions) {
  for (const auto& [uid, count] : partitions) most[uid] = std::max(most[uid], count);
}

// --- writing ---

LogRecord intent_record(const Batch& batch, const std::vector<BatchInput>& inputs,
                        const SinkPartitions& sink_partitions, const RecordedJob& job,
                        const OperatorIdentities* operators) {
  LogRecord record{LogRecord::Kind::kIntent, batch.sequence, batch.time, {}};
  for (const BatchInput& input : inputs) {
    record.sections.push_back(
        section(kInputPrefix + input.name, InputSection{input.from, input.end}));
  }
  if (!sink_partitions.empty()) {
    record.sections.push_back(section(kSinkPartitions, sink_partitions));
  }
  record.sections.push_back(section(kJob, job));
  if (operators != nullptr) record.sections.push_back(section(kOperators, *operators));
  return record;
}

LogRecord commit_record(const Batch& batch,
                        const std::map<std::string, std::vector<StatePiece>>& changed,
                        const HeldBySinks& sinks) {
  LogRecord record{LogRecord::Kind::kCommit, batch.sequence, batch.time, {}};
  for (const auto& [uid, pieces] : changed) {
    record.sections.push_back(section(kStatePrefix + uid, StateDeltas{pieces}));
  }
  record.sections.push_back(section(kSinks, sinks));
  return record;
}

LogRecord checkpoint_record(const Batch& batch, const std::vector<BatchInput>& inputs,
                            const RecordedJob& job, const OperatorIdentities& operators,
                            const HeldBySinks& sinks, const SinkPartitions& sink_partitions,
                            const std::map<std::string, StateLineage>& states) {
  LogRecord record{LogRecord::Kind::kCheckpoint, batch.sequence, batch.time, {}};
  for (const BatchInput& input : inputs) {
    record.sections.push_back(section(kInputPrefix + input.name, input.end));
  }
  record.sections.push_back(section(kJob, job));
  record.sections.push_back(section(kOperators, operators));
  record.sections.push_back(section(kSinks, sinks));
  if (!sink_partitions.empty()) {
    record.sections.push_back(section(kSinkPartitions, sink_partitions));
  }
  for (const auto& [uid, lineage] : states) {
    record.sections.push_back(section(kStatePrefix + uid, lineage));
  }
  return record;
}

LogRecord with_states(LogRecord checkpoint, const OperatorIdentities& operators,
                      const std::map<std::string, StateLineage>& states) {
  for (LogSection& each : checkpoint.sections) {
    if (each.name == kOperators) each = section(kOperators, operators);
    if (!each.name.starts_with(kStatePrefix)) continue;
    const auto state = states.find(each.name.substr(kStatePrefix.size()));
    if (state != states.end()) each = section(each.name, state->second);
  }
  return checkpoint;
}

LogRecord start_record(const std::map<std::string, std::string>& positions) {
  LogRecord record{LogRecord::Kind::kCheckpoint, 0, Time(), {}};
  for (const auto& [name, position] : positions) {
    record.sections.push_back(section(kInputPrefix + name, position));
  }
  return record;
}

// --- reading ---

RecordedStream::RecordedStream(const LogHistory& history) : history_(history) {
  const LogRecord* newest_operators = nullptr;
  const LogRecord* newest_done = nullptr;
  std::optional<RecordedJob> job;
  if (history.checkpoint) {
    const LogRecord& set = *history.checkpoint;
    checkpointed_ = set.sequence;
    recovery_.last = {set.sequence, set.time};
    recovery_.committed = set.sequence;
    recovery_.checkpointed = recovery_.last;
    if (set.sequence != 0) {
      newest_operators = newest_done = &set;
      job = read_section<RecordedJob>(set, kJob);
      recovery_.sink_partitions =
          read_section<SinkPartitions>(set, kSinkPartitions).value_or(SinkPartitions{});
    }
    for (const LogSection& each : set.sections) {
      if (!each.name.starts_with(kInputPrefix)) continue;
      recovery_.positions[each.name.substr(kInputPrefix.size())] =
          read_section<std::string>(set, each);
    }
  }
  if (!history.commits.empty() && history.commits.back().sequence > checkpointed_) {
    newest_done = &history.commits.back();
    recovery_.committed = newest_done->sequence;
  }
  if (newest_done != nullptr) {
    recovery_.sinks = read_section<HeldBySinks>(*newest_done, kSinks).value_or(HeldBySinks{});
  }
  for (const LogRecord& intent : history.intents) {
    const auto of_job = read_section<RecordedJob>(intent, kJob);
    const auto inputs = inputs_of(intent);
    const auto partitions =
        read_section<SinkPartitions>(intent, kSinkPartitions).value_or(SinkPartitions{});
    keep_most(recovery_.sink_partitions, partitions);
    const Batch batch{intent.sequence, intent.time};
    recovery_.recorded.push_back(
        {batch, inputs, partitions, hash_of(batch, inputs), of_job ? of_job->binary : 0});
    if (batch.sequence > recovery_.last.sequence) recovery_.last = batch;
    if (intent.find(kOperators) != nullptr && intent.sequence > checkpointed_) {
      newest_operators = &intent;
    }
    if (!of_job) continue;
    job = of_job;
    if (checkpointed_ < intent.sequence && intent.sequence <= recovery_.committed) {
      binaries_.push_back(of_job->binary);
    }
  }
  recovery_.last.sequence = std::max(recovery_.last.sequence, history.last_sequence);
  if (job) recovery_.zero_time = job->zero_time;
  if (newest_operators != nullptr) {
    operators_ = read_section<OperatorIdentities>(*newest_operators, kOperators)
                     .value_or(OperatorIdentities{});
  }
}

bool RecordedStream::is_committed_by_other(std::uint64_t binary) const {
  return std::ranges::any_of(binaries_, [&](std::uint64_t each) { return each != binary; });
}

StateLineage RecordedStream::checkpointed_state(const std::string& uid) const {
  if (!history_.checkpoint) return {};
  return read_section<StateLineage>(*history_.checkpoint, kStatePrefix + uid)
      .value_or(StateLineage{});
}

StateLineage RecordedStream::committed_state(const std::string& uid,
                                             std::uint32_t key_groups) const {
  StateLineage lineage = checkpointed_state(uid);
  for (const LogRecord& commit : history_.commits) {
    if (commit.sequence <= checkpointed_) continue;
    const auto deltas = read_section<StateDeltas>(commit, kStatePrefix + uid);
    if (deltas) lineage.append(commit.sequence, deltas->pieces, key_groups);
  }
  return lineage;
}

}  // namespace weir::internal
