#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "weir/core/hash.h"

/// What simulations that one seed decides have in common.
namespace weir::simulation {

/// All that is up to chance, from one seed: the same on every machine.
class Chance {
 public:
  explicit Chance(std::uint64_t seed) : random_(seed) {}

  std::uint64_t below(std::uint64_t limit) { return random_() % limit; }
  std::uint64_t between(std::uint64_t least, std::uint64_t most) {
    return least + below(most - least + 1);
  }
  bool one_in(std::uint64_t n) { return below(n) == 0; }
  bool in_a_thousand(unsigned n) { return below(1000) < n; }
  bool with(double probability) {
    return probability > 0 && static_cast<double>(random_() >> 11) * 0x1p-53 < probability;
  }
  std::mt19937_64& engine() { return random_; }

 private:
  std::mt19937_64 random_;
};

/// What happened: printed when asked for, and as a number that tells one run from another.
class Trace {
 public:
  bool verbose = false;  ///< prints every event to standard error

  template <class... Args>
  void note(fmt::format_string<Args...> format, Args&&... args) {
    const std::string line = fmt::format(format, std::forward<Args>(args)...);
    hash_ = hash_bytes(line, hash_);
    if (verbose) fmt::print(stderr, "{}\n", line);
  }
  std::uint64_t hash() const { return hash_; }

 private:
  std::uint64_t hash_ = 0;
};

/// Which seeds to run: `<name>_SEED=n` is that one alone, `<name>_SEEDS=n` as many from 1 on.
class Seeds {
 public:
  explicit Seeds(const std::string& name) {
    const char* const one = std::getenv((name + "_SEED").c_str());
    const char* const many = std::getenv((name + "_SEEDS").c_str());
    is_single_ = one != nullptr;
    if (one != nullptr) first_ = std::strtoull(one, nullptr, 10);
    if (many != nullptr) wanted_ = std::strtoull(many, nullptr, 10);
  }

  bool is_single() const { return is_single_; }
  std::uint64_t first() const { return first_; }
  std::uint64_t end(std::uint64_t count) const { return first_ + (is_single_ ? 1 : count); }
  /// How many were asked for, else `otherwise`.
  std::uint64_t wanted(std::uint64_t otherwise) const { return wanted_ != 0 ? wanted_ : otherwise; }

 private:
  bool is_single_ = false;
  std::uint64_t first_ = 1;
  std::uint64_t wanted_ = 0;
};

}  // namespace weir::simulation
