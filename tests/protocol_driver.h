#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "weir/core/state/state_tracker.h"
#include "weir/dstream/batch_records.h"

#include "protocol_worker.h"

/// A driver of the simulation: the order of BatchLoop and BatchJournal over the real log, records
/// and state tracker, cut into steps. Part of protocol_simulation.h.
namespace weir::protocol {

constexpr const char* kInput = "records";
inline std::string operator_uid(std::size_t op) { return op == kSums ? "sums" : "window"; }

inline std::uint64_t position(const std::string& text) { return decode<std::uint64_t>(text); }

/// What is only in this driver's head; a killed one leaves nothing of it.
///
/// Three of BatchLoop's threads are here by their steps, which come in any order: the one that cuts
/// (`cut`), the one that runs batches (`run`), the one that makes checkpoints (`checkpoint`); and
/// the log's writer thread (`write_log`).
class Driver {
 public:
  struct Options {
    World& world;
    std::shared_ptr<DurableStore> store;
    std::uint64_t id = 0;
    std::uint32_t partitions = 1;
    BatchLog::Options log;
    std::function<bool(unsigned percent)> chance;
    /// Gives the task an attempt number, a slot and its worker, and sends it there.
    std::function<void(Task&)> send;
    /// An effect on the world outside; another thread's or driver's steps may come before it.
    std::function<void()> before_effect;
    /// A worker has said that it wrote this one.
    std::function<void(const StateOutput&, const StateStep&)> on_snapshot;
  };

  /// As a driver that starts; throws as that does.
  explicit Driver(Options options) : options_(std::move(options)) {}
  ~Driver() {
    if (log_ != nullptr) log_->abandon();
  }

  void open() {
    BatchLog::Options log = options_.log;
    if (is(Mutant::kAwaitWithoutSync)) log.durability = Durability::kNone;
    log_ = BatchLog::open(options_.store, {"sim", 1, kKeyGroups}, log);
    options_.store->replace(std::string(kStateFolder) + "/made", "");
    const internal::RecordedStream recorded(log_->history());
    recovery_ = recorded.recovery();
    restore_state(recorded);
    for (const internal::RecordedBatch& each : recovery_.recorded) {
      batches_[each.batch.sequence] = each;
    }
    committed_ = recovery_.committed;
    checkpointed_ = recorded.checkpointed();
    if (const auto at = recovery_.positions.find(kInput); at != recovery_.positions.end()) {
      next_from_ = position(at->second);
    }
    last_ = recovery_.last.sequence;
    if (!recovery_.recorded.empty()) {
      next_from_ = position(recovery_.recorded.back().inputs.at(0).end);
    }
    cut_again();
    options_.before_effect();
    open_sinks();
    for (const auto& [sequence, batch] : batches_) {
      (sequence <= committed_ ? replayable_ : open_).insert(sequence);
    }
    if (is(Mutant::kIntentDropped)) open_.clear();
    queue_.assign(open_.begin(), open_.end());
  }

  std::uint64_t id() const { return options_.id; }
  std::uint64_t epoch() const { return log_ == nullptr ? 0 : log_->epoch(); }
  BatchLog& log() { return *log_; }
  std::uint64_t committed() const { return committed_; }
  std::uint32_t partitions() const { return options_.partitions; }
  StateTracker& states() { return tracker_; }

  /// Writes what it can, as the end of a process that is not killed does.
  void leave() { log_.reset(); }

  // --- the thread that cuts ---

  bool can_cut() const {
    return log_ != nullptr && queue_.size() < 3 && options_.world.latest > next_from_;
  }
  void cut() {
    const std::uint64_t end = options_.world.latest;
    const Batch batch{last_ + 1, time_of(last_ + 1)};
    const std::vector<BatchInput> inputs{{kInput, encode(next_from_), encode(end), std::nullopt}};
    next_from_ = end;
    last_ = batch.sequence;
    batches_[batch.sequence] = {batch, inputs, {}, internal::hash_of(batch, inputs)};
    positions_[batch.sequence] = appended_ = log_->append(internal::intent_record(
        batch, inputs, {}, {1, {}}, operators_written_ ? nullptr : &identities_));
    operators_written_ = true;
    queue_.push_back(batch.sequence);
    if (is(Mutant::kReleasedAtIntent)) release_input(end);
  }

  // --- the thread that runs batches ---

