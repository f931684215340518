#pragma once

#include <cstdint>
#include <random>
#include <utility>
#include <vector>

#include "weir/core/pipes.h"

/// Random choices that are a function of a seed, the partition and an element's place in it, so
/// that a partition that is computed again is the same.
namespace weir::internal {

class SampleRandom {
 public:
  SampleRandom(std::uint64_t seed, std::uint32_t partition) {
    std::seed_seq mixed{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32),
                        partition};
    bits_.seed(mixed);
  }
  /// In [0, 1).
  double uniform() { return static_cast<double>(bits_() >> 11) * 0x1p-53; }
  std::mt19937_64& bits() { return bits_; }

 private:
  std::mt19937_64 bits_;
};

/// Each element as many times as `times(element)` says.
template <class T, class Times>
class RepeatStream final : public ChunkStream<T> {
 public:
  RepeatStream(StreamPtr<T> input, Times times)
      : input_(std::move(input)), times_(std::move(times)) {}

  ChunkRef<T> next() override {
    out_.clear();
    while (out_.size() == 0) {
      const ChunkRef<T> chunk = input_->next();
      if (chunk.empty()) break;
      for (const T& element : chunk) {
        for (int left = times_(element); left > 0; --left) out_.emplace_back(element);
      }
    }
    return out_.ref();
  }

 private:
  const StreamPtr<T> input_;
  Times times_;
  ChunkBuffer<T> out_;
};

template <class T, class Times>
StreamPtr<T> repeated(StreamPtr<T> input, Times times) {
  return StreamPtr(new RepeatStream<T, Times>(std::move(input), std::move(times)));
}

/// Each element with a number drawn from [0, 1) that is in [from, end); samples with one seed and
/// disjoint intervals are disjoint.
template <class T>
struct SamplePipe {
  using Out = T;
  double from = 0;
  double end = 1;
  std::uint64_t seed = 0;

  StreamPtr<T> operator()(StreamPtr<T> in, std::uint32_t partition) const {
    return repeated<T>(std::move(in), [from = from, end = end,
                                       random = SampleRandom(seed, partition)](const T&) mutable {
      const double number = random.uniform();
      return from <= number && number < end ? 1 : 0;
    });
  }
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & from & end & seed;
  }
};

/// Each element as many times as a Poisson distribution with that mean says.
template <class T>
struct ResamplePipe {
  using Out = T;
  double mean = 1;
  std::uint64_t seed = 0;

  StreamPtr<T> operator()(StreamPtr<T> in, std::uint32_t partition) const {
    return repeated<T>(std::move(in), [times = std::poisson_distribution<int>(mean),
                                       random = SampleRandom(seed, partition)](const T&) mutable {
      return times(random.bits());
    });
  }
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & mean & seed;
  }
};

/// Pairs as the two pipes above, each key with its own fraction; 0 for those without one.
template <class T>
struct StratifiedPipe {
  using Out = T;
  using K = owned_t<typename T::first_type>;
  AggregationTable<K, double> fractions;
  bool with_replacement = false;
  std::uint64_t seed = 0;

  void add(const K& key, double fraction) {
    fractions.find_or_insert(key_hash(key, 0), key, [&] { return fraction; });
  }
  StreamPtr<T> operator()(StreamPtr<T> in, std::uint32_t partition) const {
    return repeated<T>(
        std::move(in), [this, random = SampleRandom(seed, partition)](const T& element) mutable {
          const auto* known = fractions.find(key_hash(element.first, 0), element.first);
          const double fraction = known == nullptr ? 0 : known->second;
          if (!with_replacement) return random.uniform() < fraction ? 1 : 0;
          return fraction == 0 ? 0 : std::poisson_distribution<int>(fraction)(random.bits());
        });
  }
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & with_replacement & seed;
    if constexpr (Archive::is_saving::value) {
      ar & fractions.entries();
    } else {
      std::vector<std::pair<K, double>> entries;
      ar & entries;
      for (const auto& [key, fraction] : entries) add(key, fraction);
    }
  }
};

/// For an action: at most `size` of a partition's keys, each as likely as any other, and how many
/// elements there were (Vitter's algorithm R).
template <class T, class F>
struct ReservoirAction {
  using K = owned_t<result_of_t<F, const T&>>;
  F key;
  std::uint64_t size = 0;

  std::pair<std::uint64_t, std::vector<K>> operator()(ChunkStream<T>& input) const {
    SampleRandom random(size, 0);
    std::uint64_t seen = 0;
    std::vector<K> kept;
    for (auto chunk = input.next(); !chunk.empty(); chunk = input.next()) {
      for (const T& element : chunk) {
        ++seen;
        if (kept.size() < size) {
          kept.push_back(to_owned(key(element)));
        } else if (const std::uint64_t at = random.bits()() % seen; at < size) {
          kept[at] = to_owned(key(element));
        }
      }
    }
    return {seen, std::move(kept)};
  }
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    serialize_function(ar, key);
    ar & size;
  }
};

/// Throws Error(kInvalidArgument) unless it is a number of at least 0, and at most 1 if it is a
/// share.
void require_fraction(const char* operation, double fraction, bool is_share);
std::uint64_t seed_or_random(std::optional<std::uint64_t> seed);
/// The interval of each of the weights' shares in [0, 1). Throws Error(kInvalidArgument) unless
/// there are some, none is negative and their sum is positive.
std::vector<std::pair<double, double>> shares_of(const std::vector<double>& weights);
/// A share of `total` that holds `wanted` elements but for one time in 10,000. Formulas as Spark's
/// (SamplingUtils.computeFractionForSampleSize): Bernoulli by Chernoff's bound, Poisson by standard
/// deviations.
double fraction_for(std::uint64_t wanted, std::uint64_t total, bool with_replacement);

}  // namespace weir::internal
