#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "weir/connectors/kafka/lane_internal.h"

namespace weir::kafka::internal {

/// The lanes of this process to one cluster, kept between ranges and shared by all tasks.
///
/// A lane is lent to one reader at a time. A partition has one lane per client; when it is lent, a
/// second reader of the same partition (two jobs on one stream, a repeated attempt) is given a lane
/// of another client, so that readers never wait for each other. Lanes that nobody asked for in
/// half a minute are stopped: their partitions are read elsewhere. Thread-safe.
class LanePool {
 public:
  /// The pool for these options, made on first use; options that lead to the same clients share it.
  static std::shared_ptr<LanePool> of(const Options& options);
  /// Closes the idle lanes of these options in this process, and the others when they come back.
  static void close(const Options& options);

  explicit LanePool(const Options& options) : options_(options) {}

  using Loan = std::unique_ptr<Lane, std::function<void(Lane*)>>;
  /// A lane whose next record is the first at or after `from`; comes back when the loan ends.
  static Loan borrow(const std::shared_ptr<LanePool>& pool, const std::string& topic,
                     std::int32_t partition, std::int64_t from);

 private:
  struct Entry {
    std::shared_ptr<Client> client;
    std::unique_ptr<Lane> lane;
    bool lent = false;
    std::chrono::steady_clock::time_point last_use{};
  };

  Lane* take(const std::string& topic, std::int32_t partition, std::int64_t from);
  void give_back(Lane* lane);
  void drop_expired();

  const Options options_;

  std::mutex mutex_;  // guards all below
  std::vector<std::shared_ptr<Client>> clients_;
  std::vector<Entry> entries_;
  bool closed_ = false;
};

}  // namespace weir::kafka::internal
