#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "weir/dstream/batch.h"
#include "weir/dstream/log/batch_log.h"
#include "weir/dstream/state_lineage.h"
#include "weir/dstream/stateful.h"

/// What a stream puts into the records of its batch log, and what the records of a log say
/// together. Pure: knows neither files nor threads.
namespace weir::internal {

/// By uid, of sinks whose tasks commit: how many partitions.
using SinkPartitions = std::map<std::string, std::uint32_t>;

/// A batch as its INTENT describes it.
struct RecordedBatch {
  Batch batch;
  std::vector<BatchInput> inputs;
  SinkPartitions sink_partitions;  ///< that the batch has for each
  std::uint64_t intent = 0;        ///< hash of what it owns; see CommitId
  std::uint64_t binary = 0;        ///< of the program that began it; see RecordedJob
};

/// Where a restarted stream goes on.
struct Recovery {
  /// The newest INTENT; sequence 0 when nothing was recorded.
  Batch last;
  /// The newest batch whose outputs are all done; sequence 0: none.
  std::uint64_t committed = 0;
  /// The newest batch whose state is durable; sequence 0: none.
  Batch checkpointed;
  std::optional<Time> zero_time;
  /// What each sink, by uid, held when the committed batch was done: a batch's sequence number.
  std::map<std::string, std::uint64_t> sinks;
  /// The most that a batch had.
  SinkPartitions sink_partitions;
  /// Inputs' positions where no recorded batch says them: by input name, after the CHECKPOINT.
  std::map<std::string, std::string> positions;
  /// What is kept, ascending: those up to `committed` to be replayed should state be lost, the
  /// others to be run again with their outputs.
  std::vector<RecordedBatch> recorded;
};

/// The program that a batch was cut for.
struct RecordedJob {
  std::uint64_t binary = 0;  ///< hash of the build ids of the program's modules
  Time zero_time{};

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & binary & zero_time;
  }
};

/// What the first INTENT of an epoch and every CHECKPOINT say of the program's operators.
using OperatorIdentities = std::vector<OperatorIdentity>;
/// The last batch that each sink, by uid, holds.
using HeldBySinks = std::map<std::string, std::uint64_t>;

/// Of the input alone, so that the batch stays the same when another program runs it.
std::uint64_t hash_of(const Batch& batch, const std::vector<BatchInput>& inputs);

/// `most` of itself and of `partitions`.
void keep_most(SinkPartitions& most, const SinkPartitions& partitions);

/// Null for `operators`: an earlier INTENT of this epoch says them.
LogRecord intent_record(const Batch& batch, const std::vector<BatchInput>& inputs,
                        const SinkPartitions& sink_partitions, const RecordedJob& job,
                        const OperatorIdentities* operators);
/// `changed`: by uid, what the batch changed in each partition of an operator's state.
LogRecord commit_record(const Batch& batch,
                        const std::map<std::string, std::vector<StatePiece>>& changed,
                        const HeldBySinks& sinks);
/// `inputs`: those of the batch, if they are known; `sink_partitions`: the most so far; `states`:
/// by uid.
LogRecord checkpoint_record(const Batch& batch, const std::vector<BatchInput>& inputs,
                            const RecordedJob& job, const OperatorIdentities& operators,
                            const HeldBySinks& sinks, const SinkPartitions& sink_partitions,
                            const std::map<std::string, StateLineage>& states);

/// A CHECKPOINT with other operators, and other states in place of those named.
LogRecord with_states(LogRecord checkpoint, const OperatorIdentities& operators,
                      const std::map<std::string, StateLineage>& states);

/// CHECKPOINT(0): where the inputs of a stream that has no batch yet begin, by name.
LogRecord start_record(const std::map<std::string, std::string>& positions);

/// What a log's records say together. Reading throws Error(kCorrupt) with section and batch.
class RecordedStream {
 public:
  /// Borrows the history.
  explicit RecordedStream(const LogHistory& history);

  const Recovery& recovery() const { return recovery_; }
  /// The batch of the newest CHECKPOINT; 0: none.
  std::uint64_t checkpointed() const { return checkpointed_; }
  /// As recorded last, if ever.
  const std::optional<OperatorIdentities>& operators() const { return operators_; }
  /// Whether batches behind the CHECKPOINT are committed that another program ran.
  bool is_committed_by_other(std::uint64_t binary) const;

  /// What the CHECKPOINT says that an operator's state is made of.
  StateLineage checkpointed_state(const std::string& uid) const;
  /// And what the COMMITs behind it add.
  StateLineage committed_state(const std::string& uid, std::uint32_t key_groups) const;

 private:
  const LogHistory& history_;
  Recovery recovery_;
  std::uint64_t checkpointed_ = 0;
  std::optional<OperatorIdentities> operators_;
  std::vector<std::uint64_t> binaries_;  // of committed batches behind the CHECKPOINT
};

}  // namespace weir::internal