  /// Returns whether it did something; else it waits for outcomes.
  bool run() {
    switch (state_) {
      case State::kIdle:
        if (queue_.empty()) return false;
        batch_ = queue_.front();
        queue_.pop_front();
        begin();
        return true;
      case State::kUpdate: return update_state();
      case State::kAwaitIntent:
        if (!is(Mutant::kEffectsBeforeIntent)) {
          const auto own = positions_.find(batch_);
          if (own != positions_.end()) log_->await(own->second);
        }
        begin_output();
        if (is(Mutant::kCommitBeforeOutputs)) commit();
        if (is(Mutant::kCheckpointBeforeCommit) && options_.chance(20)) {
          committed_ = batch_;
          make_set();
        }
        return true;
      case State::kPrepare:
        if (send_wanted(batch_, op_, false)) return true;
        if (!wanted_.empty()) return false;
        state_ = State::kPublish;
        return true;
      case State::kPublish: publish(); return true;
      case State::kCommit:
        if (!is(Mutant::kCommitBeforeOutputs)) commit();
        replayable_.insert(batch_);
        state_ = State::kIdle;
        if (options_.chance(50)) make_set();
        return true;
    }
    return false;
  }

  bool is_idle() const { return state_ == State::kIdle && queue_.empty(); }

  /// Of a task that it sent, now or once.
  void on_outcome(const Outcome& outcome) {
    const std::uint32_t partition = outcome.task.input.partition;
    const auto sent = sent_.find(partition);
    if (sent == sent_.end()) return;
    if (sent->second.attempt != outcome.task.attempt &&
        (!is(Mutant::kStaleOutcomeAccepted) ||
         std::holds_alternative<TaskFailed>(outcome.result))) {
      return;
    }
    const bool writes = sent->second.writes_state;
    sent_.erase(sent);
    if (const auto* failed = std::get_if<TaskFailed>(&outcome.result)) {
      constexpr int kMostFailures = 4;
      if (failed->code == ErrorCode::kDataLoss || ++failures_ > kMostFailures) {
        throw Error(failed->code, failed->message);
      }
    } else if (const auto* lost = std::get_if<StateLost>(&outcome.result)) {
      tracker_.lost(*lost);
      begin();
    } else if (std::holds_alternative<NeedInputs>(outcome.result)) {
      needs_history_.insert(partition);
    } else if (const auto* made = std::get_if<StateOutput>(&outcome.result)) {
      tracker_.installed(outcome.task.attempt, *made);
      if (writes) wanted_.erase(partition);
      if (options_.on_snapshot) {
        for (const StateStep& snapshot : made->snapshots) options_.on_snapshot(*made, snapshot);
      }
    } else {
      tokens_[partition] = std::get<std::vector<Line>>(outcome.result);
      if (!writes) wanted_.erase(partition);
    }
  }
  /// Nothing of this incarnation counts any more.
  void on_worker_lost(std::uint64_t incarnation) {
    if (is(Mutant::kStaleOutcomeAccepted)) {
      for (auto& [partition, task] : sent_) {
        if (task.worker == incarnation) wanted_again_.insert(partition);
      }
      return;
    }
    std::erase_if(sent_, [&](const auto& sent) { return sent.second.worker == incarnation; });
  }

  // --- the thread that makes checkpoints ---

  /// Returns whether it did something.
  bool checkpoint() {
    if (!set_) return false;
    switch (set_->state) {
      case SetState::kSyncFiles:
        if (is(Mutant::kFilesFreedBeforeRecord)) remove_other_than(set_->files);
        if (set_->unsynced.empty()) {
          set_->state = SetState::kSyncFolder;
        } else {
          sync_file(set_->unsynced.extract(set_->unsynced.begin()).value());
        }
        return true;
      case SetState::kSyncFolder:
        if (!set_->files.empty()) options_.store->sync_directory(kStateFolder);
        set_->state = SetState::kRecord;
        return true;
      case SetState::kRecord:
        log_->await(log_->append(set_->record));
        log_->flush();
        checkpointed_ = set_->record.sequence;
        set_->state = SetState::kRelease;
        return true;
      case SetState::kRelease: {
        const auto kept = batches_.upper_bound(checkpointed_);
        release_to_ = position(std::prev(kept)->second.inputs.at(0).end);
        batches_.erase(batches_.begin(), kept);
        log_->release(checkpointed_);
        for (std::size_t op = 0; op < kOperators; ++op) {
          tracker_.checkpointed(state_of(op), checkpointed_, set_->steps[op]);
        }
        set_->state = SetState::kRemove;
        return true;
      }
      case SetState::kRemove:
        may_remove_ = true;
        if (is(Mutant::kFilesFreedDuringBatch)) remove_unused();
        set_->state = SetState::kReleaseInput;
        return true;
      case SetState::kReleaseInput:
        release_input(release_to_);
        replayable_.erase(replayable_.begin(), replayable_.upper_bound(checkpointed_));
        set_.reset();
        return true;
    }
    return false;
  }
  bool wants_checkpoint() const { return committed_ > checkpointed_; }
  void make_set() {
    if (set_ || !can_checkpoint()) return;
    set_.emplace();
    std::map<std::string, internal::StateLineage> states;
    for (std::size_t op = 0; op < kOperators; ++op) {
      internal::StateLineage lineage;
      lineage.steps = tracker_.steps(state_of(op), committed_);
      lineage.partitions = options_.partitions;
      for (const auto& steps : lineage.steps) {
        for (const StateStep& step : steps) set_->files.insert(step.piece.file);
      }
      set_->steps.push_back(lineage.steps);
      states[operator_uid(op)] = std::move(lineage);
    }
    set_->unsynced = set_->files;
    const internal::RecordedBatch& batch = batches_.at(committed_);
    set_->record = internal::checkpoint_record(batch.batch, batch.inputs, {1, {}}, identities_,
                                               held_by_sinks(), {}, states);
  }

