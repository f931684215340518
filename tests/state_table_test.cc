#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "weir/core/state/keyed_table.h"
#include "weir/core/state/update_state.h"

#include "state_kit.h"

namespace weir::internal {
namespace {

using testing::at_seconds;
using testing::kStateSeed;
using testing::sorted;
using testing::StatePartition;

// A state that is what the batch's last value says; a negative value removes it.
struct Assign {
  std::optional<std::int64_t> operator()(const std::vector<std::int64_t>& values,
                                         std::optional<std::int64_t> state) const {
    if (values.empty()) return state;
    if (values.back() < 0) return std::nullopt;
    return values.back();
  }
};
using Assigned = UpdateStateOperator<std::string, std::int64_t, std::int64_t, Assign>;
using Record = std::pair<std::string, std::int64_t>;
using Records = std::vector<Record>;

constexpr KeyGroups kAll{16, 0, 16};

Records random_records(std::mt19937& random, std::size_t count, int keys) {
  Records records;
  for (std::size_t i = 0; i < count; ++i) {
    const auto value = static_cast<std::int64_t>(random() % 1000);
    const std::string key = "key number " + std::to_string(random() % keys);
    records.emplace_back(key, random() % 3 == 0 ? -1 : value);
  }
  return records;
}

TEST(KeyedGroup, KeepsOrderAndFindsEverythingWhileEntriesComeAndGo) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  KeyedGroup<std::uint64_t, int> group(true);
  std::vector<std::pair<std::uint64_t, int>> expected;
  std::vector<std::uint64_t> by_time;
  const auto hash_of = [](std::uint64_t key) { return key % 97 * 0x100000001U; };  // they collide
  for (int step = 0; step < 20'000; ++step) {
    const std::uint64_t key = random() % 300;
    const auto at = group.find(hash_of(key), key);
    const auto known = std::find_if(expected.begin(), expected.end(),
                                    [&](const auto& entry) { return entry.first == key; });
    ASSERT_EQ(at == group.kNone, known == expected.end());
    std::erase(by_time, key);
    if (known == expected.end()) {
      group.insert(hash_of(key), std::uint64_t{key}, int{step}, step);
      expected.emplace_back(key, step);
      by_time.push_back(key);
    } else if (random() % 100 < (step / 5000 % 2 == 0 ? 20 : 80)) {
      group.remove(hash_of(key), at);
      expected.erase(known);
    } else {
      group.state(at) = known->second = step;
      group.touch(at, step);
      by_time.push_back(key);
    }
  }
  std::vector<std::pair<std::uint64_t, int>> found;
  for (std::uint32_t at = 0; at < group.end(); ++at) {
    if (!group.is_hole(at)) found.push_back(group.entry(at));
  }
  EXPECT_EQ(found, expected);
  EXPECT_EQ(group.size(), expected.size());
  std::vector<std::uint64_t> timed;
  for (auto at = group.oldest(); at != group.kNone; at = group.newer(at)) {
    timed.push_back(group.entry(at).first);
  }
  EXPECT_EQ(timed, by_time);
}

TEST(KeyedTable, IsAMapOverAnyHistoryAndHoweverItIsFolded) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const Assigned op{Assign{}};
  StatePartition<Assigned> layered(op, kAll);
  StatePartition<Assigned> folded(op, kAll);
  std::map<std::string, std::int64_t> expected;
  for (int batch = 1; batch <= 60; ++batch) {
    const Records records = random_records(random, random() % 80, 100);
    std::map<std::string, std::int64_t> last;
    for (const auto& [key, value] : records) last[key] = value;
    for (const auto& [key, value] : last) {
      if (value < 0) {
        expected.erase(key);
      } else {
        expected[key] = value;
      }
    }
    layered.run(at_seconds(batch), records);
    layered.fold(random() % 5);
    folded.run(at_seconds(batch), records);
    folded.fold();
    ASSERT_EQ(sorted(layered.elements()), Records(expected.begin(), expected.end()));
    ASSERT_EQ(layered.elements(), folded.elements());  // in the same order
    ASSERT_EQ(layered.keys(), expected.size());
    ASSERT_EQ(folded.table().keys(), expected.size());
  }
}

