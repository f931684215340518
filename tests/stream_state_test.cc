// State as tables: batches in, a stateful operator, batches out; the same with a restarted driver
// before every batch in turn, over every kind of master.

#include <algorithm>
#include <numeric>

#include <gtest/gtest.h>

#include "weir/testing.h"
#include "weir/weir.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;
using testing::Batches;
using testing::run_stream;
using Count = std::pair<std::string, int>;
using Total = std::pair<std::string, std::int64_t>;

template <class T>
Batches<T> sorted(Batches<T> batches) {
  for (auto& batch : batches) std::ranges::sort(batch);
  return batches;
}

/// A master and where the driver is killed; -1: nowhere.
struct Where {
  std::string master;
  int restart = -1;

  testing::Options options() const {
    testing::Options options{.master = master};
    if (restart >= 0) options.restart_before = {static_cast<std::size_t>(restart)};
    return options;
  }
};

class StreamState : public ::testing::TestWithParam<Where> {};

INSTANTIATE_TEST_SUITE_P(
    Masters, StreamState,
    ::testing::Values(Where{"local[2]"}, Where{"local[2]", 0}, Where{"local[2]", 1},
                      Where{"local[2]", 2}, Where{"local[2]", 3}, Where{"local[2]", 4},
                      Where{"local-cluster[2,1]"}, Where{"local-cluster[2,1]", 2}),
    [](const ::testing::TestParamInfo<Where>& where) {
      std::string name = where.param.master.starts_with("local-cluster") ? "Cluster" : "Local";
      return name +
             (where.param.restart < 0 ? "" : "RestartBefore" + std::to_string(where.param.restart));
    });

const Batches<Count> kWords = {
    {{"a", 1}, {"b", 2}}, {{"a", 10}}, {}, {{"b", 5}, {"c", 1}, {"a", 1}}, {{"c", 1}}};

TEST_P(StreamState, UpdateStateByKeyGivesAllKeysAtEveryBatch) {
  const auto result = run_stream(
      kWords,
      [](const auto& stream) {
        return stream.update_state_by_key(
            [](const std::vector<int>& values,
               std::optional<std::int64_t> total) -> std::optional<std::int64_t> {
              return std::accumulate(values.begin(), values.end(), total.value_or(0));
            });
      },
      GetParam().options());
  EXPECT_EQ(sorted(result), (Batches<Total>{{{"a", 1}, {"b", 2}},
                                            {{"a", 11}, {"b", 2}},
                                            {{"a", 11}, {"b", 2}},
                                            {{"a", 12}, {"b", 7}, {"c", 1}},
                                            {{"a", 12}, {"b", 7}, {"c", 2}}}));
}

TEST_P(StreamState, UpdateStateByKeyBeginsWithTheInitialStateAndForgetsKeys) {
  const auto result = run_stream(
      kWords,
      [](const auto& stream) {
        return stream.update_state_by_key(
            [](const std::string& key, Time, const std::vector<int>& values,
               std::optional<std::int64_t> total) -> std::optional<std::int64_t> {
              if (key == "a" && values.empty()) return std::nullopt;
              return std::accumulate(values.begin(), values.end(), total.value_or(0));
            },
            {.initial = {{"a", 100}, {"d", 4}}, .partitions = 3});
      },
      GetParam().options());
  EXPECT_EQ(sorted(result), (Batches<Total>{{{"a", 101}, {"b", 2}, {"d", 4}},
                                            {{"a", 111}, {"b", 2}, {"d", 4}},
                                            {{"b", 2}, {"d", 4}},
                                            {{"a", 1}, {"b", 7}, {"c", 1}, {"d", 4}},
                                            {{"b", 7}, {"c", 2}, {"d", 4}}}));
}

auto running_total() {
  return StateSpec(
      [](const std::string& key, std::optional<int> value, State<std::int64_t>& total) -> Total {
        if (total.is_timing_out()) return {key, -total.get()};
        total.update(total.get_optional().value_or(0) + value.value_or(0));
        return {key, total.get()};
      });
}

TEST_P(StreamState, MapWithStateGivesOneResultPerRecord) {
  const auto result = run_stream(
      kWords, [](const auto& stream) { return stream.map_with_state(running_total()); },
      GetParam().options());
  EXPECT_EQ(
      sorted(result),
      (Batches<Total>{
          {{"a", 1}, {"b", 2}}, {{"a", 11}}, {}, {{"a", 12}, {"b", 7}, {"c", 1}}, {{"c", 2}}}));
}

TEST_P(StreamState, MapWithStateTimesKeysOutInTheBatchInWhichTheyAreDue) {
  const auto result = run_stream(
      kWords, [](const auto& stream) { return stream.map_with_state(running_total().timeout(2s)); },
      GetParam().options());
  EXPECT_EQ(sorted(result), (Batches<Total>{{{"a", 1}, {"b", 2}},
                                            {{"a", 11}},
                                            {{"b", -2}},
                                            {{"a", 12}, {"b", 5}, {"c", 1}},
                                            {{"c", 2}}}));
}

