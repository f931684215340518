#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "weir/weir.h"

#include "number_receiver.h"
#include "process_tools.h"

/// A stream of a receiver that keeps what came: what the tests of receivers share.
namespace weir::test {

/// What a stream gave. Thread-safe.
class Collected {
 public:
  void add(const std::vector<int>& numbers) {
    const std::scoped_lock lock(mutex_);
    numbers_.insert(numbers_.end(), numbers.begin(), numbers.end());
  }
  std::vector<int> all() const {
    const std::scoped_lock lock(mutex_);
    return numbers_;
  }
  /// Each number once, ascending.
  std::vector<int> distinct() const {
    std::vector<int> numbers = all();
    std::ranges::sort(numbers);
    numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
    return numbers;
  }
  bool has(int number) const {
    const std::scoped_lock lock(mutex_);
    return std::ranges::find(numbers_, number) != numbers_.end();
  }
  bool has_all_below(int limit) const {
    const std::vector<int> numbers = distinct();
    return static_cast<int>(std::ranges::lower_bound(numbers, limit) - numbers.begin()) == limit;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<int> numbers_;  // guarded by mutex_
};

inline std::vector<int> below(int limit) {
  std::vector<int> numbers(static_cast<std::size_t>(limit));
  std::iota(numbers.begin(), numbers.end(), 0);
  return numbers;
}

class ReceiverEvents final : public StreamingListener {
 public:
  void on_receiver_started(const ReceiverInfo& info) override { add(started_, info); }
  void on_receiver_error(const ReceiverInfo& info) override { add(errors_, info); }
  void on_receiver_stopped(const ReceiverInfo& info) override { add(stopped_, info); }
  void on_received_data_lost(const ReceivedDataLost& lost) override {
    const std::scoped_lock lock(mutex_);
    lost_ += lost.records;
  }

  std::vector<ReceiverInfo> started() const { return copy(started_); }
  std::vector<ReceiverInfo> errors() const { return copy(errors_); }
  std::vector<ReceiverInfo> stopped() const { return copy(stopped_); }
  std::uint64_t lost() const {
    const std::scoped_lock lock(mutex_);
    return lost_;
  }

 private:
  void add(std::vector<ReceiverInfo>& to, const ReceiverInfo& info) {
    const std::scoped_lock lock(mutex_);
    to.push_back(info);
  }
  std::vector<ReceiverInfo> copy(const std::vector<ReceiverInfo>& from) const {
    const std::scoped_lock lock(mutex_);
    return from;
  }

  mutable std::mutex mutex_;
  std::vector<ReceiverInfo> started_, errors_, stopped_;  // guarded by mutex_
  std::uint64_t lost_ = 0;                                // guarded by mutex_
};

/// A stream of a receiver on the wall clock, and its driver.
class ReceiverLife {
 public:
  struct Options {
    std::string master;
    std::string folder;           ///< of the receiver
    std::string checkpoint = {};  ///< empty: none
    bool in_blocks = true;
    std::map<std::string, std::string> config = {};
    /// What becomes of a batch beside that it is collected.
    std::function<void(const std::vector<int>&)> on_batch = {};
  };

  ReceiverLife(const Options& options, std::shared_ptr<Collected> collected)
      : context_(config_of(options)), stream_(context_, std::chrono::milliseconds(20)) {
    if (!options.checkpoint.empty()) stream_.checkpoint(options.checkpoint);
    stream_.add_listener(events_);
    context_.add_listener(workers_);
    NumberReceiver receiver;
    receiver.folder = options.folder;
    receiver.in_blocks = options.in_blocks;
    stream_.receiver_stream(receiver)
        .map([](int number) { return number; })
        .foreach_rdd([collected, on_batch = options.on_batch](const Rdd<int>& rdd) {
          const std::vector<int> numbers = rdd.collect();
          if (on_batch) on_batch(numbers);
          collected->add(numbers);
        });
    stream_.start();
  }

  StreamingContext& stream() { return stream_; }
  const ReceiverEvents& events() const { return *events_; }
  const EventRecord& workers() const { return *workers_; }

 private:
  static Config config_of(const Options& options) {
    Config config;
    config.set("master", options.master).set("stop-on-signal", "false");
    config.set("log-level", "off").set("receiver.restart-delay", "10ms");
    for (const auto& [name, value] : options.config) config.set(name, value);
    return config;
  }

  const std::shared_ptr<ReceiverEvents> events_ = std::make_shared<ReceiverEvents>();
  const std::shared_ptr<EventRecord> workers_ = std::make_shared<EventRecord>();
  Context context_;
  StreamingContext stream_;
};

}  // namespace weir::test
