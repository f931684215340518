#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "weir/core/engine.h"
#include "weir/dstream/batch.h"
#include "weir/dstream/batch_records.h"
#include "weir/dstream/log/batch_log.h"
#include "weir/dstream/stateful.h"
#include "weir/dstream/streaming_listener.h"

namespace weir::internal {

class StreamGraph;
class StreamSink;

/// Of an application that was never there before.
LogIdentity fresh_identity();

/// Writes down what batches own and that they are done, and the sets of state they leave; and says
/// after a restart where to go on. Between the batch log, which knows records, the state tracker,
/// which knows versions, and the loop that runs batches.
///
/// Threads: `recover` and `close` by the thread that starts and ends the stream, `intent` by the
/// one that cuts batches, `await_intent`, `commit` and `checkpoint` by the one that runs them. Sets
/// of state are made durable on a thread of its own.
class BatchJournal {
 public:
  struct Options {
    std::string directory;
    BatchLog::Options log;
    bool replay_with_new_code = false;
    std::vector<std::string> drop_state;
  };
  /// Called on the checkpoint thread.
  struct Callbacks {
    /// The set of state as of this batch is durable, with all before.
    std::function<void(const CheckpointInfo&)> on_checkpoint;
    /// Writing failed; nothing is recorded any more.
    std::function<void(std::exception_ptr)> on_failure;
  };

  /// Opens the log of `directory`; throws, see BatchLog::open and open_directory_store.
  BatchJournal(std::shared_ptr<Engine> engine, Options options);
  ~BatchJournal();

  const LogIdentity& identity() const { return log_->identity(); }
  std::uint64_t epoch() const { return log_->epoch(); }
  /// Absolute, for workers.
  std::string directory() const;
  std::string state_directory() const;

  /// Matches the graph's stateful operators and inputs with what was recorded and tells the tracker
  /// what their state is made of. Throws Error(kDataLoss) where that cannot be done.
  Recovery recover(const StreamGraph& graph, Callbacks callbacks);

  /// Records where the inputs of a stream that has no batch yet begin, durably.
  void begin(const std::map<std::string, std::string>& positions);
  /// Records what the batch owns; returns the hash of that.
  std::uint64_t intent(const Batch& batch, Time zero_time, const std::vector<BatchInput>& inputs);
  /// Until then no effect of the batch may begin. Throws what writing threw.
  void await_intent(std::uint64_t sequence);
  /// Of a batch whose INTENT is kept: one that is not behind a CHECKPOINT, at least.
  RecordedBatch recorded(std::uint64_t sequence) const;
  /// All outputs of the batch are done.
  void commit(const Batch& batch);
  /// Begins to make the set of state as of the last COMMIT durable, unless the last one is still
  /// being made.
  void checkpoint();
  /// The same, and waits for it; then everything is durable.
  void last_checkpoint();
  /// Drops what is not yet written, as a SIGKILL does.
  void abandon();
  /// No callback is running any more and none follows, until `recover` is called again.
  void close();
  bool replays_with_new_code() const { return options_.replay_with_new_code; }
  /// See RecordedJob.
  std::uint64_t binary() const { return binary_; }

  LogInfo log_info() const;

 private:
  struct Set {
    LogRecord record;
    std::vector<StateTracker::Steps> steps;  // of each stateful operator
    std::set<std::string> files;             // that they are in
    std::chrono::steady_clock::time_point asked;
    std::uint64_t release_to = 0;  // INTENTs up to this one are not needed behind it
  };

  Set make_set() const;
  bool can_checkpoint() const;
  HeldBySinks held_by_sinks() const;
  LogHistory with_states_migrated(LogHistory history);
  StateLineage migrate(const StateLineage& written, std::uint64_t sequence,
                       const OperatorIdentity& from, const OperatorIdentity& to,
                       const StateMigration& migration) const;
  OperatorIdentities operators_as_of(std::uint64_t sequence) const;
  void write_sets();
  void write(const Set& set);
  void delete_other_than(const std::set<std::string>& used);
  void remove_unused();

  const std::shared_ptr<Engine> engine_;
  const Options options_;
  const std::shared_ptr<DurableStore> store_;
  const std::unique_ptr<BatchLog> log_;
  const std::uint64_t binary_;

  // Set by recover.
  Callbacks callbacks_;
  std::vector<std::shared_ptr<StreamSink>> sinks_;
  const StreamGraph* graph_ = nullptr;
  OperatorIdentities operators_;
  std::vector<std::shared_ptr<StatefulOperator>> stateful_;  // in the order of operators_

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool operators_recorded_ = false;                   // guarded by mutex_; in this epoch
  std::map<std::uint64_t, std::uint64_t> positions_;  // guarded by mutex_; of INTENTs to await
  SinkPartitions most_sink_partitions_;               // guarded by mutex_
  std::map<std::uint64_t, RecordedBatch> batches_;    // guarded by mutex_; INTENTs kept
  std::optional<Batch> committed_;                    // guarded by mutex_
  std::uint64_t checkpointed_ = 0;                    // guarded by mutex_
  Time zero_time_{};                                  // guarded by mutex_
  bool may_remove_ = false;                           // guarded by mutex_; since a CHECKPOINT
  std::deque<Set> sets_;                              // guarded by mutex_; at most one
  bool writing_ = false;                              // guarded by mutex_
  /// Guarded by mutex_: files that have no name any more, and go when they are closed.
  std::vector<std::unique_ptr<DurableReader>> removed_;
  bool ending_ = false;         // guarded by mutex_
  std::exception_ptr failure_;  // guarded by mutex_
  std::jthread checkpoint_thread_;
};

}  // namespace weir::internal
