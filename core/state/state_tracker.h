#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "weir/core/state/state_task.h"

namespace weir {

/// The driver's knowledge of all state: which versions exist and how to put them together again. A
/// version is installed when the driver accepts the attempt that made it; two attempts of one task
/// make equal versions, so the last one accepted counts.
///
/// Thread-safe; outcomes come from the decision thread, everything else from the thread that runs
/// batches.
class StateTracker {
 public:
  /// How to put each partition's version together.
  using Steps = std::vector<std::vector<StateStep>>;

  struct Options {
    /// A partition's snapshot is asked for when its deltas since the last one are as many, or
    /// together larger than it and than `min_snapshot_bytes`.
    std::uint32_t max_deltas = 256;
    std::uint64_t min_snapshot_bytes = 1u << 20;
  };
  struct Declaration {
    std::string name;  ///< for messages and events: the operator's uid
    std::uint32_t partitions = 0;
    std::uint32_t key_groups = 512;
    std::string directory;
    /// Deltas of batches before `sequence - expires_after` are not needed (windows: their slices);
    /// 0: never, and then snapshots are taken.
    std::uint64_t expires_after = 0;
  };

  StateTracker() = default;
  explicit StateTracker(Options options) : options_(options) {}

  /// All partitions begin at the empty version 0.
  void declare(StateId state, Declaration declaration);
  void forget(StateId state);
  /// The version to begin with, in steps per partition of `partitions` when they were written: the
  /// number may differ from the declared one. `expires_after` as it was then: a longer one than is
  /// declared (there were more batches in a window) holds until all batches before have left.
  void restore(StateId state, std::uint64_t sequence, std::uint32_t partitions, Steps steps,
               std::uint64_t expires_after = 0);
  /// In force for version `sequence`.
  std::uint64_t expires_after(StateId state, std::uint64_t sequence) const;

  /// What a task of batch `sequence` that writes (or else reads) this partition is given: the base
  /// is the newest version before `sequence` (or at it). `node`, `time` and `withheld` are the
  /// scheduler's. Throws Error(kInvalidArgument) if there is no such state or partition.
  StateInput input(StateId state, std::uint32_t partition, std::uint64_t sequence, bool writes,
                   bool with_history = true) const;
  /// The newest version of a partition.
  std::uint64_t version(StateId state, std::uint32_t partition) const;
  /// Partitions whose newest version is older than `sequence`, ascending.
  std::vector<std::uint32_t> behind(StateId state, std::uint64_t sequence) const;

  /// Of versions that are older than the newest one, or that were made over another base than is
  /// known now (it was lost meanwhile), nothing is noted.
  void installed(std::uint64_t attempt, const StateOutput& output);
  /// The partition goes back to the newest version that can be had: a part of what the newest one
  /// is made of, else that of the last CHECKPOINT, else the empty one.
  void lost(const StateLost& lost);
  /// All partitions go back to that of the last CHECKPOINT, or to the empty version.
  void go_back_to_checkpoint(StateId state);
  /// Versions before `sequence` are not asked for again: tasks may fold them.
  void committed(std::uint64_t sequence);

  /// The delta of batch `sequence` of each partition, for its COMMIT; empty pieces where the batch
  /// did not update the state.
  std::vector<StatePiece> deltas(StateId state, std::uint64_t sequence) const;
  /// The steps of each partition's version `sequence` (or the newest before it), for a CHECKPOINT.
  Steps steps(StateId state, std::uint64_t sequence) const;
  /// Whether a partition stands on pieces that an earlier driver's COMMITs name, which were never
  /// synced, and that no task has read since: a CHECKPOINT must not name them.
  bool has_unread(StateId state) const;
  /// A CHECKPOINT that names these steps is durable.
  void checkpointed(StateId state, std::uint64_t sequence, Steps steps);
  /// Whether no partition lacks a version up to `sequence` that the state had: false after one was
  /// lost and before it is made again.
  bool is_whole(StateId state, std::uint64_t sequence) const;
  /// Partitions that lack one, ascending.
  std::vector<std::uint32_t> incomplete(StateId state) const;
  /// Every file that a step of any version or of the last CHECKPOINT refers to.
  std::set<std::string> files() const;
  /// Files that were named once and are not any more; each is told once.
  std::vector<std::string> take_unused_files();

  struct Totals {
    std::string name;
    std::uint64_t keys = 0;
    std::uint64_t bytes = 0;
    std::uint64_t restored_bytes = 0;  ///< since it was declared
    std::uint64_t restored_partitions = 0;
    std::uint64_t lost_partitions = 0;
  };
  Totals totals(StateId state) const;

 private:
  struct Version {
    std::uint64_t attempt = 0;
    StatePiece delta;
  };
  struct Partition {
    /// The version that the driver began with, or went back to, and how to put it together.
    std::uint64_t restored = 0;
    bool restored_known = true;  // false once it is not asked for again
    std::vector<StateStep> restored_steps;
    std::map<std::uint64_t, Version> versions;  // newer ones, by sequence
    std::map<std::uint64_t, StatePiece> snapshots;
    std::uint64_t complete_from = 0;  // of older versions, steps have expired
    std::uint64_t checkpointed = 0;   // the version of the last CHECKPOINT
    std::vector<StateStep> checkpointed_steps;
    std::uint64_t keys = 0;
    std::uint64_t bytes = 0;

    std::uint64_t newest() const { return versions.empty() ? restored : versions.rbegin()->first; }
    /// The newest version at or before `sequence`, if it is still known.
    std::optional<std::uint64_t> version_at(std::uint64_t sequence) const;
    std::vector<StateStep> steps(std::uint64_t version, std::uint64_t expires_after) const;
    void forget_before(std::uint64_t sequence, std::uint64_t expires_after);
    void go_back_to(std::uint64_t sequence, std::uint64_t expires_after);
    void go_back_to_checkpoint();
  };
  struct State {
    Declaration declaration;
    std::vector<Partition> partitions;
    std::uint64_t committed = 0;
    std::uint64_t newest = 0;  // that any partition had
    std::uint64_t restored_bytes = 0;
    std::uint64_t restored_partitions = 0;
    std::uint64_t lost_partitions = 0;
    // A longer one than declared, and the last version for which it holds.
    std::uint64_t former_expires_after = 0;
    std::uint64_t former_until = 0;

    std::uint64_t expires_after(std::uint64_t sequence) const {
      return sequence <= former_until ? former_expires_after : declaration.expires_after;
    }
  };

  std::set<std::string> used_files() const;
  const State& state(StateId id) const;
  const Partition& partition(StateId id, std::uint32_t partition) const;
  bool wants_snapshot(const State& state, const Partition& partition) const;

  const Options options_{};
  mutable std::mutex mutex_;
  std::map<StateId, State> states_;  // guarded by mutex_
  std::set<std::string> named_;      // guarded by mutex_; files of outputs, until told as unused
};

/// The same state's steps for another number of partitions.
StateTracker::Steps repartitioned(const StateTracker::Steps& from, std::uint32_t to,
                                  std::uint32_t key_groups);

}  // namespace weir
