#include "weir/dstream/rate_controller.h"

#include <algorithm>

namespace weir::internal {
namespace {

/// Sources round what they are allowed, per partition too.
constexpr double kNearlyAll = 0.9;

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

}  // namespace

RateController::RateController(const Options& options)
    : options_(options),
      state_(options.initial_rate > 0 ? State::kStarting : State::kFree),
      rate_(options.initial_rate) {}

std::optional<double> RateController::limit() const {
  const bool capped = options_.max_rate > 0;
  if (state_ == State::kFree) return capped ? std::optional(options_.max_rate) : std::nullopt;
  return capped ? std::min(rate_, options_.max_rate) : rate_;
}

void RateController::on_completed(const Completed& batch) {
  if (batch.records == 0 || batch.processing <= Duration::zero()) return;
  const double processed = static_cast<double>(batch.records) / seconds(batch.processing);
  const double used = seconds(batch.processing) / seconds(options_.interval);
  const bool is_late = used > options_.engage_at || batch.waiting != 0 ||
                       batch.scheduling_delay >= options_.interval;
  const bool took_all = batch.limit && static_cast<double>(batch.records) >=
                                           kNearlyAll * *batch.limit * seconds(options_.interval);
  if (state_ == State::kLimited) {
    control(batch, processed);
    if (!is_late && !took_all) enter(State::kFree, 0);
  } else if (is_late) {
    enter(State::kLimited, processed);
    last_ended_ = batch.ended;
  } else if (state_ == State::kStarting) {
    if (took_all) {
      rate_ *= 2;
    } else {
      enter(State::kFree, 0);
    }
  }
}

void RateController::control(const Completed& batch, double processed) {
  const double passed = seconds(batch.ended - last_ended_);
  if (passed <= 0) return;
  const double error = rate_ - processed;
  const double backlog = seconds(batch.scheduling_delay) * processed / seconds(options_.interval);
  const double change = (error - last_error_) / passed;
  rate_ = std::max(rate_ - options_.proportional * error - options_.integral * backlog -
                       options_.derivative * change,
                   options_.min_rate);
  last_error_ = error;
  last_ended_ = batch.ended;
}

void RateController::enter(State state, double rate) {
  state_ = state;
  rate_ = std::max(rate, options_.min_rate);
  last_error_ = 0;
}

}  // namespace weir::internal
