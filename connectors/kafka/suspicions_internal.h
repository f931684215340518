#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "weir/connectors/kafka/position.h"
#include "weir/core/time.h"

namespace weir::kafka::internal {

/// Bad news about partitions, believed when the brokers repeat it: a leader that was just elected
/// may know less than its predecessor for a moment, and one answer may be read many times while the
/// next is late. Pure.
class Suspicions {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  /// News must span at least `span`, and so at least two answers.
  explicit Suspicions(Duration span) : span_(span) {}

  /// What the brokers' answer with this number says: `accused` partitions, and what it `told` of
  /// others, which clears them; partitions in neither stay as they are. An answer that was given
  /// before says nothing. Returns those of `accused` that are to be believed.
  Position on_answer(std::uint64_t answer, const Position& accused, const Position& told,
                     TimePoint now);

 private:
  const Duration span_;
  std::uint64_t last_answer_ = 0;
  std::map<std::pair<std::string, std::int32_t>, TimePoint> since_;
};

}  // namespace weir::kafka::internal
