#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "weir/core/bytes.h"
#include "weir/core/state/state_task.h"
#include "weir/core/storage/storage_level.h"
#include "weir/core/time.h"

/// What the driver's scheduler and whoever runs tasks say to each other: plain data, no user types.
namespace weir {

using DatasetId = std::uint64_t;
using ShuffleId = std::uint64_t;  ///< the id of the dataset that reads the shuffle
using JobId = std::uint64_t;
using AttemptId = std::uint64_t;  ///< one try of one task; never used twice by a driver
using AccumulatorId = std::uint64_t;
using StageHash = std::uint64_t;  ///< XXH3 of a serialized stage

/// One start of one worker: `slot` is the place in the cluster, `incarnation` counts its starts
/// over the whole driver's life and is never used twice. The local runner is {0, 0}.
struct WorkerId {
  std::uint32_t slot = 0;
  std::uint32_t incarnation = 0;

  auto operator<=>(const WorkerId&) const = default;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & slot & incarnation;
  }
};

std::string to_string(WorkerId worker);

/// The data of one map task for one reducer: where it is, or the bytes themselves when small.
struct Segment {
  std::uint32_t map_partition = 0;
  WorkerId worker;
  std::uint64_t size = 0;  ///< bytes; 0: nothing to fetch
  std::uint64_t hash = 0;  ///< XXH3 of the bytes
  std::optional<Bytes> inline_data;
  bool compressed = false;  ///< size, hash and bytes are of what `internal::compress` made

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & map_partition & worker & size & hash & inline_data & compressed;
  }
};

/// A block of a stored dataset that lives in this process: the local runner's short way.
class Block;

/// What a leaf of the stage (a source or a shuffle read) needs to produce one of its partitions.
/// Or the data of a broadcast: `node` is kFirstBroadcast and its index among those that the stage
/// refers to.
struct LeafInput {
  static constexpr std::uint32_t kFirstBroadcast = 0x80000000U;

  std::uint32_t node = 0;              ///< index of the leaf in the stage
  std::uint32_t partition = 0;         ///< of the leaf, not of the task
  Bytes bytes;                         ///< a source's description of the partition, or its data
  std::shared_ptr<const Block> block;  ///< set instead of `bytes` where the process is the same
  bool is_shuffle = false;
  /// Of a source it is the receiver whose block the one segment is; 0: no block. See
  /// ReceivedBlocks.
  ShuffleId shuffle = 0;
  std::vector<Segment> segments;  ///< in map-partition order

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    if constexpr (Archive::is_saving::value) encode_block();
    ar & node & partition & bytes & is_shuffle & shuffle & segments;
  }

 private:
  /// Sets `bytes` from `block`, to leave the process.
  void encode_block();
};

/// A persisted dataset inside the stage: which stored blocks the node at `node` reads and writes.
struct CacheSlot {
  std::uint32_t node = 0;
  DatasetId dataset = 0;
  /// Nodes with state that it is, or is computed from within the stage. A task that is to update
  /// that state reads no such block: an attempt that failed may have left it.
  std::vector<std::uint32_t> states;
  StorageLevel level = StorageLevel::kMemory;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & node & dataset & states & level;
  }
};

/// A serialized stage: the chain of nodes from its inputs to its output. Byte-identical from batch
/// to batch, so it is sent once per worker and named by its hash afterwards.
struct StageProgram {
  StageHash hash = 0;
  Bytes bytes;
};

/// One attempt of one task, complete: whoever holds it can run it.
struct TaskSpec {
  AttemptId attempt = 0;
  JobId job = 0;
  std::uint32_t stage = 0;  ///< index in the job, for events and messages
  std::uint32_t partition = 0;
  std::uint32_t attempt_number = 1;  ///< 1 for the first try of this task
  std::shared_ptr<const StageProgram> program;
  std::vector<LeafInput> inputs;
  std::vector<StateInput> states;
  std::vector<CacheSlot> cached;
  bool inputs_withheld = false;  ///< inputs behind cached blocks were left out; see `NeedInputs`
  std::optional<ShuffleId> writes_shuffle;  ///< a map task: its output is kept under this id
  std::uint64_t hash_seed = 0;
  std::uint64_t batch = 0;  ///< sequence number of the batch, 0 outside streaming
  Time batch_time{};
  Bytes job_bytes;  ///< what all tasks of the job are told and no stage holds (a CommitId, say)
  /// Runs beside the slots until it is told to end, and has words with the driver meanwhile; see
  /// ResidentHost.
  bool resident = false;
  std::vector<WorkerId> preferred;  ///< workers that hold its data, best first; may be empty
  bool sticky = false;              ///< runs nowhere else while the first of them is alive
  /// It is a second attempt beside this one, which takes long: runs on another worker. 0: it is
  /// not.
  AttemptId copy_of = 0;
};

/// Whether a task that waits for a slot lets one go first that was launched later: when batches are
/// in flight, one of an earlier batch.
inline bool lets_pass(const TaskSpec& waiting, const TaskSpec& later) {
  return later.batch != 0 && waiting.batch != 0 && later.batch_time < waiting.batch_time;
}

/// What a map task announces.
struct MapOutput {
  WorkerId worker;
  std::vector<Segment> segments;  ///< one per reducer; `map_partition` and `worker` filled in

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & worker & segments;
  }
};

