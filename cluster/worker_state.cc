#include "weir/cluster/worker_state.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace weir {

using namespace std::chrono_literals;

namespace {

constexpr Duration kTimer = 100ms;
/// Outcomes are settled by the next launch or within two heartbeats; later than that one got lost,
/// or the driver has no time. They may be large and pile up on the way, so less and less often.
constexpr Duration kResend = 1s;
constexpr Duration kResendMax = 30s;
constexpr std::size_t kReleased = 1024;

}  // namespace

WorkerState::WorkerState(Options options, std::function<bool(StageHash)> knows_stage)
    : options_(std::move(options)),
      knows_stage_(std::move(knows_stage)),
      slots_(options_.introduction.layout().slots()) {}

WorkerState::Actions WorkerState::start(SteadyTime now) {
  started_ = last_heard_ = now;
  next_timer_ = now + kTimer;
  return {Send{options_.introduction}};
}

WorkerState::Actions WorkerState::received(wire::ToWorker message, SteadyTime now) {
  Actions actions;
  last_heard_ = std::max(last_heard_, now);
  std::visit([&](auto& held) { on(held, now, actions); }, message);
  return actions;
}

WorkerState::Actions WorkerState::finished(std::uint32_t slot, TaskOutcome outcome,
                                           SteadyTime now) {
  Actions actions;
  finish(slot, std::move(outcome), now, actions);
  end_if_due(now, actions);
  return actions;
}

WorkerState::Actions WorkerState::stage_missing(std::uint32_t index) {
  Slot& slot = slots_[index];
  const auto task = std::exchange(slot.task, nullptr);
  Actions actions{Send{wire::UnknownStage{slot.launch, task->program->hash}}};
  --slot.launch.sequence;  // as if it had never been accepted: it comes again under this number
  carry_out(slot.release, actions);
  return actions;
}

WorkerState::Actions WorkerState::unsendable(const wire::LaunchId& launch, const std::string& why,
                                             SteadyTime now) {
  Slot& slot = slots_[launch.slot];
  if (!slot.outcome || slot.launch != launch) return {};
  slot.outcome->outcome = Failed{"the task's outcome could not be sent to the driver: " + why};
  Actions actions;
  send_outcome(slot, now, actions);
  return actions;
}

WorkerState::Actions WorkerState::on_timer(SteadyTime now) {
  Actions actions;
  if (now < next_timer_) return actions;
  next_timer_ = now + kTimer;
  if (state_ == State::kRegistering) {
    if (now - started_ > options_.start_timeout) {
      end("nobody answers its registration", now, now, actions);
    } else {
      actions.push_back(Send{options_.introduction});
    }
  } else if (state_ == State::kRegistered && now - last_heard_ > options_.driver_timeout) {
    end(fmt::format("has not heard of its driver for {}", to_string(options_.driver_timeout)), now,
        now, actions);
  }
  for (Slot& slot : slots_) {
    // A driver that answers no heartbeat reads no outcome either.
    if (!slot.outcome || now - slot.sent < slot.resend_after || driver_time_ <= slot.driver_time) {
      continue;
    }
    slot.resend_after = std::min(2 * slot.resend_after, kResendMax);
    send_outcome(slot, now, actions);
  }
  end_if_due(now, actions);
  return actions;
}

std::optional<wire::Heartbeat> WorkerState::heartbeat(std::span<const std::uint64_t> steps,
                                                      std::uint64_t rss_bytes) {
  if (state_ == State::kRegistering) return std::nullopt;
  wire::Heartbeat beat{
      options_.introduction.worker, ++heartbeats_, driver_time_, releases_, rss_bytes, {}};
  beat.slots.reserve(slots_.size());
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    const Slot& slot = slots_[i];
    beat.slots.push_back({slot.launch.sequence, slot.launch.attempt, slot.task != nullptr,
                          slot.outcome.has_value(), slot.task != nullptr ? steps[i] : 0});
  }
  return beat;
}

void WorkerState::on(const wire::Registered& message, SteadyTime, Actions&) {
  driver_time_ = std::max(driver_time_, message.driver_time);
  if (state_ == State::kRegistering) enter(State::kRegistered);
}

void WorkerState::on(const wire::Refused& message, SteadyTime now, Actions& actions) {
  end("was refused: " + message.reason, now, now, actions);
}

void WorkerState::on(const wire::HeartbeatReply& message, SteadyTime, Actions&) {
  driver_time_ = std::max(driver_time_, message.driver_time);
}

void WorkerState::on(wire::Launch& message, SteadyTime now, Actions& actions) {
  const wire::LaunchId& launch = message.launch;
  if (state_ == State::kEnding || launch.slot >= slots_.size()) return;
  Slot& slot = slots_[launch.slot];
  // Launches of a slot are numbered, and one is only sent when all before it are settled: an older
  // number is a copy, or was given up.
  if (slot.task != nullptr || launch.sequence <= slot.launch.sequence) return;
  if (!message.with_program && !knows_stage_(message.task->program->hash)) {
    actions.push_back(Send{wire::UnknownStage{launch, message.task->program->hash}});
    carry_out(message.release, actions);
    return;
  }
  slot.launch = launch;
  slot.task = message.task;
  slot.release = std::move(message.release);
  slot.outcome.reset();
  slot.output_released =
      slot.task->writes_shuffle &&
      std::ranges::find(released_shuffles_, *slot.task->writes_shuffle) != released_shuffles_.end();
  slot.released.clear();
  for (const auto& [dataset, last] : released_datasets_) note_released(slot, dataset, last);
  if (slot.cancelled == launch.sequence) {
    finish(launch.slot, Cancelled{}, now, actions);
  } else {
    actions.push_back(Run{launch, std::move(message.task), std::move(message.peers)});
  }
}

