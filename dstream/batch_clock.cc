#include "weir/dstream/batch_clock.h"

#include <cassert>
#include <utility>

namespace weir {
namespace {

class SystemBatchClock final : public BatchClock {
 public:
  Time now() const override { return Clock::system().now(); }
  SteadyTime steady_now() const override { return Clock::system().steady_now(); }
  void wait_until(std::unique_lock<std::mutex>& lock, std::condition_variable& changed,
                  Time due) override {
    changed.wait_until(lock, due);
  }
  void on_move(const void*, std::function<void()>) override {}
};

}  // namespace

BatchClock& BatchClock::system() {
  static SystemBatchClock clock;
  return clock;
}

void ManualClock::wait_until(std::unique_lock<std::mutex>& lock, std::condition_variable& changed,
                             Time due) {
  // `advance_to` moves first and notifies under the waiter's mutex, so this check misses nothing.
  if (now() < due) changed.wait(lock);
}

void ManualClock::on_move(const void* owner, std::function<void()> wake) {
  const std::scoped_lock lock(mutex_);
  if (wake) {
    wake_[owner] = std::move(wake);
  } else {
    wake_.erase(owner);
  }
}

void ManualClock::advance_to(Time time) {
  assert(time >= now());
  now_ = time;
  const std::scoped_lock lock(mutex_);
  for (const auto& [owner, wake] : wake_) wake();
}

}  // namespace weir