  // --- the log's writer thread ---

  void write_log() { log_->await(appended_); }

 private:
  using Update = std::pair<std::uint64_t, std::size_t>;  ///< a batch's, of an operator's state
  enum class State : std::uint8_t { kIdle, kUpdate, kAwaitIntent, kPrepare, kPublish, kCommit };
  enum class SetState : std::uint8_t {
    kSyncFiles,
    kSyncFolder,
    kRecord,
    kRelease,
    kRemove,
    kReleaseInput,
  };
  struct Set {
    SetState state = SetState::kSyncFiles;
    LogRecord record;
    std::vector<StateTracker::Steps> steps;  // of each operator
    std::set<std::string> files;
    std::set<std::string> unsynced;
  };

  bool is(Mutant mutant) const {
    return options_.world.is(mutant) ||
           (mutant == Mutant::kIntentCutAgain && options_.world.is(Mutant::kSkippedByNumber));
  }

  // --- starting ---

  void restore_state(const internal::RecordedStream& recorded) {
    std::set<std::string> used;
    for (std::size_t op = 0; op < kOperators; ++op) {
      const StateId state = state_of(op);
      tracker_.declare(state, {.name = operator_uid(op),
                               .partitions = options_.partitions,
                               .key_groups = kKeyGroups,
                               .directory = kStateFolder,
                               .expires_after = options_.world.expires_after(op)});
      if (recorded.checkpointed() != 0) {
        tracker_.checkpointed(state, recorded.checkpointed(),
                              recorded.checkpointed_state(operator_uid(op)).steps);
      }
      const auto lineage = recorded.committed_state(operator_uid(op), kKeyGroups);
      for (const auto& steps : lineage.steps) {
        for (const StateStep& step : steps) used.insert(step.piece.file);
      }
      if (lineage.partitions == 0) continue;
      tracker_.restore(state, recovery_.committed, lineage.partitions, lineage.steps,
                       options_.world.expires_after(op));
    }
    const std::vector<std::string> files = options_.store->list(kStateFolder);
    if (!is(Mutant::kOthersFilesRemoved)) log_->expect_newest_epoch();
    for (const std::string& file : files) {
      if (!used.contains(file)) options_.store->remove(path_of_state(file));
    }
  }

  void open_sinks() {
    for (std::size_t sink = 0; sink < kOperators; ++sink) {
      options_.world.open_sink(sink, commit_id(sink, 0));
      const auto last = options_.world.last_committed(sink);
      const std::uint64_t sequence = last ? last->sequence : 0;
      const auto held = recovery_.sinks.find(uid(sink));
      if (held != recovery_.sinks.end() && sequence < held->second) {
        throw Error(ErrorCode::kDataLoss, "a sink lacks what was committed");
      }
      const auto recorded = batches_.find(sequence);
      if (last && recorded != batches_.end() && recorded->second.intent != last->intent &&
          !is(Mutant::kSkippedByNumber)) {
        throw Error(ErrorCode::kDataLoss, "a sink holds a batch of other input");
      }
      if (sequence > last_) throw Error(ErrorCode::kDataLoss, "the log lost its end");
    }
  }