/// A block of a persisted dataset that the task left in its worker's store.
struct StoredBlock {
  DatasetId dataset = 0;
  std::uint32_t partition = 0;
  std::uint64_t bytes = 0;
  std::optional<WorkerId> replica = std::nullopt;  ///< who has a copy

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & dataset & partition & bytes & replica;
  }
};

/// What the attempt added to one accumulator, encoded.
struct AccumulatorUpdate {
  AccumulatorId accumulator = 0;
  Bytes added;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & accumulator & added;
  }
};

struct TaskMetrics {
  std::uint64_t records_read = 0;   ///< elements produced by the leaves
  std::uint64_t bytes_fetched = 0;  ///< map outputs that came from other workers
  Duration run_time{};
  std::uint64_t bytes_written = 0;  ///< of the map output or result
  std::uint64_t bytes_spilled = 0;  ///< written to the disk because they did not fit into memory
  std::uint64_t spills = 0;         ///< how often

  TaskMetrics& operator+=(const TaskMetrics& other);

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & records_read & bytes_fetched & run_time & bytes_written & bytes_spilled & spills;
  }
};

/// How an attempt ended. Everything a scheduler branches on is here; nothing is an exception.
struct Done {
  Bytes result;                     ///< of a result task; empty for a map task
  std::optional<MapOutput> output;  ///< of a map task
  std::vector<StoredBlock> stored;
  std::vector<StateOutput> states;
  TaskMetrics metrics;
  std::vector<AccumulatorUpdate> accumulated;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & result & output & stored & states & metrics & accumulated;
  }
};
/// Map outputs could not be had from the worker that announced them.
struct FetchFailed {
  ShuffleId shuffle = 0;
  WorkerId worker;
  std::vector<std::uint32_t> map_partitions;
  std::string message;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & shuffle & worker & map_partitions & message;
  }
};
/// A cached block or a version of state was not there, and what makes it had been withheld: send
/// it.
struct NeedInputs {
  template <class Archive>
  void serialize(Archive&, unsigned) {}
};
/// User code threw, or the task cannot work. Counts as a failed attempt.
struct Failed {
  std::string message;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & message;
  }
};
/// The attempt is gone with its worker, by no proven fault of the task's (`blame` false: killed,
/// frozen, cut off) or probably by the task's (`blame` true: crashed on a signal, exited, or made
/// no progress).
struct AttemptLost {
  WorkerId worker;
  bool blame = false;
  std::string message;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & worker & blame & message;
  }
};
struct Cancelled {
  template <class Archive>
  void serialize(Archive&, unsigned) {}
};

using TaskOutcome =
    std::variant<Done, FetchFailed, NeedInputs, Failed, AttemptLost, Cancelled, StateLost>;

/// Runs tasks: on threads of this process, on worker processes, or in a simulation.
///
/// Threads: a runner owns the *decision thread* on which the scheduler lives. `post` may be called
/// from any thread; everything else, and every call of the observer, happens on the decision
/// thread.
class TaskRunner {
 public:
  class Observer {
   public:
    virtual ~Observer() = default;
    /// Exactly once per launched attempt that was not cancelled; at most once per cancelled one.
    virtual void on_outcome(AttemptId attempt, WorkerId worker, TaskOutcome outcome) = 0;
    virtual void on_worker_added(WorkerId worker, std::uint32_t slots) = 0;
    /// Its map outputs and stored blocks are gone. Outcomes of its running attempts follow.
    virtual void on_worker_lost(WorkerId worker, const std::string& reason) = 0;
    /// A result was refused because its worker had been declared lost or its attempt given up.
    virtual void on_result_refused(WorkerId worker, AttemptId attempt) = 0;
    /// A resident task says something; see ResidentHost::report.
    virtual void on_report(AttemptId /*attempt*/, WorkerId /*worker*/, const Bytes& /*report*/) {}
    /// No work can ever run again (no worker could be started, say); fails every job.
    virtual void on_failure(const std::string& reason) = 0;
  };

  virtual ~TaskRunner() = default;

  /// Starts the decision thread and the workers; returns when tasks can be launched. Throws Error.
  virtual void start(Observer& observer) = 0;
  /// Ends tasks, workers and the decision thread; idempotent. Called from outside the decision
  /// thread.
  virtual void stop() = 0;
  /// Runs `event` on the decision thread, in the order of the calls. After `stop` it does nothing.
  virtual void post(std::function<void()> event) = 0;

  virtual void launch(TaskSpec task) = 0;
  virtual void cancel(AttemptId attempt) = 0;
  /// Says something to a resident task. It may be lost, or overtake what was said before.
  virtual void tell(AttemptId attempt, Bytes message) = 0;
  /// Frees the map outputs of a shuffle / the stored blocks of a dataset, everywhere.
  virtual void release_shuffle(ShuffleId shuffle) = 0;
  virtual void release_dataset(DatasetId dataset) = 0;
  /// Frees all versions of a stateful operator's state, everywhere; its files stay.
  virtual void release_state(StateId state) = 0;

  /// Tasks that can run at once when all workers are there. Any thread.
  virtual std::uint32_t total_slots() const = 0;
  /// Processes that these slots are in. Any thread.
  virtual std::uint32_t total_workers() const = 0;
};

}  // namespace weir
