#include "weir/dstream/batch_journal.h"

#include <algorithm>
#include <filesystem>
#include <random>
#include <set>
#include <utility>

#include "weir/core/error.h"
#include "weir/core/hash.h"
#include "weir/core/loader.h"
#include "weir/core/log.h"
#include "weir/dstream/state_lineage.h"
#include "weir/dstream/stream_graph.h"
#include "weir/dstream/stream_sink.h"

namespace weir::internal {
namespace {

// Names of sections; all are slim archives of version 1.
const std::string kInputPrefix = "input/";   // INTENT: InputSection; CHECKPOINT: the end alone
const std::string kStatePrefix = "state/";   // COMMIT: StateDeltas; CHECKPOINT: StateSet
const std::string kOperators = "operators";  // first INTENT of an epoch, CHECKPOINT
const std::string kSinks = "sinks";          // COMMIT, CHECKPOINT: what they hold, by uid
const std::string kJob = "job";              // INTENT, CHECKPOINT: JobSection
constexpr std::uint32_t kVersion = 1;
constexpr const char* kStateFolder = "state";

struct InputSection {
  std::string from;
  std::string end;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & from & end;
  }
};

struct JobSection {
  std::uint64_t binary = 0;  ///< hash of the build ids of the program's modules
  Time zero_time{};

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & binary & zero_time;
  }
};

/// What one batch changed in one operator's state, by partition.
struct StateDeltas {
  std::vector<StatePiece> pieces;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & pieces;
  }
};

template <class T>
LogSection section(const std::string& name, T content) {
  return {name, kVersion, encode(content)};
}

template <class T>
T read_section(const LogRecord& record, const LogSection& section) {
  const std::string where =
      "section " + section.name + " of batch " + std::to_string(record.sequence);
  if (section.version != kVersion) {
    throw Error(ErrorCode::kCorrupt, where + " has version " + std::to_string(section.version) +
                                         ", this program reads version " +
                                         std::to_string(kVersion));
  }
  try {
    return decode<T>(section.bytes);
  } catch (const Error& error) {
    throw Error(ErrorCode::kCorrupt, where + ": " + error.what());
  }
}

template <class T>
std::optional<T> read_section(const LogRecord& record, const std::string& name) {
  const LogSection* found = record.find(name);
  if (found == nullptr) return std::nullopt;
  return read_section<T>(record, *found);
}

std::vector<BatchInput> inputs_of(const LogRecord& intent) {
  std::vector<BatchInput> inputs;
  for (const LogSection& each : intent.sections) {
    if (!each.name.starts_with(kInputPrefix)) continue;
    auto input = read_section<InputSection>(intent, each);
    inputs.push_back({each.name.substr(kInputPrefix.size()), std::move(input.from),
                      std::move(input.end), std::nullopt});
  }
  return inputs;
}

/// Of the input alone, so that the batch stays the same when another program runs it.
std::uint64_t hash_of(const Batch& batch, const std::vector<BatchInput>& inputs) {
  SlimWriter out;
  out.put(batch.sequence);
  out.put(static_cast<std::int64_t>(batch.time.time_since_epoch().count()));
  for (const BatchInput& input : inputs) out& input.name& input.from& input.end;
  return hash_bytes(out.view());
}

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

std::string BatchJournal::state_directory() const {
  return (std::filesystem::absolute(options_.directory) / kStateFolder).string();
}

// --- after a restart ---

