#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "weir/core/durable_store.h"
#include "weir/core/error.h"
#include "weir/core/memory_sink.h"
#include "weir/core/state/state_task.h"
#include "weir/dstream/log/segment_format_internal.h"

/// What is around drivers and workers and outlives them: the source, the sinks, the disk; and what
/// all of them must hold in the end. Part of protocol_simulation.h.
namespace weir::protocol {

/// Ways to do it wrong, each of which the simulation has to find.
enum class Mutant : std::uint8_t {
  kNone,
  kEffectsBeforeIntent,     ///< the batch does not wait for its INTENT
  kAwaitWithoutSync,        ///< the log says "durable" when it has only written
  kFailedSyncIgnored,       ///< of a failed sync nothing is said
  kDirectoryNotSynced,      ///< names of new files are never made durable
  kTakeoverOverlooked,      ///< an older driver does not see that there is a newer epoch
  kStateInPlace,            ///< a failed attempt's changes stay
  kStaleOutcomeAccepted,    ///< whatever comes for a partition counts
  kFilesFreedAtCommit,      ///< what earlier batches changed is deleted when a batch is done
  kFilesFreedBeforeRecord,  ///< what a CHECKPOINT replaces is deleted before that is durable
  kFilesFreedDuringBatch,   ///< the checkpoint thread deletes them while tasks update state
  kLogReleasedAtCommit,     ///< INTENTs are given up without a CHECKPOINT
  kCheckpointBeforeCommit,  ///< CHECKPOINT of a batch whose outputs are not done
  kCheckpointUnsynced,      ///< CHECKPOINT names pieces that were not synced
  kCommitBeforeOutputs,     ///< COMMIT says that it is done before it is
  kCommitWithoutState,      ///< COMMIT does not say what changed
  kIntentCutAgain,          ///< a restarted driver cuts an open batch anew
  kIntentDropped,           ///< it does not run an open batch again
  kSkippedByNumber,         ///< kIntentCutAgain, and the sink skips whatever has a known number
  kEpochUnchecked,          ///< the sink takes what a replaced driver commits
  kReleasedAtIntent,        ///< the source may drop what an INTENT owns
  kReleasedAtCommit,        ///< and what is only in the state since the last CHECKPOINT
  kLossTakenForEmpty,       ///< state that cannot be read begins anew
  kLogReadPastBadGroup,     ///< recovery leaves out a damaged group and goes on behind it
  kDeltaUnchecked,          ///< a changelog's tail is taken without looking at its checksum
  kFailedWriteIgnored,      ///< a worker says it has written what did not fit on the disk
  kRemovedFileWritten,      ///< a worker goes on appending to a changelog that was removed
  kSnapshotUnsynced,        ///< CHECKPOINT names a snapshot that was not synced
  kStateFolderUnsynced,     ///< CHECKPOINT names files whose names were not
  kDeltaOfAllGroups,        ///< a delta counts for groups that were made again without it
  kOthersFilesRemoved,      ///< a driver that was replaced while it started cleans up all the same
  kSnapshotSlips,           ///< what changes while a snapshot is written gets into it
};

/// What must never be the case is.
struct Breach : std::logic_error {
  using std::logic_error::logic_error;
};

constexpr std::uint32_t kKeyGroups = 8;
constexpr const char* kStateFolder = "state";

/// The program: a sum per key over all records, and one over those of the last batches, of which
/// every second batch writes the result. The stateful operator i is what the sink i is written
/// from.
enum Operator : std::size_t { kSums, kWindow };
constexpr std::size_t kOperators = 2;
constexpr std::uint64_t kWindowSlide = 2;

inline StateId state_of(std::size_t op) { return op + 1; }
inline bool is_due(std::size_t op, std::uint64_t sequence) {
  return op != kWindow || sequence % kWindowSlide == 0;
}
inline Time time_of(std::uint64_t sequence) {
  return Time(std::chrono::seconds(static_cast<std::int64_t>(sequence)));
}

using Sums = std::map<std::uint64_t, std::int64_t>;  ///< by the key, which is its own hash

struct Record {
  std::uint64_t id = 0;
  std::uint64_t key = 0;  ///< hash
  std::int64_t value = 0;
};
inline Record record(std::uint64_t id) {
  constexpr std::uint64_t kGolden = 0x9e3779b97f4a7c15;
  return {id, ((id * 7 + id / 5) % 6 + 1) * kGolden, 1 + static_cast<std::int64_t>(id % 9)};
}

/// What goes to the sinks: a record's place and its key's sum after its batch, or a key and its sum
/// over the window.
struct Line {
  std::uint64_t id = 0;
  std::int64_t sum = 0;
  bool operator==(const Line&) const = default;
};

/// Of the records [from, end).
inline Sums sums_over(std::uint64_t from, std::uint64_t end) {
  Sums sums;
  for (std::uint64_t id = from; id < end; ++id) sums[record(id).key] += record(id).value;
  return sums;
}

class World {
 public:
  /// `window`: length in batches.
  World(Mutant mutant, std::uint64_t window) : window_(window), mutant_(mutant) {
    for (auto& output : outputs_) output = std::make_shared<MemoryOutput<Line>>();
  }

