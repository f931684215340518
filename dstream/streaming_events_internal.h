#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "weir/core/listener.h"
#include "weir/dstream/streaming_listener.h"

namespace weir::internal {

/// The listeners of one streaming context and the thread that tells them. Thread-safe.
class StreamingEvents {
 public:
  void add(std::shared_ptr<StreamingListener> listener);
  void remove(const std::shared_ptr<StreamingListener>& listener);

  template <class Event>
  void post(void (StreamingListener::*handler)(const Event&), Event event) {
    post_all([handler, event = std::move(event)](StreamingListener& l) { (l.*handler)(event); });
  }
  /// Delivers what was posted and ends the thread; idempotent.
  void stop() { bus_.stop(); }

 private:
  void post_all(std::function<void(StreamingListener&)> tell);

  std::mutex mutex_;
  std::vector<std::shared_ptr<StreamingListener>> listeners_;  // guarded by mutex_
  ListenerBus bus_;
};

/// While it lives, the calling thread is one that the end of a streaming context waits for, so it
/// must not wait for that end. It may wait for other streams: contexts are told apart by their
/// events.
class InsideStreaming {
 public:
  InsideStreaming(const StreamingEvents& stream, const char* where);
  ~InsideStreaming();
  InsideStreaming(const InsideStreaming&) = delete;
  InsideStreaming& operator=(const InsideStreaming&) = delete;

  /// Throws Error(kInvalidArgument) that names `operation` on such a thread of this stream.
  static void refuse(const StreamingEvents& stream, const char* operation);

 private:
  const StreamingEvents& stream_;
  const char* const where_;
  const InsideStreaming* const outer_;
};

}  // namespace weir::internal
