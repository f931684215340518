#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "weir/core/hash.h"
#include "weir/core/time.h"
#include "weir/dstream/source.h"

namespace weir::tools {

/// How many records there are at any time, whoever reads them: rates in records per second, each
/// from a second on, counted from `start`.
struct Schedule {
  Time start{};
  std::vector<std::pair<double, double>> rates;  ///< (from second, records/s), ascending

  double records_at(Time time) const {
    const double now = std::chrono::duration<double>(time - start).count();
    double records = 0;
    for (std::size_t i = 0; i < rates.size(); ++i) {
      const double from = rates[i].first;
      const double to = i + 1 < rates.size() ? rates[i + 1].first : now;
      records += rates[i].second * std::max(0.0, std::min(now, to) - from);
    }
    return records;
  }
  /// When record number `index` is there: its intended time.
  Time time_of(double index) const {
    double before = 0;
    for (std::size_t i = 0; i < rates.size(); ++i) {
      const auto [from, rate] = rates[i];
      const bool is_last = i + 1 == rates.size();
      const double in_step = is_last ? 0 : rate * (rates[i + 1].first - from);
      if (is_last || index < before + in_step) {
        const double second = rate > 0 ? from + (index - before) / rate : from;
        return start + std::chrono::duration_cast<Duration>(std::chrono::duration<double>(second));
      }
      before += in_step;
    }
    return start;
  }
};

/// Lines that come on a schedule and wait for nobody: a stream that is slow does not slow what it
/// is measured by. Line i is a function of i: `kWordsPerLine` words of `keys` different ones.
class OpenLoopSource {
 public:
  static constexpr int kWordsPerLine = 5;
  using Range = std::pair<std::int64_t, std::int64_t>;

  OpenLoopSource() = default;
  OpenLoopSource(Schedule schedule, std::uint64_t keys, int partitions)
      : schedule_(std::move(schedule)), keys_(keys), partitions_(partitions) {}

  std::int64_t initial() { return 0; }
  std::int64_t latest(std::int64_t from, const SourceLimit& limit) {
    auto end = static_cast<std::int64_t>(schedule_.records_at(Clock::system().now()));
    if (limit.max_records_per_second) {
      const double seconds = std::chrono::duration<double>(limit.interval).count();
      const double most = std::max(1.0, *limit.max_records_per_second * seconds);
      end = std::min(end, from + static_cast<std::int64_t>(most));
    }
    return std::max(from, end);
  }
  std::vector<Range> plan(std::int64_t from, std::int64_t end) const {
    std::vector<Range> ranges;
    for (int i = 0; i < partitions_; ++i) {
      ranges.emplace_back(from + (end - from) * i / partitions_,
                          from + (end - from) * (i + 1) / partitions_);
    }
    return ranges;
  }
  std::uint64_t records(const Range& range) const {
    return static_cast<std::uint64_t>(range.second - range.first);
  }
  std::vector<std::string> read(const Range& range) const {
    std::vector<std::string> lines;
    lines.reserve(records(range));
    for (std::int64_t i = range.first; i < range.second; ++i) lines.push_back(line(i));
    return lines;
  }
  void released(std::int64_t) {}

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & keys_;
  }

 private:
  std::string line(std::int64_t index) const {
    std::string text;
    for (int word = 0; word < kWordsPerLine; ++word) {
      const std::int64_t number = index * kWordsPerLine + word;
      const std::uint64_t hash =
          hash_bytes({reinterpret_cast<const char*>(&number), sizeof number});
      text += (word == 0 ? "w" : " w") + std::to_string(hash % keys_);
    }
    return text;
  }

  Schedule schedule_;  // the driver's
  std::uint64_t keys_ = 1;
  int partitions_ = 1;
};

}  // namespace weir::tools
