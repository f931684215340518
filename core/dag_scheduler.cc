#include "weir/core/dag_scheduler.h"

#include <algorithm>

#include <fmt/format.h>

#include "weir/core/hash.h"

namespace weir {

using internal::LeafNeed;
using internal::StateNeed;

namespace {

std::uint64_t content_hash(const MapOutput& output) {
  std::uint64_t hash = 1;
  for (const Segment& segment : output.segments) {
    const std::uint64_t part[] = {hash, segment.size, segment.size == 0 ? 0 : segment.hash};
    hash = hash_bytes({reinterpret_cast<const char*>(part), sizeof part});
  }
  return hash;
}

/// Whether the output can be had without its worker.
bool survives_worker(const MapOutput& output) {
  return std::all_of(output.segments.begin(), output.segments.end(), [](const Segment& segment) {
    return segment.size == 0 || segment.inline_data.has_value();
  });
}

}  // namespace

void DagScheduler::Shuffle::plan(const internal::StagePlan& stage) {
  if (std::exchange(planned, true)) return;
  outputs.resize(stage.partitions.size());
  content.resize(outputs.size());
  missing = outputs.size();
  for (const auto& needs : stage.needs) {
    for (const LeafNeed& need : needs) {
      if (need.input.is_shuffle && std::ranges::count(reads, need.input.shuffle) == 0) {
        reads.push_back(need.input.shuffle);
      }
    }
  }
}

void DagScheduler::Shuffle::forget(std::size_t map_task) {
  if (!outputs[map_task]) return;
  outputs[map_task].reset();
  ++missing;
}

void DagScheduler::Shuffle::forget_outputs() {
  for (std::size_t i = 0; i < outputs.size(); ++i) forget(i);
}

DagScheduler::Actions DagScheduler::submit(JobId id, internal::JobPlan plan) {
  Job job;
  for (internal::StagePlan& stage_plan : plan.stages) {
    Stage& stage = job.stages.emplace_back();
    stage.plan = std::move(stage_plan);
    stage.tasks.resize(stage.plan.partitions.size());
    if (stage.plan.writes) shuffles_[*stage.plan.writes].plan(stage.plan);
  }
  plan.stages.clear();
  job.plan = std::move(plan);
  if (!job.stages.back().plan.writes) job.results.resize(job.stages.back().tasks.size());
  const bool empty = job.stages.back().tasks.empty();
  jobs_.emplace(id, std::move(job));
  Actions actions;
  if (empty) {
    end(id, JobSucceeded{id, {}}, actions);
  } else {
    advance(id, actions);
  }
  return actions;
}

DagScheduler::Actions DagScheduler::cancel(JobId id, const std::string& reason) {
  Actions actions;
  fail(id, ErrorCode::kCancelled, reason, actions);
  return actions;
}

DagScheduler::Actions DagScheduler::on_failure(const std::string& reason) {
  Actions actions;
  for (const auto& [id, job] : std::exchange(jobs_, {})) {
    cancel_attempts(job, actions);
    actions.emplace_back(JobFailed{id, ErrorCode::kUnreachable, reason});
  }
  return actions;
}

DagScheduler::Actions DagScheduler::on_worker_lost(WorkerId worker) {
  for (auto& [id, shuffle] : shuffles_) {
    for (std::size_t i = 0; i < shuffle.outputs.size(); ++i) {
      const auto& output = shuffle.outputs[i];
      if (output && output->worker == worker && !survives_worker(*output)) shuffle.forget(i);
    }
  }
  for (auto at = stored_.begin(); at != stored_.end();) {
    at->second.erase(worker);
    at = at->second.empty() ? stored_.erase(at) : std::next(at);
  }
  std::erase_if(holders_, [&](const auto& held) { return held.second.worker == worker; });
  workers_.erase(worker);
  Actions actions;
  advance_all(actions);
  return actions;
}

void DagScheduler::release_dataset(DatasetId dataset) {
  const auto from = stored_.lower_bound({dataset, 0});
  const auto to = stored_.lower_bound({dataset + 1, 0});
  stored_.erase(from, to);
}

void DagScheduler::release_state(StateId state) {
  std::erase_if(holders_, [&](const auto& held) { return held.first.first == state; });
  last_move_.erase(state);
}

void DagScheduler::advance_all(Actions& actions) {
  std::vector<JobId> ids;
  for (const auto& [id, job] : jobs_) ids.push_back(id);
  for (const JobId id : ids) advance(id, actions);
}

void DagScheduler::advance(JobId id, Actions& actions) {
  const auto found = jobs_.find(id);
  if (found == jobs_.end()) return;
  if (!found->second.lost_state.empty()) {
    const bool runs = std::ranges::any_of(found->second.stages, [](const Stage& stage) {
      return std::ranges::count(stage.tasks, Task::State::kRunning, &Task::state) != 0;
    });
    if (!runs) fail(id, ErrorCode::kStateLost, std::string(found->second.lost_state), actions);
    return;
  }
  Job& job = found->second;
  if (const auto wanted = job.stages.back().plan.writes; wanted) {
    const auto shuffle = shuffles_.find(*wanted);
    if (shuffle != shuffles_.end() && shuffle->second.is_made()) {
      return end(id, JobSucceeded{id, {}}, actions);
    }
  }
  std::set<std::size_t> visited;
  require(id, job, job.stages.size() - 1, visited, actions);
}

/// Launches every waiting task of the stage whose inputs are there, and requires the stages that
/// make the inputs which are not.
void DagScheduler::require(JobId id, Job& job, std::size_t at, std::set<std::size_t>& visited,
                           Actions& actions) {
  if (!visited.insert(at).second) return;
  Stage& stage = job.stages[at];
  if (stage.plan.writes) {  // outputs may have come from other jobs, or been lost
    Shuffle& shuffle = shuffles_[*stage.plan.writes];
    shuffle.plan(stage.plan);  // it may have been released meanwhile
    for (std::size_t i = 0; i < stage.tasks.size(); ++i) {
      Task& task = stage.tasks[i];
      if (task.state == Task::State::kRunning) continue;
      enter(stage, task, shuffle.outputs[i] ? Task::State::kDone : Task::State::kWaiting);
    }
  }
  std::vector<const Stage*> elsewhere;
  if (stage.plan.writes) elsewhere = same_stage_elsewhere(id, *stage.plan.writes);
  std::vector<ShuffleId> missing;
  for (std::size_t i = 0; i < stage.tasks.size(); ++i) {
    if (stage.tasks[i].state != Task::State::kWaiting) continue;
    const bool is_being_made = std::ranges::any_of(elsewhere, [&](const Stage* same) {
      return same->tasks[i].state == Task::State::kRunning;
    });
    if (is_being_made) continue;
    if (inputs_ready(stage, i, missing)) launch(id, job, at, i, actions);
  }
  std::sort(missing.begin(), missing.end());
  missing.erase(std::unique(missing.begin(), missing.end()), missing.end());
  for (const ShuffleId shuffle : missing) {
    require(id, job, stage_writing(job, shuffle), visited, actions);
  }
}

/// Of other jobs.
std::vector<const DagScheduler::Stage*> DagScheduler::same_stage_elsewhere(JobId id,
                                                                           ShuffleId writes) const {
  std::vector<const Stage*> found;
  for (const auto& [other, job] : jobs_) {
    if (other == id) continue;
    for (const Stage& stage : job.stages) {
      if (stage.plan.writes == writes) found.push_back(&stage);
    }
  }
  return found;
}

bool DagScheduler::inputs_ready(const Stage& stage, std::size_t i,
                                std::vector<ShuffleId>& missing) const {
  bool ready = true;
  for (const LeafNeed& need : stage.plan.needs[i]) {
    if (!need.input.is_shuffle) continue;
    if (stage.tasks[i].withhold && need.behind && is_stored(*need.behind)) continue;
    const auto shuffle = shuffles_.find(need.input.shuffle);
    if (shuffle != shuffles_.end() && shuffle->second.is_made()) continue;
    ready = false;
    missing.push_back(need.input.shuffle);
  }
  return ready;
}

void DagScheduler::launch(JobId id, Job& job, std::size_t at, std::size_t i, Actions& actions) {
  Stage& stage = job.stages[at];
  Task& task = stage.tasks[i];
  if (!std::exchange(stage.submitted, true)) {
    const auto waiting = std::count_if(stage.tasks.begin(), stage.tasks.end(), [](const Task& t) {
      return t.state == Task::State::kWaiting;
    });
    actions.emplace_back(StageSubmitted{id,
                                        static_cast<std::uint32_t>(at),
                                        stage.plan.name,
                                        static_cast<std::uint32_t>(waiting),
                                        stage.completed_before,
                                        {}});
  }
  enter(stage, task, Task::State::kRunning);
  task.attempt = ++last_attempt_;
  ++task.attempts;
  task.copy = 0;
  task.running_since.reset();
  attempts_[task.attempt] = {id, at, i};

  TaskSpec spec;
  spec.attempt = task.attempt;
  spec.job = id;
  spec.stage = static_cast<std::uint32_t>(at);
  spec.partition = stage.plan.partitions[i];
  spec.attempt_number = task.attempts;
  spec.program = stage.plan.program;
  spec.cached = stage.plan.cached;
  spec.writes_shuffle = stage.plan.writes;
  spec.hash_seed = job.plan.hash_seed;
  spec.batch = job.plan.batch;
  spec.batch_time = job.plan.batch_time;
  spec.job_bytes = job.plan.job_bytes;
  std::map<WorkerId, std::size_t> holders;
  for (const LeafNeed& need : stage.plan.needs[i]) {
    if (task.withhold && need.behind && is_stored(*need.behind)) {
      spec.inputs_withheld = true;
      for (const WorkerId worker : stored_.at(*need.behind)) ++holders[worker];
      continue;
    }
    LeafInput& input = spec.inputs.emplace_back(need.input);
    if (!input.is_shuffle) continue;
    for (const auto& output : shuffles_.at(input.shuffle).outputs) {
      input.segments.push_back(output->segments.at(input.partition));
    }
  }
  for (const auto& [worker, blocks] : holders) spec.preferred.push_back(worker);
  std::stable_sort(spec.preferred.begin(), spec.preferred.end(),
                   [&](WorkerId a, WorkerId b) { return holders.at(a) > holders.at(b); });
  if (!stage.plan.states.empty()) add_states(stage, i, spec);
  actions.emplace_back(Launch{std::move(spec)});
}

DagScheduler::Actions DagScheduler::on_outcome(AttemptId attempt, WorkerId worker,
                                               TaskOutcome outcome) {
  Actions actions;
  const auto found = attempts_.find(attempt);
  if (found == attempts_.end()) return actions;
  const auto [id, at, i] = found->second;
  attempts_.erase(found);
  Job& job = jobs_.at(id);
  Stage& stage = job.stages[at];
  Task& task = stage.tasks[i];
  enter(stage, task, Task::State::kWaiting);

  TaskEnded ended{id,
                  static_cast<std::uint32_t>(at),
                  stage.plan.partitions[i],
                  task.attempts,
                  worker,
                  stage.plan.writes.has_value(),
                  {},
                  {}};
  if (const auto* done = std::get_if<Done>(&outcome);
      done != nullptr && stage.plan.writes &&
      (!done->output || done->output->segments.size() != stage.plan.reducers)) {
    outcome = Failed{"the map task's output has another number of pieces than it should"};
  }
  ended.is_copy = attempt == task.copy;
  if (end_one_of_two(id, at, i, attempt, outcome, actions)) {
    if (const auto* failed = std::get_if<Failed>(&outcome)) ended.failure = failed->message;
    if (const auto* lost = std::get_if<AttemptLost>(&outcome)) ended.failure = lost->message;
    if (!ended.failure.empty()) actions.emplace_back(std::move(ended));
    return actions;
  }
  if (auto* done = std::get_if<Done>(&outcome)) {
    ended.metrics = done->metrics;
    stage.metrics += done->metrics;
    if (options_.speculation) stage.run_times.push_back(done->metrics.run_time);
    actions.emplace_back(std::move(ended));
    on_done(id, at, i, attempt, worker, std::move(*done), actions);
  } else if (const auto* failed = std::get_if<Failed>(&outcome)) {
    ended.failure = failed->message;
    actions.emplace_back(std::move(ended));
    if (++task.failures >= options_.max_failures) {
      fail(id, ErrorCode::kJobFailed,
           fmt::format("{} failed {} times, the last time on worker {}: {}", describe(job, at, i),
                       task.failures, to_string(worker), failed->message),
           actions);
    } else {
      retry(id, at, i, actions);
    }
  } else if (const auto* lost = std::get_if<AttemptLost>(&outcome)) {
    ended.failure = lost->message;
    actions.emplace_back(std::move(ended));
    const std::uint32_t count = lost->blame ? ++task.failures : ++task.losses;
    if (count >= (lost->blame ? options_.max_failures : options_.max_losses)) {
      fail(id, ErrorCode::kJobFailed,
           fmt::format("{} {} {} times, the last time worker {}: {}", describe(job, at, i),
                       lost->blame ? "took its worker down"
                                   : "lost its worker, by no known fault of its own,",
                       count, to_string(worker), lost->message),
           actions);
    } else {
      retry(id, at, i, actions);
    }
  } else if (const auto* fetch = std::get_if<FetchFailed>(&outcome)) {
    ended.failure = "could not fetch map output: " + fetch->message;
    actions.emplace_back(std::move(ended));
    forget_outputs(*fetch);
    if (++task.fetch_failures >= options_.max_fetch_failures) {
      fail(id, ErrorCode::kJobFailed,
           fmt::format("{} could not fetch its input {} times, the last time: {}",
                       describe(job, at, i), task.fetch_failures, fetch->message),
           actions);
    } else {
      advance(id, actions);
    }
  } else if (std::holds_alternative<NeedInputs>(outcome)) {
    task.withhold = false;
    advance(id, actions);
  } else if (const auto* state = std::get_if<StateLost>(&outcome)) {
    ended.failure = state->message;
    actions.emplace_back(std::move(ended));
    on_state_lost(id, at, i, *state, actions);
  } else {  // Cancelled, though the task is still wanted
    retry(id, at, i, actions);
  }
  if (const auto still = jobs_.find(id);
      still != jobs_.end() && !still->second.lost_state.empty()) {
    advance(id, actions);
  }
  return actions;
}

/// Map outputs that could not be had.
void DagScheduler::forget_outputs(const FetchFailed& failed) {
  const auto shuffle = shuffles_.find(failed.shuffle);
  if (shuffle == shuffles_.end()) return;
  for (const std::uint32_t p : failed.map_partitions) {
    const auto& outputs = shuffle->second.outputs;
    if (p >= outputs.size() || !outputs[p] || outputs[p]->worker != failed.worker) continue;
    shuffle->second.forget(p);
  }
}

/// If the task has another attempt: a result cancels that one, and is to be dealt with; else the
/// other one goes on (true), and what happened to this one is only counted.
bool DagScheduler::end_one_of_two(JobId id, std::size_t at, std::size_t i, AttemptId ended,
                                  const TaskOutcome& outcome, Actions& actions) {
  Stage& stage = jobs_.at(id).stages[at];
  Task& task = stage.tasks[i];
  if (task.copy == 0) return false;
  const AttemptId other = ended == task.copy ? task.attempt : task.copy;
  task.copy = 0;
  if (std::holds_alternative<Done>(outcome)) {
    attempts_.erase(other);
    actions.emplace_back(Cancel{other});
    return false;
  }
  task.attempt = other;
  enter(stage, task, Task::State::kRunning);
  if (const auto* fetch = std::get_if<FetchFailed>(&outcome)) forget_outputs(*fetch);
  const auto* lost = std::get_if<AttemptLost>(&outcome);
  if (std::holds_alternative<Failed>(outcome) || (lost != nullptr && lost->blame)) {
    task.failures = std::min(task.failures + 1, options_.max_failures - 1);  // the other decides
  }
  return true;
}

DagScheduler::Actions DagScheduler::speculate(SteadyTime now, std::uint32_t slots) {
  Actions actions;
  for (auto& [id, job] : jobs_) {
    for (std::size_t at = 0; at < job.stages.size(); ++at) {
      Stage& stage = job.stages[at];
      if (stage.plan.has_effects || !stage.plan.states.empty() || stage.run_times.empty()) continue;
      const auto enough = options_.speculation_quantile * static_cast<double>(stage.tasks.size());
      if (static_cast<double>(stage.done) < enough) continue;
      std::vector<Duration> times = stage.run_times;
      const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
      std::nth_element(times.begin(), middle, times.end());
      const auto limit =
          std::max(options_.speculation_least,
                   std::chrono::duration_cast<Duration>(*middle * options_.speculation_multiplier));
      for (std::size_t i = 0; i < stage.tasks.size(); ++i) {
        if (attempts_.size() >= slots) return actions;  // tasks may wait for a slot
        Task& task = stage.tasks[i];
        if (task.state != Task::State::kRunning || task.copy != 0) continue;
        if (!task.running_since) task.running_since = now;
        if (now - *task.running_since <= limit) continue;
        const AttemptId first = task.attempt;
        launch(id, job, at, i, actions);
        std::get<Launch>(actions.back()).task.copy_of = first;
        task.copy = std::exchange(task.attempt, first);
      }
    }
  }
  return actions;
}

void DagScheduler::retry(JobId id, std::size_t at, std::size_t i, Actions& actions) {
  Job& job = jobs_.at(id);
  std::vector<ShuffleId> missing;
  if (job.lost_state.empty() && inputs_ready(job.stages[at], i, missing)) {
    launch(id, job, at, i, actions);
  } else {
    advance(id, actions);
  }
}

/// The versions that the task works on. They decide where it runs: moving one costs more than
/// moving blocks.
void DagScheduler::add_states(const Stage& stage, std::size_t i, TaskSpec& spec) {
  const bool withhold = stage.tasks[i].withhold;
  for (const StateNeed& need : stage.plan.states[i]) {
    if (withhold && need.behind && is_stored(*need.behind)) continue;
    StateInput& input = spec.states.emplace_back(need.input);
    const auto holder = holders_.find({input.state, input.partition});
    if (holder == holders_.end()) continue;
    const WorkerId held_by = holder->second.worker;
    if (!std::exchange(spec.sticky, true)) {  // else it goes where another state of it is
      const WorkerId wanted = move_to(need, held_by).value_or(held_by);
      std::erase(spec.preferred, wanted);
      spec.preferred.insert(spec.preferred.begin(), wanted);
    }
    input.withheld = withhold && spec.preferred.front() == held_by;
  }
}

/// The worker that a partition moves to, if its holder has more than its share of the state's
/// partitions and another one less: it died and came back, say.
std::optional<WorkerId> DagScheduler::move_to(const StateNeed& need, WorkerId holder) {
  if (!need.input.writes || workers_.size() < 2) return std::nullopt;
  const auto last = last_move_.find(need.input.state);
  if (last != last_move_.end() && last->second >= need.input.sequence) return std::nullopt;
  std::map<WorkerId, std::size_t> held;
  for (const WorkerId worker : workers_) held[worker] = 0;
  for (auto at = holders_.lower_bound({need.input.state, 0});
       at != holders_.end() && at->first.first == need.input.state; ++at) {
    ++held[at->second.worker];
  }
  const std::size_t least = need.partitions / workers_.size();
  const std::size_t most = (need.partitions + workers_.size() - 1) / workers_.size();
  if (held[holder] <= most) return std::nullopt;
  const auto fewest =
      std::ranges::min_element(held, {}, [](const auto& worker) { return worker.second; });
  if (fewest->second >= least) return std::nullopt;
  last_move_[need.input.state] = need.input.sequence;
  return fewest->first;
}

void DagScheduler::on_state_lost(JobId id, std::size_t at, std::size_t i, const StateLost& lost,
                                 Actions& actions) {
  holders_.erase({lost.state, lost.partition});
  actions.emplace_back(StateVersionLost{lost});
  Job& job = jobs_.at(id);
  if (!job.lost_state.empty()) return;
  job.lost_state =
      fmt::format("{}: the state that it works on is lost: {}", describe(job, at, i), lost.message);
}

void DagScheduler::on_done(JobId id, std::size_t at, std::size_t i, AttemptId attempt,
                           WorkerId worker, Done done, Actions& actions) {
  for (StateOutput& output : done.states) {
    Holder& holder = holders_[{output.state, output.partition}];
    if (output.sequence >= holder.sequence) holder = {worker, output.sequence};
    actions.emplace_back(StateInstalled{attempt, std::move(output)});
  }
  for (const StoredBlock& block : done.stored) {
    std::set<WorkerId>& holders = stored_[{block.dataset, block.partition}];
    holders.insert(worker);
    if (block.replica) holders.insert(*block.replica);
  }
  Job& job = jobs_.at(id);
  Stage& stage = job.stages[at];
  if (!done.accumulated.empty() && is_first_result(stage, i)) {
    actions.emplace_back(Accumulated{id, static_cast<std::uint32_t>(at), stage.plan.partitions[i],
                                     worker, std::move(done.accumulated)});
  }
  enter(stage, stage.tasks[i], Task::State::kDone);
  if (stage.plan.writes) {
    Shuffle& shuffle = shuffles_[*stage.plan.writes];
    const bool released_meanwhile = !shuffle.planned;
    shuffle.plan(stage.plan);
    register_output(*stage.plan.writes, i, std::move(done.output.value()), actions);
    if (jobs_.count(id) == 0) return;  // other content than before, after effects
    if (shuffle.missing != 0) {
      if (released_meanwhile) advance_all(actions);
      return;
    }
    if (std::exchange(stage.submitted, false)) {
      stage.completed_before = true;
      actions.emplace_back(completed(id, at, stage));
    }
    advance_all(actions);
    return;
  }
  job.results[i] = std::move(done.result);
  if (stage.done < stage.tasks.size()) return;
  actions.emplace_back(completed(id, at, stage));
  end(id, JobSucceeded{id, std::move(job.results)}, actions);
}

StageCompleted DagScheduler::completed(JobId id, std::size_t at, Stage& stage) {
  return {id, static_cast<std::uint32_t>(at), std::exchange(stage.metrics, {}), {}};
}

/// Whether what the task made is made for the first time: a lost map output that is made anew is
/// not, nor is a result that is computed again.
bool DagScheduler::is_first_result(Stage& stage, std::size_t i) {
  if (!stage.plan.writes) return !std::exchange(stage.tasks[i].counted, true);
  const auto shuffle = shuffles_.find(*stage.plan.writes);
  return shuffle == shuffles_.end() || !shuffle->second.planned || shuffle->second.content[i] == 0;
}

void DagScheduler::register_output(ShuffleId id, std::size_t map_task, MapOutput output,
                                   Actions& actions) {
  const auto found = shuffles_.find(id);
  if (found == shuffles_.end() || map_task >= found->second.outputs.size()) return;
  Shuffle& shuffle = found->second;
  const std::uint64_t content = content_hash(output);
  if (!shuffle.outputs[map_task]) --shuffle.missing;
  shuffle.outputs[map_task] = std::move(output);
  const std::uint64_t before = std::exchange(shuffle.content[map_task], content);
  if (before != 0 && before != content) restart_consumers(id, actions);
}

/// Undoes what was made of a shuffle's output that has changed: nothing may mix the two.
void DagScheduler::restart_consumers(ShuffleId shuffle, Actions& actions) {
  for (auto& [id, made] : shuffles_) {  // in earlier jobs too
    if (std::ranges::count(made.reads, shuffle) != 0) made.forget_outputs();
  }
  std::vector<std::pair<JobId, const char*>> failed;
  for (auto& [id, job] : jobs_) {
    for (Stage& stage : job.stages) {
      for (std::size_t i = 0; i < stage.tasks.size(); ++i) {
        const auto need = std::ranges::find_if(stage.plan.needs[i], [&](const LeafNeed& each) {
          return each.input.is_shuffle && each.input.shuffle == shuffle;
        });
        if (need == stage.plan.needs[i].end()) continue;
        Task& task = stage.tasks[i];
        if (task.withhold && need->behind && is_stored(*need->behind)) {
          failed.emplace_back(id, "from which persisted elements were made (unpersist them)");
        } else if (task.state != Task::State::kWaiting && stage.plan.has_effects) {
          failed.emplace_back(id, "that tasks with effects already consumed");
        } else {
          restart(stage, task, actions);
        }
      }
    }
  }
  for (const auto& [id, which] : failed) {
    fail(id, ErrorCode::kJobFailed,
         fmt::format("a recomputed map output differs from the one {}: a function of this job is "
                     "not deterministic (random numbers, time, global state)",
                     which),
         actions);
  }
  advance_all(actions);
}

/// A map task's output is forgotten already.
void DagScheduler::restart(Stage& stage, Task& task, Actions& actions) {
  cancel_attempts(task, actions);
  enter(stage, task, Task::State::kWaiting);
}

void DagScheduler::enter(Stage& stage, Task& task, Task::State state) {
  if (task.state == Task::State::kDone) --stage.done;
  if (state == Task::State::kDone) ++stage.done;
  task.state = state;
}

void DagScheduler::fail(JobId id, ErrorCode code, const std::string& message, Actions& actions) {
  if (jobs_.count(id) != 0) end(id, JobFailed{id, code, message}, actions);
}

/// Forgets the job. Others that waited for map outputs which it was making make them themselves.
void DagScheduler::end(JobId id, Action outcome, Actions& actions) {
  const Job job = std::move(jobs_.extract(id).mapped());
  cancel_attempts(job, actions);
  actions.push_back(std::move(outcome));
  const bool leaves_some = std::ranges::any_of(job.stages, [&](const Stage& stage) {
    if (!stage.plan.writes) return false;
    const auto shuffle = shuffles_.find(*stage.plan.writes);
    return shuffle == shuffles_.end() || !shuffle->second.is_made();
  });
  if (leaves_some) advance_all(actions);
}

void DagScheduler::cancel_attempts(const Job& job, Actions& actions) {
  for (const Stage& stage : job.stages) {
    for (const Task& task : stage.tasks) cancel_attempts(task, actions);
  }
}

/// Its one, two or none.
void DagScheduler::cancel_attempts(const Task& task, Actions& actions) {
  if (task.state != Task::State::kRunning) return;
  for (const AttemptId attempt : {task.attempt, task.copy}) {
    if (attempts_.erase(attempt) != 0) actions.emplace_back(Cancel{attempt});
  }
}

std::size_t DagScheduler::stage_writing(const Job& job, ShuffleId shuffle) {
  for (std::size_t i = 0; i < job.stages.size(); ++i) {
    if (job.stages[i].plan.writes == shuffle) return i;
  }
  throw Error(ErrorCode::kInternal, "a stage reads a shuffle that no stage of its job writes");
}

std::string DagScheduler::describe(const Job& job, std::size_t at, std::size_t i) const {
  const Stage& stage = job.stages[at];
  return fmt::format("task {} of stage {} ({})", stage.plan.partitions[i], at, stage.plan.name);
}

}  // namespace weir