Recovery BatchJournal::recover(const StreamGraph& graph, Callbacks callbacks) {
  close();  // of a start that failed
  callbacks_ = std::move(callbacks);
  graph_ = &graph;
  sinks_ = graph.sinks();
  const LogHistory& history = log_->history();
  operators_ = graph.operator_identities();
  stateful_ = graph.stateful();

  Recovery recovery;
  const LogRecord* newest_operators = nullptr;
  std::uint64_t checkpointed = 0;
  std::optional<JobSection> job;
  if (history.checkpoint) {
    const LogRecord& set = *history.checkpoint;
    checkpointed = set.sequence;
    recovery.last = {set.sequence, set.time};
    recovery.committed = set.sequence;
    recovery.checkpointed = set.sequence;
    recovery.checkpoint_time = set.time;
    newest_operators = &set;
    job = read_section<JobSection>(set, kJob);
    for (const LogSection& each : set.sections) {
      if (!each.name.starts_with(kInputPrefix)) continue;
      recovery.positions[each.name.substr(kInputPrefix.size())] =
          read_section<std::string>(set, each);
    }
  }
  bool other_binary_committed = false;
  const LogRecord* newest_done = history.checkpoint ? &*history.checkpoint : nullptr;
  if (!history.commits.empty() && history.commits.back().sequence > checkpointed) {
    newest_done = &history.commits.back();
    recovery.committed = newest_done->sequence;
  }
  if (newest_done != nullptr) {
    recovery.sinks = read_section<std::map<std::string, std::uint64_t>>(*newest_done, kSinks)
                         .value_or(std::map<std::string, std::uint64_t>{});
  }
  for (const LogRecord& intent : history.intents) {
    const auto of_job = read_section<JobSection>(intent, kJob);
    const auto inputs = inputs_of(intent);
    const Batch batch{intent.sequence, intent.time};
    recovery.recorded.push_back(
        {batch, inputs, hash_of(batch, inputs), of_job && of_job->binary != binary_});
    if (batch.sequence > recovery.last.sequence) recovery.last = batch;
    if (intent.find(kOperators) != nullptr && intent.sequence > checkpointed) {
      newest_operators = &intent;
    }
    if (of_job) {
      job = of_job;
      other_binary_committed |= intent.sequence > checkpointed &&
                                intent.sequence <= recovery.committed && of_job->binary != binary_;
    }
  }
  if (history.last_sequence > recovery.last.sequence) {
    recovery.last.sequence = history.last_sequence;
  }
  if (job) recovery.zero_time = job->zero_time;

  std::vector<OperatorIdentity> recorded_operators;
  if (newest_operators != nullptr) {
    recorded_operators = read_section<std::vector<OperatorIdentity>>(*newest_operators, kOperators)
                             .value_or(std::vector<OperatorIdentity>{});
    require_same_operators(recorded_operators, operators_, options_.drop_state);
  }
  if (other_binary_committed && !recorded_operators.empty() && !options_.replay_with_new_code) {
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
    const std::string name = kStatePrefix + operators_[i].uid;
    StateLineage lineage;
    if (history.checkpoint) {
      if (const auto set = read_section<StateLineage>(*history.checkpoint, name)) lineage = *set;
      engine_->states().checkpointed(stateful_[i]->state(), checkpointed, lineage.steps);
    }
    for (const LogRecord& commit : history.commits) {
      if (commit.sequence <= checkpointed) continue;
      const auto deltas = read_section<StateDeltas>(commit, name);
      if (deltas) lineage.append(commit.sequence, deltas->pieces, identity().key_groups);
    }
    for (const auto& steps : lineage.steps) {
      for (const StateStep& step : steps) used.insert(step.piece.file);
    }
    if (lineage.partitions == 0) continue;
    const auto recorded =
        std::ranges::find(recorded_operators, operators_[i].uid, &OperatorIdentity::uid);
    engine_->states().restore(stateful_[i]->state(), recovery.committed, lineage.partitions,
                              lineage.steps,
                              recorded == recorded_operators.end() ? 0 : recorded->expires_after);
  }
  delete_other_than(used);

  {
    const std::scoped_lock lock(mutex_);
    for (const RecordedBatch& each : recovery.recorded) batches_[each.batch.sequence] = each;
    if (recovery.committed != 0) {
      const auto found = batches_.find(recovery.committed);
      committed_ = found != batches_.end() ? found->second.batch : recovery.last;
    }
    checkpointed_ = checkpointed;
    ending_ = false;
  }
  checkpoint_thread_ = std::jthread([this] { write_sets(); });
  return recovery;
}

/// What earlier drivers' workers left and no record names.
void BatchJournal::delete_other_than(const std::set<std::string>& used) {
  for (const std::string& file : store_->list(kStateFolder)) {
    if (!used.contains(file)) store_->remove(std::string(kStateFolder) + "/" + file);
  }
}

// --- while batches run ---

