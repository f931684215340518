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
#include "weir/core/error.h"
#include "weir/core/log.h"

namespace weir::kafka {
namespace {

using SteadyClock = std::chrono::steady_clock;

// A leader that was just elected may know less than its predecessor said for a moment.
constexpr std::chrono::seconds kTruncationConfirmation{1};
constexpr std::chrono::seconds kMissingConfirmation{10};
constexpr std::chrono::milliseconds kSilenceWorthAWarning{500};
constexpr std::chrono::seconds kWarningInterval{1};

}  // namespace

/// The driver's side: one connection, the thread that asks for ends, and what is suspected.
class Source::Driver {
 public:
  explicit Driver(const Options& options)
      : options_(options),
        client_(std::make_shared<internal::Client>(options)),
        partitions_(internal::partitions_of(*client_, options.topics, options.connect_timeout)),
        ends_(client_, partitions_, options) {}

  Position initial() { return internal::starting_position(*client_, partitions_, options_); }

  Position latest(const Position& from, const SourceLimit& limit) {
    // The very first answer needs connections to the leaders; there is no older one to fall back
    // on.
    const internal::EndOffsets::Known known =
        ends_.ask(answered_ ? std::min(options_.latest_timeout, limit.interval / 4)
                            : options_.connect_timeout);
    if (!answered_ && known.ends.empty()) {
      throw Error(ErrorCode::kUnreachable,
                  "Kafka brokers " + options_.brokers +
                      " did not tell the ends of the topics: " + known.trouble);
    }
    answered_ = true;
    if (!known.trouble.empty() && known.silent_for >= kSilenceWorthAWarning) warn(known.trouble);
    check_for_loss(from, known);
    return internal::next_end(
        from, known.ends,
        {limit.interval, options_.max_rate_per_partition, limit.max_records_per_second});
  }

 private:
  void check_for_loss(const Position& from, const internal::EndOffsets::Known& known) {
    const std::string truncated = internal::ends_before_position(from, known.ends);
    const auto now = SteadyClock::now();
    if (truncated.empty()) {
      truncated_since_.reset();
    } else if (known.fresh) {
      if (!truncated_since_) truncated_since_ = now;
      if (now - *truncated_since_ >= kTruncationConfirmation) {
        throw Error(ErrorCode::kDataLoss,
                    "Kafka partitions end before the stream's position: " + truncated +
                        ". The topic was truncated or made anew; start with a new checkpoint "
                        "directory, or restore the topic");
      }
    }
    if (known.missing_for >= kMissingConfirmation) {
      throw Error(ErrorCode::kDataLoss, "Kafka partitions are gone: " + known.missing +
                                            ". The topic was deleted or made anew");
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
  bool answered_ = false;
  std::optional<SteadyClock::time_point> truncated_since_;
  std::optional<SteadyClock::time_point> last_warning_;
};

Source::Source(Options options) : options_(std::move(options)) { validate(options_); }

Source::Driver& Source::driver() {
  if (!driver_) driver_ = std::make_shared<Driver>(options_);
  return *driver_;
}

Position Source::initial() { return driver().initial(); }

Position Source::latest(const Position& from, const SourceLimit& limit) {
  return driver().latest(from, limit);
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
