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
constexpr const char* kOperator = "sums";

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

  bool can_cut() const { return queue_.size() < 3 && options_.world.latest > next_from_; }
  void cut() {
    const std::uint64_t end = options_.world.latest;
    const Batch batch{last_ + 1, Time(std::chrono::seconds(last_ + 1))};
    const std::vector<BatchInput> inputs{{kInput, encode(next_from_), encode(end), std::nullopt}};
    next_from_ = end;
    last_ = batch.sequence;
    batches_[batch.sequence] = {batch, inputs, internal::hash_of(batch, inputs)};
    positions_[batch.sequence] = appended_ = log_->append(internal::intent_record(
        batch, inputs, {1, {}}, operators_written_ ? nullptr : &kOperators));
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
        state_ = State::kPrepare;
        want_all();
        if (is(Mutant::kCommitBeforeOutputs)) commit();
        if (is(Mutant::kCheckpointBeforeCommit) && options_.chance(20)) {
          committed_ = batch_;
          make_set();
        }
        return true;
      case State::kPrepare:
        if (send_wanted(batch_, false)) return true;
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
        (!is(Mutant::kStaleOutcomeAccepted) || outcome.result.index() == 0)) {
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
    } else if (const auto* made = std::get_if<StateOutput>(&outcome.result)) {
      tracker_.installed(outcome.task.attempt, *made);
      if (writes) wanted_.erase(partition);
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
        if (is(Mutant::kFilesFreedBeforeRecord)) remove_unused(true);
        for (const std::string& file : set_->files) {
          if (!is(Mutant::kCheckpointUnsynced)) {
            options_.store->sync_file(std::string(kStateFolder) + "/" + file);
          }
        }
        set_->state = SetState::kSyncFolder;
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
        tracker_.checkpointed(kState, checkpointed_, set_->steps);
        set_->state = SetState::kRemove;
        return true;
      }
      case SetState::kRemove:
        may_remove_ = true;
        if (is(Mutant::kFilesFreedDuringBatch)) remove_unused(false);
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
    if (set_ || committed_ <= checkpointed_) return;
    set_.emplace();
    internal::StateLineage lineage;
    lineage.steps = tracker_.steps(kState, committed_);
    lineage.partitions = options_.partitions;
    for (const auto& steps : lineage.steps) {
      for (const StateStep& step : steps) set_->files.insert(step.piece.file);
    }
    set_->steps = lineage.steps;
    const internal::RecordedBatch& batch = batches_.at(committed_);
    set_->record = internal::checkpoint_record(batch.batch, batch.inputs, {1, {}}, kOperators,
                                               held_by_sinks(), {{kOperator, lineage}});
  }

  // --- the log's writer thread ---

  void write_log() { log_->await(appended_); }

 private:
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
    StateTracker::Steps steps;
    std::set<std::string> files;
  };
  inline static const internal::OperatorIdentities kOperators{{kOperator, true, "sums", "int"}};

  bool is(Mutant mutant) const {
    return options_.world.is(mutant) ||
           (mutant == Mutant::kIntentCutAgain && options_.world.is(Mutant::kSkippedByNumber));
  }

  // --- starting ---

  void restore_state(const internal::RecordedStream& recorded) {
    tracker_.declare(kState, {.name = kOperator,
                              .partitions = options_.partitions,
                              .key_groups = kKeyGroups,
                              .directory = kStateFolder});
    if (recorded.checkpointed() != 0) {
      tracker_.checkpointed(kState, recorded.checkpointed(),
                            recorded.checkpointed_state(kOperator).steps);
    }
    const auto lineage = recorded.committed_state(kOperator, kKeyGroups);
    for (const auto& steps : lineage.steps) {
      for (const StateStep& step : steps) files_.insert(step.piece.file);
    }
    if (lineage.partitions != 0) {
      tracker_.restore(kState, recovery_.committed, lineage.partitions, lineage.steps);
    }
    for (const std::string& file : options_.store->list(kStateFolder)) {
      if (!files_.contains(file)) options_.store->remove(std::string(kStateFolder) + "/" + file);
    }
  }

  void open_sinks() {
    for (std::size_t sink = 0; sink < kSinks; ++sink) {
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
    updating_ = updated_to_ = 0;
    sink_ = 0;
    sent_.clear();
    wanted_.clear();
    tokens_.clear();
  }

  /// The batches behind what is lost, in order, and then this one.
  bool update_state() {
    if (updating_ != 0 && !wanted_.empty()) return send_wanted(updating_, true);
    if (updating_ != 0) updated_to_ = std::exchange(updating_, 0);
    std::vector<std::uint64_t> sequences(replayable_.begin(), replayable_.lower_bound(batch_));
    sequences.push_back(batch_);
    for (std::uint32_t p = 0; p < options_.partitions; ++p) {
      if (tracker_.version(kState, p) + 1 < sequences.front()) {
        throw Error(ErrorCode::kDataLoss, "batches that state is to be made again from are gone");
      }
    }
    for (const std::uint64_t sequence : sequences) {
      if (sequence <= updated_to_) continue;
      const auto behind = tracker_.behind(kState, sequence);
      if (behind.empty()) continue;
      updating_ = sequence;
      wanted_.insert(behind.begin(), behind.end());
      return true;
    }
    state_ = State::kAwaitIntent;
    return true;
  }

  void want_all() {
    tokens_.clear();
    sent_.clear();
    for (std::uint32_t p = 0; p < options_.partitions; ++p) wanted_.insert(p);
  }

  /// Sends the tasks that are not under way.
  bool send_wanted(std::uint64_t sequence, bool writes_state) {
    bool any = false;
    for (const std::uint32_t partition : wanted_) {
      const auto under_way = sent_.find(partition);
      if (under_way != sent_.end() && wanted_again_.erase(partition) == 0) continue;
      const auto& input = batches_.at(sequence).inputs.at(0);
      Task task;
      task.driver = options_.id;
      task.sequence = sequence;
      task.from = position(input.from);
      task.end = position(input.end);
      task.writes_state = writes_state;
      task.input = tracker_.input(kState, partition, sequence, writes_state);
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
    options_.world.commit(sink_, commit_id(sink_, batch_), tokens, options_.id);
    if (++sink_ < kSinks) {
      want_all();
      state_ = State::kPrepare;
    } else {
      state_ = State::kCommit;
    }
  }

  void commit() {
    tracker_.committed(batch_);
    std::map<std::string, std::vector<StatePiece>> changed;
    if (!is(Mutant::kCommitWithoutState)) {
      changed[kOperator] = tracker_.deltas(kState, batch_);
    }
    const Batch batch = batches_.at(batch_).batch;
    appended_ = log_->append(internal::commit_record(batch, changed, held_by_sinks()));
    positions_.erase(batch_);
    committed_ = batch_;
    failures_ = 0;
    remove_unused(false);
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
      for (const StatePiece& piece : tracker_.deltas(kState, batch_)) used.insert(piece.file);
      for (const std::string& file : tracker_.files()) {
        if (!used.contains(file)) options_.store->remove(std::string(kStateFolder) + "/" + file);
      }
    }
  }

  void release_input(std::uint64_t end) {
    options_.world.released = std::max(options_.world.released, end);
  }

  /// `early`: as if the set were durable already.
  void remove_unused(bool early) {
    if (!early && !std::exchange(may_remove_, false)) return;
    std::set<std::string> used = tracker_.files();
    if (early) used = set_->files;
    for (const std::string& file : files_) {
      if (!used.contains(file)) options_.store->remove(std::string(kStateFolder) + "/" + file);
    }
    files_ = used;
  }

  internal::HeldBySinks held_by_sinks() const {
    internal::HeldBySinks held;
    for (std::size_t sink = 0; sink < kSinks; ++sink) {
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
  StateTracker tracker_{{.max_deltas = 2, .min_snapshot_bytes = 1u << 20}};
  std::unique_ptr<BatchLog> log_;
  internal::Recovery recovery_;
  std::map<std::uint64_t, internal::RecordedBatch> batches_;  // INTENTs kept
  std::map<std::uint64_t, std::uint64_t> positions_;          // of INTENTs to await
  std::set<std::uint64_t> replayable_;
  std::set<std::uint64_t> open_;
  std::set<std::string> files_;
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
  std::uint64_t updating_ = 0;    // the batch whose state tasks are under way
  std::uint64_t updated_to_ = 0;  // batches whose state tasks are done, in this attempt
  std::size_t sink_ = 0;
  std::set<std::uint32_t> wanted_;        // partitions whose tasks are not done
  std::set<std::uint32_t> wanted_again_;  // a mutant's
  std::map<std::uint32_t, Task> sent_;    // by partition
  std::map<std::uint32_t, std::vector<Line>> tokens_;
  int failures_ = 0;
};

}  // namespace weir::protocol
