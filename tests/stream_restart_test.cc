// Every operation of streams, with a driver that is killed and started again before each batch in
// turn and before all of them: each batch gives what it gives without that.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "weir/testing.h"

namespace weir::testing {
namespace {

using namespace std::chrono_literals;
using Number = std::pair<int, int>;
using Stream = DStream<Number>;
/// Each element as the slim archive writes it, so that one table has all operations.
using Bytewise = Batches<std::string>;
using Operation = std::function<Bytewise(const Options&)>;

const Batches<Number> kLeft = {
    {{1, 10}, {2, 20}, {1, 11}}, {{3, 30}, {1, 12}}, {}, {{2, 21}, {2, 22}}, {{4, 40}, {1, 13}}};
const Batches<Number> kRight = {{{1, -1}, {5, -5}}, {}, {{1, -2}, {2, -2}}, {{2, -3}}, {{4, -4}}};

template <class E>
Bytewise bytewise(const Batches<E>& batches) {
  Bytewise all;
  for (const auto& batch : batches) {
    std::vector<std::string>& elements = all.emplace_back();
    for (const auto& element : batch) elements.push_back(encode(element));
    std::ranges::sort(elements);  // of what comes out of a shuffle the order is not specified
  }
  return all;
}

template <class Op>
Operation of_one(Op op) {
  return [op](const Options& options) { return bytewise(run_stream(kLeft, op, options)); };
}
template <class Op>
Operation of_two(Op op) {
  return [op](const Options& options) { return bytewise(run_stream(kLeft, kRight, op, options)); };
}

int plus(int a, int b) { return a + b; }
int minus(int a, int b) { return a - b; }

std::optional<int> add_up(const std::vector<int>& values, std::optional<int> sum) {
  for (const int value : values) sum = sum.value_or(0) + value;
  return sum;
}

auto running_sum() {
  return StateSpec([](const int& key, std::optional<int> value, State<int>& sum) {
           if (!sum.is_timing_out()) sum.update(sum.get_optional().value_or(0) + value.value_or(0));
           return std::pair(key, sum.is_timing_out() ? -1 : sum.get());
         })
      .timeout(2s);
}

std::map<std::string, Operation> per_batch() {
  return {
      {"map", of_one([](const Stream& in) {
         return in.map([](const Number& n) { return n.first * n.second; });
       })},
      {"flat_map", of_one([](const Stream& in) {
         return in.flat_map([](const Number& n) { return std::vector{n.first, n.second}; });
       })},
      {"filter", of_one([](const Stream& in) {
         return in.filter([](const Number& n) { return n.first != 1; });
       })},
      {"map_partitions", of_one([](const Stream& in) {
         return in.map_partitions([](auto elements) {
           int sum = 0;
           for (const Number& n : elements) sum += n.second;
           return std::vector{sum};
         });
       })},
      {"glom", of_one([](const Stream& in) { return in.glom(); })},
      {"repartition", of_one([](const Stream& in) { return in.repartition(3); })},
      {"count", of_one([](const Stream& in) { return in.count(); })},
      {"count_by_value", of_one([](const Stream& in) { return in.count_by_value(); })},
      {"reduce", of_one([](const Stream& in) {
         return in.reduce([](const Number& a, const Number& b) { return std::max(a, b); });
       })},
      {"union_with",
       of_two([](const Stream& left, const Stream& right) { return left.union_with(right); })},
      {"transform", of_one([](const Stream& in) {
         return in.transform([](const Rdd<Number>& rdd, Time time) {
           return rdd.map(bind(static_cast<std::int64_t>(time.time_since_epoch().count()),
                               [](std::int64_t at, const Number& n) { return at + n.second; }));
         });
       })},
      {"transform_with", of_two([](const Stream& left, const Stream& right) {
         return left.transform_with(
             right, [](const Rdd<Number>& a, const Rdd<Number>& b) { return a.union_with(b); });
       })},
      {"map_values",
       of_one([](const Stream& in) { return in.map_values([](int value) { return value + 1; }); })},
      {"flat_map_values", of_one([](const Stream& in) {
         return in.flat_map_values([](int value) { return std::vector{value, -value}; });
       })},
      {"reduce_by_key", of_one([](const Stream& in) { return in.reduce_by_key(fn<&plus>); })},
      {"group_by_key", of_one([](const Stream& in) { return in.group_by_key(); })},
      {"combine_by_key", of_one([](const Stream& in) {
         return in.combine_by_key([](int value) { return std::vector{value}; },
                                  [](std::vector<int> all, int value) {
                                    all.push_back(value);
                                    return all;
                                  },
                                  [](std::vector<int> all, const std::vector<int>& more) {
                                    all.insert(all.end(), more.begin(), more.end());
                                    return all;
                                  });
       })},
      {"cogroup",
       of_two([](const Stream& left, const Stream& right) { return left.cogroup(right); })},
      {"join", of_two([](const Stream& left, const Stream& right) { return left.join(right); })},
      {"left_outer_join",
       of_two([](const Stream& left, const Stream& right) { return left.left_outer_join(right); })},
      {"right_outer_join", of_two([](const Stream& left, const Stream& right) {
         return left.right_outer_join(right);
       })},
      {"full_outer_join",
       of_two([](const Stream& left, const Stream& right) { return left.full_outer_join(right); })},
  };
}

std::map<std::string, Operation> over_batches() {
  return {
      {"window", of_one([](const Stream& in) { return in.window(3s, 2s); })},
      {"reduce_by_window", of_one([](const Stream& in) {
         return in.map([](const Number& n) { return n.second; })
             .reduce_by_window(fn<&plus>, 3s, 1s);
       })},
      {"reduce_by_window_with_inverse", of_one([](const Stream& in) {
         return in.map([](const Number& n) { return n.second; })
             .reduce_by_window(fn<&plus>, fn<&minus>, 3s, 2s);
       })},
      {"count_by_window", of_one([](const Stream& in) { return in.count_by_window(3s, 1s); })},
      {"count_by_value_and_window",
       of_one([](const Stream& in) { return in.count_by_value_and_window(3s, 1s); })},
      {"group_by_key_and_window",
       of_one([](const Stream& in) { return in.group_by_key_and_window(2s, 1s); })},
      {"reduce_by_key_and_window", of_one([](const Stream& in) {
         return in.reduce_by_key_and_window(fn<&plus>, {.length = 3s, .slide = 2s});
       })},
      {"reduce_by_key_and_window_with_inverse", of_one([](const Stream& in) {
         return in.reduce_by_key_and_window(fn<&plus>, fn<&minus>, {.length = 2s});
       })},
      {"update_state_by_key",
       of_one([](const Stream& in) { return in.update_state_by_key(fn<&add_up>); })},
      {"map_with_state", of_one([](const Stream& in) { return in.map_with_state(running_sum()); })},
      {"state_snapshots",
       of_one([](const Stream& in) { return in.map_with_state(running_sum()).state_snapshots(); })},
      {"state_of_windows", of_one([](const Stream& in) {
         return in.reduce_by_key_and_window(fn<&plus>, {.length = 2s})
             .update_state_by_key(fn<&add_up>);
       })},
  };
}

class StreamRestarts : public ::testing::TestWithParam<std::pair<const std::string, Operation>> {};

std::string name_of(
    const ::testing::TestParamInfo<std::pair<const std::string, Operation>>& operation) {
  return operation.param.first;
}
INSTANTIATE_TEST_SUITE_P(PerBatch, StreamRestarts, ::testing::ValuesIn(per_batch()), name_of);
INSTANTIATE_TEST_SUITE_P(OverBatches, StreamRestarts, ::testing::ValuesIn(over_batches()), name_of);

TEST_P(StreamRestarts, ChangeNothing) {
  const Operation& run = GetParam().second;
  const Bytewise expected = run({});
  std::vector<std::size_t> all;
  for (std::size_t before = 1; before < kLeft.size(); ++before) {
    EXPECT_EQ(run({.restart_before = {before}}), expected) << "before " << before;
    all.push_back(before);
  }
  EXPECT_EQ(run({.restart_before = all}), expected);
  EXPECT_EQ(run({.restart_before = {2}, .batches_in_flight = 3}), expected);
  EXPECT_EQ(run({.master = "local-cluster[2,1]", .restart_before = {2, 3}}), expected);
}

}  // namespace
}  // namespace weir::testing
