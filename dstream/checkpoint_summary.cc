#include "weir/dstream/checkpoint_summary.h"

#include <filesystem>
#include <memory>
#include <utility>

#include "weir/core/durable_store.h"
#include "weir/core/error.h"
#include "weir/core/hash.h"
#include "weir/dstream/batch_records.h"
#include "weir/dstream/log/log_reader_internal.h"
#include "weir/dstream/receiver_log.h"
#include "weir/dstream/state_lineage.h"

namespace weir {
namespace {

/// Folders of `batch_journal.cc` and `receiver_tracker.cc`.
const std::string kStateFolder = "state/";
const std::string kReceivedFolder = "received";

void check(DurableStore& store, const StatePiece& piece, std::vector<std::string>& problems) {
  const std::string where = kStateFolder + piece.file + ", " + std::to_string(piece.length) +
                            " bytes at " + std::to_string(piece.offset);
  try {
    const std::string bytes = store.read(kStateFolder + piece.file, piece.offset, piece.length);
    if (bytes.size() != piece.length) {
      problems.push_back(where + ": the file ends before");
    } else if (hash_bytes(bytes) != piece.hash) {
      problems.push_back(where + ": not the bytes that were written");
    }
  } catch (const Error& error) {
    problems.push_back(where + ": " + error.what());
  }
}

void add_states(DurableStore& store, const internal::RecordedStream& recorded,
                std::uint32_t key_groups, bool read, CheckpointSummary& summary) {
  for (const auto& identity : recorded.operators().value_or(internal::OperatorIdentities())) {
    const internal::StateLineage lineage = recorded.committed_state(identity.uid, key_groups);
    CheckpointSummary::State& state = summary.states.emplace_back();
    state.uid = identity.uid;
    state.partitions = lineage.partitions;
    for (const auto& steps : lineage.steps) {
      for (const StateStep& step : steps) {
        if (step.piece.length == 0) continue;
        ++state.pieces;
        state.bytes += step.piece.length;
        if (read) check(store, step.piece, summary.problems);
      }
    }
  }
}

void add_receivers(DurableStore& store, const std::string& directory, CheckpointSummary& summary) {
  const std::filesystem::path received = std::filesystem::path(directory) / kReceivedFolder;
  if (!std::filesystem::is_directory(received)) return;
  for (const auto& entry : std::filesystem::directory_iterator(received)) {
    CheckpointSummary::ReceiverLog log{.folder = kReceivedFolder + "/" +
                                                 entry.path().filename().string()};
    log.files = store.list(log.folder).size();
    for (const internal::LoggedBlock& block : internal::read_receiver_logs(store, log.folder)) {
      ++log.blocks;
      log.records += block.records;
      log.bytes += block.size;
    }
    summary.receivers.push_back(std::move(log));
  }
}

}  // namespace

CheckpointSummary summarize_checkpoint(const std::string& directory, bool read_state) {
  // Opening a store would make a directory that is not there.
  if (!std::filesystem::is_directory(directory)) {
    throw Error(ErrorCode::kUnreachable, directory + " is not a directory");
  }
  const std::unique_ptr<DurableStore> store = directory_store_at(directory);
  CheckpointSummary summary;
  try {
    const internal::RecoveredLog log = internal::read_log(*store);
    summary.notes = log.history.notes;
    summary.epoch = log.newest_epoch;
    summary.log_bytes = log.ledger.bytes();
    if (log.identity) summary.application = log.identity->application;
    const internal::RecordedStream recorded(log.history);
    summary.checkpointed = recorded.recovery().checkpointed;
    summary.committed = recorded.recovery().committed;
    summary.last = recorded.recovery().last;
    add_states(*store, recorded, log.identity ? log.identity->key_groups : 512, read_state,
               summary);
    add_receivers(*store, directory, summary);
  } catch (const Error& error) {
    summary.problems.emplace_back(error.what());
  }
  return summary;
}

}  // namespace weir
