#include "weir/core/state/state_tracker.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "weir/core/error.h"

namespace weir {

using internal::KeyGroups;

namespace {

/// The steps of one partition, once for every range of `groups` in which the same ones of them
/// count: see `StateStep::begin_group`.
void split_by_groups(const std::vector<StateStep>& steps, const KeyGroups& groups,
                     std::vector<StateStep>& split) {
  std::set<std::uint32_t> cuts{groups.begin, groups.end};
  for (const StateStep& step : steps) {
    for (const std::uint32_t cut : {step.begin_group, step.end_group}) {
      if (groups.begin < cut && cut < groups.end) cuts.insert(cut);
    }
  }
  for (auto begin = cuts.begin(); std::next(begin) != cuts.end(); ++begin) {
    const std::uint32_t end = *std::next(begin);
    for (const StateStep& step : steps) {
      if (step.end_group != 0 && (step.begin_group > *begin || step.end_group < end)) continue;
      StateStep part = step;
      part.begin_group = *begin;
      part.end_group = end;
      split.push_back(std::move(part));
    }
  }
}

/// Deltas alone are read in the order of batches, and one that several partitions had in common
/// once for all. It counts for those groups only for which theirs had it: the others may have been
/// made again since, and a window adds up what it is given.
std::vector<StateStep> in_the_order_of_batches(std::vector<StateStep> steps,
                                               const KeyGroups& owned) {
  std::ranges::stable_sort(steps, {}, &StateStep::sequence);
  std::vector<StateStep> merged;
  for (StateStep& step : steps) {
    const auto before = std::ranges::find_if(merged, [&](const StateStep& other) {
      return other.sequence == step.sequence && other.piece == step.piece &&
             other.end_group == step.begin_group;
    });
    if (before != merged.end()) {
      before->end_group = step.end_group;
    } else {
      merged.push_back(std::move(step));
    }
  }
  for (StateStep& step : merged) {
    if (step.begin_group > owned.begin || step.end_group < owned.end) continue;
    step.begin_group = step.end_group = 0;
  }
  return merged;
}

/// What partition p of `to` takes over from the partitions of another number whose groups it owns
/// now.
std::vector<StateStep> take_over(const std::vector<std::vector<StateStep>>& from, std::uint32_t p,
                                 std::uint32_t to, std::uint32_t key_groups) {
  const auto before = static_cast<std::uint32_t>(from.size());
  const KeyGroups owned = KeyGroups::of_partition(p, to, key_groups);
  std::vector<StateStep> steps;
  for (std::uint32_t q = 0; q < before; ++q) {
    const KeyGroups was = KeyGroups::of_partition(q, before, key_groups);
    const KeyGroups both{key_groups, std::max(was.begin, owned.begin),
                         std::min(was.end, owned.end)};
    if (both.begin < both.end) split_by_groups(from[q], both, steps);
  }
  if (std::ranges::any_of(steps, &StateStep::is_snapshot)) return steps;
  return in_the_order_of_batches(std::move(steps), owned);
}

}  // namespace

std::optional<std::uint64_t> StateTracker::Partition::version_at(std::uint64_t sequence) const {
  std::optional<std::uint64_t> found;
  const auto after = versions.upper_bound(sequence);
  if (after != versions.begin()) {
    found = std::prev(after)->first;
  } else if (restored_known && restored <= sequence) {
    found = restored;
  }
  return found && *found >= complete_from ? found : std::nullopt;
}

std::vector<StateStep> StateTracker::Partition::steps(std::uint64_t version,
                                                      std::uint64_t expires_after) const {
  std::vector<StateStep> steps;
  const std::uint64_t first =
      expires_after != 0 && version > expires_after ? version - expires_after : 0;
  std::uint64_t after = 0;
  const auto snapshot = snapshots.upper_bound(version);
  if (snapshot != snapshots.begin()) {
    const auto& [sequence, piece] = *std::prev(snapshot);
    steps.push_back({sequence, true, piece});
    after = sequence;
  } else {
    std::ranges::copy_if(restored_steps, std::back_inserter(steps),
                         [&](const StateStep& step) { return step.sequence >= first; });
  }
  for (auto at = versions.upper_bound(after); at != versions.end() && at->first <= version; ++at) {
    if (at->first >= first) steps.push_back({at->first, false, at->second.delta});
  }
  return steps;
}

void StateTracker::Partition::forget_before(std::uint64_t sequence, std::uint64_t expires_after) {
  const std::optional<std::uint64_t> oldest = version_at(sequence);
  if (!oldest) return;
  std::uint64_t needed = 0;  // steps before this are not, for the oldest version
  if (expires_after != 0) {
    needed = *oldest > expires_after ? *oldest - expires_after : 0;
    complete_from = *oldest;
  } else if (const auto after = snapshots.upper_bound(*oldest); after != snapshots.begin()) {
    needed = std::prev(after)->first;
    snapshots.erase(snapshots.begin(), std::prev(after));
  }
  std::erase_if(restored_steps, [&](const StateStep& step) {
    return expires_after != 0 ? step.sequence < needed : needed >= restored && needed != 0;
  });
  versions.erase(versions.begin(), versions.lower_bound(std::min(needed, *oldest)));
  restored_known = restored_known && (needed <= restored || *oldest == restored);
}

void StateTracker::Partition::go_back_to(std::uint64_t sequence, std::uint64_t expires_after) {
  std::optional<std::uint64_t> broken;  // the batch of the first step that cannot be had
  for (const StateStep& step : steps(newest(), expires_after)) {
    if (step.sequence > sequence) broken = std::min(broken.value_or(step.sequence), step.sequence);
  }
  if (!broken) return;
  const std::uint64_t target = *broken - 1;
  snapshots.erase(snapshots.upper_bound(target), snapshots.end());
  versions.erase(versions.upper_bound(target), versions.end());
  complete_from = 0;
  if (!versions.empty() || (restored_known && target >= restored)) return;
  // A chain that begins with a later snapshot has nothing to go back to. (Of what expires, what
  // came before the oldest step that is needed need not be made again.)
  const bool kept =
      expires_after != 0 || (restored_known && !restored_steps.empty() &&
                             std::ranges::none_of(restored_steps, [&](const StateStep& step) {
                               return step.is_snapshot && step.sequence > target;
                             }));
  restored = kept ? target : 0;
  restored_known = true;
  std::erase_if(restored_steps, [&](const StateStep& step) { return step.sequence > restored; });
  if (!kept) snapshots.clear();
}

void StateTracker::Partition::go_back_to_checkpoint() {
  restored = checkpointed;
  restored_known = true;
  restored_steps = checkpointed_steps;
  versions.clear();
  snapshots.clear();
  complete_from = 0;
}

StateTracker::Steps repartitioned(const StateTracker::Steps& from, std::uint32_t to,
                                  std::uint32_t key_groups) {
  StateTracker::Steps steps;
  for (std::uint32_t p = 0; p < to; ++p) steps.push_back(take_over(from, p, to, key_groups));
  return steps;
}

void StateTracker::declare(StateId id, Declaration declaration) {
  const std::scoped_lock lock(mutex_);
  State& state = states_[id];
  state.partitions.resize(declaration.partitions);
  state.declaration = std::move(declaration);
}

void StateTracker::forget(StateId id) {
  const std::scoped_lock lock(mutex_);
  states_.erase(id);
}

void StateTracker::restore(StateId id, std::uint64_t sequence, std::uint32_t partitions,
                           Steps steps, std::uint64_t expires_after) {
  const std::scoped_lock lock(mutex_);
  (void)this->state(id);  // throws
  State& state = states_.at(id);
  if (steps.size() != partitions) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("state {}: {} partitions are to be restored from the steps of {}",
                            state.declaration.name, partitions, steps.size()));
  }
  for (const auto& of_partition : steps) {
    for (const StateStep& step : of_partition) named_.insert(step.piece.file);
  }
  state.newest = sequence;
  const std::uint64_t declared = state.declaration.expires_after;
  if (declared != 0 && expires_after > declared) {
    state.former_expires_after = expires_after;
    state.former_until = sequence + declared;
  }
  const auto wanted = static_cast<std::uint32_t>(state.partitions.size());
  for (std::uint32_t p = 0; p < wanted; ++p) {
    Partition& partition = state.partitions[p];
    Partition fresh;
    fresh.checkpointed = partition.checkpointed;
    fresh.checkpointed_steps = std::move(partition.checkpointed_steps);
    partition = std::move(fresh);
    partition.restored = sequence;
    partition.restored_steps = wanted == partitions
                                   ? std::move(steps[p])
                                   : take_over(steps, p, wanted, state.declaration.key_groups);
  }
}

