#include "weir/core/state/state_store.h"

#include <sys/resource.h>
#include <unistd.h>

#include <csignal>

#include <fmt/format.h>

#include "weir/core/crash_point.h"
#include "weir/core/error.h"
#include "weir/core/log.h"

namespace weir {

using internal::StateLine;
using internal::StateVersion;

StateLease::StateLease(std::shared_ptr<StateLine> line, StateLine::Overlays overlays)
    : line_(std::move(line)), overlays_(std::move(overlays)) {
  for (const auto& overlay : overlays_) pointers_.push_back(overlay.get());
}

StateLease::~StateLease() {
  if (line_ != nullptr) line_->end_reading();
}

std::uint64_t StateLease::bytes() const {
  std::uint64_t bytes = line_->table().bytes();
  for (const auto& overlay : overlays_) bytes += overlay->bytes();
  return bytes;
}

StateStore::StateStore(Options options)
    : options_(std::move(options)), changelog_(options_.files, options_.changelog_bytes) {}

StateStore::~StateStore() {
  {
    const std::scoped_lock lock(mutex_);
    stopping_.store(true);
  }
  changed_.notify_all();
}

std::variant<StateLease, NeedInputs, StateLost> StateStore::open(
    const StateInput& input, const MakeTable& make_table, const std::function<void()>& step,
    const std::atomic<bool>& cancelled) {
  if (input.gone) {
    throw Error(ErrorCode::kDataLoss,
                fmt::format("the state that batch {} began with is no longer kept: a persisted "
                            "dataset of a batch so old was lost and cannot be made again",
                            input.sequence));
  }
  const Key key{input.state, input.partition};
  const StateVersion base{input.base_sequence, input.base_attempt};
  if (auto line = find(key); line != nullptr && line->groups() == input.groups) {
    if (auto overlays = line->begin_reading(base, input.fold_to)) {
      StateLease lease(std::move(line), std::move(*overlays));
      if (input.snapshot) begin_snapshot(input, lease.line_);
      return lease;
    }
  }
  if (input.withheld) return NeedInputs{};

  const SteadyTime start = Clock::system().steady_now();
  auto restored = restore_state(options_.files, input, make_table, step);
  if (auto* lost = std::get_if<StateLost>(&restored)) return std::move(*lost);
  auto& [table, bytes] = std::get<internal::RestoredState>(restored);
  if (bytes != 0) WEIR_CRASH_POINT("state.restored");
  auto line = std::make_shared<StateLine>(input.groups, std::move(table), base);
  {
    const std::scoped_lock lock(mutex_);
    const auto found = lines_.find(key);
    const auto kept = found == lines_.end() ? nullptr : found->second;
    // A version that the driver has left behind is for this task only.
    const bool too_old =
        kept != nullptr && base.sequence < input.fold_to && kept->is_past(base.sequence);
    if (!too_old && !cancelled.load()) {
      if (kept != nullptr) kept->abandon();
      lines_[key] = line;
    }
  }
  auto overlays = line->begin_reading(base, 0).value();
  StateLease lease(std::move(line), std::move(overlays));
  lease.restored_bytes_ = bytes;
  if (bytes != 0) lease.restore_time_ = Clock::system().steady_now() - start;
  if (input.snapshot) begin_snapshot(input, lease.line_);
  return lease;
}

StateOutput StateStore::keep(const StateInput& input, const StateLease& base, AttemptId attempt,
                             std::shared_ptr<const internal::StateOverlay> overlay,
                             std::uint64_t keys) {
  SlimWriter delta;
  overlay->write(delta);
  StateOutput output;
  output.state = input.state;
  output.partition = input.partition;
  output.sequence = input.sequence;
  output.base_sequence = input.base_sequence;
  output.delta = changelog_.append(input.directory, delta.view());
  output.keys = keys;
  output.bytes = base.bytes() + overlay->bytes();
  output.restored_bytes = base.restored_bytes_;
  output.restore_microseconds = base.restore_time_.count();
  base.line_->add({input.sequence, attempt}, {input.base_sequence, input.base_attempt},
                  std::move(overlay));
  output.snapshots = base.line_->report_snapshots(attempt);
  return output;
}

void StateStore::release(StateId state) {
  const std::scoped_lock lock(mutex_);
  auto at = lines_.lower_bound({state, 0});
  while (at != lines_.end() && at->first.first == state) {
    at->second->abandon();
    at = lines_.erase(at);
  }
}

std::shared_ptr<StateLine> StateStore::find(const Key& key) const {
  const std::scoped_lock lock(mutex_);
  const auto found = lines_.find(key);
  return found == lines_.end() ? nullptr : found->second;
}

void StateStore::begin_snapshot(const StateInput& input, const std::shared_ptr<StateLine>& line) {
  const auto sequence = line->begin_snapshot();
  if (!sequence) return;
  {
    const std::scoped_lock lock(mutex_);
    snapshots_.push_back({line, *sequence, input.directory,
                          fmt::format("state {}, partition {}", input.state, input.partition),
                          nullptr, line->groups().begin});
    if (!options_.on_callers_thread && !snapshot_thread_.joinable()) {
      snapshot_thread_ = std::jthread([this] { write_snapshots(); });
    }
  }
  changed_.notify_all();
}

void StateStore::write_snapshots() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);  // signals are for the program's own threads
  constexpr int kNice = 10;
  setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kNice);  // of this thread only
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return stopping_.load() || !snapshots_.empty(); });
    if (stopping_.load()) return;
    Snapshot snapshot = std::move(snapshots_.front());
    snapshots_.pop_front();
    writing_ = true;
    lock.unlock();
    while (write_group_of(snapshot)) {
    }
    lock.lock();
    writing_ = false;
    changed_.notify_all();
  }
}

/// Returns whether there is more to do.
bool StateStore::write_group_of(Snapshot& snapshot) {
  std::optional<StateStep> finished;
  try {
    if (!stopping_.load() && !snapshot.line->abandoned()) {
      finished = write_group_or_finish(snapshot);
      if (!finished) return true;
    }
  } catch (...) {
    log_warning("a snapshot of " + snapshot.what +
                " was not written, its deltas go on: " + describe_current_exception());
  }
  const bool is_whole = finished.has_value();
  snapshot.file.reset();
  snapshot.line->end_snapshot(std::move(finished));
  if (is_whole) WEIR_CRASH_POINT("state.snapshot-written");
  return false;
}

std::optional<StateStep> StateStore::write_group_or_finish(Snapshot& snapshot) {
  if (snapshot.file == nullptr) {
    snapshot.file = std::make_unique<internal::SnapshotWriter>(options_.files, snapshot.directory);
  }
  if (snapshot.next_group == snapshot.line->groups().end) {
    return StateStep{snapshot.sequence, true, snapshot.file->finish()};
  }
  snapshot.bytes.clear();
  snapshot.line->table().write_group(snapshot.next_group, snapshot.bytes);
  snapshot.file->add(snapshot.next_group++, snapshot.bytes.view());
  return std::nullopt;
}

bool StateStore::write_snapshot_group() {
  if (snapshots_.empty()) return false;
  if (!write_group_of(snapshots_.front())) snapshots_.pop_front();
  return true;
}

void StateStore::finish_snapshots() {
  while (options_.on_callers_thread && write_snapshot_group()) {
  }
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return snapshots_.empty() && !writing_; });
}

}  // namespace weir