void WorkerState::on(wire::Tell& message, SteadyTime, Actions& actions) {
  if (message.launch.slot >= slots_.size()) return;
  const Slot& slot = slots_[message.launch.slot];
  if (slot.launch != message.launch || slot.task == nullptr) return;
  actions.push_back(Deliver{message.launch, std::move(message.message), std::move(message.peers)});
}

void WorkerState::on(const wire::Cancel& message, SteadyTime, Actions& actions) {
  if (message.launch.slot >= slots_.size()) return;
  Slot& slot = slots_[message.launch.slot];
  if (message.launch.sequence > slot.launch.sequence) {
    slot.cancelled = std::max(slot.cancelled, message.launch.sequence);
  } else if (message.launch == slot.launch && slot.task != nullptr) {
    actions.push_back(StopRunning{message.launch.slot});
  }
}

void WorkerState::on(const wire::Settled& message, SteadyTime, Actions&) {
  if (message.launch.slot >= slots_.size()) return;
  Slot& slot = slots_[message.launch.slot];
  if (slot.launch == message.launch) slot.outcome.reset();
}

void WorkerState::on(wire::Release& message, SteadyTime, Actions& actions) {
  carry_out(message, actions);
}

void WorkerState::on(const wire::PeerLost& message, SteadyTime, Actions& actions) {
  actions.emplace_back(ForgetPeer{message.worker});
}

void WorkerState::on(const wire::Shutdown& message, SteadyTime now, Actions& actions) {
  end(message.reason, now + message.drain, now, actions);
}

void WorkerState::end(std::string reason, SteadyTime deadline, SteadyTime now, Actions& actions) {
  if (state_ != State::kEnding) end_deadline_ = deadline;
  end_deadline_ = std::min(end_deadline_, deadline);
  enter(State::kEnding);
  end_reason_ = std::move(reason);
  const wire::SlotLayout layout = options_.introduction.layout();
  for (std::uint32_t i = layout.threads; i < layout.num_threads(); ++i) {
    if (slots_[i].task != nullptr) actions.push_back(StopRunning{i});  // they never end otherwise
  }
  next_timer_ = std::min(next_timer_, end_deadline_);
  end_if_due(now, actions);
}

void WorkerState::end_if_due(SteadyTime now, Actions& actions) {
  if (state_ != State::kEnding || ended_) return;
  const bool runs =
      std::ranges::any_of(slots_, [](const Slot& slot) { return slot.task != nullptr; });
  if (runs && now < end_deadline_) return;
  ended_ = true;
  actions.push_back(End{end_reason_});
}

void WorkerState::finish(std::uint32_t index, TaskOutcome outcome, SteadyTime now,
                         Actions& actions) {
  Slot& slot = slots_[index];
  const auto task = std::exchange(slot.task, nullptr);
  slot.outcome = wire::Outcome{slot.launch, std::move(outcome)};
  slot.resend_after = kResend;
  send_outcome(slot, now, actions);
  if (slot.output_released) actions.push_back(Free{{*task->writes_shuffle}, {}, {}});
  if (!slot.released.empty()) actions.push_back(Free{{}, std::move(slot.released), {}});
  carry_out(slot.release, actions);
}

void WorkerState::send_outcome(Slot& slot, SteadyTime now, Actions& actions) {
  slot.sent = now;
  slot.driver_time = driver_time_;
  actions.push_back(Send{*slot.outcome});
}

/// The slot's task may still leave a block.
void WorkerState::note_released(Slot& slot, DatasetId dataset, AttemptId last_attempt) {
  if (slot.launch.attempt > last_attempt) return;
  if (std::ranges::count(slot.task->cached, dataset, &CacheSlot::dataset) == 0) return;
  slot.released.push_back(dataset);
}

void WorkerState::carry_out(wire::Release& release, Actions& actions) {
  if (release.sequence == 0) return;
  if (release.sequence > releases_) releases_ahead_.insert(release.sequence);
  while (releases_ahead_.erase(releases_ + 1) != 0) ++releases_;
  for (const ShuffleId shuffle : release.shuffles) {
    for (Slot& slot : slots_) {
      if (slot.task != nullptr && slot.task->writes_shuffle == shuffle) slot.output_released = true;
    }
    released_shuffles_.push_back(shuffle);
    if (released_shuffles_.size() > kReleased) released_shuffles_.pop_front();
  }
  for (const DatasetId dataset : release.datasets) {
    for (Slot& slot : slots_) {
      if (slot.task != nullptr) note_released(slot, dataset, release.last_attempt);
    }
    released_datasets_.emplace_back(dataset, release.last_attempt);
    if (released_datasets_.size() > kReleased) released_datasets_.pop_front();
  }
  actions.push_back(
      Free{std::move(release.shuffles), std::move(release.datasets), std::move(release.states)});
  release = {};
}

}  // namespace weir
