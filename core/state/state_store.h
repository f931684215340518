#pragma once

#include <atomic>
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

#include "weir/core/state/changelog.h"
#include "weir/core/state/snapshot_file.h"
#include "weir/core/state/state_files.h"
#include "weir/core/state/state_line.h"
#include "weir/core/state/state_restore.h"
#include "weir/core/task.h"

namespace weir {

/// A version of a partition's state while a task reads it. Movable; one thread.
class StateLease {
 public:
  StateLease(StateLease&&) noexcept = default;
  StateLease& operator=(StateLease&&) = delete;
  ~StateLease();

  internal::StateView view() const { return {&line_->table(), pointers_}; }
  std::uint64_t bytes() const;  ///< of memory held by the version

 private:
  friend class StateStore;
  StateLease(std::shared_ptr<internal::StateLine> line, internal::StateLine::Overlays overlays);

  std::shared_ptr<internal::StateLine> line_;
  internal::StateLine::Overlays overlays_;
  std::vector<const internal::StateOverlay*> pointers_;
  std::uint64_t restored_bytes_ = 0;
  Duration restore_time_{};
};

/// What a worker keeps of stateful operators: for each partition that it updated or restored the
/// versions that may still be asked for. What tasks make is appended to the process's changelog,
/// and tables are written to snapshots by a thread of low priority.
///
/// Nothing here knows which attempts the driver accepts, and nothing is told: a base is named by
/// the attempt that made it, and what contradicts a named base is dropped. Thread-safe.
class StateStore {
 public:
  using MakeTable = internal::MakeStateTable;

  struct Options {
    internal::StateFiles files = internal::StateFiles::of_the_system();
    /// A new changelog begins after as many.
    std::uint64_t changelog_bytes = internal::Changelog::kRollBytes;
    /// `write_snapshot_group` writes the snapshots, and nobody else does: for simulations, which
    /// have one thread.
    bool on_callers_thread = false;
  };

  explicit StateStore(Options options);
  StateStore() : StateStore(Options()) {}
  ~StateStore();
  StateStore(const StateStore&) = delete;
  StateStore& operator=(const StateStore&) = delete;

  /// The base that the input names: from memory, else put together from its history; an empty table
  /// for version 0. Begins a snapshot if one is asked for. `step` is called as `restore_state`
  /// does. Nothing stays of what a cancelled attempt restored: nobody would free it. Throws
  /// Error(kDataLoss) if the base is gone.
  std::variant<StateLease, NeedInputs, StateLost> open(const StateInput& input,
                                                       const MakeTable& make_table,
                                                       const std::function<void()>& step,
                                                       const std::atomic<bool>& cancelled);

  /// Keeps the version that an attempt made over `base`, in the changelog too. `keys` is the
  /// version's number of keys. Throws Error(kUnreachable) if the changelog cannot be written.
  StateOutput keep(const StateInput& input, const StateLease& base, AttemptId attempt,
                   std::shared_ptr<const internal::StateOverlay> overlay, std::uint64_t keys);

  /// Frees all versions; what tasks still read goes with them.
  void release(StateId state);

  /// Returns when the snapshots asked for so far are written. For tests.
  void finish_snapshots();
  /// Writes one group of the snapshot that was asked for first; returns whether there was any. Only
  /// with `on_callers_thread`.
  bool write_snapshot_group();

 private:
  using Key = std::pair<StateId, std::uint32_t>;
  struct Snapshot {
    std::shared_ptr<internal::StateLine> line;
    std::uint64_t sequence = 0;
    std::string directory;
    std::string what;                                // for messages
    std::unique_ptr<internal::SnapshotWriter> file;  // from the first group on
    std::uint32_t next_group = 0;
    SlimWriter bytes{};  // of a group
  };

  std::shared_ptr<internal::StateLine> find(const Key& key) const;
  void begin_snapshot(const StateInput& input, const std::shared_ptr<internal::StateLine>& line);
  void write_snapshots();
  bool write_group_of(Snapshot& snapshot);
  std::optional<StateStep> write_group_or_finish(Snapshot& snapshot);

  const Options options_;
  internal::Changelog changelog_;
  std::atomic<bool> stopping_{false};

  mutable std::mutex mutex_;  // guards what follows
  std::map<Key, std::shared_ptr<internal::StateLine>> lines_;
  std::deque<Snapshot> snapshots_;
  bool writing_ = false;
  std::condition_variable changed_;
  std::jthread snapshot_thread_;  // begun with the first snapshot
};

}  // namespace weir
