#include "weir/core/chunk.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "weir/core/pipes.h"
#include "weir/core/shared/worker_local.h"
#include "weir/core/split.h"

namespace weir::internal {
namespace {

/// Hands out hand-made chunks, each filled into the same buffer as a producer does.
template <class T>
class Chunks final : public ChunkStream<T> {
 public:
  explicit Chunks(std::vector<std::vector<T>> chunks, int* asked = nullptr)
      : chunks_(std::move(chunks)), asked_(asked) {}

  ChunkRef<T> next() override {
    if (asked_ != nullptr) ++*asked_;
    buffer_.clear();
    if (at_ == chunks_.size()) return buffer_.ref();
    for (const T& element : chunks_[at_]) buffer_.emplace_back(element);
    ++at_;
    return buffer_.ref();
  }

 private:
  const std::vector<std::vector<T>> chunks_;
  int* const asked_;
  std::size_t at_ = 0;
  ChunkBuffer<T> buffer_;
};

/// Hands out one shared run, which consumers must not change.
template <class T>
class SharedRun final : public ChunkStream<T> {
 public:
  explicit SharedRun(std::vector<T>& elements) : elements_(elements) {}
  ChunkRef<T> next() override {
    if (std::exchange(done_, true)) return {};
    return {elements_.data(), elements_.size(), false};
  }

 private:
  std::vector<T>& elements_;
  bool done_ = false;
};

class Pipes : public ::testing::Test {
 protected:
  template <class T>
  static StreamPtr<T> chunks(std::vector<std::vector<T>> list, int* asked = nullptr) {
    return StreamPtr<T>(new Chunks<T>(std::move(list), asked));
  }
  template <class T>
  static StreamPtr<T> shared(std::vector<T>& elements) {
    return StreamPtr<T>(new SharedRun<T>(elements));
  }

  template <class T, class F>
  auto map(StreamPtr<T> in, F f) {
    return MapPipe<T, F>{{f}}(std::move(in), run_);
  }
  template <class K, class V, class F>
  auto map_values(StreamPtr<std::pair<K, V>> in, F f) {
    return MapValuesPipe<K, V, F>{{f}}(std::move(in), run_);
  }
  template <class T, class F>
  auto filter(StreamPtr<T> in, F f) {
    return FilterPipe<T, F>{{f}}(std::move(in), run_);
  }
  template <class T, class F>
  auto flat_map(StreamPtr<T> in, F f) {
    return FlatMapPipe<T, F>{{f}}(std::move(in), run_);
  }
  template <class T, class F>
  auto map_partitions(StreamPtr<T> in, F f) {
    return MapPartitionsPipe<T, F>{{f}}(std::move(in), 0U);
  }

