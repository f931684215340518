#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <tuple>

#include "weir/connectors/kafka/planning_internal.h"

namespace weir::kafka::internal {
namespace {

template <class P>
auto lower_bound_of(P& position, const std::string& topic, std::int32_t partition) {
  return std::lower_bound(position.begin(), position.end(), std::tie(topic, partition),
                          [](const PartitionOffset& entry, const auto& wanted) {
                            return std::tie(entry.topic, entry.partition) < wanted;
                          });
}

bool names(const PartitionOffset& entry, const std::string& topic, std::int32_t partition) {
  return entry.partition == partition && entry.topic == topic;
}

}  // namespace

std::optional<std::int64_t> offset_of(const Position& position, const std::string& topic,
                                      std::int32_t partition) {
  const auto found = lower_bound_of(position, topic, partition);
  if (found == position.end() || !names(*found, topic, partition)) return std::nullopt;
  return found->offset;
}

void set_offset(Position& position, const PartitionOffset& entry) {
  const auto at = lower_bound_of(position, entry.topic, entry.partition);
  if (at != position.end() && names(*at, entry.topic, entry.partition)) {
    at->offset = entry.offset;
  } else {
    position.insert(at, entry);
  }
}

std::int64_t allowance(double records_per_second, Duration interval) {
  const double records = records_per_second * std::chrono::duration<double>(interval).count();
  if (records >= 9e18) return std::numeric_limits<std::int64_t>::max();
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(std::floor(records + 1e-9)));
}

std::vector<std::int64_t> share_by_lag(const std::vector<std::int64_t>& lags, std::int64_t total) {
  const double sum = std::accumulate(lags.begin(), lags.end(), 0.0);
  if (sum <= static_cast<double>(total)) return lags;
  std::vector<std::int64_t> shares(lags.size());
  std::int64_t left = total;
  for (std::size_t i = 0; i < lags.size(); ++i) {
    const double share =
        std::floor(static_cast<double>(lags[i]) / sum * static_cast<double>(total));
    shares[i] = std::min({lags[i], left, static_cast<std::int64_t>(share)});
    left -= shares[i];
  }
  std::vector<std::size_t> by_lag(lags.size());
  std::iota(by_lag.begin(), by_lag.end(), std::size_t{0});
  std::stable_sort(by_lag.begin(), by_lag.end(),
                   [&](std::size_t a, std::size_t b) { return lags[a] > lags[b]; });
  for (const std::size_t i : by_lag) {
    const std::int64_t more = std::min<std::int64_t>({left, lags[i] - shares[i], 1});
    shares[i] += more;
    left -= more;
  }
  return shares;
}

Position next_end(const Position& from, const Position& known_ends, const BatchLimit& limit) {
  Position end = from;
  for (const PartitionOffset& known : known_ends) {
    if (!offset_of(from, known.topic, known.partition)) {
      set_offset(end, {known.topic, known.partition, 0});
    }
  }
  std::vector<std::int64_t> taken;
  for (const PartitionOffset& start : end) {
    const auto known = offset_of(known_ends, start.topic, start.partition);
    std::int64_t lag = std::max<std::int64_t>(0, known.value_or(start.offset) - start.offset);
    if (limit.max_rate_per_partition > 0) {
      lag = std::min(lag, allowance(limit.max_rate_per_partition, limit.interval));
    }
    taken.push_back(lag);
  }
  if (limit.max_records_per_second) {
    taken = share_by_lag(taken, allowance(*limit.max_records_per_second, limit.interval));
  }
  for (std::size_t i = 0; i < end.size(); ++i) end[i].offset += taken[i];
  return end;
}

std::vector<Range> ranges_between(const Position& from, const Position& end) {
  std::vector<Range> ranges;
  ranges.reserve(end.size());
  for (const PartitionOffset& stop : end) {
    const std::int64_t start = offset_of(from, stop.topic, stop.partition).value_or(0);
    ranges.push_back({stop.topic, stop.partition, start, stop.offset});
  }
  return ranges;
}

Position ends_before_position(const Position& from, const Position& known_ends) {
  Position found;
  for (const PartitionOffset& end : known_ends) {
    const auto start = offset_of(from, end.topic, end.partition);
    if (start && end.offset < *start) found.push_back(end);
  }
  return found;
}

}  // namespace weir::kafka::internal
