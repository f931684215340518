#include "weir/core/task_executor.h"

#include <utility>

#include "weir/core/error.h"
#include "weir/core/hash.h"
#include "weir/core/shared/worker_local.h"
#include "weir/core/stage.h"
#include "weir/core/task_run.h"

namespace weir {
namespace {

/// What a stage counts for beside its serialized size: its nodes. Matters where every batch has
/// stages of its own, with another bound value in them.
constexpr std::size_t kLoadedBytes = 16u << 10;

}  // namespace

TaskExecutor::TaskExecutor(Options options, SegmentFetcher* fetcher, BlockReplicator* replicator)
    : options_(std::move(options)),
      fetcher_(fetcher),
      replicator_(replicator),
      blocks_(options_.store),
      locals_(std::make_unique<internal::WorkerLocals>()) {}

TaskExecutor::~TaskExecutor() = default;

void TaskExecutor::release_locals() { locals_->release(); }

bool TaskExecutor::knows_stage(StageHash hash) const {
  const std::scoped_lock lock(mutex_);
  return stages_.count(hash) != 0;
}

void TaskExecutor::add_stage(const StageProgram& program) { stage(program); }

std::shared_ptr<const LoadedStage> TaskExecutor::stage(const StageProgram& program) {
  {
    const std::scoped_lock lock(mutex_);
    const auto known = stages_.find(program.hash);
    if (known != stages_.end()) {
      known->second.last_use = ++uses_;
      return known->second.stage;
    }
  }
  if (program.bytes.empty()) return nullptr;
  if (hash_bytes(program.bytes.view()) != program.hash) {
    throw Error(ErrorCode::kCorrupt, "a stage's bytes do not match its hash");
  }
  auto loaded = std::make_shared<const LoadedStage>(program.bytes.view());

  const std::scoped_lock lock(mutex_);
  const auto [at, inserted] = stages_.try_emplace(program.hash);
  if (inserted) {
    at->second = {loaded, program.bytes.size() + kLoadedBytes, 0};
    stage_bytes_ += at->second.bytes;
  }
  at->second.last_use = ++uses_;
  while (stage_bytes_ > options_.stage_cache_bytes && stages_.size() > 1) {
    auto oldest = stages_.begin();
    for (auto i = stages_.begin(); i != stages_.end(); ++i) {
      if (i->second.last_use < oldest->second.last_use) oldest = i;
    }
    stage_bytes_ -= oldest->second.bytes;
    stages_.erase(oldest);
  }
  return loaded;
}

std::optional<TaskOutcome> TaskExecutor::run(const TaskSpec& task, Progress& progress,
                                             ResidentHost* host) {
  const SteadyTime start = Clock::system().steady_now();
  internal::TaskRun run(task, {options_, blocks_, states_, *locals_, fetcher_, replicator_},
                        progress, host);
  TaskOutcome outcome;
  try {
    const auto loaded = stage(*task.program);
    if (loaded == nullptr) return std::nullopt;
    Done done = loaded->run(run, task.partition);
    done.stored = run.take_stored();
    done.states = run.take_states();
    done.accumulated = run.accumulated();
    done.metrics = run.metrics();
    done.metrics.bytes_written = done.result.size();
    if (done.output) {
      for (const Segment& segment : done.output->segments) {
        done.metrics.bytes_written += segment.size;
      }
    }
    done.metrics.run_time = Clock::system().steady_now() - start;
    outcome = std::move(done);
  } catch (...) {
    outcome = Failed{describe_current_exception()};
  }
  if (auto signalled = run.signalled()) return std::move(*signalled);
  return outcome;
}

}  // namespace weir