  Mutant mutant() const { return mutant_; }
  bool is(Mutant mutant) const { return mutant_ == mutant; }
  std::uint64_t window() const { return window_; }
  std::uint64_t expires_after(std::size_t op) const { return op == kWindow ? window_ : 0; }

  // --- the source: records [released, latest) can be read ---

  std::uint64_t latest = 0;
  std::uint64_t released = 0;
  bool can_read(std::uint64_t from, std::uint64_t end) const {
    return from >= released || from == end;
  }

  // --- the sinks ---

  void open_sink(std::size_t sink, const CommitId& driver) {
    outputs_[sink]->open(driver);
    sink_epochs_[sink] = driver.epoch;
  }
  std::optional<CommitId> last_committed(std::size_t sink) const {
    return outputs_[sink]->last_committed();
  }
  void commit(std::size_t sink, CommitId id, const std::vector<std::vector<Line>>& tokens,
              std::uint64_t driver) {
    const std::vector<CommitId> before = outputs_[sink]->commits();
    const std::uint64_t epoch = id.epoch;
    if (is(Mutant::kEpochUnchecked)) id.epoch = sink_epochs_[sink];
    if (is(Mutant::kSkippedByNumber)) {
      for (const CommitId& each : before) {
        if (each.sequence == id.sequence) id.intent = each.intent;
      }
    }
    outputs_[sink]->commit(id, tokens);
    if (outputs_[sink]->commits().size() == before.size()) return;
    if (sink == kSums) {
      std::uint64_t lines = 0;
      for (const auto& each : tokens) lines += each.size();
      ends_.push_back(ends_.back() + lines);
    }
    const auto [writer, first] = writers_.emplace(epoch, driver);
    if (writer->second != driver) throw Breach("two drivers had effects in one epoch");
    if (epoch < sink_epochs_[sink]) {
      throw Breach("a replaced driver had an effect after its successor");
    }
    expect_exactly_once(sink);
  }

  /// What a version of a state is, by the input that the first sink has of each batch.
  Sums state_after(std::size_t op, std::uint64_t sequence) const {
    if (sequence >= ends_.size()) {
      throw Breach(fmt::format("there is state of batch {}, which no sink has", sequence));
    }
    const std::uint64_t first = op == kWindow && sequence > window_ ? sequence - window_ : 0;
    return sums_over(op == kWindow ? ends_[first] : 0, ends_[sequence]);
  }

