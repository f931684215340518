#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "weir/connectors/kafka/client_internal.h"
#include "weir/connectors/kafka/offset_query_internal.h"

namespace weir::kafka::internal {

/// Keeps what is known of the ends of a set of topics, and asks the brokers on a thread of its own,
/// so that brokers that do not answer never hold up whoever asks. Thread-safe.
class EndOffsets {
 public:
  /// `partitions` are the topics' as known now; new ones are looked for in the background.
  EndOffsets(std::shared_ptr<Client> client, Position partitions, const Options& options);
  /// Waits for a running question, at most a few seconds.
  ~EndOffsets();
  EndOffsets(const EndOffsets&) = delete;
  EndOffsets& operator=(const EndOffsets&) = delete;

  struct Known {
    Position ends;           ///< newest known end of each partition that ever had one
    bool fresh = false;      ///< the brokers answered this very question
    std::string trouble;     ///< why some ends are not fresh; empty when all are
    Duration silent_for{};   ///< since the brokers last told all ends
    std::string missing;     ///< partitions that the brokers say do not exist
    Duration missing_for{};  ///< for how long they have said so
  };

  /// Asks the brokers now and returns what is known when they answered, or after `timeout`.
  Known ask(Duration timeout);

 private:
  using SteadyClock = std::chrono::steady_clock;

  void run(const std::stop_token& stopped);
  void ask_brokers(std::unique_lock<std::mutex>& lock);
  void look_for_new_partitions(std::unique_lock<std::mutex>& lock);

  const std::shared_ptr<Client> client_;
  const std::vector<std::string> topics_;
  const Duration refresh_;

  std::mutex mutex_;  // guards all below
  std::condition_variable_any changed_;
  Position partitions_;
  Position ends_;
  std::string trouble_;
  std::string missing_;
  SteadyClock::time_point missing_since_{};
  SteadyClock::time_point last_success_ = SteadyClock::now();
  std::uint64_t asked_ = 0;
  std::uint64_t answered_ = 0;

  std::jthread thread_;
};

}  // namespace weir::kafka::internal
