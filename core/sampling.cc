#include "weir/core/sampling.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "weir/core/error.h"

namespace weir::internal {

void require_fraction(const char* operation, double fraction, bool is_share) {
  if (fraction >= 0 && (fraction <= 1 || !is_share) && std::isfinite(fraction)) return;
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("{}: the fraction {} is not {}", operation, fraction,
                          is_share ? "a share from 0 to 1; to get elements more than once, sample "
                                     "with replacement"
                                   : "a number of at least 0"));
}

std::uint64_t seed_or_random(std::optional<std::uint64_t> seed) {
  if (seed) return *seed;
  std::random_device device;
  return (std::uint64_t{device()} << 32) | device();
}

std::vector<std::pair<double, double>> shares_of(const std::vector<double>& weights) {
  double sum = 0;
  for (const double weight : weights) {
    if (!(weight >= 0) || !std::isfinite(weight)) {
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("random_split: the weight {} is not a number of at least 0", weight));
    }
    sum += weight;
  }
  if (!(sum > 0)) {
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format("random_split: the sum of the {} weights must be more than 0", weights.size()));
  }
  std::vector<std::pair<double, double>> shares;
  double before = 0;
  for (const double weight : weights) {
    const double from = before / sum;
    before += weight;
    shares.emplace_back(from, before / sum);
  }
  shares.back().second = 1;
  return shares;
}

double fraction_for(std::uint64_t wanted, std::uint64_t total, bool with_replacement) {
  const auto n = static_cast<double>(wanted);
  const auto all = static_cast<double>(total);
  if (with_replacement) {
    const double deviations = wanted < 12 ? 9 : 5;
    return std::max((n + deviations * std::sqrt(n)) / all, 1e-10);
  }
  const double share = n / all;
  const double gamma = -std::log(0.0001) / all;
  return std::min(1.0, share + gamma + std::sqrt(gamma * gamma + 2 * gamma * share));
}

}  // namespace weir::internal
