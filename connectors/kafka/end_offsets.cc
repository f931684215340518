#include "weir/connectors/kafka/end_offsets_internal.h"
#include "weir/connectors/kafka/planning_internal.h"
#include "weir/core/error.h"

namespace weir::kafka::internal {
namespace {

constexpr std::chrono::seconds kQueryTimeout{1};

}  // namespace

EndOffsets::EndOffsets(std::shared_ptr<Client> client, Position partitions, const Options& options)
    : client_(std::move(client)),
      topics_(options.topics),
      refresh_(options.metadata_refresh),
      partitions_(std::move(partitions)),
      thread_([this](const std::stop_token& stopped) { run(stopped); }) {}

EndOffsets::~EndOffsets() = default;

EndOffsets::Known EndOffsets::ask(Duration timeout) {
  std::unique_lock lock(mutex_);
  const std::uint64_t mine = ++asked_;
  changed_.notify_all();
  Known known;
  known.fresh = changed_.wait_for(lock, timeout, [&] { return answered_ >= mine; });
  known.ends = ends_;
  known.trouble = trouble_;
  if (!known.fresh) {
    const std::string late = "no answer within " + to_string(timeout) + client_->last_report();
    known.trouble = trouble_.empty() ? late : trouble_;
  }
  known.silent_for = std::chrono::duration_cast<Duration>(SteadyClock::now() - last_success_);
  known.missing = missing_;
  if (!missing_.empty()) {
    known.missing_for = std::chrono::duration_cast<Duration>(SteadyClock::now() - missing_since_);
  }
  return known;
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
  const OffsetAnswer answer = query_offsets(*client_, partitions, Edge::kEnd, kQueryTimeout);
  lock.lock();
  for (const PartitionOffset& end : answer.offsets) set_offset(ends_, end);
  trouble_ = answer.trouble;
  if (trouble_.empty()) last_success_ = SteadyClock::now();
  std::string missing;
  for (const PartitionOffset& each : answer.unknown) {
    missing +=
        (missing.empty() ? "" : ", ") + each.topic + "[" + std::to_string(each.partition) + "]";
  }
  if (!missing.empty() && missing_.empty()) missing_since_ = SteadyClock::now();
  missing_ = std::move(missing);
  answered_ = question;
  changed_.notify_all();
}

void EndOffsets::look_for_new_partitions(std::unique_lock<std::mutex>& lock) {
  lock.unlock();
  Position found;
  try {
    found = partitions_of(*client_, topics_, kQueryTimeout);
  } catch (const Error&) {
    // The next question for the ends meets the same trouble, and reports it.
  }
  lock.lock();
  for (const PartitionOffset& each : found) set_offset(partitions_, each);
}

}  // namespace weir::kafka::internal
