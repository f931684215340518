#include "weir/core/listener.h"

#include <utility>

#include "weir/core/error.h"
#include "weir/core/log.h"

namespace weir {
namespace {

constexpr std::size_t kMostQueued = 100'000;

}  // namespace

ListenerBus::ListenerBus() : thread_([this] { deliver_all(); }) {}

ListenerBus::~ListenerBus() { stop(); }

void ListenerBus::post(std::function<void()> deliver) {
  {
    const std::scoped_lock lock(mutex_);
    if (stopping_) return;
    if (queue_.size() >= kMostQueued) {
      if (dropped_++ == 0) log_warning("listeners are too slow: events are being dropped");
      return;
    }
    queue_.push_back(std::move(deliver));
    ++posted_;
  }
  changed_.notify_all();
}

void ListenerBus::flush() {
  std::unique_lock lock(mutex_);
  const std::uint64_t target = posted_;
  changed_.wait(lock, [&] { return delivered_ >= target; });
}

void ListenerBus::stop() {
  {
    const std::scoped_lock lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (!thread_.joinable()) return;
  thread_.join();
  if (dropped_ > 0) {
    log_warning("events that listeners were not told of: " + std::to_string(dropped_));
  }
}

void ListenerBus::deliver_all() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    std::deque<std::function<void()>> batch;
    batch.swap(queue_);
    lock.unlock();
    const std::size_t count = batch.size();
    for (const auto& deliver : batch) {
      try {
        deliver();
      } catch (...) {
        log_error("a listener threw: " + describe_current_exception());
      }
    }
    batch.clear();
    lock.lock();
    delivered_ += count;
    changed_.notify_all();
  }
}

}  // namespace weir
