#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "weir/core/chunk.h"
#include "weir/core/hash.h"

namespace weir::internal {

/// HyperLogLog (Flajolet, Fusy, Gandouet, Meunier 2007): 2^precision registers, each the longest
/// run of zeros among the hashes that fall to it. Counted by Ertl's improved estimator ("New
/// cardinality estimation algorithms for HyperLogLog sketches", 2017, algorithm 6), which needs no
/// correction by tables for small and large counts.
class HyperLogLog {
 public:
  HyperLogLog() = default;
  explicit HyperLogLog(std::uint32_t precision)
      : precision_(precision), registers_(std::size_t{1} << precision, '\0') {}

  /// As many registers as a relative standard deviation of 1.04 / sqrt(registers) asks for. Throws
  /// Error(kInvalidArgument) unless it is 0.002 to 0.4.
  static std::uint32_t precision_for(double relative_deviation);

  /// A hash with 64 good bits.
  void add(std::uint64_t hash);
  /// Of one precision.
  void merge(const HyperLogLog& other);
  double estimate() const;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & precision_ & registers_;
  }

 private:
  std::uint32_t precision_ = 0;
  std::string registers_;
};

/// For an action: what a partition holds.
template <class T>
struct SketchAction {
  std::uint32_t precision = 0;

  HyperLogLog operator()(ChunkStream<T>& input) const {
    HyperLogLog sketch(precision);
    for (auto chunk = input.next(); !chunk.empty(); chunk = input.next()) {
      for (const T& element : chunk) sketch.add(key_hash(element, 0));
    }
    return sketch;
  }
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & precision;
  }
};

}  // namespace weir::internal
