#include "weir/core/approx_distinct.h"

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include <fmt/format.h>

#include "weir/core/error.h"

namespace weir::internal {
namespace {

constexpr double kDeviation = 1.04;  // of one register's share, times sqrt(registers)
constexpr double kLeast = 0.002;
constexpr double kMost = 0.4;

/// x + sum of x^(2^k) 2^(k-1) over k from 1.
double sigma(double x) {
  if (x == 1) return std::numeric_limits<double>::infinity();
  double sum = x;
  double weight = 1;
  for (double before = -1; sum != before; weight += weight) {
    x *= x;
    before = sum;
    sum += x * weight;
  }
  return sum;
}

/// (1 - x - sum of (1 - x^(2^-k))^2 2^-k over k from 1) / 3.
double tau(double x) {
  if (x == 0 || x == 1) return 0;
  double sum = 1 - x;
  double weight = 1;
  for (double before = -1; sum != before;) {
    x = std::sqrt(x);
    weight /= 2;
    before = sum;
    sum -= (1 - x) * (1 - x) * weight;
  }
  return sum / 3;
}

}  // namespace

std::uint32_t HyperLogLog::precision_for(double relative_deviation) {
  if (!(relative_deviation >= kLeast && relative_deviation <= kMost)) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("count_approx_distinct: the relative deviation {} is not {} to {}",
                            relative_deviation, kLeast, kMost));
  }
  const double registers = std::pow(kDeviation / relative_deviation, 2);
  return static_cast<std::uint32_t>(std::ceil(std::log2(registers)));
}

void HyperLogLog::add(std::uint64_t hash) {
  const std::uint64_t at = hash >> (64 - precision_);
  const std::uint64_t rest = hash << precision_ | std::uint64_t{1} << (precision_ - 1);
  const auto rank = static_cast<char>(std::countl_zero(rest) + 1);
  registers_[at] = std::max(registers_[at], rank);
}

void HyperLogLog::merge(const HyperLogLog& other) {
  if (other.registers_.size() != registers_.size()) {
    throw Error(ErrorCode::kInternal, "sketches of different precisions are merged");
  }
  for (std::size_t i = 0; i < registers_.size(); ++i) {
    registers_[i] = std::max(registers_[i], other.registers_[i]);
  }
}

double HyperLogLog::estimate() const {
  const auto m = static_cast<double>(registers_.size());
  const std::size_t longest = 64 - precision_;
  std::vector<double> count(longest + 2);
  for (const char rank : registers_) ++count[static_cast<std::size_t>(rank)];
  double z = m * tau(1 - count[longest + 1] / m);
  for (std::size_t k = longest; k >= 1; --k) z = (z + count[k]) / 2;
  z += m * sigma(count[0] / m);
  const double alpha = 1 / (2 * std::log(2.0));
  return alpha * m * m / z;
}

}  // namespace weir::internal
