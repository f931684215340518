#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "weir/core/durable_store.h"
#include "weir/core/time.h"

/// The durable record of a stream's batches; knows nothing of streams. Format, fencing and recovery
/// are described in README.md beside this file.
namespace weir {

/// A part of a record: who wrote it is its name's matter, how it is read its version's.
struct LogSection {
  std::string name;  ///< "input/<source uid>", "state", "sinks", "binary", ...
  std::uint32_t version = 1;
  std::string bytes;

  bool operator==(const LogSection&) const = default;
};

struct LogRecord {
  enum class Kind : std::uint8_t {
    kIntent = 1,      ///< which input the batch owns, for ever
    kCommit = 2,      ///< all its outputs are done
    kCheckpoint = 3,  ///< which pieces make up all state as of this batch
  };
  Kind kind = Kind::kIntent;
  std::uint64_t sequence = 0;  ///< of the batch
  Time time{};                 ///< of the batch
  std::vector<LogSection> sections;

  /// Null if there is none of this name.
  const LogSection* find(std::string_view name) const;
  bool operator==(const LogRecord&) const = default;
};

/// What the log holds, as far as it is needed: the newest CHECKPOINT, and all INTENTs and COMMITs
/// that were not released.
struct LogHistory {
  std::optional<LogRecord> checkpoint;
  std::vector<LogRecord> intents;   ///< ascending sequence, dense but for the first of an epoch
  std::vector<LogRecord> commits;   ///< ascending
  std::uint64_t last_sequence = 0;  ///< of the newest INTENT ever written, 0: none
  std::vector<std::string> notes;   ///< what was dropped at the tail and why, for people
};

/// When an append is safe against the machine's death; all of them write before effects.
enum class Durability : std::uint8_t {
  kBatch,     ///< synced before the batch's first effect
  kInterval,  ///< synced every `sync_interval`: at-least-once across the machine's death
  kNone,      ///< never synced, but at CHECKPOINT
};

/// What a log belongs to; written once, when it is created.
struct LogIdentity {
  std::string application;      ///< random, kept for ever: what sinks know the application by
  std::uint64_t hash_seed = 0;  ///< of keys
  std::uint32_t key_groups = 512;
};

/// One writer at a time, over all processes; see README.md for what makes that true.
///
/// Threads: any; records become durable in the order of the calls.
class BatchLog {
 public:
  struct Options {
    Durability durability = Durability::kBatch;
    Duration sync_interval = std::chrono::milliseconds(100);  ///< of kInterval
    std::uint64_t segment_bytes = 64u << 20;  ///< a new segment begins at the next group after it
    /// `await` and `flush` write, and nobody else does: for simulations, which have one thread.
    bool on_callers_thread = false;
  };

  /// Takes the store's lock, reads what is there, and begins a new epoch. An empty store is given
  /// `fresh`. Throws Error(kNotAllowed) if another process has it, Error(kCorrupt) with file and
  /// offset if bytes are bad that cannot be the tail of a crash, Error(kDataLoss) if a part is
  /// missing.
  static std::unique_ptr<BatchLog> open(std::shared_ptr<DurableStore> store,
                                        const LogIdentity& fresh, Options options);
  virtual ~BatchLog() = default;

  virtual const LogIdentity& identity() const = 0;
  virtual std::uint64_t epoch() const = 0;  ///< from 1
  /// As `open` found it.
  virtual const LogHistory& history() const = 0;

  /// Hands the record to the writer: written, and under kBatch synced, with the next group. INTENTs
  /// and CHECKPOINTs ask for a group at once; COMMITs wait for the next one, `commit_delay` at
  /// most. What is in flight while a group is being synced makes up the next group. Returns the
  /// record's position, for `await`.
  virtual std::uint64_t append(LogRecord record) = 0;
  /// Waits until the record is as safe as the durability option says. Throws what writing or
  /// syncing threw (then the log is dead and every later call throws the same), and
  /// Error(kNotAllowed) when a newer epoch has taken over.
  virtual void await(std::uint64_t position) = 0;
  /// Writes and syncs all that was appended, whatever the durability option.
  virtual void flush() = 0;
  /// Records of batches up to `sequence` are not needed any more, CHECKPOINTs before the newest
  /// neither: segments that hold nothing else may go.
  virtual void release(std::uint64_t sequence) = 0;
  /// Throws Error(kNotAllowed) when a newer epoch has taken over. Otherwise nothing that was in the
  /// store before the call is a later driver's.
  virtual void expect_newest_epoch() const = 0;
  /// Drops what was not written yet and closes without syncing: what a SIGKILL does. For tests.
  virtual void abandon() = 0;

  struct Timings {
    Duration last_append{};  ///< of the last group: serializing and writing
    Duration last_sync{};
    std::uint64_t bytes = 0;  ///< on disk
    std::uint64_t groups = 0;
  };
  virtual Timings timings() const = 0;
};

/// Prints every group and record of a store's log, without changing or locking it, with file and
/// offset; goes on behind what is bad as far as it can. Returns whether all was good.
bool print_log(DurableStore& store, const std::function<void(const std::string& line)>& out);

}  // namespace weir
