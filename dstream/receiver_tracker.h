#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "weir/core/config.h"
#include "weir/core/durable_store.h"
#include "weir/core/engine.h"
#include "weir/core/received_dataset.h"
#include "weir/dstream/receiver_core.h"
#include "weir/dstream/stream_input.h"
#include "weir/dstream/streaming_listener.h"

namespace weir {

struct ReceiverOptions;

namespace internal {

/// Where the next batch of a receiver stream begins: the first block of each run, by its name, that
/// no batch owns; and the blocks that the batch before it owns.
struct ReceiverPosition {
  std::map<std::string, std::uint32_t> next;
  /// Those that are in a log, with files relative to the checkpoint directory.
  std::vector<ReceivedBlock> blocks;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & next & blocks;
  }
};

/// What the configuration and the program say of one receiver stream.
struct ReceiverPlan {
  /// Throws Error(kInvalidArgument) that names what is out of its range.
  ReceiverPlan(const Config& config, const ReceiverOptions& options, Duration batch_interval);

  int copies = 1;
  bool log = false;
  Duration block_interval{};
  Duration restart_delay{};
  Duration store_timeout{};
  std::uint64_t buffer_bytes = 0;
};

/// The driver's side of one receiver: has it run on some worker, again when that ends, and keeps
/// account of its blocks, from the report that there is one until no batch needs it.
///
///     kIdle --start--> kRunning --failed--> kWaiting --restart delay--> kRunning
///                        |  ^--worker lost--+              |
///                        +--finished, stop----------------> kEnded
///
///     a block:  reported -> pending -> cut into a batch -> done -> released
///
/// Each *run* is one resident task and numbers its blocks from 0; runs of one stream are told apart
/// by a random name, so that log files of all drivers lie side by side. What a run said counts only
/// while it is the current one: a worker that was declared lost and lives on is not listened to,
/// and what it stores is not acknowledged, so nobody relies on it.
///
/// With a log, what a run wrote and could not report any more is read from its files when it ends,
/// or when the next driver starts, and is pending then. A file is removed when all its blocks are
/// released.
///
/// Threads: one of its own, which starts runs, answers reports and reads logs; the engine's
/// decision thread only leaves word. All else is called as StreamInput says. Held by shared
/// pointers, because word may come when everybody else has let go of it.
class ReceiverTracker : public std::enable_shared_from_this<ReceiverTracker> {
 public:
  /// Makes the resident task of a run.
  using MakePlan = std::function<JobPlan(const ReceiverSettings&)>;

  ReceiverTracker(std::shared_ptr<Engine> engine, ReceiverPlan plan, MakePlan make_plan);
  /// Stops it.
  ~ReceiverTracker();

  /// Before all else. `directory`: absolute, of the checkpoint; empty: there is none. Throws
  /// Error(kInvalidArgument) if a log should be kept there.
  void attach(std::string name, const std::string& directory, StreamingEvents& events);
  /// Before `start`: where the next batch begins.
  void resume(const ReceiverPosition& position);
  void start();

  struct Cut {
    std::vector<ReceivedBlock> blocks;  ///< of the batch, with absolute paths
    std::uint64_t records = 0;
    std::string position;  ///< encoded; empty without a checkpoint directory
  };
  /// What has come, for a batch. With `last_wait` the receiver ends first, for which it waits at
  /// most that long.
  Cut cut(const Batch& batch, const CutLimit& limit);
  /// A batch of an earlier driver.
  std::vector<ReceivedBlock> restored(const Batch& batch, const ReceiverPosition& position);
  std::string position() const;
  /// The batches up to `time` have succeeded: losing their blocks loses nothing.
  void done(Time time);
  /// Nobody will read the blocks of batches up to `time` again.
  void release(Time time);
  /// Ends at once.
  void stop();

 private:
  enum class State { kIdle, kRunning, kWaiting, kEnded };
  // What is left for the tracker's thread; `run` is its name.
  struct Reported {
    std::string run;
    WorkerId worker;
    ReceiverReport report;
  };
  struct Ended {
    std::string run;
    WorkerId worker;
    TaskOutcome outcome;
  };
  struct BlockLost {
    std::string run;
    std::uint32_t number = 0;
  };
  struct Stop {};
  using Word = std::variant<Reported, Ended, BlockLost, Stop>;

  /// One run, of this driver or, known by its files only, of an earlier one.
  struct Run {
    ShuffleId receiver = 0;   ///< 0: an earlier driver's
    std::uint32_t known = 0;  ///< blocks before this one were reported, or read from the log
    std::uint32_t cut = 0;    ///< and before this one cut into batches
    std::uint32_t done = 0;   ///< of batches that have succeeded
    std::uint32_t released = 0;
    bool ended = false;
    std::map<std::uint32_t, std::uint64_t> records;  ///< of blocks that are not released
    std::map<std::string, std::uint32_t> files;      ///< with the last block known to be in each
  };
  /// Where the runs stood when the batch was cut.
  struct CutBatch {
    Time time{};
    std::map<std::string, std::uint32_t> cut;
  };

  // On the tracker's thread.
  void keep_track();
  std::optional<Word> next_word(std::optional<SteadyTime> due);
  void start_run(std::unique_lock<std::mutex>& lock);
  // With the lock held.
  void on(const Reported& word);
  void on(const Ended& word);
  void on(const BlockLost& word);
  void on(const Stop&) {}
  void adopt_logged(const std::string& run_name);
  void end_run(const std::string& run_name);

  // With the lock held.
  void accept(const std::string& name, Run& run, ReceivedBlock block);
  void tell_orders();
  void forget_runs();
  void warn_if_there_is_no_room();
  ReceiverInfo info() const;
  std::string absolute(const std::string& file) const { return directory_ + "/" + file; }
  std::vector<ReceivedBlock> readable(std::vector<ReceivedBlock> blocks) const;

  /// From any thread.
  void leave(Word word);
  Engine::ResidentCallbacks words_of(const std::string& run) const;

  const std::shared_ptr<Engine> engine_;
  const ReceiverPlan plan_;
  const MakePlan make_plan_;
  std::string name_;
  std::string directory_;  // of the checkpoint; empty: there is none
  std::string folder_;     // inside it, of logs
  std::unique_ptr<DurableStore> store_;
  StreamingEvents* events_ = nullptr;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_.
  State state_ = State::kIdle;
  bool stopping_ = false;
  std::map<std::string, Run> runs_;
  std::string current_;  // name of the current run
  AttemptId attempt_ = 0;
  std::optional<WorkerId> worker_;  // of the current run, once it said something
  std::uint64_t errors_told_ = 0;   // of the current run
  std::string last_error_;
  ReceiverOrders orders_;
  SteadyTime restart_at_{};
  std::optional<SteadyTime> waits_since_;                       // for a worker with room
  std::vector<std::pair<std::string, ReceivedBlock>> pending_;  // with the run's name
  std::deque<CutBatch> unreleased_;
  std::deque<CutBatch> undone_;
  bool started_ = false;

  std::mutex words_mutex_;
  std::condition_variable words_changed_;
  std::deque<Word> words_;  // guarded by words_mutex_

  std::jthread thread_;
};

/// A name for a run, unlike any other.
std::string random_run_name();
/// A folder's name for an input's: what is no letter, digit, '.', '-' or '_' becomes '_' and is
/// told apart by a hash.
std::string folder_name(const std::string& input);

}  // namespace internal
}  // namespace weir
