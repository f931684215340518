#include "weir/dstream/batch_generator.h"

#include <algorithm>
#include <cassert>

namespace weir::internal {

BatchGenerator::BatchGenerator(Duration interval) : interval_(interval) {
  assert(interval > Duration::zero());
}

Time BatchGenerator::grid_point(Time time, Duration interval) {
  Duration past = time.time_since_epoch() % interval;
  if (past < Duration::zero()) past += interval;
  return time - past;
}

std::vector<BatchGenerator::Action> BatchGenerator::on(const Event& event, Time now) {
  if (const auto* first = std::get_if<Start>(&event)) return start(*first, now);
  if (std::holds_alternative<TimerDue>(event)) return tick(now);
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

std::vector<BatchGenerator::Action> BatchGenerator::stop_gracefully(Time now) {
  if (state_ == State::kReady) return finish();
  if (state_ != State::kRunning) return {};
  stop_requested_ = now;
  enter(State::kLastTick);
  return {SetTimer{next_.time}};
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
