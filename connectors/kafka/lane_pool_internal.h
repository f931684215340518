#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "weir/connectors/kafka/lane_internal.h"

namespace weir::kafka::internal {

/// The lanes of this process to one cluster, kept between ranges and shared by all tasks.
///
/// A lane is lent to one reader at a time. A partition has one lane per client; when it is lent, a
/// second reader of the same partition is given a lane of another client, so that readers never
/// wait for each other. Readers that take turns get two as well: two output operations on one
/// stream read [a, b) twice, then [b, c) twice, and each continues where it was. Lanes that nobody
/// asked for in half a minute are stopped, and clients without lanes closed: their partitions are
/// read elsewhere. Thread-safe; owns the thread that does it.
class LanePool {
 public:
  /// The pool for these options, made on first use; options that lead to the same clients share it.
  static std::shared_ptr<LanePool> of(const Options& options);
  /// Closes the idle lanes of these options in this process, and the others when they come back.
  static void close(const Options& options);

  explicit LanePool(const Options& options, Duration idle_limit = std::chrono::seconds(30));
  ~LanePool();
  LanePool(const LanePool&) = delete;
  LanePool& operator=(const LanePool&) = delete;

  using Loan = std::unique_ptr<Lane, std::function<void(Lane*)>>;
  /// A lane whose next record is the first at or after `from`; comes back when the loan ends.
  static Loan borrow(const std::shared_ptr<LanePool>& pool, const std::string& topic,
                     std::int32_t partition, std::int64_t from);

  struct Size {
    std::size_t lanes = 0;
    std::size_t clients = 0;
    bool operator==(const Size&) const = default;
  };
  /// What is open now.
  Size size() const;

 private:
  using SteadyClock = std::chrono::steady_clock;

  struct Entry {
    std::shared_ptr<Client> client;
    std::unique_ptr<Lane> lane;
    bool lent = false;
    SteadyClock::time_point last_use{};
  };

  Lane* take(const std::string& topic, std::int32_t partition, std::int64_t from);
  void give_back(Lane* lane);
  Entry* free_lane(const std::string& topic, std::int32_t partition, std::int64_t from);
  Entry& open_lane(const std::string& topic, std::int32_t partition);
  void sweep(const std::stop_token& stopped);
  std::vector<std::shared_ptr<Client>> drop_expired(SteadyClock::time_point now);

  const Options options_;
  const Duration idle_limit_;

  mutable std::mutex mutex_;  // guards all below
  std::condition_variable_any stopped_;
  std::vector<std::shared_ptr<Client>> clients_;
  std::vector<Entry> entries_;
  bool closed_ = false;

  std::jthread sweeper_;
};

}  // namespace weir::kafka::internal
