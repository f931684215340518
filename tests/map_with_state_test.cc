#include "weir/core/state/map_with_state.h"

#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "state_kit.h"

namespace weir::internal {
namespace {

using namespace std::chrono_literals;
using testing::at_seconds;
using testing::StatePartition;

using Records = std::vector<std::pair<std::string, int>>;
using Text = std::vector<std::string>;
constexpr KeyGroups kAll{16, 0, 16};

// Sums; tells key and sum, "end" when it times out. A zero removes, a negative value only looks.
std::string sum(const std::string& key, std::optional<int> value, State<std::int64_t>& state) {
  if (state.is_timing_out()) return key + " ended at " + std::to_string(state.get());
  if (*value == 0) {
    state.remove();
    return key + " removed";
  }
  if (*value > 0) state.update(state.get_optional().value_or(0) + *value);
  return key + " " + (state.exists() ? std::to_string(state.get()) : "unknown");
}

auto summing(std::optional<Duration> timeout = {}) {
  StateSpec spec(fn<&sum>);
  if (timeout) spec.timeout(*timeout);
  return map_with_state_operator<std::string_view, int>(spec);
}
using Summing = decltype(summing());

TEST(MapWithState, CallsTheFunctionForEachRecordInOrder) {
  const Summing op = summing();
  StatePartition<Summing> partition(op, kAll);
  EXPECT_EQ(partition.run(at_seconds(1), Records{{"a", 1}, {"b", 5}, {"a", 2}}),
            (Text{"a 1", "b 5", "a 3"}));
  EXPECT_EQ(partition.run(at_seconds(2), Records{{"c", -1}, {"a", 0}, {"a", -1}, {"a", 4}}),
            (Text{"c unknown", "a removed", "a unknown", "a 4"}));
  EXPECT_EQ(partition.keys(), 2U);
  partition.fold();
  EXPECT_EQ(partition.run(at_seconds(3), Records{{"a", -1}, {"b", -1}}), (Text{"a 4", "b 5"}));
  EXPECT_EQ(partition.view().overlays[0]->keys(), 0U);  // looking changes nothing
}

TEST(MapWithState, DropsWhatComesAndGoesInOneBatch) {
  const Summing op = summing();
  StatePartition<Summing> partition(op, kAll);
  EXPECT_EQ(partition.run(at_seconds(1), Records{{"a", 1}, {"a", 0}}), (Text{"a 1", "a removed"}));
  EXPECT_EQ(partition.keys(), 0U);
  EXPECT_EQ(partition.view().overlays[0]->keys(), 0U);
}

TEST(MapWithState, TimesOutInTheBatchInWhichItIsDue) {
  const Summing op = summing(3s);
  StatePartition<Summing> partition(op, kAll);
  partition.run(at_seconds(1), Records{{"a", 1}, {"b", 2}, {"c", 3}});
  partition.run(at_seconds(2), Records{{"b", 2}});
  EXPECT_EQ(partition.run(at_seconds(3), Records{{"c", -1}}),
            (Text{"c 3"}));  // counts as an update
  EXPECT_EQ(partition.run(at_seconds(4), Records{{"d", 1}}), (Text{"d 1", "a ended at 1"}));
  EXPECT_EQ(partition.run(at_seconds(5), Records{{"b", 1}}), (Text{"b 5"}));  // was due now
  partition.fold();
  EXPECT_EQ(partition.run(at_seconds(6), Records{}), (Text{"c ended at 3"}));
  EXPECT_EQ(partition.run(at_seconds(6.5), Records{}), Text{});
  EXPECT_EQ(partition.run(at_seconds(60), Records{}), (Text{"d ended at 1", "b ended at 5"}));
  EXPECT_EQ(partition.keys(), 0U);
  EXPECT_EQ(partition.run(at_seconds(70), Records{{"a", 1}}), (Text{"a 1"}));
}

// Folded at random and restored at random against a map.
TEST(MapWithState, TimesOutAlikeHoweverItIsFoldedOrRestored) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const Summing op = summing(4s);
  StatePartition<Summing> plain(op, kAll);
  auto other = std::make_unique<StatePartition<Summing>>(op, kAll);
  std::map<std::string, std::pair<std::int64_t, int>> expected;
  for (int batch = 1; batch <= 200; ++batch) {
    Records records;
    for (unsigned i = random() % 30; i > 0; --i) {
      records.emplace_back("k" + std::to_string(random() % 150),
                           static_cast<int>(random() % 5) - 1);
    }
    for (const auto& [key, value] : records) {
      if (value == 0) {
        expected.erase(key);
      } else if (value > 0) {
        expected[key].first += value;
        expected[key].second = batch;
      } else if (expected.count(key) != 0) {
        expected[key].second = batch;
      }
    }
    std::size_t due = 0;
    for (auto it = expected.begin(); it != expected.end();) {
      const bool ended = it->second.second + 4 <= batch;
      due += static_cast<std::size_t>(ended);
      it = ended ? expected.erase(it) : std::next(it);
    }
    const auto out = plain.run(at_seconds(batch), records);
    ASSERT_EQ(out.size(), records.size() + due);
    ASSERT_EQ(plain.keys(), expected.size());
    ASSERT_EQ(other->run(at_seconds(batch), records), out) << "batch " << batch;
    plain.fold();
    other->fold(random() % 7);
    if (random() % 4 == 0) {
      other->fold();
      auto restored = std::make_unique<StatePartition<Summing>>(op, kAll);
      const auto groups = other->groups();
      for (std::uint32_t g = 0; g < 16; ++g) restored->read_group(g, groups[g]);
      other = std::move(restored);
    }
    ASSERT_EQ(other->elements(), plain.elements());
  }
}

TEST(MapWithState, GivesTheTimeAndDropsNothingReturned) {
  const StateSpec spec([](Time time, const std::string& key, std::optional<int> value,
                          State<int>& seen) -> std::optional<std::pair<std::string, std::int64_t>> {
    if (seen.exists()) return std::nullopt;
    seen.update(*value);
    return std::pair(key, time.time_since_epoch() / 1s);
  });
  const auto op = map_with_state_operator<std::string, int>(spec);
  using Op = std::decay_t<decltype(op)>;
  static_assert(std::is_same_v<Op::Out, std::pair<std::string, std::int64_t>>);
  StatePartition<Op> partition(op, kAll);
  EXPECT_EQ(partition.run(at_seconds(8), Records{{"a", 1}, {"a", 2}, {"b", 3}}),
            (std::vector<Op::Out>{{"a", 8}, {"b", 8}}));
}

TEST(MapWithState, RefusesMisuseOfAState) {
  StateAccess<int> missing(nullptr, false);
  EXPECT_THROW((void)missing.state().get(), Error);
  EXPECT_EQ(missing.state().get_optional(), std::nullopt);
  const int value = 5;
  StateAccess<int> removed(&value, false);
  removed.state().remove();
  EXPECT_FALSE(removed.state().exists());
  EXPECT_THROW(removed.state().update(1), Error);
  EXPECT_THROW(removed.state().remove(), Error);
  EXPECT_THROW((void)removed.state().get(), Error);
  StateAccess<int> ending(&value, true);
  EXPECT_EQ(ending.state().get(), 5);
  EXPECT_THROW(ending.state().update(1), Error);
  EXPECT_THROW(ending.state().remove(), Error);
  EXPECT_THROW(StateSpec(fn<&sum>).timeout(0s), Error);
  EXPECT_THROW(StateSpec(fn<&sum>).partitions(0), Error);
}

TEST(MapWithState, BeginsWithTheInitialStateAndShips) {
  const auto bound =
      weir::bind(std::string("limit"), 10,
                 [](const std::string&, int limit, const std::string& key, std::optional<int> value,
                    State<int>& total) {
                   total.update(std::min(limit, total.get_optional().value_or(0) + *value));
                   return std::pair(key, total.get());
                 });
  const auto op = map_with_state_operator<std::string, int>(
      StateSpec(bound).initial_state({{"a", 8}, {"b", 1}}).partitions(4));
  using Op = std::decay_t<decltype(op)>;
  SlimWriter writer;
  write_function(writer, op);
  SlimReader reader(writer.view());
  const auto loaded = read_function<Op>(reader);
  StatePartition<Op> partition(loaded, kAll);
  EXPECT_EQ(partition.run(at_seconds(1), Records{{"a", 1}, {"a", 5}, {"c", 3}}),
            (std::vector<Op::Out>{{"a", 9}, {"a", 10}, {"c", 3}}));
  EXPECT_EQ(testing::sorted(partition.elements()),
            (std::vector<Op::SnapshotElement>{{"a", 10}, {"b", 1}, {"c", 3}}));
}

}  // namespace
}  // namespace weir::internal
