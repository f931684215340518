#include "weir/connectors/kafka/source.h"

#include <algorithm>
#include <chrono>
#include <optional>

#include "weir/connectors/kafka/end_offsets_internal.h"
#include "weir/connectors/kafka/lane_pool_internal.h"
#include "weir/connectors/kafka/offset_query_internal.h"
#include "weir/connectors/kafka/planning_internal.h"
#include "weir/connectors/kafka/range_stream_internal.h"
#include "weir/connectors/kafka/starting_internal.h"
#include "weir/connectors/kafka/suspicions_internal.h"
#include "weir/core/error.h"
#include "weir/core/log.h"

namespace weir::kafka {
namespace {

using SteadyClock = std::chrono::steady_clock;

// For how long the brokers must say so.
constexpr std::chrono::seconds kTruncationConfirmation{1};
constexpr std::chrono::seconds kMissingConfirmation{10};
constexpr std::chrono::milliseconds kSilenceWorthAWarning{500};
constexpr std::chrono::seconds kWarningInterval{1};

}  // namespace

/// The driver's side: one connection, the thread that asks for ends, and what is suspected.
class Source::Driver {
 public:
  Driver(const Options& options, const internal::Deadline& deadline)
      : options_(options),
        client_(std::make_shared<internal::Client>(options)),
        partitions_(internal::partitions_of(*client_, options.topics, deadline)),
        ends_(client_, partitions_, options) {}

  Position initial(const internal::Deadline& deadline) {
    return internal::starting_position(*client_, partitions_, options_, deadline);
  }

  Position latest(const Position& from, const SourceLimit& limit) {
    const Duration wait = limit.last_wait ? std::min(options_.connect_timeout, *limit.last_wait)
                                          : std::min(options_.latest_timeout, limit.interval / 4);
    const internal::EndOffsets::Known known = ends_.ask(wait, limit.last_wait.has_value());
    if (!known.trouble.empty() && known.silent_for >= kSilenceWorthAWarning) warn(known.trouble);
    check_for_loss(from, known);
    return internal::next_end(
        from, known.ends,
        {limit.interval, options_.max_rate_per_partition, limit.max_records_per_second});
  }

 private:
  void check_for_loss(const Position& from, const internal::EndOffsets::Known& known) {
    const Position& told = known.answer.offsets;
    std::string truncated;
    for (const PartitionOffset& end :
         truncated_.on_answer(known.answer_number, internal::ends_before_position(from, told), told,
                              known.answered_at)) {
      const auto position = internal::offset_of(from, end.topic, end.partition);
      truncated += (truncated.empty() ? "" : "; ") + name_of(end) + ": position " +
                   std::to_string(*position) + ", end " + std::to_string(end.offset);
    }
    if (!truncated.empty()) {
      throw Error(ErrorCode::kDataLoss,
                  "Kafka partitions end before the stream's position: " + truncated +
                      ". The topic was truncated or made anew; start the program again to go on "
                      "from .starting, or restore the topic");
    }
    std::string missing;
    for (const PartitionOffset& each :
         missing_.on_answer(known.answer_number, known.answer.unknown, told, known.answered_at)) {
      missing += (missing.empty() ? "" : ", ") + name_of(each);
    }
    if (!missing.empty()) {
      throw Error(ErrorCode::kDataLoss,
                  "Kafka partitions are gone: " + missing + ". The topic was deleted or made anew");
    }
  }

  void warn(const std::string& trouble) {
    const auto now = SteadyClock::now();
    if (last_warning_ && now - *last_warning_ < kWarningInterval) return;
    last_warning_ = now;
    log_warning("Kafka brokers " + options_.brokers +
                ": going on with the ends known so far: " + trouble);
  }

  const Options options_;
  const std::shared_ptr<internal::Client> client_;
  const Position partitions_;
  internal::EndOffsets ends_;
  internal::Suspicions truncated_{kTruncationConfirmation};
  internal::Suspicions missing_{kMissingConfirmation};
  std::optional<SteadyClock::time_point> last_warning_;
};

Source::Source(Options options) : options_(std::move(options)) { validate(options_); }

Source::Driver& Source::driver(const internal::Deadline& deadline) {
  if (!driver_) driver_ = std::make_shared<Driver>(options_, deadline);
  return *driver_;
}

Position Source::initial() {
  const internal::Deadline deadline(options_.connect_timeout);
  return driver(deadline).initial(deadline);
}

Position Source::latest(const Position& from, const SourceLimit& limit) {
  return driver(internal::Deadline(options_.connect_timeout)).latest(from, limit);
}

std::vector<Range> Source::plan(const Position& from, const Position& end) const {
  return internal::ranges_between(from, end);
}

std::unique_ptr<ChunkStream<Record>> Source::read(const Range& range) const {
  return std::make_unique<internal::RangeStream>(options_, range);
}

void Source::stop() {
  driver_.reset();
  internal::LanePool::close(options_);
}

}  // namespace weir::kafka
