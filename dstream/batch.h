#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "weir/core/time.h"

namespace weir {

/// One micro-batch: what was received in one interval.
struct Batch {
  std::uint64_t sequence = 0;  ///< dense, from 1: the key of whatever is kept per batch
  Time time{};                 ///< on the fixed grid: what operators and users see

  bool operator==(const Batch&) const = default;
};

/// The input that a batch owns of one input stream. Positions are the source's own values as the
/// slim archive writes them, so that the batch can be described without knowing the source's types;
/// both are empty for inputs that cannot be replayed.
struct BatchInput {
  std::string name;                      ///< of the input stream, unique in its streaming context
  std::string from;                      ///< encoded position of the first element
  std::string end;                       ///< encoded position after the last
  std::optional<std::uint64_t> records;  ///< number of elements, if the input knows
  /// Elements per second that it might take at most when it was cut; nothing: all there were.
  std::optional<double> limit = {};
};

}  // namespace weir