 private:
  TaskSpec spec_;
  TaskExecutor::Options options_;
  BlockStore store_;
  StateStore states_;
  WorkerLocals locals_;
  TaskExecutor::Progress progress_;
  TaskRun run_{spec_, {options_, store_, states_, locals_, nullptr, nullptr}, progress_};
};

/// The chunks that are left, copied into their owning form while they are valid.
template <class T>
std::vector<std::vector<owned_t<T>>> drain(const StreamPtr<T>& stream) {
  std::vector<std::vector<owned_t<T>>> all;
  for (auto chunk = stream->next(); !chunk.empty(); chunk = stream->next()) {
    auto& copy = all.emplace_back();
    for (const T& element : chunk) copy.push_back(to_owned(element));
  }
  EXPECT_TRUE(stream->next().empty()) << "the end does not stay the end";
  return all;
}

template <class T>
std::vector<owned_t<T>> elements(const StreamPtr<T>& stream) {
  std::vector<owned_t<T>> all;
  for (auto& chunk : drain(stream)) {
    for (auto&& element : chunk) all.push_back(std::move(element));
  }
  return all;
}

using Ints = std::vector<std::vector<int>>;
using Words = std::vector<std::string>;

std::vector<int> numbers(int n) {
  std::vector<int> all;
  for (int i = 0; i < n; ++i) all.push_back(i);
  return all;
}

TEST(ChunkBuffer, HoldsBoolsAsBools) {
  ChunkBuffer<bool> buffer;
  buffer.emplace_back(true);
  buffer.emplace_back(false);
  const bool* data = buffer.data();
  EXPECT_TRUE(data[0]);
  EXPECT_FALSE(data[1]);
}

TEST(ChunkBuffer, GrowsBeyondAChunkAndIsUsedAgain) {
  ChunkBuffer<std::string> buffer;
  for (int round = 0; round < 3; ++round) {
    buffer.clear();
    EXPECT_EQ(buffer.size(), 0U);
    for (int i = 0; i < 3000; ++i) buffer.emplace_back(std::to_string(i));
    EXPECT_TRUE(buffer.full());
    EXPECT_EQ(buffer.data()[2999], "2999");
    EXPECT_TRUE(buffer.ref().exclusive);
  }
}

TEST(ChunkBuffer, AppendKeepsWhatWasMadeBeforeAnException) {
  ChunkBuffer<std::string> buffer;
  const auto fail_at_two = [](std::size_t i) {
    if (i == 2) throw std::runtime_error("two");
    return std::to_string(i);
  };
  EXPECT_THROW(buffer.append(5, fail_at_two), std::runtime_error);
  EXPECT_EQ(buffer.size(), 2U);
  EXPECT_EQ(buffer.data()[1], "1");
}

TEST(ElementRange, RunsOverAllChunksAndAsksForEachOnce) {
  int asked = 0;
  Chunks<int> stream({{1, 2}, {3}}, &asked);
  std::vector<int> seen;
  for (const int element : ElementRange<int>(stream)) seen.push_back(element);
  EXPECT_EQ(seen, (std::vector<int>{1, 2, 3}));
  EXPECT_EQ(asked, 3);
  static_assert(std::ranges::input_range<ElementRange<int>> &&
                std::ranges::view<ElementRange<int>>);
}

TEST(ElementRange, OfNothingIsEmpty) {
  Chunks<int> stream({});
  EXPECT_TRUE(ElementRange<int>(stream).begin() == std::default_sentinel);
}

TEST(Split, LeavesEmptyPiecesOut) {
  const auto words = [](std::string_view text) {
    Words all;
    for (const std::string_view word : split(text, ' ')) all.emplace_back(word);
    return all;
  };
  EXPECT_EQ(words("the quick fox"), (Words{"the", "quick", "fox"}));
  EXPECT_EQ(words("  the   quick "), (Words{"the", "quick"}));
  EXPECT_EQ(words("word"), Words{"word"});
  EXPECT_EQ(words(""), Words{});
  EXPECT_EQ(words("   "), Words{});
  static_assert(std::ranges::forward_range<SplitRange> && std::ranges::borrowed_range<SplitRange>);
}

TEST_F(Pipes, MapKeepsChunksAndOrder) {
  const auto mapped = map(chunks<int>({{1, 2}, {3}}), [](int x) { return x * 10; });
  EXPECT_EQ(drain(mapped), (Ints{{10, 20}, {30}}));
}

TEST_F(Pipes, MapToBoolsAndViews) {
  EXPECT_EQ(elements(map(chunks<int>({{1, 2}}), [](int x) { return x > 1; })),
            (std::vector<bool>{false, true}));
  const auto first = map(chunks<std::string>({{"abc", "de"}, {"f"}}), [](const std::string& text) {
    return std::string_view(text).substr(0, 1);
  });
  EXPECT_EQ(elements(first), (Words{"a", "d", "f"}));
}

TEST_F(Pipes, FilterWorksInPlaceOnItsOwnChunks) {
  struct Once final : ChunkStream<std::string> {
    ChunkRef<std::string> next() override { return {words.data(), std::exchange(left, 0), true}; }
    Words words{"a", "bb", "c", "dd"};
    std::size_t left = words.size();
  };
  auto* const source = new Once();
  const std::string* const buffer = source->words.data();
  const auto kept =
      filter(StreamPtr<std::string>(source), [](const std::string& s) { return s.size() == 2; });
  const auto chunk = kept->next();
  EXPECT_EQ(Words(chunk.begin(), chunk.end()), (Words{"bb", "dd"}));
  EXPECT_TRUE(chunk.exclusive);
  EXPECT_EQ(chunk.data, buffer);
  EXPECT_TRUE(kept->next().empty());
}

TEST_F(Pipes, FilterLeavesSharedChunksAlone) {
  std::vector<int> stored = {1, 2, 3, 4};
  const auto even = filter(shared(stored), [](int x) { return x % 2 == 0; });
  EXPECT_EQ(drain(even), (Ints{{2, 4}}));
  EXPECT_EQ(stored, (std::vector<int>{1, 2, 3, 4}));
}

TEST_F(Pipes, ChunksOfLongStringsEndEarly) {
  const auto long_ones = flat_map(chunks<int>({numbers(8)}), [](int) {
    return std::vector<std::string>(1, std::string(kChunkBytes / 2, 'x'));
  });
  std::vector<std::size_t> sizes;
  for (auto chunk = long_ones->next(); !chunk.empty(); chunk = long_ones->next()) {
    sizes.push_back(chunk.size);
  }
  EXPECT_EQ(sizes, (std::vector<std::size_t>{2, 2, 2, 2}));
}

TEST_F(Pipes, FilterSkipsChunksOfWhichNothingIsLeft) {
  const auto kept = filter(chunks<int>({{1, 3}, {5}, {2, 7}, {9}}), [](int x) { return x == 2; });
  EXPECT_EQ(drain(kept), (Ints{{2}}));
}

TEST_F(Pipes, MapValuesMovesKeysOfItsOwnChunksOnly) {
  using Pair = std::pair<std::string, int>;
  const std::string key(100, 'k');
  const auto add_one = [](int v) { return v + 1; };
  EXPECT_EQ(elements(map_values(chunks<Pair>({{{key, 1}}}), add_one)),
            (std::vector<Pair>{{key, 2}}));
  std::vector<Pair> stored = {{key, 1}};
  EXPECT_EQ(elements(map_values(shared(stored), add_one)), (std::vector<Pair>{{key, 2}}));
  EXPECT_EQ(stored, (std::vector<Pair>{{key, 1}}));
}

TEST_F(Pipes, FlatMapTakesVectorsViewsAndOptionals) {
  const auto repeated = flat_map(chunks<int>({{2, 0}, {1}}), [](int x) {
    return std::vector<int>(static_cast<std::size_t>(x), x);
  });
  EXPECT_EQ(elements(repeated), (std::vector<int>{2, 2, 1}));
  const auto counted =
      flat_map(chunks<int>({{2, 0, 3}}), [](int x) { return std::views::iota(0, x); });
  EXPECT_EQ(elements(counted), (std::vector<int>{0, 1, 0, 1, 2}));
  const auto maybe = flat_map(chunks<int>({{1, 2}, {3}, {4}}),
                              [](int x) { return x % 2 == 0 ? std::optional(x) : std::nullopt; });
  EXPECT_EQ(elements(maybe), (std::vector<int>{2, 4}));
}

TEST_F(Pipes, FlatMapResumesARangeThatIsLongerThanAChunk) {
  const auto counted =
      flat_map(chunks<int>({{2500, 3}, {1024}}), [](int n) { return std::views::iota(0, n); });
  std::vector<int> expected = numbers(2500);
  for (const int i : {0, 1, 2}) expected.push_back(i);
  for (const int i : numbers(1024)) expected.push_back(i);
  const auto all = drain(counted);
  for (const auto& chunk : all) EXPECT_LE(chunk.size(), kChunkElements);
  std::vector<int> joined;
  for (const auto& chunk : all) joined.insert(joined.end(), chunk.begin(), chunk.end());
  EXPECT_EQ(joined, expected);
}

TEST_F(Pipes, FlatMapToViewsHandsThemOnBeforeItsInputMovesOn) {
  const auto words = flat_map(chunks<std::string>({{"a bb"}, {"", " "}, {"ccc"}}),
                              [](const std::string& line) { return split(line, ' '); });
  EXPECT_EQ(drain(words), (std::vector<Words>{{"a", "bb"}, {"ccc"}}));
}

TEST_F(Pipes, FlatMapToVectorsOfViews) {
  const auto words =
      flat_map(chunks<std::string>({{"a bb", "c"}, {"d"}}), [](const std::string& l) {
        std::vector<std::string_view> all;
        for (const auto word : split(l, ' ')) all.push_back(word);
        return all;
      });
  EXPECT_EQ(elements(words), (Words{"a", "bb", "c", "d"}));
}

TEST_F(Pipes, FlatMapToViewsIntoTheRangeItself) {
  const auto digits = flat_map(chunks<int>({{12, 34}, {5}}), [](int x) {
    return std::views::transform(std::views::all(std::vector<std::string>{std::to_string(x)}),
                                 [](const std::string& text) { return std::string_view(text); });
  });
  EXPECT_EQ(elements(digits), (Words{"12", "34", "5"}));
}

TEST_F(Pipes, MapPartitionsSeesTheWholePartitionOnce) {
  const auto sum = map_partitions(chunks<int>({{1, 2}, {3}}), [](auto range) {
    int total = 0;
    for (const int x : range) total += x;
    return std::vector<int>{total};
  });
  EXPECT_EQ(drain(sum), (Ints{{6}}));
  const auto of_nothing = map_partitions(chunks<int>({}), [](auto range) {
    int count = 0;
    for ([[maybe_unused]] const int x : range) ++count;
    return std::vector<int>{count};
  });
  EXPECT_EQ(drain(of_nothing), (Ints{{0}}));
}

TEST_F(Pipes, MapPartitionsMayBeLazyAndEndEarly) {
  int asked = 0;
  const auto firsts = map_partitions(chunks<int>({{1, 2}, {3, 4}, {5}}, &asked), [](auto range) {
    return std::views::transform(std::views::take(std::move(range), 2), [](int x) { return -x; });
  });
  EXPECT_EQ(elements(firsts), (std::vector<int>{-1, -2}));
  EXPECT_LE(asked, 2);
}

TEST_F(Pipes, MapPartitionsToManyElementsAndToViews) {
  const auto many = map_partitions(chunks<int>({{3000}}),
                                   [](auto range) { return std::views::iota(0, *range.begin()); });
  EXPECT_EQ(elements(many), numbers(3000));
  const auto views = map_partitions(chunks<std::string>({{"abc", "de"}, {"f"}}), [](auto range) {
    return std::views::transform(std::move(range),
                                 [](const std::string& s) { return std::string_view(s); });
  });
  EXPECT_EQ(elements(views), (Words{"abc", "de", "f"}));
}

TEST_F(Pipes, ChainsOfViewsAreValidUntilTheNextChunk) {
  auto words = flat_map(chunks<std::string>({{"the quick", "fox the"}, {"quick"}}),
                        [](const std::string& line) { return split(line, ' '); });
  auto long_ones = filter(std::move(words), [](std::string_view word) { return word != "fox"; });
  const auto pairs = map(std::move(long_ones),
                         [](std::string_view word) { return std::pair(word, std::int64_t{1}); });
  auto table = aggregate<std::string_view, std::int64_t>(
      *pairs, ReduceAggregator<std::int64_t, std::plus<>>{}, 1);
  EXPECT_EQ(table.entries(),
            (std::vector<std::pair<std::string, std::int64_t>>{{"the", 2}, {"quick", 2}}));
}

TEST_F(Pipes, AggregationDoesNotTouchSharedChunks) {
  using Pair = std::pair<std::string, std::string>;
  std::vector<Pair> stored = {{std::string(50, 'k'), std::string(50, 'v')}, {"k2", "v2"}};
  const std::vector<Pair> before = stored;
  const auto run = shared(stored);
  auto table = aggregate<std::string, std::string>(*run, GroupAggregator<std::string>{}, 1);
  EXPECT_EQ(table.size(), 2U);
  EXPECT_EQ(stored, before);
}

#if defined(__SANITIZE_ADDRESS__)
using PipesDeathTest = Pipes;

TEST_F(PipesDeathTest, AViewThatOutlivesItsChunkIsCaught) {
  const auto words = flat_map(chunks<std::string>({{"abc"}, {"def"}}),
                              [](const std::string& line) { return split(line, ' '); });
  const std::string_view stale = *words->next().begin();
  EXPECT_EQ(stale, "abc");
  (void)words->next();
  EXPECT_DEATH((void)std::string(stale), "use-after-free");
}

TEST_F(PipesDeathTest, AnElementThatOutlivesItsChunkIsCaught) {
  const auto mapped = map(chunks<int>({{1}, {2}}), [](int x) { return x; });
  const int* stale = mapped->next().begin();
  (void)mapped->next();
  EXPECT_DEATH(std::exit(*stale), "use-after-free");
}
#endif

}  // namespace
}  // namespace weir::internal
