#include <algorithm>
#include <chrono>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <weir/testing.h>
#include <weir/weir.h>

using namespace std::chrono_literals;
using Count = std::pair<std::string, std::int64_t>;

// The operation that the job's main would apply to its source.
auto count_words(const weir::DStream<std::string>& lines) {
  return lines.flat_map([](const std::string& line) { return weir::split(line, ' '); })
      .map([](std::string_view word) { return std::pair(word, std::int64_t{1}); })
      .reduce_by_key([](std::int64_t a, std::int64_t b) { return a + b; });
}

class WordCounts : public ::testing::TestWithParam<const char*> {};

TEST_P(WordCounts, ArePerBatch) {
  const weir::testing::Batches<std::string> input = {{"a b", "a"}, {}, {"b b"}};
  auto output = weir::testing::run_stream(input, [](auto lines) { return count_words(lines); },
                                          {.batch = 100ms, .master = GetParam()});
  for (auto& batch : output) std::sort(batch.begin(), batch.end());
  EXPECT_EQ(output, (weir::testing::Batches<Count>{{{"a", 2}, {"b", 1}}, {}, {{"b", 2}}}));
}

TEST_P(WordCounts, OverAWindow) {
  const weir::testing::Batches<std::string> input = {{"a"}, {"a b"}, {"b"}};
  auto output = weir::testing::run_stream(
      input, [](auto lines) { return count_words(lines.window(2s)); }, {.master = GetParam()});
  for (auto& batch : output) std::sort(batch.begin(), batch.end());
  EXPECT_EQ(output, (weir::testing::Batches<Count>{
                        {{"a", 1}}, {{"a", 2}, {"b", 1}}, {{"a", 1}, {"b", 2}}}));
}

INSTANTIATE_TEST_SUITE_P(Masters, WordCounts, ::testing::Values("local[2]", "local-cluster[2,1]"));
