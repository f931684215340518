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

  using SteadyClock = std::chrono::steady_clock;

  struct Known {
    Position ends;          ///< newest known end of each partition that ever had one
    std::string trouble;    ///< why some ends are not fresh; empty when all are
    Duration silent_for{};  ///< since the brokers last told all ends
    /// The last answer, its number (0: none yet) and when it came: a late one is seen repeatedly.
    OffsetAnswer answer;
    std::uint64_t answer_number = 0;
    SteadyClock::time_point answered_at{};
  };

  /// Asks the brokers now and returns what is known when they have told all ends, or after
  /// `timeout`; unless `until_all`, when they have answered this question, maybe not for all.
  Known ask(Duration timeout, bool until_all = false);

 private:
  /// Asks, and waits; whether this question was answered.
  bool answer_in(std::unique_lock<std::mutex>& lock, Duration timeout);
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
  OffsetAnswer answer_;  // the last one
  std::uint64_t answer_number_ = 0;
  SteadyClock::time_point answered_at_{};
  SteadyClock::time_point last_success_ = SteadyClock::now();
  std::uint64_t asked_ = 0;     // questions
  std::uint64_t answered_ = 0;  // the newest question that has been answered

  std::jthread thread_;
};

}  // namespace weir::kafka::internal
