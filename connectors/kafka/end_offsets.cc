#include <algorithm>
#include <utility>

#include "weir/connectors/kafka/end_offsets_internal.h"
#include "weir/connectors/kafka/planning_internal.h"
#include "weir/core/error.h"

namespace weir::kafka::internal {
namespace {

constexpr std::chrono::seconds kQueryTimeout{1};
constexpr std::chrono::milliseconds kPause{50};  // between two questions

}  // namespace

EndOffsets::EndOffsets(std::shared_ptr<Client> client, Position partitions, const Options& options)
    : client_(std::move(client)),
      topics_(options.topics),
      refresh_(options.metadata_refresh),
      partitions_(std::move(partitions)),
      thread_([this](const std::stop_token& stopped) { run(stopped); }) {}

EndOffsets::~EndOffsets() = default;

EndOffsets::Known EndOffsets::ask(Duration timeout, bool until_all) {
  const Deadline deadline(timeout);
  std::unique_lock lock(mutex_);
  bool answered = answer_in(lock, deadline.left());
  while (until_all && !answer_.trouble.empty() && !deadline.passed()) {
    changed_.wait_for(lock, std::min<Duration>(kPause, deadline.left()), [] { return false; });
    answered = answer_in(lock, deadline.left());
  }
  Known known{
      .ends = ends_,
      .trouble = answer_.trouble,
      .silent_for = std::chrono::duration_cast<Duration>(SteadyClock::now() - last_success_),
      .answer = answer_,
      .answer_number = answer_number_,
      .answered_at = answered_at_};
  if (!answered && known.trouble.empty()) {
    known.trouble = "no answer within " + to_string(timeout) + client_->last_report();
  }
  return known;
}

bool EndOffsets::answer_in(std::unique_lock<std::mutex>& lock, Duration timeout) {
  const std::uint64_t mine = ++asked_;
  changed_.notify_all();
  return changed_.wait_for(lock, timeout, [&] { return answered_ >= mine; });
}

void EndOffsets::run(const std::stop_token& stopped) {
  std::unique_lock lock(mutex_);
  SteadyClock::time_point next_look = SteadyClock::now() + refresh_;
  while (!stopped.stop_requested()) {
    if (changed_.wait_until(lock, stopped, next_look, [this] { return asked_ > answered_; })) {
      ask_brokers(lock);
    }
    if (stopped.stop_requested() || SteadyClock::now() < next_look) continue;
    look_for_new_partitions(lock);
    next_look = SteadyClock::now() + refresh_;
  }
}

void EndOffsets::ask_brokers(std::unique_lock<std::mutex>& lock) {
  const std::uint64_t question = asked_;
  const Position partitions = partitions_;
  lock.unlock();
  OffsetAnswer answer = query_offsets(*client_, partitions, Edge::kEnd, Deadline(kQueryTimeout));
  lock.lock();
  for (const PartitionOffset& end : answer.offsets) set_offset(ends_, end);
  answer_ = std::move(answer);
  ++answer_number_;
  answered_at_ = SteadyClock::now();
  if (answer_.trouble.empty()) last_success_ = answered_at_;
  answered_ = question;
  changed_.notify_all();
}

void EndOffsets::look_for_new_partitions(std::unique_lock<std::mutex>& lock) {
  lock.unlock();
  Position found;
  try {
    found = partitions_of(*client_, topics_, Deadline(kQueryTimeout));
  } catch (const Error&) {
    // The next question for the ends meets the same trouble, and reports it.
  }
  lock.lock();
  for (const PartitionOffset& each : found) set_offset(partitions_, each);
}

}  // namespace weir::kafka::internal