TEST(KeyedTable, IsTheSameFromASnapshotAndDeltasAtEveryPoint) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const Assigned op{Assign{}};
  StatePartition<Assigned> original(op, kAll);
  std::vector<std::vector<std::string>> snapshots = {original.groups()};
  for (int batch = 1; batch <= 20; ++batch) {
    original.run(at_seconds(batch), random_records(random, 40, 60));
    original.fold();
    snapshots.push_back(original.groups());
  }
  for (std::size_t from = 0; from <= 20; ++from) {
    StatePartition<Assigned> restored(op, kAll);
    for (std::uint32_t group = 0; group < 16; ++group) {
      restored.read_group(group, snapshots[from][group]);
    }
    for (std::size_t batch = from; batch < 20; ++batch) {
      restored.fold_delta(original.deltas()[batch]);
    }
    ASSERT_EQ(restored.elements(), original.elements()) << "from version " << from;
    ASSERT_EQ(restored.groups(), original.groups());
    ASSERT_EQ(restored.table().keys(), original.table().keys());
  }
}

TEST(KeyedTable, GoesToOtherNumbersOfPartitions) {
  const Assigned op{Assign{}};
  std::mt19937 random(1);
  std::vector<Records> batches;
  for (int i = 0; i < 6; ++i) batches.push_back(random_records(random, 50, 70));
  std::vector<StatePartition<Assigned>> before;
  for (std::uint32_t p = 0; p < 3; ++p) before.emplace_back(op, KeyGroups::of_partition(p, 3, 16));
  for (int i = 0; i < 3; ++i) {
    for (auto& partition : before) partition.run(at_seconds(i + 1), batches[i]);
  }
  std::vector<std::pair<std::uint32_t, std::string>> snapshot;
  for (auto& partition : before) {
    partition.fold();
    const auto groups = partition.groups();
    for (std::uint32_t g = 0; g < groups.size(); ++g) {
      snapshot.emplace_back(partition.range().begin + g, groups[g]);
    }
  }
  for (int i = 3; i < 6; ++i) {
    for (auto& partition : before) partition.run(at_seconds(i + 1), batches[i]);
  }
  for (const std::uint32_t partitions : {1U, 2U, 5U, 16U}) {
    Records restored;
    for (std::uint32_t p = 0; p < partitions; ++p) {
      StatePartition<Assigned> after(op, KeyGroups::of_partition(p, partitions, 16));
      for (const auto& [group, bytes] : snapshot) after.read_group(group, bytes);
      for (auto& partition : before) {
        for (std::size_t i = 3; i < 6; ++i) after.fold_delta(partition.deltas()[i]);
      }
      for (auto& element : after.elements()) restored.push_back(std::move(element));
    }
    Records expected;
    for (auto& partition : before) {
      for (auto& element : partition.elements()) expected.push_back(std::move(element));
    }
    EXPECT_EQ(restored, expected) << partitions << " partitions";
  }
}

