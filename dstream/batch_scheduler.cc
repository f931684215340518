#include "weir/dstream/batch_scheduler.h"

#include <algorithm>
#include <cassert>
#include <utility>

namespace weir::internal {

std::vector<BatchScheduler::Action> BatchScheduler::on(const Event& event, Time now) {
  if (const auto* submit = std::get_if<Submit>(&event)) {
    on_submit(*submit, now);
  } else if (const auto* ended = std::get_if<Ended>(&event)) {
    on_ended(*ended, now);
  } else if (std::holds_alternative<Drain>(event)) {
    if (state_ == State::kRunning) {
      timer_ = now + options_.drain_cap;
      enter(State::kDraining);
    }
  } else if (std::holds_alternative<Close>(event)) {
    closed_ = true;
  } else if (std::holds_alternative<Abort>(event)) {
    abort();
  } else {
    on_timer(now);
  }
  start_what_can(now);
  finish_if_done();
  return std::exchange(actions_, {});
}

void BatchScheduler::on_submit(const Submit& event, Time now) {
  assert(!closed_);
  if (state_ == State::kAborting || state_ == State::kFinished) {
    ++dropped_;
    return;
  }
  waiting_.push_back({event.batch, now});
}

void BatchScheduler::on_ended(const Ended& event, Time now) {
  const auto at = std::find_if(running_.begin(), running_.end(), [&](const BatchTimes& times) {
    return times.batch.sequence == event.sequence;
  });
  assert(at != running_.end());
  at->ended = now;
  actions_.push_back(BatchDone{*at, event.failed});
  running_.erase(at);
  if (event.failed) abort();
}

void BatchScheduler::on_timer(Time now) {
  if (timer_ && now >= *timer_) abort();
}

void BatchScheduler::abort() {
  if (state_ == State::kAborting || state_ == State::kFinished) return;
  dropped_ += waiting_.size();
  waiting_.clear();
  timer_.reset();
  enter(State::kAborting);
  actions_.push_back(StopCutting{});
  if (!running_.empty()) actions_.push_back(CancelRunning{});
}

void BatchScheduler::start_what_can(Time now) {
  while (!waiting_.empty() && running_.size() < options_.depth) {
    BatchTimes times = std::move(waiting_.front());
    waiting_.pop_front();
    times.started = now;
    running_.push_back(times);
    actions_.push_back(StartBatch{times});
  }
}

void BatchScheduler::finish_if_done() {
  if (!running_.empty() || !waiting_.empty()) return;
  if (state_ != State::kAborting && !(state_ == State::kDraining && closed_)) return;
  timer_.reset();
  enter(State::kFinished);
  actions_.push_back(Finished{dropped_});
}

void BatchScheduler::enter(State state) {
  assert(static_cast<int>(state) > static_cast<int>(state_));
  state_ = state;
}

}  // namespace weir::internal
