#include <algorithm>
#include <string>

#include "weir/core/error.h"
#include "weir/core/log.h"
#include "weir/dstream/streaming_events_internal.h"

namespace weir {

std::optional<Duration> BatchInfo::scheduling_delay() const {
  if (!processing_start_time) return std::nullopt;
  return *processing_start_time - submission_time;
}

std::optional<Duration> BatchInfo::processing_time() const {
  if (!processing_start_time || !processing_end_time) return std::nullopt;
  return *processing_end_time - *processing_start_time;
}

std::optional<Duration> BatchInfo::total_delay() const {
  if (!processing_end_time) return std::nullopt;
  return *processing_end_time - submission_time;
}

std::optional<Duration> BatchInfo::state_age() const {
  if (!checkpoint_time) return std::nullopt;
  return batch_time - *checkpoint_time;
}

std::uint64_t BatchInfo::num_records() const {
  std::uint64_t total = 0;
  for (const BatchInput& input : inputs) total += input.records.value_or(0);
  return total;
}

namespace internal {
namespace {

thread_local const InsideStreaming* inside = nullptr;

}  // namespace

void StreamingEvents::add(std::shared_ptr<StreamingListener> listener) {
  const std::scoped_lock lock(mutex_);
  listeners_.push_back(std::move(listener));
}

void StreamingEvents::remove(const std::shared_ptr<StreamingListener>& listener) {
  const std::scoped_lock lock(mutex_);
  std::erase(listeners_, listener);
}

void StreamingEvents::post_all(std::function<void(StreamingListener&)> tell) {
  const std::scoped_lock lock(mutex_);
  if (listeners_.empty()) return;
  bus_.post([this, listeners = listeners_, tell = std::move(tell)] {
    const InsideStreaming scope(*this, "a streaming listener");
    for (const auto& listener : listeners) {
      try {
        tell(*listener);
      } catch (...) {
        log_error("a streaming listener threw: " + describe_current_exception());
      }
    }
  });
}

InsideStreaming::InsideStreaming(const StreamingEvents& stream, const char* where)
    : stream_(stream), where_(where), outer_(std::exchange(inside, this)) {}

InsideStreaming::~InsideStreaming() { inside = outer_; }

void InsideStreaming::refuse(const StreamingEvents& stream, const char* operation) {
  for (const InsideStreaming* scope = inside; scope != nullptr; scope = scope->outer_) {
    if (&scope->stream_ != &stream) continue;
    throw Error(ErrorCode::kInvalidArgument,
                std::string(operation) + " was called from " + scope->where_ +
                    ", which it would wait for: call it from another thread");
  }
}

}  // namespace internal
}  // namespace weir
