// Random pipelines of operators over random data, with little memory, against a straightforward
// evaluation on one thread; over every kind of master. A failure names its seed and its operators.

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "weir/core/context.h"

#include "masters.h"

namespace weir::test {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kSeeds = 100;  // where each takes so much longer
#else
constexpr int kSeeds = 500;
#endif

using Number = std::int64_t;
using Pair = std::pair<Number, Number>;
using Pairs = std::vector<Pair>;
using Groups = std::map<Number, std::vector<Number>>;

Pairs sorted(Pairs pairs) {
  std::sort(pairs.begin(), pairs.end());
  return pairs;
}

Groups groups_of(const Pairs& pairs) {
  Groups groups;
  for (const auto& [key, value] : pairs) groups[key].push_back(value);
  return groups;
}

Number sum_of(const std::vector<Number>& values) {
  Number sum = 0;
  for (const Number value : values) sum += value;
  return sum;
}

/// A dataset, and what it holds, in any order.
struct Both {
  Rdd<Pair> rdd;
  Pairs pairs;
};

class Pipelines {
 public:
  Pipelines(Context& context, std::uint32_t seed) : context_(context), random_(seed) {}

  /// One random pipeline; its operators are in `steps` then.
  Both make() {
    Both both = source(random(10) == 0 ? 20'000 : random(200));
    const Number steps = 2 + random(6);
    for (Number i = 0; i < steps; ++i) {
      both = step(std::move(both));
      // What grows too large is not looked at any further: every operator is to have its turn.
      if (both.pairs.size() > 40'000) return filtered(std::move(both));
    }
    return both;
  }
  const std::string& steps() const { return steps_; }

 private:
  Number random(Number below) {
    return std::uniform_int_distribution<Number>(0, below - 1)(random_);
  }
  std::uint32_t partitions() { return static_cast<std::uint32_t>(1 + random(5)); }
  void say(const char* name) { steps_ += std::string(" ") + name; }

  Both source(Number size) {
    Pairs pairs;
    const Number keys = 1 + random(size + 1);
    for (Number i = 0; i < size; ++i) pairs.emplace_back(random(keys), random(1'000) - 500);
    return {context_.parallelize(pairs, partitions()), pairs};
  }
  /// With one value per key, so that joins do not explode.
  Both reduced(Both both) {
    Pairs pairs;
    for (const auto& [key, values] : groups_of(both.pairs)) pairs.emplace_back(key, sum_of(values));
    return {both.rdd.reduce_by_key([](Number a, Number b) { return a + b; }, partitions()), pairs};
  }
  Both filtered(Both both) {
    say("filter");
    const Number by = 2 + random(4);
    std::erase_if(both.pairs, [&](const Pair& pair) { return pair.second % by == 0; });
    return {both.rdd.filter(
                weir::bind(by, [](Number b, const Pair& pair) { return pair.second % b != 0; })),
            both.pairs};
  }

  /// Applied to each element by both.
  template <class F>
  Both mapped(const Both& both, F f) {
    Pairs pairs;
    for (const Pair& pair : both.pairs) pairs.push_back(f(pair));
    return {both.rdd.map(f), pairs};
  }

  Both step(Both both) {
    switch (random(34)) {
      case 0:
        say("map");
        return mapped(both, weir::bind(random(9), [](Number by, const Pair& p) {
                        return Pair(p.first + by, p.second * 3);
                      }));
      case 1: return filtered(std::move(both));
      case 2: return flat_mapped(both);
      case 3: say("key_by"); return mapped_by_key(both);
      case 4: say("map_values"); return map_values(both);
      case 5: say("flat_map_values"); return flat_map_values(both);
      case 6: say("map_partitions"); return map_partitions(both);
      case 7: say("distinct"); return distinct(both);
      case 8: say("union_with"); return united(both, source(random(50)));
      case 9: say("union with itself"); return united(both, both);
      case 10: say("intersection"); return intersection(both);
      case 11: say("subtract"); return subtract(both);
      case 12: say("subtract_by_key"); return subtract_by_key(both);
      case 13: say("join"); return joined<false, false>(both, reduced(source(random(60))));
      case 14: say("left_outer_join"); return joined<true, false>(both, reduced(source(40)));
      case 15: say("right_outer_join"); return joined<false, true>(both, reduced(source(40)));
      case 16: say("full_outer_join"); return joined<true, true>(both, reduced(source(40)));
      case 17: say("self join"); return joined<false, false>(reduced(both), reduced(both));
      case 18: say("cogroup"); return cogrouped(both, source(random(50)));
      case 19: say("reduce_by_key"); return reduced(std::move(both));
      case 20: say("group_by_key"); return grouped(both);
      case 21: say("aggregate_by_key"); return aggregated(both);
      case 22: say("fold_by_key"); return folded(both);
      case 23: say("combine_by_key"); return combined(both);
      case 24: say("partition_by"); return {both.rdd.partition_by(partitions()), both.pairs};
      case 25: say("repartition"); return {both.rdd.repartition(partitions()), both.pairs};
      case 26: say("coalesce"); return {both.rdd.coalesce(partitions()), both.pairs};
      case 27: say("sort_by"); return sort_by(both);
      case 28: say("sort_by_key"); return {both.rdd.sort_by_key(random(2) == 0), both.pairs};
      case 29: return persisted(both);
      case 30:
        say("glom");
        return {both.rdd.glom().flat_map([](const Pairs& all) { return all; }), both.pairs};
      case 31: say("broadcast"); return mapped_by_broadcast(both);
      case 32: say("custom partitioner"); return custom(both);
      default: say("checkpoint"); return checkpointed(both);
    }
  }

  Both flat_mapped(const Both& both) {
    say("flat_map");
    Pairs pairs;
    for (const Pair& pair : both.pairs) {
      for (Number i = 0; i < pair.first % 3; ++i) pairs.emplace_back(pair.first, pair.second + i);
    }
    return {both.rdd.flat_map([](const Pair& pair) {
              Pairs some;
              for (Number i = 0; i < pair.first % 3; ++i) {
                some.emplace_back(pair.first, pair.second + i);
              }
              return some;
            }),
            pairs};
  }
  Both mapped_by_key(const Both& both) {
    Pairs pairs;
    for (const Pair& pair : both.pairs) pairs.emplace_back(pair.second % 7, pair.first);
    return {both.rdd.key_by([](const Pair& pair) { return pair.second % 7; })
                .map_values([](const Pair& pair) { return pair.first; }),
            pairs};
  }
  Both map_values(const Both& both) {
    Pairs pairs;
    for (const Pair& pair : both.pairs) pairs.emplace_back(pair.first, -pair.second);
    return {both.rdd.map_values([](Number value) { return -value; }), pairs};
  }
  Both flat_map_values(const Both& both) {
    Pairs pairs;
    for (const Pair& pair : both.pairs) {
      if (pair.second > 0) pairs.emplace_back(pair);
    }
    return {both.rdd.flat_map_values(
                [](Number value) { return value > 0 ? std::optional(value) : std::nullopt; }),
            pairs};
  }
  Both map_partitions(const Both& both) {
    Pairs pairs;
    for (const Pair& pair : both.pairs) pairs.emplace_back(pair.first, pair.second + 1);
    return {both.rdd.map_partitions([](auto elements) {
              Pairs all;
              for (const Pair& pair : elements) all.emplace_back(pair.first, pair.second + 1);
              return all;
            }),
            pairs};
  }
  Both distinct(const Both& both) {
    const std::set<Pair> once(both.pairs.begin(), both.pairs.end());
    return {both.rdd.distinct(partitions()), Pairs(once.begin(), once.end())};
  }
  Both united(const Both& a, const Both& b) {
    Pairs pairs = a.pairs;
    pairs.insert(pairs.end(), b.pairs.begin(), b.pairs.end());
    return {a.rdd.union_with(b.rdd), pairs};
  }
  /// Some of the elements, and some others.
  Both similar(const Both& both) { return united(filtered(both), source(random(20))); }
  Both intersection(const Both& both) {
    const Both other = similar(both);
    const std::set<Pair> there(other.pairs.begin(), other.pairs.end());
    std::set<Pair> shared;
    for (const Pair& pair : both.pairs) {
      if (there.count(pair) != 0) shared.insert(pair);
    }
    return {both.rdd.intersection(other.rdd, partitions()), Pairs(shared.begin(), shared.end())};
  }
  Both subtract(const Both& both) {
    const Both other = similar(both);
    const std::set<Pair> there(other.pairs.begin(), other.pairs.end());
    Pairs rest = both.pairs;
    std::erase_if(rest, [&](const Pair& pair) { return there.count(pair) != 0; });
    return {both.rdd.subtract(other.rdd, partitions()), rest};
  }
  Both subtract_by_key(const Both& both) {
    const Both other = source(random(60));
    const Groups there = groups_of(other.pairs);
    Pairs rest = both.pairs;
    std::erase_if(rest, [&](const Pair& pair) { return there.count(pair.first) != 0; });
    return {both.rdd.subtract_by_key(other.rdd, partitions()), rest};
  }

  static Number value_of(Number value) { return value; }
  static Number value_of(const std::optional<Number>& value) { return value.value_or(-7); }

  template <bool kLeft, bool kRight>
  Both joined(const Both& a, const Both& b) {
    const Groups left = groups_of(a.pairs);
    const Groups right = groups_of(b.pairs);
    Pairs pairs;
    for (const auto& [key, values] : left) {
      const auto found = right.find(key);
      for (const Number value : values) {
        if (found != right.end()) {
          for (const Number other : found->second) pairs.emplace_back(key, value * 3 + other);
        } else if (kLeft) {
          pairs.emplace_back(key, value * 3 - 7);
        }
      }
    }
    if (kRight) {
      for (const auto& [key, values] : right) {
        if (left.count(key) != 0) continue;
        for (const Number value : values) pairs.emplace_back(key, -7 * 3 + value);
      }
    }
    const auto flat = [](const auto& two) {
      return value_of(two.first) * 3 + value_of(two.second);
    };
    if constexpr (kLeft && kRight) {
      return {a.rdd.full_outer_join(b.rdd, partitions()).map_values(flat), pairs};
    } else if constexpr (kLeft) {
      return {a.rdd.left_outer_join(b.rdd, partitions()).map_values(flat), pairs};
    } else if constexpr (kRight) {
      return {a.rdd.right_outer_join(b.rdd, partitions()).map_values(flat), pairs};
    } else {
      return {a.rdd.join(b.rdd).map_values(flat), pairs};
    }
  }
  Both cogrouped(const Both& a, const Both& b) {
    const Groups left = groups_of(a.pairs);
    Groups right = groups_of(b.pairs);
    Pairs pairs;
    for (const auto& [key, values] : left) {
      pairs.emplace_back(key, sum_of(values) - sum_of(right[key]));
      right.erase(key);
    }
    for (const auto& [key, values] : right) pairs.emplace_back(key, -sum_of(values));
    return {a.rdd.cogroup(b.rdd, partitions()).map_values([](const auto& two) {
              return sum_of(two.first) - sum_of(two.second);
            }),
            pairs};
  }
  Both grouped(const Both& both) {
    Pairs pairs;
    for (const auto& [key, values] : groups_of(both.pairs)) {
      pairs.emplace_back(key, sum_of(values) * static_cast<Number>(values.size()));
    }
    return {both.rdd.group_by_key(partitions()).map_values([](const std::vector<Number>& values) {
              return sum_of(values) * static_cast<Number>(values.size());
            }),
            pairs};
  }
  Both aggregated(const Both& both) {
    Pairs pairs;
    for (const auto& [key, values] : groups_of(both.pairs)) {
      pairs.emplace_back(key, *std::max_element(values.begin(), values.end()));
    }
    return {both.rdd.aggregate_by_key(
                std::int64_t{-1'000'000'000'000},
                [](Number most, Number value) { return std::max(most, value); },
                [](Number a, Number b) { return std::max(a, b); }, partitions()),
            with_floor(pairs)};
  }
  static Pairs with_floor(Pairs pairs) {
    for (Pair& pair : pairs) pair.second = std::max<Number>(pair.second, -1'000'000'000'000);
    return pairs;
  }
  Both folded(const Both& both) {
    Pairs pairs;
    for (const auto& [key, values] : groups_of(both.pairs)) pairs.emplace_back(key, sum_of(values));
    return {both.rdd.fold_by_key(
                0, [](Number a, Number b) { return a + b; }, partitions()),
            pairs};
  }
  Both combined(const Both& both) {
    Pairs pairs;
    for (auto& [key, values] : groups_of(both.pairs)) {
      const std::set<Number> once(values.begin(), values.end());
      pairs.emplace_back(key, static_cast<Number>(once.size()));
    }
    return {both.rdd
                .combine_by_key([](Number value) { return std::set<Number>{value}; },
                                [](std::set<Number> all, Number value) {
                                  all.insert(value);
                                  return all;
                                },
                                [](std::set<Number> all, std::set<Number> more) {
                                  all.merge(more);
                                  return all;
                                },
                                partitions())
                .map_values(
                    [](const std::set<Number>& all) { return static_cast<Number>(all.size()); }),
            pairs};
  }
  Both sort_by(const Both& both) {
    return {both.rdd.sort_by([](const Pair& pair) { return pair.second; }, random(2) == 0,
                             partitions()),
            both.pairs};
  }
  Both persisted(const Both& both) {
    const auto level = static_cast<StorageLevel>(1 + random(8));
    say(to_string(level));
    if (both.rdd.dataset()->storage_level() != StorageLevel::kNone) return both;
    both.rdd.persist(level);
    check_now_and_then(both);
    return both;
  }
  void check_now_and_then(const Both& both) {
    if (random(2) == 0) return;
    EXPECT_EQ(both.rdd.count(), static_cast<Number>(both.pairs.size()));
  }
  Both mapped_by_broadcast(const Both& both) {
    std::map<Number, Number> names;
    for (Number i = 0; i < 5; ++i) names[i] = random(100);
    const auto of = [](const std::map<Number, Number>& all, const Pair& pair) {
      const auto found = all.find(pair.first % 7);
      return Pair(pair.first, found == all.end() ? pair.second : found->second);
    };
    Pairs pairs;
    for (const Pair& pair : both.pairs) pairs.push_back(of(names, pair));
    return {both.rdd.map(weir::bind(context_.broadcast(names),
                                    [](const auto& all, const Pair& pair) {
                                      const auto found = all->find(pair.first % 7);
                                      return Pair(pair.first, found == all->end() ? pair.second
                                                                                  : found->second);
                                    })),
            pairs};
  }
  Both custom(const Both& both) {
    return {
        both.rdd.partition_by(CustomPartitioner{3, [](Number key) { return ((key % 3) + 3) % 3; }}),
        both.pairs};
  }
  Both checkpointed(const Both& both) {
    if (random(2) == 0) {
      both.rdd.checkpoint();
    } else if (both.rdd.dataset()->storage_level() == StorageLevel::kNone) {
      both.rdd.local_checkpoint();
    }
    check_now_and_then(both);
    return both;
  }

  Context& context_;
  std::mt19937 random_;
  std::string steps_;
};

class RandomPipelines : public ::testing::TestWithParam<const char*> {
 protected:
  ~RandomPipelines() override { std::filesystem::remove_all(directory_); }

  const std::string directory_ =
      std::filesystem::temp_directory_path() / ("weir-pipelines-" + std::to_string(::getpid()));
};
WEIR_TEST_OVER_MASTERS(RandomPipelines);

TEST_P(RandomPipelines, AreWhatOneThreadMakesOfThem) {
  Context context(
      Config()
          .set("master", GetParam())
          .set("log-level", "error")
          .set("memory", "1048576")
          .set("shuffle-compression", GetParam() == std::string("local[4]") ? "none" : "lz4"));
  context.set_checkpoint_dir(directory_);
  for (std::uint32_t seed = 0; seed < kSeeds; ++seed) {
    Pipelines pipelines(context, seed);
    const Both both = pipelines.make();
    SCOPED_TRACE("seed " + std::to_string(seed) + ":" + pipelines.steps());
    ASSERT_EQ(sorted(both.rdd.collect()), sorted(both.pairs));
    ASSERT_EQ(both.rdd.count(), static_cast<Number>(both.pairs.size()));  // once more
  }
}

}  // namespace
}  // namespace weir::test
