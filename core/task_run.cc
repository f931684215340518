#include "weir/core/task_run.h"

#include <algorithm>
#include <utility>

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

TaskRun::TaskRun(const TaskSpec& task, const TaskExecutor::Options& options, BlockStore& blocks,
                 StateStore& states, SegmentFetcher* fetcher, TaskExecutor::Progress& progress,
                 ResidentHost* host)
    : TaskContext(task, progress),
      task_(task),
      options_(options),
      blocks_(blocks),
      states_(states),
      fetcher_(fetcher),
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
  auto opened = states_.open(
      input, make_table, [this] { step(); }, progress_.cancelled);
  if (std::holds_alternative<NeedInputs>(opened)) signal(NeedInputs{});
  if (auto* lost = std::get_if<StateLost>(&opened)) signal(std::move(*lost));
  return std::get<StateLease>(std::move(opened));
}

void TaskRun::keep_state(const StateInput& input, const StateLease& base,
                         std::shared_ptr<const StateOverlay> overlay, std::uint64_t keys) {
  step();
  made_.push_back(states_.keep(input, base, task_.attempt, std::move(overlay), keys));
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

std::shared_ptr<const Block> TaskRun::stored_block(std::uint32_t node,
                                                   std::uint32_t partition) const {
  const CacheSlot* slot = cached_as(node);
  if (slot == nullptr || updates_state_behind(*slot, partition)) return nullptr;
  return blocks_.block(slot->dataset, partition);
}

void TaskRun::read_segments(const LeafInput& input,
                            const std::function<void(const Bytes&)>& consume) {
  const auto here = [&](const Segment& segment) {
    return segment.inline_data.has_value() || segment.worker == options_.self;
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
        consume(*segment.inline_data);
        continue;
      }
      const auto piece = blocks_.map_output(input.shuffle, segment.map_partition, input.partition);
      if (!piece) {
        signal(FetchFailed{input.shuffle,
                           segment.worker,
                           {segment.map_partition},
                           "the map output is not in the worker's own store"});
      }
      consume(*piece);
    } else {
      std::vector<const Segment*> remote;
      for (; i < segments.size() && !here(segments[i]); ++i) {
        if (segments[i].size != 0) remote.push_back(&segments[i]);
      }
      if (fetcher_ == nullptr) {
        signal(FetchFailed{input.shuffle,
                           remote[0]->worker,
                           {remote[0]->map_partition},
                           "the map output is in another process"});
      }
      auto failure = fetcher_->fetch(
          input.shuffle, input.partition, remote,
          [&](const Segment& segment, const Bytes& bytes) {
            bytes_fetched_ += segment.size;
            consume(bytes);
          },
          progress_.cancelled);
      if (is_cancelled()) signal(Cancelled{});
      if (failure) signal(std::move(*failure));
    }
  }
}

std::optional<Bytes> TaskRun::read_received(const LeafInput& input) {
  const Segment& block = input.segments.at(0);
  if (auto here = blocks_.map_output(input.shuffle, block.map_partition, 0)) return here;
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

void TaskRun::keep_block(std::uint32_t node, std::uint32_t partition,
                         std::shared_ptr<const Block> block) {
  const CacheSlot& slot = *cached_as(node);
  const std::uint64_t size = block->size_bytes();
  if (!blocks_.put_block(slot.dataset, partition, std::move(block), progress_.cancelled,
                         updates_state_behind(slot, partition))) {
    return;
  }
  stored_.push_back({slot.dataset, partition, size});
}

void TaskRun::keep_map_output(std::uint32_t map_partition, std::vector<Bytes> pieces) {
  blocks_.put_map_output(task_.writes_shuffle.value(), map_partition, std::move(pieces),
                         progress_.cancelled);
}

void TaskRun::signal(TaskOutcome outcome) const {
  signalled_ = std::move(outcome);
  throw TaskSignal{};
}

TaskMetrics TaskRun::metrics() const {
  return {progress_.records.load(std::memory_order_relaxed), bytes_fetched_, {}};
}

}  // namespace internal
}  // namespace weir