std::uint64_t StateTracker::expires_after(StateId id, std::uint64_t sequence) const {
  const std::scoped_lock lock(mutex_);
  return state(id).expires_after(sequence);
}

const StateTracker::State& StateTracker::state(StateId id) const {
  const auto found = states_.find(id);
  if (found == states_.end()) {
    throw Error(ErrorCode::kInvalidArgument, fmt::format("state {} was not declared", id));
  }
  return found->second;
}

const StateTracker::Partition& StateTracker::partition(StateId id, std::uint32_t index) const {
  const State& of = state(id);
  if (index >= of.partitions.size()) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("state {} has {} partitions, no partition {}", of.declaration.name,
                            of.partitions.size(), index));
  }
  return of.partitions[index];
}

StateInput StateTracker::input(StateId id, std::uint32_t index, std::uint64_t sequence, bool writes,
                               bool with_history) const {
  const std::scoped_lock lock(mutex_);
  const State& state = this->state(id);
  const Partition& partition = this->partition(id, index);
  StateInput input;
  input.state = id;
  input.partition = index;
  input.sequence = sequence;
  input.groups =
      KeyGroups::of_partition(index, state.declaration.partitions, state.declaration.key_groups);
  input.directory = state.declaration.directory;
  input.fold_to = state.committed;
  input.writes = writes;
  const std::optional<std::uint64_t> base =
      writes && sequence == 0 ? std::nullopt
                              : partition.version_at(writes ? sequence - 1 : sequence);
  if (!base) {
    input.gone = true;
    return input;
  }
  input.base_sequence = *base;
  const auto version = partition.versions.find(*base);
  if (version != partition.versions.end()) input.base_attempt = version->second.attempt;
  input.snapshot = writes && wants_snapshot(state, partition);
  if (with_history) input.history = partition.steps(*base, state.expires_after(*base));
  return input;
}