TEST(KeyedTable, CountsWhatKeysAndStatesOwn) {
  const auto keep = [](const std::vector<std::string>& values, std::optional<std::string> state) {
    return values.empty() ? state : std::optional<std::string>(values.back());
  };
  const UpdateStateOperator<std::string, std::string, std::string, decltype(keep)> op(keep);
  StatePartition<std::decay_t<decltype(op)>> partition(op, kAll);
  const auto empty = partition.table().bytes();
  std::vector<std::pair<std::string, std::string>> records;
  for (int i = 0; i < 100; ++i)
    records.emplace_back("key " + std::to_string(i), std::string(10'000, 'x'));
  partition.run(at_seconds(1), records);
  EXPECT_GT(partition.view().overlays[0]->bytes(), 1'000'000U);
  partition.fold();
  EXPECT_GT(partition.table().bytes(), empty + 1'000'000);
  EXPECT_LT(partition.table().bytes(), empty + 1'100'000);
  for (auto& [key, value] : records) value = "x";
  partition.run(at_seconds(2), records);
  partition.fold();
  EXPECT_LT(partition.table().bytes(), empty + 100'000);
}

TEST(KeyedTable, RefusesGroupsThatWereWrittenWithOtherKeyGroups) {
  const Assigned op{Assign{}};
  StatePartition<Assigned> coarse(op, {4, 0, 4});
  std::mt19937 random(1);
  coarse.run(at_seconds(1), random_records(random, 100, 100));
  coarse.fold();
  StatePartition<Assigned> fine(op, {16, 0, 16});
  const auto groups = coarse.groups();
  EXPECT_THROW(fine.read_group(3, groups[3]), Error);
  EXPECT_THROW(fine.read_group(0, groups[0].substr(0, groups[0].size() - 1)), Error);
}

TEST(UpdateState, CallsTheFunctionForEveryKeyInEveryBatch) {
  // Counts the batches in which a key had no value; gone after two.
  const auto idle = [](const std::string&, Time time, const std::vector<std::int64_t>& values,
                       std::optional<std::pair<std::int64_t, std::int64_t>> state)
      -> std::optional<std::pair<std::int64_t, std::int64_t>> {
    if (!values.empty()) return std::pair(time.time_since_epoch().count() / 1'000'000, 0);
    if (state->second == 1) return std::nullopt;
    return std::pair(state->first, state->second + 1);
  };
  using Idle = UpdateStateOperator<std::string, std::int64_t, std::pair<std::int64_t, std::int64_t>,
                                   decltype(idle)>;
  static_assert(
      std::is_same_v<UpdatedState<decltype(idle)>::type, std::pair<std::int64_t, std::int64_t>>);
  const Idle op(idle);
  StatePartition<Idle> partition(op, kAll);
  using Elements = std::vector<Idle::SnapshotElement>;
  partition.run(at_seconds(1), Records{{"a", 1}, {"b", 1}});
  EXPECT_EQ(sorted(partition.elements()), (Elements{{"a", {1, 0}}, {"b", {1, 0}}}));
  partition.run(at_seconds(2), Records{{"a", 1}});
  EXPECT_EQ(sorted(partition.elements()), (Elements{{"a", {2, 0}}, {"b", {1, 1}}}));
  partition.run(at_seconds(3), Records{});
  EXPECT_EQ(sorted(partition.elements()), (Elements{{"a", {2, 1}}}));
  EXPECT_EQ(partition.keys(), 1U);
}

TEST(UpdateState, WritesOnlyWhatChanged) {
  const Assigned op{Assign{}};
  StatePartition<Assigned> partition(op, kAll);
  partition.run(at_seconds(1), Records{{"a", 1}, {"b", 2}, {"c", 3}});
  partition.run(at_seconds(2), Records{{"a", 1}, {"b", 3}});
  EXPECT_EQ(partition.view().overlays[0]->keys(), 3U);
  EXPECT_EQ(partition.view().overlays[1]->keys(), 1U);
}

TEST(UpdateState, BeginsWithTheInitialStateOnceOnly) {
  const Assigned op(Assign{}, {{"a", 10}, {"b", 20}});
  StatePartition<Assigned> first(op, {16, 0, 8});
  StatePartition<Assigned> second(op, {16, 8, 16});
  Records all;
  for (auto* partition : {&first, &second}) {
    partition->run(at_seconds(1), Records{{"b", 21}, {"c", 30}});
    for (auto& element : partition->elements()) all.push_back(element);
  }
  EXPECT_EQ(sorted(all), (Records{{"a", 10}, {"b", 21}, {"c", 30}}));
  for (auto* partition : {&first, &second}) {
    partition->run(at_seconds(2), Records{{"a", -1}, {"b", -1}, {"c", -1}});
    partition->fold();
    partition->run(at_seconds(3), Records{});
    EXPECT_EQ(partition->elements(), Records{});
  }
}

}  // namespace
}  // namespace weir::internal