TEST_P(StreamState, StateSnapshotsAreAllKeysOfTheBatch) {
  const auto result = run_stream(
      kWords,
      [](const auto& stream) { return stream.map_with_state(running_total()).state_snapshots(); },
      GetParam().options());
  EXPECT_EQ(sorted(result), (Batches<Total>{{{"a", 1}, {"b", 2}},
                                            {{"a", 11}, {"b", 2}},
                                            {{"a", 11}, {"b", 2}},
                                            {{"a", 12}, {"b", 7}, {"c", 1}},
                                            {{"a", 12}, {"b", 7}, {"c", 2}}}));
}

int plus(int a, int b) { return a + b; }
int minus(int a, int b) { return a - b; }
int larger(int a, int b) { return std::max(a, b); }

TEST_P(StreamState, WindowsPerKeyHoldWhatTheLastBatchesHad) {
  const auto result = run_stream(
      kWords,
      [](const auto& stream) {
        return stream.reduce_by_key_and_window(fn<&larger>, {.length = 2s});
      },
      GetParam().options());
  EXPECT_EQ(sorted(result), (Batches<Count>{{{"a", 1}, {"b", 2}},
                                            {{"a", 10}, {"b", 2}},
                                            {{"a", 10}},
                                            {{"a", 1}, {"b", 5}, {"c", 1}},
                                            {{"a", 1}, {"b", 5}, {"c", 1}}}));
}

TEST_P(StreamState, WindowsWithAnInverseKeepKeysUntilKeepSaysNo) {
  const auto window = [](WindowOptions<std::string, int> options) {
    return [options](const auto& stream) {
      return stream.reduce_by_key_and_window(fn<&plus>, fn<&minus>, options);
    };
  };
  EXPECT_EQ(sorted(run_stream(kWords, window({.length = 2s}), GetParam().options())),
            (Batches<Count>{{{"a", 1}, {"b", 2}},
                            {{"a", 11}, {"b", 2}},
                            {{"a", 10}, {"b", 0}},
                            {{"a", 1}, {"b", 5}, {"c", 1}},
                            {{"a", 1}, {"b", 5}, {"c", 2}}}));
  EXPECT_EQ(sorted(run_stream(kWords,
                              window({.length = 2s,
                                      .slide = 2s,
                                      .keep = [](const Count& pair) { return pair.second != 0; }}),
                              GetParam().options())),
            (Batches<Count>{{{"a", 11}, {"b", 2}}, {{"a", 1}, {"b", 5}, {"c", 1}}}));
}

TEST_P(StreamState, WindowsOfAllElements) {
  const Batches<int> numbers = {{1, 2}, {}, {3}, {4, 5, 6}, {}};
  EXPECT_EQ(run_stream(
                numbers, [](const auto& stream) { return stream.count_by_window(2s, 1s); },
                GetParam().options()),
            (Batches<std::int64_t>{{2}, {2}, {1}, {4}, {3}}));
  EXPECT_EQ(
      run_stream(
          numbers, [](const auto& stream) { return stream.reduce_by_window(fn<&larger>, 2s, 1s); },
          GetParam().options()),
      (Batches<int>{{2}, {2}, {3}, {6}, {6}}));
}

TEST_P(StreamState, MapWithStateMayReturnBool) {
  const auto result = run_stream(
      kWords,
      [](const auto& stream) {
        return stream.map_with_state(
            StateSpec([](const std::string&, std::optional<int> value, State<int>& last) {
              const bool is_new = !last.exists();
              last.update(*value);
              return is_new;
            }).partitions(1));
      },
      GetParam().options());
  EXPECT_EQ(result, (Batches<bool>{{true, true}, {false}, {}, {false, true, false}, {false}}));
}

TEST_P(StreamState, AStateOverAState) {
  const auto result = run_stream(
      kWords,
      [](const auto& stream) {
        return stream.map_with_state(running_total())
            .map([](const Total& total) { return std::pair(total.second > 9, 1); })
            .update_state_by_key(
                [](const std::vector<int>& values, std::optional<int> seen) -> std::optional<int> {
                  return static_cast<int>(values.size()) + seen.value_or(0);
                });
      },
      GetParam().options());
  EXPECT_EQ(sorted(result), (Batches<std::pair<bool, int>>{{{false, 2}},
                                                           {{false, 2}, {true, 1}},
                                                           {{false, 2}, {true, 1}},
                                                           {{false, 4}, {true, 2}},
                                                           {{false, 5}, {true, 2}}}));
}

}  // namespace
}  // namespace weir::test