bool StateTracker::wants_snapshot(const State& state, const Partition& partition) const {
  if (state.declaration.expires_after != 0) return false;
  std::uint64_t deltas = 0;
  std::uint64_t delta_bytes = 0;
  std::uint64_t snapshot_bytes = 0;
  auto version = partition.versions.begin();
  if (!partition.snapshots.empty()) {
    const auto& [sequence, piece] = *partition.snapshots.rbegin();
    snapshot_bytes = piece.length;
    version = partition.versions.upper_bound(sequence);
  } else {
    for (const StateStep& step : partition.restored_steps) {
      deltas += step.is_snapshot ? 0 : 1;
      (step.is_snapshot ? snapshot_bytes : delta_bytes) += step.piece.length;
    }
  }
  for (; version != partition.versions.end(); ++version) {
    ++deltas;
    delta_bytes += version->second.delta.length;
  }
  return deltas >= options_.max_deltas ||
         delta_bytes > std::max(snapshot_bytes, options_.min_snapshot_bytes);
}

std::uint64_t StateTracker::version(StateId id, std::uint32_t index) const {
  const std::scoped_lock lock(mutex_);
  return partition(id, index).newest();
}

std::vector<std::uint32_t> StateTracker::behind(StateId id, std::uint64_t sequence) const {
  const std::scoped_lock lock(mutex_);
  const State& state = this->state(id);
  std::vector<std::uint32_t> behind;
  for (std::uint32_t p = 0; p < state.partitions.size(); ++p) {
    if (state.partitions[p].newest() < sequence) behind.push_back(p);
  }
  return behind;
}

void StateTracker::installed(std::uint64_t attempt, const StateOutput& output) {
  const std::scoped_lock lock(mutex_);
  const auto found = states_.find(output.state);
  if (found == states_.end() || output.partition >= found->second.partitions.size()) return;
  State& state = found->second;
  Partition& partition = state.partitions[output.partition];
  named_.insert(output.delta.file);
  for (const StateStep& snapshot : output.snapshots) named_.insert(snapshot.piece.file);
  named_.erase("");
  if (output.restored_bytes != 0) {
    state.restored_bytes += output.restored_bytes;
    ++state.restored_partitions;
  }
  if (output.sequence == 0 || output.sequence < partition.newest() ||
      partition.version_at(output.sequence - 1) != output.base_sequence) {
    return;
  }
  partition.versions[output.sequence] = {attempt, output.delta};
  state.newest = std::max(state.newest, output.sequence);
  partition.keys = output.keys;
  partition.bytes = output.bytes;
  for (const StateStep& snapshot : output.snapshots) {
    if (snapshot.sequence <= output.sequence) {
      partition.snapshots.emplace(snapshot.sequence, snapshot.piece);
    }
  }
}

void StateTracker::lost(const StateLost& lost) {
  const std::scoped_lock lock(mutex_);
  const auto found = states_.find(lost.state);
  if (found == states_.end() || lost.partition >= found->second.partitions.size()) return;
  Partition& partition = found->second.partitions[lost.partition];
  if (lost.sequence >= partition.newest()) return;
  const bool is_checkpoint =
      partition.versions.empty() && partition.restored == partition.checkpointed;
  partition.go_back_to(lost.sequence, found->second.expires_after(partition.newest()));
  if (partition.newest() < partition.checkpointed && !is_checkpoint) {
    partition.go_back_to_checkpoint();
  }
  ++found->second.lost_partitions;
}

