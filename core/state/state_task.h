#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "weir/core/state/state_table.h"
#include "weir/core/time.h"

/// What tasks and the driver say to each other about state: plain data.
namespace weir {

using StateId = std::uint64_t;  ///< of a stateful operator in one driver

/// A run of bytes in a file of the state directory. Files are named by who wrote them and never
/// written again at an offset.
struct StatePiece {
  std::string file;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  std::uint64_t hash = 0;  ///< XXH3 of the bytes

  bool operator==(const StatePiece&) const = default;
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & file & offset & length & hash;
  }
};

/// One step in how a version is put together: a whole table, or what a batch changed.
struct StateStep {
  std::uint64_t sequence = 0;  ///< the version after this step
  bool is_snapshot = false;    ///< a table as of `sequence`; else the delta of batch `sequence`
  StatePiece piece;
  /// Only these groups of the piece count, from `begin_group` on, before `end_group`; both 0: all.
  /// Set where a partition was put together from partitions of another number.
  std::uint32_t begin_group = 0;
  std::uint32_t end_group = 0;

  bool operator==(const StateStep&) const = default;
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & sequence & is_snapshot & piece & begin_group & end_group;
  }
};

/// Which state a task reads or updates.
struct StateInput {
  std::uint32_t node = 0;  ///< of the loaded stage
  StateId state = 0;
  std::uint32_t partition = 0;
  /// The batch that the dataset belongs to, which is not the task's where a later batch's job
  /// computes a dataset again: the version it makes, or the newest that it may read.
  std::uint64_t sequence = 0;
  Time time{};  ///< of that batch
  internal::KeyGroups groups;
  std::string directory;            ///< absolute: where the steps' files are and new ones are made
  std::uint64_t base_sequence = 0;  ///< the version it reads; 0: the empty one
  std::uint64_t base_attempt = 0;   ///< of the task that made that version; 0: restored
  std::uint64_t fold_to = 0;        ///< versions before this are never asked for again
  bool writes = false;              ///< makes the version of the task's batch
  bool snapshot = false;            ///< begin to write a snapshot of the table in the background
  bool withheld = false;            ///< `history` was left out because the worker has the base
  bool gone = false;                ///< the base is older than what is still known: the task fails
  /// How to put the base together where it is not in memory. In order, for each file's writer.
  std::vector<StateStep> history;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & node & state & partition & sequence & time & groups & directory & base_sequence & base_attempt &
        fold_to & writes & snapshot & withheld & gone & history;
  }
};

/// What a task that wrote state made: installed when the driver accepts the attempt.
struct StateOutput {
  StateId state = 0;
  std::uint32_t partition = 0;
  std::uint64_t sequence = 0;
  std::uint64_t base_sequence = 0;  ///< the version that it was made over
  StatePiece delta;
  std::vector<StateStep> snapshots;  ///< finished since the last task of this partition here
  std::uint64_t keys = 0;            ///< of the whole version
  std::uint64_t bytes = 0;           ///< of memory held
  std::uint64_t restored_bytes = 0;  ///< read from files to get at the base, 0: it was in memory
  std::int64_t restore_microseconds = 0;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & state & partition & sequence & base_sequence & delta & snapshots & keys & bytes & restored_bytes &
        restore_microseconds;
  }
};

/// A task's outcome: a piece of the base's history is not there or is damaged. Versions up to
/// `sequence` can be had; what lies behind must be made again from its input.
struct StateLost {
  StateId state = 0;
  std::uint32_t partition = 0;
  std::uint64_t sequence = 0;
  std::string message;  ///< with file and offset

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & state & partition & sequence & message;
  }
};

}  // namespace weir
