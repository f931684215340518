#include "weir/dstream/batch_journal.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <random>
#include <set>
#include <utility>

#include "weir/core/crash_point.h"
#include "weir/core/error.h"
#include "weir/core/hash.h"
#include "weir/core/loader.h"
#include "weir/core/log.h"
#include "weir/core/state/state_migration.h"
#include "weir/dstream/state_lineage.h"
#include "weir/dstream/stream_graph.h"
#include "weir/dstream/stream_sink.h"

namespace weir::internal {
namespace {

constexpr const char* kStateFolder = "state";

std::uint64_t hash_of_binary() {
  SlimWriter out;
  for (const ModuleId& module : loaded_modules()) out.put(module.id);
  return hash_bytes(out.view());
}

std::string to_text(std::uint64_t first, std::uint64_t last) {
  return first == last ? "batch " + std::to_string(first)
                       : "batches " + std::to_string(first) + " to " + std::to_string(last);
}

}  // namespace

LogIdentity fresh_identity() {
  std::random_device device;
  const auto number = [&] { return (std::uint64_t{device()} << 32) | device(); };
  char name[17];
  std::snprintf(name, sizeof name, "%016llx", static_cast<unsigned long long>(number()));
  return {.application = name, .hash_seed = number(), .key_groups = 512};
}

BatchJournal::BatchJournal(std::shared_ptr<Engine> engine, Options options)
    : engine_(std::move(engine)),
      options_(std::move(options)),
      store_(open_directory_store(options_.directory)),
      log_(BatchLog::open(store_, fresh_identity(), options_.log)),
      binary_(hash_of_binary()) {
  for (const std::string& note : log_->history().notes) log_warning(note);
  // Made here, so that its name is durable before a CHECKPOINT names what is in it.
  store_->replace(std::string(kStateFolder) + "/made", "");
  WEIR_CRASH_POINT("recovery.log-opened");
}

BatchJournal::~BatchJournal() { close(); }

void BatchJournal::close() {
  {
    const std::scoped_lock lock(mutex_);
    ending_ = true;
    changed_.notify_all();
  }
  if (checkpoint_thread_.joinable()) checkpoint_thread_.join();
}

std::string BatchJournal::directory() const {
  return std::filesystem::absolute(options_.directory).string();
}

std::string BatchJournal::state_directory() const {
  return (std::filesystem::absolute(options_.directory) / kStateFolder).string();
}

// --- after a restart ---

Recovery BatchJournal::recover(const StreamGraph& graph, Callbacks callbacks) {
  close();  // of a start that failed
  callbacks_ = std::move(callbacks);
  graph_ = &graph;
  sinks_ = graph.sinks();
  operators_ = graph.operator_identities();
  stateful_ = graph.stateful();
  const LogHistory history = with_states_migrated(log_->history());
  const RecordedStream recorded(history);
  const Recovery& recovery = recorded.recovery();
  const std::uint64_t checkpointed = recorded.checkpointed();
  const OperatorIdentities former = recorded.operators().value_or(OperatorIdentities{});

  if (recorded.operators()) require_same_operators(former, operators_, options_.drop_state);
  if (recorded.is_committed_by_other(binary_) && !former.empty() &&
      !options_.replay_with_new_code) {
    throw Error(ErrorCode::kDataLoss,
                "the program was changed since it ran " +
                    to_text(checkpointed + 1, recovery.committed) +
                    ", which are committed but not part of a set of state yet (the last driver did "
                    "not stop gracefully): to run them again through other code would rewrite "
                    "history. Start the former program once and stop it gracefully, or accept it "
                    "with --weir.replay-with-new-code");
  }

  std::set<std::string> used;
  for (std::size_t i = 0; i < stateful_.size(); ++i) {
    const std::string& uid = operators_[i].uid;
    if (checkpointed != 0) {
      engine_->states().checkpointed(stateful_[i]->state(), checkpointed,
                                     recorded.checkpointed_state(uid).steps);
    }
    const StateLineage lineage = recorded.committed_state(uid, identity().key_groups);
    for (const auto& steps : lineage.steps) {
      for (const StateStep& step : steps) used.insert(step.piece.file);
    }
    if (lineage.partitions == 0) continue;
    const auto as_it_was = std::ranges::find(former, uid, &OperatorIdentity::uid);
    engine_->states().restore(stateful_[i]->state(), recovery.committed, lineage.partitions,
                              lineage.steps,
                              as_it_was == former.end() ? 0 : as_it_was->expires_after);
  }
  WEIR_CRASH_POINT("recovery.states-known");
  delete_other_than(used);

  {
    const std::scoped_lock lock(mutex_);
    for (const RecordedBatch& each : recovery.recorded) batches_[each.batch.sequence] = each;
    if (recovery.committed != 0) {
      const auto found = batches_.find(recovery.committed);
      committed_ = found != batches_.end() ? found->second.batch : recovery.checkpointed;
    }
    checkpointed_ = checkpointed;
    most_sink_partitions_ = recovery.sink_partitions;
    zero_time_ = recovery.zero_time.value_or(Time());
    ending_ = false;
  }
  checkpoint_thread_ = std::jthread([this] { write_sets(); });
  return recovery;
}

/// The history, with another CHECKPOINT in place of its last one if an operator's state was of
/// another type then and can be made into what it is now. Until that CHECKPOINT is durable nothing
/// has changed.
LogHistory BatchJournal::with_states_migrated(LogHistory history) {
  const RecordedStream recorded(history);
  OperatorIdentities operators = recorded.operators().value_or(OperatorIdentities{});
  const OperatorIdentities former = operators;
  std::map<std::size_t, const StateMigration*> migrations;  // by place in stateful_
  for (std::size_t i = 0; i < stateful_.size(); ++i) {
    const auto found = std::ranges::find(operators, operators_[i].uid, &OperatorIdentity::uid);
    if (found == operators.end() || found->kind != operators_[i].kind) continue;
    if (found->fingerprint == operators_[i].fingerprint) continue;
    const StateMigration* const migration = stateful_[i]->migration_from(found->fingerprint);
    if (migration == nullptr) continue;
    migrations.emplace(i, migration);
    found->fingerprint = operators_[i].fingerprint;
  }
  if (migrations.empty()) return history;
  require_same_operators(operators, operators_, options_.drop_state);
  const std::uint64_t checkpointed = recorded.checkpointed();
  if (recorded.recovery().last.sequence != checkpointed) {
    throw Error(ErrorCode::kDataLoss,
                "the state of " + operators_[migrations.begin()->first].uid +
                    " changed its type, and the log goes on behind the last set of state (" +
                    to_text(checkpointed + 1, recorded.recovery().last.sequence) +
                    "), because the former program did not stop gracefully: start that once, stop "
                    "it gracefully, then start this one");
  }
  std::map<std::string, StateLineage> states;
  for (const auto& [i, migration] : migrations) {
    const OperatorIdentity& to = operators_[i];
    const auto from = std::ranges::find(former, to.uid, &OperatorIdentity::uid);
    states[to.uid] =
        migrate(recorded.checkpointed_state(to.uid), checkpointed, *from, to, *migration);
  }
  for (const auto& [uid, lineage] : states) {
    for (const auto& steps : lineage.steps) {
      for (const StateStep& step : steps) {
        store_->sync_file(std::string(kStateFolder) + "/" + step.piece.file);
      }
    }
  }
  store_->sync_directory(kStateFolder);
  history.checkpoint = with_states(std::move(*history.checkpoint), operators, states);
  log_->await(log_->append(*history.checkpoint));
  log_->flush();
  return history;
}

StateLineage BatchJournal::migrate(const StateLineage& written, std::uint64_t sequence,
                                   const OperatorIdentity& from, const OperatorIdentity& to,
                                   const StateMigration& migration) const {
  const std::string what =
      "the state of " + to.uid + " from " + from.fingerprint + " to " + to.fingerprint;
  StateLineage migrated = written;
  std::vector<std::uint32_t> partitions;
  std::vector<WrittenState> parts;
  for (std::uint32_t p = 0; p < written.partitions; ++p) {
    if (written.steps[p].empty()) continue;
    partitions.push_back(p);
    parts.push_back(
        {.directory = state_directory(),
         .groups = KeyGroups::of_partition(p, written.partitions, identity().key_groups),
         .sequence = sequence,
         .steps = written.steps[p],
         .timed = migration.timed});
  }
  try {
    const std::vector<StateStep> snapshots = migration.run(engine_, std::move(parts));
    for (std::size_t i = 0; i < partitions.size(); ++i) {
      migrated.steps[partitions[i]] = {snapshots.at(i)};
    }
  } catch (const Error& error) {
    throw Error(error.code(), "migrating " + what + ": " + error.what());
  }
  weir::log_info("migrated " + what);
  return migrated;
}

/// What earlier drivers' workers left and no record names.
void BatchJournal::delete_other_than(const std::set<std::string>& used) {
  const std::vector<std::string> files = store_->list(kStateFolder);
  log_->expect_newest_epoch();  // else some are a later driver's workers': locks do not always hold
  for (const std::string& file : files) {
    if (used.contains(file)) continue;
    store_->remove(std::string(kStateFolder) + "/" + file);
    WEIR_CRASH_POINT("recovery.file-removed");
  }
}

void BatchJournal::begin(const std::map<std::string, std::string>& positions) {
  WEIR_CRASH_POINT("begin.before-record");
  log_->await(log_->append(start_record(positions)));
  WEIR_CRASH_POINT("begin.recorded");
}

// --- while batches run ---

std::uint64_t BatchJournal::intent(const Batch& batch, Time zero_time,
                                   const std::vector<BatchInput>& inputs) {
  const std::uint64_t hash = hash_of(batch, inputs);
  const std::scoped_lock lock(mutex_);
  const bool first = !std::exchange(operators_recorded_, true);
  const OperatorIdentities operators =
      first ? operators_as_of(batch.sequence) : OperatorIdentities{};
  zero_time_ = zero_time;
  SinkPartitions sink_partitions;
  for (const auto& sink : sinks_) {
    if (sink->partitions() != 0) sink_partitions[sink->uid()] = sink->partitions();
  }
  keep_most(most_sink_partitions_, sink_partitions);
  positions_[batch.sequence] = log_->append(intent_record(
      batch, inputs, sink_partitions, {binary_, zero_time}, first ? &operators : nullptr));
  batches_[batch.sequence] = {batch, inputs, std::move(sink_partitions), hash, binary_};
  return hash;
}

void BatchJournal::await_intent(std::uint64_t sequence) {
  std::uint64_t position = 0;
  {
    const std::scoped_lock lock(mutex_);
    if (failure_) std::rethrow_exception(failure_);
    const auto found = positions_.find(sequence);
    if (found == positions_.end()) return;  // an earlier driver's, read from the log
    position = found->second;
  }
  log_->await(position);
}

RecordedBatch BatchJournal::recorded(std::uint64_t sequence) const {
  const std::scoped_lock lock(mutex_);
  return batches_.at(sequence);
}

void BatchJournal::commit(const Batch& batch) {
  std::map<std::string, std::vector<StatePiece>> changed;
  for (std::size_t i = 0; i < stateful_.size(); ++i) {
    changed[operators_[i].uid] = engine_->states().deltas(stateful_[i]->state(), batch.sequence);
  }
  log_->append(commit_record(batch, changed, held_by_sinks()));
  {
    const std::scoped_lock lock(mutex_);
    positions_.erase(batch.sequence);
    committed_ = batch;
  }
  remove_unused();
}

/// While no task updates state: one that has appended to a file that nothing names yet would be
/// accepted with a piece of a file that is gone. (A worker that finds its file gone begins
/// another.) Only their names go here, which takes no time; the checkpoint thread lets go of the
/// bytes.
void BatchJournal::remove_unused() {
  {
    const std::scoped_lock lock(mutex_);
    // A set that is being written names files that the tracker may know no more.
    if (!may_remove_ || writing_ || !sets_.empty()) return;
    may_remove_ = false;
  }
  std::vector<std::unique_ptr<DurableReader>> removed;
  for (const std::string& file : engine_->states().take_unused_files()) {
    const std::string path = std::string(kStateFolder) + "/" + file;
    removed.push_back(store_->open(path));
    store_->remove(path);
    WEIR_CRASH_POINT("checkpoint.file-removed");
  }
  const std::scoped_lock lock(mutex_);
  std::ranges::move(removed, std::back_inserter(removed_));
  changed_.notify_all();
}

/// Not while a version is lost: the set would be that of an earlier batch. Nor while there is state
/// that was not read since the start, which may be lost: then the last CHECKPOINT has to do.
bool BatchJournal::can_checkpoint() const {
  if (!committed_ || committed_->sequence <= checkpointed_) return false;
  const StateTracker& states = engine_->states();
  return std::ranges::all_of(stateful_, [&](const auto& stateful) {
    return states.is_whole(stateful->state(), committed_->sequence) &&
           !states.has_unread(stateful->state());
  });
}

HeldBySinks BatchJournal::held_by_sinks() const {
  HeldBySinks held;
  for (const auto& sink : sinks_) {
    const auto last = sink->last_committed();
    held[sink->uid()] = last ? last->sequence : 0;
  }
  return held;
}

OperatorIdentities BatchJournal::operators_as_of(std::uint64_t sequence) const {
  std::vector<OperatorIdentity> operators = operators_;
  for (std::size_t i = 0; i < operators.size(); ++i) {
    operators[i].expires_after = engine_->states().expires_after(stateful_[i]->state(), sequence);
  }
  return operators;
}

BatchJournal::Set BatchJournal::make_set() const {
  Set set;
  set.asked = std::chrono::steady_clock::now();
  const Batch& batch = *committed_;
  std::map<std::string, StateLineage> states;
  for (std::size_t i = 0; i < stateful_.size(); ++i) {
    StateLineage lineage;
    lineage.steps = engine_->states().steps(stateful_[i]->state(), batch.sequence);
    lineage.partitions = static_cast<std::uint32_t>(lineage.steps.size());
    for (const auto& steps : lineage.steps) {
      for (const StateStep& step : steps) set.files.insert(step.piece.file);
    }
    set.steps.push_back(lineage.steps);
    states[operators_[i].uid] = std::move(lineage);
  }
  const auto known = batches_.find(batch.sequence);
  set.record = checkpoint_record(
      batch, known != batches_.end() ? known->second.inputs : std::vector<BatchInput>{},
      {binary_, zero_time_}, operators_as_of(batch.sequence), held_by_sinks(),
      most_sink_partitions_, states);
  // Raw windows reach back to the input of earlier batches: it must stay known.
  set.release_to = batch.sequence;
  for (const auto& [sequence, recorded] : batches_) {
    if (recorded.batch.time <= batch.time - graph_->reach()) continue;
    set.release_to = std::min(set.release_to, sequence - 1);
    break;
  }
  return set;
}

void BatchJournal::checkpoint() {
  const std::scoped_lock lock(mutex_);
  if (writing_ || !sets_.empty() || !can_checkpoint()) return;
  sets_.push_back(make_set());
  changed_.notify_all();
}

void BatchJournal::last_checkpoint() {
  std::unique_lock lock(mutex_);
  const auto idle = [&] { return (!writing_ && sets_.empty()) || failure_ || ending_; };
  changed_.wait(lock, idle);
  if (ending_) return;
  if (!failure_ && can_checkpoint()) {
    sets_.push_back(make_set());
    changed_.notify_all();
    changed_.wait(lock, idle);
  }
  if (failure_) std::rethrow_exception(failure_);
  lock.unlock();
  remove_unused();
  log_->flush();
}

void BatchJournal::write_sets() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return ending_ || !sets_.empty() || !removed_.empty(); });
    if (ending_) return;
    if (!removed_.empty()) {
      auto removed = std::exchange(removed_, {});
      lock.unlock();
      removed.clear();
      lock.lock();
      continue;
    }
    const Set set = std::move(sets_.front());
    sets_.pop_front();
    writing_ = true;
    lock.unlock();
    std::exception_ptr failure;
    try {
      write(set);
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    writing_ = false;
    if (failure && !failure_) {
      failure_ = failure;
      lock.unlock();
      callbacks_.on_failure(failure);
      lock.lock();
    }
    changed_.notify_all();
  }
}

