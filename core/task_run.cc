#include "weir/core/task_run.h"

#include <algorithm>
#include <utility>

#include "weir/core/compression.h"
#include "weir/core/error.h"

namespace weir {
namespace {

thread_local const TaskContext* current_task = nullptr;

}  // namespace

const TaskContext& TaskContext::current() {
  if (current_task == nullptr) {
    throw Error(ErrorCode::kInvalidArgument,
                "TaskContext::current() was called outside a task; only functions that run in "
                "workers have one");
  }
  return *current_task;
}

namespace internal {

TaskRun::TaskRun(const TaskSpec& task, const Worker& worker, TaskExecutor::Progress& progress,
                 ResidentHost* host)
    : TaskContext(task, progress),
      task_(task),
      worker_(worker),
      progress_(progress),
      host_(host),
      outer_(std::exchange(current_task, this)) {}

TaskRun::~TaskRun() { current_task = outer_; }

TaskRun& TaskRun::current() {
  return const_cast<TaskRun&>(static_cast<const TaskRun&>(TaskContext::current()));
}

ResidentHost& TaskRun::host() const {
  if (host_ == nullptr)
    throw Error(ErrorCode::kInternal, "a task that is not resident has no host");
  return *host_;
}

const LeafInput& TaskRun::input(std::uint32_t node, std::uint32_t partition) const {
  for (const LeafInput& input : task_.inputs) {
    if (input.node == node && input.partition == partition) return input;
  }
  if (task_.inputs_withheld) signal(NeedInputs{});
  throw Error(ErrorCode::kInternal, "the task was sent without the input of one of its leaves");
}

const StateInput& TaskRun::state(std::uint32_t node, std::uint32_t partition) const {
  for (const StateInput& input : task_.states) {
    if (input.node == node && input.partition == partition) return input;
  }
  if (task_.inputs_withheld) signal(NeedInputs{});
  throw Error(ErrorCode::kInternal, "the task was sent without the state that it works on");
}

StateLease TaskRun::open_state(const StateInput& input, const StateStore::MakeTable& make_table) {
  auto opened = worker_.states.open(
      input, make_table, [this] { step(); }, progress_.cancelled);
  if (std::holds_alternative<NeedInputs>(opened)) signal(NeedInputs{});
  if (auto* lost = std::get_if<StateLost>(&opened)) signal(std::move(*lost));
  return std::get<StateLease>(std::move(opened));
}

void TaskRun::keep_state(const StateInput& input, const StateLease& base,
                         std::shared_ptr<const StateOverlay> overlay, std::uint64_t keys) {
  step();
  made_.push_back(worker_.states.keep(input, base, task_.attempt, std::move(overlay), keys));
}

const CacheSlot* TaskRun::cached_as(std::uint32_t node) const {
  const auto slot = std::lower_bound(  // the stage was written node by node, so they are in order
      task_.cached.begin(), task_.cached.end(), node,
      [](const CacheSlot& a, std::uint32_t wanted) { return a.node < wanted; });
  return slot != task_.cached.end() && slot->node == node ? &*slot : nullptr;
}

bool TaskRun::updates_state_behind(const CacheSlot& slot, std::uint32_t partition) const {
  return std::ranges::any_of(task_.states, [&](const StateInput& state) {
    if (!state.writes) return false;
    if (state.node == slot.node) return state.partition == partition;
    return std::ranges::binary_search(slot.states, state.node);
  });
}

std::optional<StoredElements> TaskRun::stored_block(std::uint32_t node,
                                                    std::uint32_t partition) const {
  const CacheSlot* slot = cached_as(node);
  if (slot == nullptr || updates_state_behind(*slot, partition)) return std::nullopt;
  return worker_.blocks.block(slot->dataset, partition);
}

void TaskRun::read_segments(const LeafInput& input,
                            const std::function<void(const Bytes&)>& consume) {
  read_segments(input, [&](const HeldBytes& piece, bool) { consume(piece.get()); });
}

void TaskRun::read_segments(const LeafInput& input,
                            const std::function<void(HeldBytes piece, bool is_shared)>& consume) {
  const auto here = [&](const Segment& segment) {
    return segment.inline_data.has_value() || segment.worker == worker_.options.self;
  };
  const auto hand_on = [&](const Segment& segment, HeldBytes piece, bool is_shared) {
    if (!segment.compressed) return consume(std::move(piece), is_shared);
    consume(HeldBytes(decompress(piece.get().view())), false);
  };
  // Runs of segments that are here are read in place; runs that are elsewhere are fetched together,
  // so that later ones travel while earlier ones are consumed.
  const auto& segments = input.segments;
  for (std::size_t i = 0; i < segments.size();) {
    if (is_cancelled()) signal(Cancelled{});
    if (segments[i].size == 0) {
      ++i;
    } else if (here(segments[i])) {
      const Segment& segment = segments[i++];
      if (segment.inline_data) {
        hand_on(segment, HeldBytes(*segment.inline_data), true);
        continue;
      }
      const auto piece =
          worker_.blocks.map_output(input.shuffle, segment.map_partition, input.partition);
      if (!piece) {
        signal(FetchFailed{input.shuffle,
                           segment.worker,
                           {segment.map_partition},
                           "the map output is not in the worker's own store"});
      }
      hand_on(segment, *piece, true);
    } else {
      std::vector<const Segment*> remote;
      for (; i < segments.size() && !here(segments[i]); ++i) {
        if (segments[i].size != 0) remote.push_back(&segments[i]);
      }
      if (worker_.fetcher == nullptr) {
        signal(FetchFailed{input.shuffle,
                           remote[0]->worker,
                           {remote[0]->map_partition},
                           "the map output is in another process"});
      }
      auto failure = worker_.fetcher->fetch(
          input.shuffle, input.partition, remote,
          [&](const Segment& segment, const Bytes& bytes) {
            metrics_.bytes_fetched += segment.size;
            hand_on(segment, HeldBytes(bytes), false);
          },
          progress_.cancelled);
      if (is_cancelled()) signal(Cancelled{});
      if (failure) signal(std::move(*failure));
    }
  }
}

std::optional<Bytes> TaskRun::read_received(const LeafInput& input) {
  const Segment& block = input.segments.at(0);
  if (auto here = worker_.blocks.map_output(input.shuffle, block.map_partition, 0)) {
    return here->get();
  }
  if (block.size == 0) return std::nullopt;
  LeafInput whole = input;
  whole.partition = 0;  // a block is not dealt to reducers
  std::optional<Bytes> read;
  read_segments(whole, [&](const Bytes& bytes) { read = bytes; });
  return read;
}

void TaskRun::count_records(std::size_t records) {
  progress_.records.fetch_add(records, std::memory_order_relaxed);
  step();
}

void TaskRun::step() {
  progress_.steps.fetch_add(1, std::memory_order_relaxed);
  if (is_cancelled()) signal(Cancelled{});
}

void TaskRun::keep_block(std::uint32_t node, std::uint32_t partition, StoredElements elements) {
  const CacheSlot& slot = *cached_as(node);
  StoredBlock stored{slot.dataset, partition, elements.size_bytes(), std::nullopt};
  if (has_replica(slot.level) && worker_.replicator != nullptr) {
    stored.replica = worker_.replicator->copy(slot.dataset, partition, elements, slot.level,
                                              progress_.cancelled);
  }
  const auto kept =
      worker_.blocks.put_block(slot.dataset, partition, std::move(elements), slot.level,
                               progress_.cancelled, updates_state_behind(slot, partition));
  if (kept == BlockStore::Kept::kYes) stored_.push_back(stored);
}

HeldBytes TaskRun::spill(const Bytes& bytes) { return spill(std::vector{HeldBytes(bytes)})[0]; }

std::vector<HeldBytes> TaskRun::spill(const std::vector<HeldBytes>& parts) {
  auto held = weir::spill(worker_.blocks.spill_file(), parts);
  for (const HeldBytes& part : parts) metrics_.bytes_spilled += part.size();
  ++metrics_.spills;
  return held;
}

void TaskRun::keep_map_output(std::uint32_t map_partition, std::vector<HeldBytes> pieces) {
  worker_.blocks.put_map_output(task_.writes_shuffle.value(), map_partition, std::move(pieces),
                                progress_.cancelled);
}

void TaskRun::signal(TaskOutcome outcome) const {
  signalled_ = std::move(outcome);
  throw TaskSignal{};
}

std::vector<AccumulatorUpdate> TaskRun::accumulated() const {
  std::vector<AccumulatorUpdate> updates;
  for (const auto& sum : sums_) updates.push_back({sum->id(), sum->encode()});
  return updates;
}

const void* TaskRun::broadcast(std::uint32_t index, DecodeBroadcast decode) {
  if (broadcasts_.size() <= index) broadcasts_.resize(index + 1);
  std::shared_ptr<const void>& known = broadcasts_[index];
  if (known != nullptr) return known.get();
  const LeafInput& data = input(LeafInput::kFirstBroadcast + index, 0);
  known = worker_.blocks.shared_value(data.shuffle, [&] {
    std::uint64_t size = 0;
    for (const Segment& segment : data.segments) size += segment.size;
    std::string bytes;
    bytes.reserve(size);
    read_segments(data, [&](const Bytes& piece) { bytes += piece.view(); });
    return BlockStore::SharedValue{decode(bytes), size};
  });
  return known.get();
}

TaskMetrics TaskRun::metrics() const {
  TaskMetrics metrics = metrics_;
  metrics.records_read = progress_.records.load(std::memory_order_relaxed);
  return metrics;
}

}  // namespace internal
}  // namespace weir
