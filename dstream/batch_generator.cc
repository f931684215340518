#include "weir/dstream/batch_generator.h"

#include <algorithm>
#include <cassert>
#include <utility>

namespace weir::internal {

BatchGenerator::BatchGenerator(Duration interval, IsSpecial is_special)
    : interval_(interval), is_special_(std::move(is_special)) {
  assert(interval > Duration::zero());
}

Time BatchGenerator::grid_point(Time time, Duration interval) {
  Duration past = time.time_since_epoch() % interval;
  if (past < Duration::zero()) past += interval;
  return time - past;
}

std::vector<BatchGenerator::Action> BatchGenerator::on(const Event& event, Time now) {
  if (const auto* first = std::get_if<Start>(&event)) return start(*first, now);
  if (const auto* due = std::get_if<TimerDue>(&event)) {
    if (due->wait && state_ == State::kRunning && now >= next_.time) {
      waits_ = true;
      return {};
    }
    return tick(now);
  }
  if (std::holds_alternative<CatchUp>(event)) return catch_up(now);
  if (std::holds_alternative<StopGracefully>(event)) return stop_gracefully(now);
  return finish();
}

std::vector<BatchGenerator::Action> BatchGenerator::start(const Start& event, Time now) {
  if (state_ != State::kReady) return {};
  const Time done = event.last.sequence == 0 ? now : std::max(now, event.last.time);
  next_ = {event.last.sequence + 1, grid_point(done, interval_) + interval_};
  zero_time_ = event.zero_time ? grid_point(*event.zero_time, interval_) : next_.time - interval_;
  enter(State::kRunning);
  return {SetTimer{next_.time}};
}

std::vector<BatchGenerator::Action> BatchGenerator::tick(Time now) {
  if (state_ != State::kRunning && state_ != State::kLastTick) return {};
  if (now < next_.time) return {SetTimer{next_.time}};
  std::vector<Action> actions{Generate{next_}};
  if (state_ == State::kLastTick && next_.time > stop_requested_) {
    enter(State::kFinished);
    actions.push_back(Finished{});
    return actions;
  }
  next_ = {next_.sequence + 1, next_.time + interval_};
  actions.push_back(SetTimer{next_.time});
  return actions;
}

std::vector<BatchGenerator::Action> BatchGenerator::catch_up(Time now) {
  if (!std::exchange(waits_, false) || state_ != State::kRunning) return {};
  const Time last = grid_point(now, interval_);
  std::vector<Action> actions;
  Time skipped = next_.time;  // from here on
  for (Time time = next_.time; time <= last; time += interval_) {
    if (time != last && !(is_special_ && is_special_(time))) continue;
    if (skipped < time) actions.push_back(Skip{skipped, time - interval_});
    actions.push_back(Generate{{next_.sequence, time}});
    next_ = {next_.sequence + 1, time + interval_};
    skipped = next_.time;
  }
  actions.push_back(SetTimer{next_.time});
  return actions;
}

std::vector<BatchGenerator::Action> BatchGenerator::stop_gracefully(Time now) {
  if (state_ == State::kReady) return finish();
  if (state_ != State::kRunning) return {};
  std::vector<Action> actions = catch_up(now);  // a stop that is graceful waits for no room
  if (!actions.empty()) actions.pop_back();
  stop_requested_ = now;
  enter(State::kLastTick);
  actions.push_back(SetTimer{next_.time});
  return actions;
}

std::vector<BatchGenerator::Action> BatchGenerator::finish() {
  if (state_ == State::kFinished) return {};
  enter(State::kFinished);
  return {Finished{}};
}

void BatchGenerator::enter(State state) {
  assert(static_cast<int>(state) > static_cast<int>(state_));
  state_ = state;
}

}  // namespace weir::internal