/// The set's pieces first, then the record that names them; only then may go what they replace.
void BatchJournal::write(const Set& set) {
  WEIR_CRASH_POINT("checkpoint.before-sync");
  for (const std::string& file : set.files) {
    store_->sync_file(std::string(kStateFolder) + "/" + file);
    WEIR_CRASH_POINT("checkpoint.file-synced");
  }
  if (!set.files.empty()) store_->sync_directory(kStateFolder);
  WEIR_CRASH_POINT("checkpoint.before-record");
  const std::uint64_t position = log_->append(set.record);
  WEIR_CRASH_POINT("checkpoint.after-record");
  log_->await(position);
  log_->flush();
  WEIR_CRASH_POINT("checkpoint.durable");
  {
    const std::scoped_lock lock(mutex_);
    checkpointed_ = set.record.sequence;
    batches_.erase(batches_.begin(), batches_.upper_bound(set.release_to));
  }
  log_->release(set.release_to);
  WEIR_CRASH_POINT("checkpoint.released");
  StateTracker& states = engine_->states();
  for (std::size_t i = 0; i < stateful_.size(); ++i) {
    states.checkpointed(stateful_[i]->state(), set.record.sequence, set.steps[i]);
  }
  WEIR_CRASH_POINT("checkpoint.done");
  {
    const std::scoped_lock lock(mutex_);
    may_remove_ = true;
  }
  callbacks_.on_checkpoint({.sequence = set.record.sequence,
                            .batch_time = set.record.time,
                            .duration = std::chrono::duration_cast<Duration>(
                                std::chrono::steady_clock::now() - set.asked),
                            .files = set.files.size()});
}

LogInfo BatchJournal::log_info() const {
  const BatchLog::Timings timings = log_->timings();
  return {timings.last_append, timings.last_sync, timings.bytes};
}

void BatchJournal::abandon() {
  log_->abandon();
  const std::scoped_lock lock(mutex_);
  ending_ = true;
  changed_.notify_all();
}

}  // namespace weir::internal