  /// All of the input up to some record, once, in order; returns where it ends. Of the window, the
  /// result of every batch that is due.
  std::uint64_t expect_exactly_once(std::size_t sink) const {
    std::uint64_t sequence = 0;
    std::uint64_t next = 0;
    const auto commits = outputs_[sink]->commits();
    for (auto lines : outputs_[sink]->batches()) {
      const std::uint64_t written =
          commits[sequence / (sink == kWindow ? kWindowSlide : 1)].sequence;
      do {
        ++sequence;
      } while (!is_due(sink, sequence));
      if (written != sequence) throw Breach(fmt::format("sink {} has no batch {}", sink, sequence));
      std::ranges::sort(lines, {}, &Line::id);
      if (sink == kSums) {
        next = expect_sums(lines, sequence, next);
      } else {
        expect_window(lines, sequence);
        next = ends_[sequence];
      }
    }
    return next;
  }
  std::uint64_t last_sequence() const { return ends_.size() - 1; }

 private:
  std::uint64_t expect_sums(const std::vector<Line>& lines, std::uint64_t sequence,
                            std::uint64_t next) const {
    const Sums sums = sums_over(0, ends_[sequence]);
    for (const Line& line : lines) {
      if (line.id != next) {
        throw Breach(
            fmt::format("batch {} has record {} where {} is to be", sequence, line.id, next));
      }
      if (line.sum != sums.at(record(next).key)) {
        throw Breach(fmt::format("batch {} has the sum {} for record {}, not {}", sequence,
                                 line.sum, line.id, sums.at(record(next).key)));
      }
      ++next;
    }
    return next;
  }
  void expect_window(const std::vector<Line>& lines, std::uint64_t sequence) const {
    Sums written;
    for (const Line& line : lines) written[line.id] += line.sum;
    if (written != state_after(kWindow, sequence)) {
      throw Breach(fmt::format("the window of batch {} is not what its input says", sequence));
    }
  }

  const std::uint64_t window_;
  const Mutant mutant_;
  std::array<std::shared_ptr<MemoryOutput<Line>>, kOperators> outputs_;
  std::array<std::uint64_t, kOperators> sink_epochs_{};
  std::map<std::uint64_t, std::uint64_t> writers_;  // driver by epoch
  std::vector<std::uint64_t> ends_{0};              // of the batches' input, by sequence
};

/// A segment of the batch log without its bad groups.
inline std::string without_bad_groups(internal::SegmentId id, const std::string& bytes) {
  const internal::SegmentScan scan = internal::scan_segment(id, bytes);
  auto next = internal::find_group(id, bytes, scan.good_end);
  if (!scan.header || !next) return bytes;
  std::string good = bytes.substr(0, scan.good_end);
  for (; next; next = internal::find_group(id, bytes, next->offset + next->bytes)) {
    good += internal::encode_group(
        id, good.size(), std::min<std::uint64_t>(next->durable, good.size()), next->entries);
  }
  return good;
}

/// A process' view of the disk, which dies alone, lets others run before each call, and does some
/// calls wrong.
class WatchedStore final : public DurableStore {
 public:
  struct Options {
    Mutant mutant = Mutant::kNone;
    std::string folder = "";  ///< that it is, with '/' behind; "": the whole disk
    std::function<void()> before_call = [] {};
    std::function<void()> during_sync = [] {};
  };

  WatchedStore(std::shared_ptr<DurableStore> store, Options options)
      : store_(std::move(store)), options_(std::move(options)) {}

  /// The process dies: every call throws from now on.
  void kill() { is_dead_ = true; }

