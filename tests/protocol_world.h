#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "weir/core/durable_store.h"
#include "weir/core/error.h"
#include "weir/core/memory_sink.h"
#include "weir/core/state/state_task.h"

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
};

/// What must never be the case is.
struct Breach : std::logic_error {
  using std::logic_error::logic_error;
};

constexpr std::uint32_t kKeyGroups = 64;
constexpr std::size_t kSinks = 2;
constexpr StateId kState = 1;

using Sums = std::map<std::uint64_t, std::int64_t>;  ///< by the key's hash

struct Record {
  std::uint64_t id = 0;
  std::uint64_t key = 0;  ///< hash
  std::int64_t value = 0;
};
inline Record record(std::uint64_t id) {
  constexpr std::uint64_t kGolden = 0x9e3779b97f4a7c15;
  return {id, ((id * 7 + id / 5) % 6 + 1) * kGolden, 1 + static_cast<std::int64_t>(id % 9)};
}

/// What goes to the sinks: a record's place, and its key's sum after its batch.
struct Line {
  std::uint64_t id = 0;
  std::int64_t sum = 0;
  bool operator==(const Line&) const = default;
};

inline Sums sums_after(std::uint64_t end) {
  Sums sums;
  for (std::uint64_t id = 0; id < end; ++id) sums[record(id).key] += record(id).value;
  return sums;
}

class World {
 public:
  explicit World(Mutant mutant) : mutant_(mutant) {
    for (auto& output : outputs_) output = std::make_shared<MemoryOutput<Line>>();
  }

  Mutant mutant() const { return mutant_; }
  bool is(Mutant mutant) const { return mutant_ == mutant; }

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
    const auto [writer, first] = writers_.emplace(epoch, driver);
    if (writer->second != driver) throw Breach("two drivers had effects in one epoch");
    if (epoch < sink_epochs_[sink]) {
      throw Breach("a replaced driver had an effect after its successor");
    }
    expect_exactly_once(sink);
  }

  /// All of the input up to some record, once, in order.
  std::uint64_t expect_exactly_once(std::size_t sink) const {
    Sums sums;
    std::uint64_t next = 0;
    std::uint64_t sequence = 0;
    const auto commits = outputs_[sink]->commits();
    for (auto lines : outputs_[sink]->batches()) {
      if (commits[sequence].sequence != sequence + 1) {
        throw Breach(fmt::format("sink {} has no batch {}", sink, sequence + 1));
      }
      ++sequence;
      std::ranges::sort(lines, {}, &Line::id);
      for (const Line& line : lines) {
        if (line.id != next) {
          throw Breach(fmt::format("sink {} has record {} in batch {} where {} is to be", sink,
                                   line.id, sequence, next));
        }
        sums[record(next).key] += record(next).value;
        ++next;
      }
      for (const Line& line : lines) {
        if (line.sum == sums[record(line.id).key]) continue;
        throw Breach(fmt::format("sink {} has the sum {} for record {} of batch {}, not {}", sink,
                                 line.sum, line.id, sequence, sums[record(line.id).key]));
      }
    }
    return next;
  }

 private:
  const Mutant mutant_;
  std::array<std::shared_ptr<MemoryOutput<Line>>, kSinks> outputs_;
  std::array<std::uint64_t, kSinks> sink_epochs_{};
  std::map<std::uint64_t, std::uint64_t> writers_;  // driver by epoch
};

/// A process' view of the disk that lets others run before each call, and does some calls wrong.
class WatchedStore final : public DurableStore {
 public:
  WatchedStore(std::shared_ptr<DurableStore> store, Mutant mutant, std::function<void()> before)
      : store_(std::move(store)), mutant_(mutant), before_(std::move(before)) {}

  std::string name() const override { return store_->name(); }
  std::unique_ptr<DurableFile> create(const std::string& path) override {
    before_();
    auto file = store_->create(path);
    if (file == nullptr) return nullptr;
    newest_created_ = path.substr(path.rfind('/') + 1);
    return std::make_unique<File>(*this, std::move(file));
  }
  std::string read(const std::string& path, std::uint64_t offset, std::uint64_t length) override {
    return store_->read(path, offset, length);
  }
  std::int64_t size(const std::string& path) override { return store_->size(path); }
  std::vector<std::string> list(const std::string& directory) override {
    auto names = store_->list(directory);
    if (mutant_ == Mutant::kTakeoverOverlooked && !newest_created_.empty()) {
      std::erase_if(names, [&](const std::string& name) { return name > newest_created_; });
    }
    return names;
  }
  void remove(const std::string& path) override {
    before_();
    store_->remove(path);
  }
  void replace(const std::string& path, std::string_view content) override {
    before_();
    store_->replace(path, content);
  }
  void sync_file(const std::string& path) override {
    before_();
    ignoring_failure([&] { store_->sync_file(path); });
  }
  void sync_directory(const std::string& directory) override {
    before_();
    if (mutant_ != Mutant::kDirectoryNotSynced) store_->sync_directory(directory);
  }
  std::unique_ptr<StoreLock> lock() override { return store_->lock(); }

 private:
  class File final : public DurableFile {
   public:
    File(WatchedStore& store, std::unique_ptr<DurableFile> file)
        : store_(store), file_(std::move(file)) {}
    void append(std::string_view bytes) override {
      store_.before_();
      file_->append(bytes);
    }
    void sync() override {
      store_.before_();
      store_.ignoring_failure([&] { file_->sync(); });
    }
    std::uint64_t size() const override { return file_->size(); }

   private:
    WatchedStore& store_;
    const std::unique_ptr<DurableFile> file_;
  };

  template <class F>
  void ignoring_failure(F&& sync) {
    try {
      sync();
    } catch (const Error& error) {
      const bool dead = std::string(error.what()).find("dead") != std::string::npos;
      if (mutant_ != Mutant::kFailedSyncIgnored || dead) throw;
    }
  }

  const std::shared_ptr<DurableStore> store_;
  const Mutant mutant_;
  const std::function<void()> before_;
  std::string newest_created_;
};

}  // namespace weir::protocol