  /// Does nothing, but for a mutant.
  void cut_again() {
    if (!is(Mutant::kIntentCutAgain)) return;
    for (auto& [sequence, batch] : batches_) {
      if (sequence <= committed_) continue;
      batch.inputs.at(0).from = encode(next_of_cut_again(sequence));
      batch.inputs.at(0).end = encode(options_.world.latest);
      batch.intent = internal::hash_of(batch.batch, batch.inputs);
      next_from_ = options_.world.latest;
    }
  }
  std::uint64_t next_of_cut_again(std::uint64_t sequence) const {
    const auto before = batches_.find(sequence - 1);
    return before == batches_.end() ? position(batches_.at(sequence).inputs.at(0).from)
                                    : position(before->second.inputs.at(0).end);
  }

  // --- a batch ---

  void begin() {
    state_ = State::kUpdate;
    updating_.reset();
    updated_to_ = {};
    op_ = 0;
    sent_.clear();
    wanted_.clear();
    tokens_.clear();
  }

  /// The batches behind what is lost, in order, and then this one; of each, one operator after the
  /// other.
  bool update_state() {
    if (updating_ && !wanted_.empty()) {
      return send_wanted(updating_->first, updating_->second, true);
    }
    if (updating_) updated_to_ = *std::exchange(updating_, std::nullopt);
    std::vector<std::uint64_t> sequences(replayable_.begin(), replayable_.lower_bound(batch_));
    sequences.push_back(batch_);
    for (std::size_t op = 0; op < kOperators; ++op) {
      for (std::uint32_t p = 0; p < options_.partitions; ++p) {
        if (tracker_.version(state_of(op), p) + 1 < sequences.front()) {
          throw Error(ErrorCode::kDataLoss, "batches that state is to be made again from are gone");
        }
      }
    }
    for (const std::uint64_t sequence : sequences) {
      for (std::size_t op = 0; op < kOperators; ++op) {
        const Update update{sequence, op};
        if (update <= updated_to_) continue;
        const auto behind = tracker_.behind(state_of(op), sequence);
        if (behind.empty()) continue;
        updating_ = update;
        wanted_.insert(behind.begin(), behind.end());
        return true;
      }
    }
    state_ = State::kAwaitIntent;
    return true;
  }

  /// The next one from operator `op_` on that is due, or the COMMIT.
  void begin_output() {
    while (op_ < kOperators && !is_due(op_, batch_)) ++op_;
    state_ = op_ < kOperators ? State::kPrepare : State::kCommit;
    tokens_.clear();
    sent_.clear();
    for (std::uint32_t p = 0; p < options_.partitions && op_ < kOperators; ++p) wanted_.insert(p);
  }

  /// Sends the tasks that are not under way. Where a version may be in the worker's memory, its
  /// history is sent only when it turns out not to be.
  bool send_wanted(std::uint64_t sequence, std::size_t op, bool writes_state) {
    bool any = false;
    for (const std::uint32_t partition : wanted_) {
      const auto under_way = sent_.find(partition);
      if (under_way != sent_.end() && wanted_again_.erase(partition) == 0) continue;
      const auto& input = batches_.at(sequence).inputs.at(0);
      Task task;
      task.driver = options_.id;
      task.op = op;
      task.sequence = sequence;
      task.from = position(input.from);
      task.end = position(input.end);
      task.writes_state = writes_state;
      const bool withholds = needs_history_.erase(partition) == 0 && options_.chance(30);
      task.input = tracker_.input(state_of(op), partition, sequence, writes_state, !withholds);
      if (task.input.gone) throw Error(ErrorCode::kDataLoss, "a version is no longer known");
      task.input.withheld = withholds;
      options_.send(task);
      sent_.insert_or_assign(partition, task);
      any = true;
    }
    return any;
  }

  void publish() {
    std::vector<std::vector<Line>> tokens;
    for (const auto& [partition, lines] : tokens_) tokens.push_back(lines);
    options_.before_effect();
    options_.world.commit(op_, commit_id(op_, batch_), tokens, options_.id);
    ++op_;
    begin_output();
  }

  void commit() {
    tracker_.committed(batch_);
    std::map<std::string, std::vector<StatePiece>> changed;
    for (std::size_t op = 0; op < kOperators && !is(Mutant::kCommitWithoutState); ++op) {
      changed[operator_uid(op)] = tracker_.deltas(state_of(op), batch_);
    }
    const Batch batch = batches_.at(batch_).batch;
    appended_ = log_->append(internal::commit_record(batch, changed, held_by_sinks()));
    positions_.erase(batch_);
    committed_ = batch_;
    failures_ = 0;
    remove_unused();
    free_at_commit();
  }