void StateTracker::go_back_to_checkpoint(StateId id) {
  const std::scoped_lock lock(mutex_);
  for (Partition& partition : states_.at(id).partitions) partition.go_back_to_checkpoint();
}

bool StateTracker::has_unread(StateId id) const {
  const std::scoped_lock lock(mutex_);
  return std::ranges::any_of(state(id).partitions, [](const Partition& partition) {
    return partition.versions.empty() && partition.restored_steps != partition.checkpointed_steps;
  });
}

void StateTracker::checkpointed(StateId id, std::uint64_t sequence, Steps steps) {
  const std::scoped_lock lock(mutex_);
  State& state = states_.at(id);
  const auto wanted = static_cast<std::uint32_t>(state.partitions.size());
  if (steps.size() != wanted && !steps.empty()) {
    steps = repartitioned(steps, wanted, state.declaration.key_groups);
  }
  for (std::size_t p = 0; p < steps.size(); ++p) {
    state.partitions[p].checkpointed = sequence;
    state.partitions[p].checkpointed_steps = std::move(steps[p]);
  }
}

void StateTracker::committed(std::uint64_t sequence) {
  const std::scoped_lock lock(mutex_);
  for (auto& [id, state] : states_) {
    state.committed = std::max(state.committed, sequence);
    for (Partition& partition : state.partitions) {
      partition.forget_before(sequence, state.expires_after(sequence));
    }
  }
}

std::vector<StatePiece> StateTracker::deltas(StateId id, std::uint64_t sequence) const {
  const std::scoped_lock lock(mutex_);
  std::vector<StatePiece> deltas;
  for (const Partition& partition : state(id).partitions) {
    const auto version = partition.versions.find(sequence);
    deltas.push_back(version == partition.versions.end() ? StatePiece{} : version->second.delta);
  }
  return deltas;
}

StateTracker::Steps StateTracker::steps(StateId id, std::uint64_t sequence) const {
  const std::scoped_lock lock(mutex_);
  const State& state = this->state(id);
  Steps steps;
  for (const Partition& partition : state.partitions) {
    const auto version = partition.version_at(sequence);
    if (!version) {
      throw Error(ErrorCode::kInternal,
                  fmt::format("version {} of state {} was asked for after it had been given up",
                              sequence, state.declaration.name));
    }
    steps.push_back(partition.steps(*version, state.expires_after(*version)));
  }
  return steps;
}

bool StateTracker::is_whole(StateId id, std::uint64_t sequence) const {
  const std::scoped_lock lock(mutex_);
  const State& state = this->state(id);
  const std::uint64_t wanted = std::min(state.newest, sequence);
  return std::ranges::all_of(
      state.partitions, [&](const Partition& partition) { return partition.newest() >= wanted; });
}

std::vector<std::uint32_t> StateTracker::incomplete(StateId id) const {
  const std::scoped_lock lock(mutex_);
  const State& state = this->state(id);
  std::vector<std::uint32_t> incomplete;
  for (std::uint32_t p = 0; p < state.partitions.size(); ++p) {
    if (state.partitions[p].newest() < state.newest) incomplete.push_back(p);
  }
  return incomplete;
}

std::vector<std::string> StateTracker::take_unused_files() {
  const std::scoped_lock lock(mutex_);
  const std::set<std::string> used = used_files();
  std::vector<std::string> unused;
  std::ranges::set_difference(named_, used, std::back_inserter(unused));
  named_ = used;
  return unused;
}

std::set<std::string> StateTracker::files() const {
  const std::scoped_lock lock(mutex_);
  return used_files();
}

std::set<std::string> StateTracker::used_files() const {
  std::set<std::string> files;
  for (const auto& [id, state] : states_) {
    for (const Partition& partition : state.partitions) {
      for (const StateStep& step : partition.restored_steps) files.insert(step.piece.file);
      for (const StateStep& step : partition.checkpointed_steps) files.insert(step.piece.file);
      for (const auto& [sequence, version] : partition.versions) files.insert(version.delta.file);
      for (const auto& [sequence, piece] : partition.snapshots) files.insert(piece.file);
    }
  }
  files.erase("");
  return files;
}

StateTracker::Totals StateTracker::totals(StateId id) const {
  const std::scoped_lock lock(mutex_);
  const State& state = this->state(id);
  Totals totals;
  totals.name = state.declaration.name;
  for (const Partition& partition : state.partitions) {
    totals.keys += partition.keys;
    totals.bytes += partition.bytes;
  }
  totals.restored_bytes = state.restored_bytes;
  totals.restored_partitions = state.restored_partitions;
  totals.lost_partitions = state.lost_partitions;
  return totals;
}

}  // namespace weir