std::uint64_t BatchJournal::intent(const Batch& batch, Time zero_time,
                                   const std::vector<BatchInput>& inputs) {
  LogRecord record{LogRecord::Kind::kIntent, batch.sequence, batch.time, {}};
  for (const BatchInput& input : inputs) {
    record.sections.push_back(
        section(kInputPrefix + input.name, InputSection{input.from, input.end}));
  }
  record.sections.push_back(section(kJob, JobSection{binary_, zero_time}));
  const std::uint64_t hash = hash_of(batch, inputs);
  const std::scoped_lock lock(mutex_);
  if (!std::exchange(operators_recorded_, true)) {
    record.sections.push_back(section(kOperators, operators_as_of(batch.sequence)));
  }
  zero_time_ = zero_time;
  batches_[batch.sequence] = {batch, inputs, hash};
  positions_[batch.sequence] = log_->append(std::move(record));
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

std::uint64_t BatchJournal::intent_hash(std::uint64_t sequence) const {
  const std::scoped_lock lock(mutex_);
  return batches_.at(sequence).intent;
}

void BatchJournal::commit(const Batch& batch) {
  LogRecord record{LogRecord::Kind::kCommit, batch.sequence, batch.time, {}};
  for (std::size_t i = 0; i < stateful_.size(); ++i) {
    auto pieces = engine_->states().deltas(stateful_[i]->state(), batch.sequence);
    record.sections.push_back(
        section(kStatePrefix + operators_[i].uid, StateDeltas{std::move(pieces)}));
  }
  record.sections.push_back(sinks_section());
  log_->append(std::move(record));
  const std::scoped_lock lock(mutex_);
  positions_.erase(batch.sequence);
  committed_ = batch;
}

/// Not while a version is lost: the set would be that of an earlier batch.
bool BatchJournal::can_checkpoint() const {
  if (!committed_ || committed_->sequence <= checkpointed_) return false;
  return std::ranges::all_of(stateful_, [&](const auto& stateful) {
    return engine_->states().is_whole(stateful->state(), committed_->sequence);
  });
}

LogSection BatchJournal::sinks_section() const {
  std::map<std::string, std::uint64_t> held;
  for (const auto& sink : sinks_) {
    const auto last = sink->last_committed();
    held[sink->uid()] = last ? last->sequence : 0;
  }
  return section(kSinks, std::move(held));
}

std::vector<OperatorIdentity> BatchJournal::operators_as_of(std::uint64_t sequence) const {
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
  set.record = {LogRecord::Kind::kCheckpoint, batch.sequence, batch.time, {}};
  auto& sections = set.record.sections;
  if (const auto found = batches_.find(batch.sequence); found != batches_.end()) {
    for (const BatchInput& input : found->second.inputs) {
      sections.push_back(section(kInputPrefix + input.name, input.end));
    }
  }
  sections.push_back(section(kJob, JobSection{binary_, zero_time_}));
  sections.push_back(section(kOperators, operators_as_of(batch.sequence)));
  sections.push_back(sinks_section());
  for (std::size_t i = 0; i < stateful_.size(); ++i) {
    StateLineage lineage;
    lineage.steps = engine_->states().steps(stateful_[i]->state(), batch.sequence);
    lineage.partitions = static_cast<std::uint32_t>(lineage.steps.size());
    for (const auto& steps : lineage.steps) {
      for (const StateStep& step : steps) set.files.insert(step.piece.file);
    }
    sections.push_back(section(kStatePrefix + operators_[i].uid, lineage));
    set.steps.push_back(std::move(lineage.steps));
  }
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
  log_->flush();
}

void BatchJournal::write_sets() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return ending_ || !sets_.empty(); });
    if (sets_.empty() || ending_) return;
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

/// The set's pieces first, then the record that names them; only then what they replace may go.
void BatchJournal::write(const Set& set) {
  for (const std::string& file : set.files) {
    store_->sync_file(std::string(kStateFolder) + "/" + file);
  }
  if (!set.files.empty()) store_->sync_directory(kStateFolder);
  log_->await(log_->append(set.record));
  log_->flush();
  {
    const std::scoped_lock lock(mutex_);
    checkpointed_ = set.record.sequence;
    batches_.erase(batches_.begin(), batches_.upper_bound(set.release_to));
  }
  log_->release(set.release_to);
  StateTracker& states = engine_->states();
  for (std::size_t i = 0; i < stateful_.size(); ++i) {
    states.checkpointed(stateful_[i]->state(), set.record.sequence, set.steps[i]);
  }
  // A worker that finds the file it appends to gone begins another.
  for (const std::string& file : states.take_unused_files()) {
    store_->remove(std::string(kStateFolder) + "/" + file);
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