  std::string name() const override { return store_->name(); }
  std::unique_ptr<DurableFile> create(const std::string& path) override {
    before_call();
    auto file = store_->create(options_.folder + path);
    if (file == nullptr) return nullptr;
    newest_created_ = path.substr(path.rfind('/') + 1);
    return std::make_unique<File>(*this, std::move(file));
  }
  std::unique_ptr<DurableReader> open(const std::string& path) override {
    expect_alive();
    if (const auto content = read_past_bad_groups(path)) return std::make_unique<Read>(*content);
    return store_->open(options_.folder + path);
  }
  std::int64_t size(const std::string& path) override {
    expect_alive();
    if (const auto content = read_past_bad_groups(path)) {
      return static_cast<std::int64_t>(content->size());
    }
    return store_->size(options_.folder + path);
  }
  std::vector<std::string> list(const std::string& directory) override {
    expect_alive();
    auto names = store_->list(options_.folder + directory);
    if (is(Mutant::kTakeoverOverlooked) && !newest_created_.empty()) {
      std::erase_if(names, [&](const std::string& name) { return name > newest_created_; });
    }
    return names;
  }
  void remove(const std::string& path) override {
    before_call();
    store_->remove(options_.folder + path);
  }
  void replace(const std::string& path, std::string_view content) override {
    before_call();
    store_->replace(options_.folder + path, content);
  }
  void sync_file(const std::string& path) override {
    before_call();
    options_.during_sync();
    ignoring_failure(Mutant::kFailedSyncIgnored,
                     [&] { store_->sync_file(options_.folder + path); });
  }
  void sync_directory(const std::string& directory) override {
    before_call();
    if (is(Mutant::kDirectoryNotSynced)) return;
    if (is(Mutant::kStateFolderUnsynced) && directory == kStateFolder) return;
    options_.during_sync();
    store_->sync_directory(options_.folder + directory);
  }
  std::unique_ptr<StoreLock> lock() override { return store_->lock(); }

 private:
  class File final : public DurableFile {
   public:
    File(WatchedStore& store, std::unique_ptr<DurableFile> file)
        : store_(store), file_(std::move(file)) {}
    void append(std::string_view bytes) override {
      store_.before_call();
      store_.ignoring_failure(Mutant::kFailedWriteIgnored, [&] { file_->append(bytes); });
    }
    void sync() override {
      store_.before_call();
      store_.options_.during_sync();
      store_.ignoring_failure(Mutant::kFailedSyncIgnored, [&] { file_->sync(); });
    }
    std::uint64_t size() const override { return file_->size(); }
    bool is_removed() const override {
      store_.expect_alive();
      return file_->is_removed() && !store_.is(Mutant::kRemovedFileWritten);
    }

   private:
    WatchedStore& store_;
    const std::unique_ptr<DurableFile> file_;
  };

  class Read final : public DurableReader {
   public:
    explicit Read(std::string content) : content_(std::move(content)) {}
    std::uint64_t size() const override { return content_.size(); }
    std::size_t read(std::uint64_t offset, std::span<char> to) override {
      return offset < content_.size() ? content_.copy(to.data(), to.size(), offset) : 0;
    }

   private:
    const std::string content_;
  };

  bool is(Mutant mutant) const { return options_.mutant == mutant; }
  void expect_alive() const {
    if (is_dead_) throw Error(ErrorCode::kUnreachable, "this process of the simulation is dead");
  }
  void before_call() const {
    expect_alive();
    options_.before_call();
  }

  /// A mutant's; else nothing.
  std::optional<std::string> read_past_bad_groups(const std::string& path) const {
    if (!is(Mutant::kLogReadPastBadGroup)) return std::nullopt;
    const auto id = internal::parse_segment_name(path.substr(path.rfind('/') + 1));
    if (!id || store_->size(path) < 0) return std::nullopt;
    return without_bad_groups(*id, store_->read(path, 0, std::numeric_limits<std::int64_t>::max()));
  }

  template <class F>
  void ignoring_failure(Mutant mutant, F&& write) {
    try {
      write();
    } catch (const Error& error) {
      const bool is_write = mutant == Mutant::kFailedWriteIgnored;  // of a worker
      const bool dead = std::string(error.what()).find("dead") != std::string::npos;
      if (!is(mutant) || dead || (is_write && options_.folder.empty())) throw;
    }
  }

  const std::shared_ptr<DurableStore> store_;
  const Options options_;
  bool is_dead_ = false;
  std::string newest_created_;
};

}  // namespace weir::protocol