  /// Does nothing, but for mutants.
  void free_at_commit() {
    if (is(Mutant::kReleasedAtCommit)) {
      release_input(position(batches_.at(batch_).inputs.at(0).end));
    }
    if (is(Mutant::kLogReleasedAtCommit)) log_->release(batch_);
    if (is(Mutant::kFilesFreedAtCommit)) {
      std::set<std::string> used;
      for (std::size_t op = 0; op < kOperators; ++op) {
        for (const auto& piece : tracker_.deltas(state_of(op), batch_)) used.insert(piece.file);
      }
      remove_other_than(used);
    }
  }

  void release_input(std::uint64_t end) {
    options_.world.released = std::max(options_.world.released, end);
  }

  static std::string path_of_state(const std::string& file) {
    return std::string(kStateFolder) + "/" + file;
  }

  /// As BatchJournal does: not while a version is lost, nor while there is state that was not read
  /// since the start.
  bool can_checkpoint() const {
    if (committed_ <= checkpointed_) return false;
    for (std::size_t op = 0; op < kOperators; ++op) {
      if (!tracker_.is_whole(state_of(op), committed_) || tracker_.has_unread(state_of(op))) {
        return false;
      }
    }
    return true;
  }

  void sync_file(const std::string& file) {
    if (is(Mutant::kCheckpointUnsynced)) return;
    if (is(Mutant::kSnapshotUnsynced) && file.starts_with("snap-")) return;
    options_.store->sync_file(path_of_state(file));
  }

  void remove_unused() {
    if (set_ && !is(Mutant::kFilesFreedDuringBatch)) return;
    if (!std::exchange(may_remove_, false)) return;
    for (const std::string& file : tracker_.take_unused_files()) {
      options_.store->remove(path_of_state(file));
    }
  }

  /// A mutant's.
  void remove_other_than(const std::set<std::string>& used) {
    for (const std::string& file : tracker_.files()) {
      if (!used.contains(file)) options_.store->remove(path_of_state(file));
    }
  }

  internal::HeldBySinks held_by_sinks() const {
    internal::HeldBySinks held;
    for (std::size_t sink = 0; sink < kOperators; ++sink) {
      const auto last = options_.world.last_committed(sink);
      held[uid(sink)] = is(Mutant::kCommitBeforeOutputs) ? 0 : last ? last->sequence : 0;
    }
    return held;
  }
  static std::string uid(std::size_t sink) { return fmt::format("sink-{}", sink); }
  CommitId commit_id(std::size_t sink, std::uint64_t sequence) const {
    return {.application = "sim",
            .sink = uid(sink),
            .sequence = sequence,
            .epoch = log_->epoch(),
            .intent = sequence == 0 ? 0 : batches_.at(sequence).intent};
  }

  const Options options_;
  const internal::OperatorIdentities identities_{
      {operator_uid(kSums), true, "map_with_state", "int"},
      {operator_uid(kWindow), true, "reduce_by_key_and_window", "int", options_.world.window()}};
  StateTracker tracker_{{.max_deltas = 2, .min_snapshot_bytes = 1u << 20}};
  std::unique_ptr<BatchLog> log_;
  internal::Recovery recovery_;
  std::map<std::uint64_t, internal::RecordedBatch> batches_;  // INTENTs kept
  std::map<std::uint64_t, std::uint64_t> positions_;          // of INTENTs to await
  std::set<std::uint64_t> replayable_;
  std::set<std::uint64_t> open_;
  bool may_remove_ = false;
  std::deque<std::uint64_t> queue_;
  bool operators_written_ = false;
  std::uint64_t appended_ = 0;
  std::uint64_t next_from_ = 0;
  std::uint64_t last_ = 0;
  std::uint64_t committed_ = 0;
  std::uint64_t checkpointed_ = 0;
  std::uint64_t release_to_ = 0;
  std::optional<Set> set_;

  State state_ = State::kIdle;
  std::uint64_t batch_ = 0;
  std::optional<Update> updating_;        // whose tasks are under way
  Update updated_to_;                     // up to which they are done, in this attempt
  std::size_t op_ = 0;                    // whose output is being made
  std::set<std::uint32_t> wanted_;        // partitions whose tasks are not done
  std::set<std::uint32_t> wanted_again_;  // a mutant's
  std::set<std::uint32_t> needs_history_;
  std::map<std::uint32_t, Task> sent_;  // by partition
  std::map<std::uint32_t, std::vector<Line>> tokens_;
  int failures_ = 0;
};

}  // namespace weir::protocol
