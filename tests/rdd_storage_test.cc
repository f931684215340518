// Where elements are kept, what happens when memory is short, and lineages that are cut; over every
// kind of master, with little memory.

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "weir/core/context.h"
#include "weir/core/split.h"

#include "rdd_pairs_fixture.h"

namespace weir::test {
namespace {

constexpr StorageLevel kLevels[] = {
    StorageLevel::kMemory,        StorageLevel::kMemorySerialized, StorageLevel::kDisk,
    StorageLevel::kMemoryAndDisk, StorageLevel::kMemory2,          StorageLevel::kMemorySerialized2,
    StorageLevel::kDisk2,         StorageLevel::kMemoryAndDisk2,
};

/// What tasks said of what they spilled and wrote.
class Spills : public Listener {
 public:
  void on_task_ended(const TaskEnded& task) override {
    const std::scoped_lock lock(mutex_);
    bytes_ += task.metrics.bytes_spilled;
    times_ += task.metrics.spills;
    written_ += task.metrics.bytes_written;
  }
  std::uint64_t written() const {
    const std::scoped_lock lock(mutex_);
    return written_;
  }
  std::uint64_t bytes() const {
    const std::scoped_lock lock(mutex_);
    return bytes_;
  }
  std::uint64_t times() const {
    const std::scoped_lock lock(mutex_);
    return times_;
  }

 private:
  mutable std::mutex mutex_;
  std::uint64_t bytes_ = 0;
  std::uint64_t times_ = 0;
  std::uint64_t written_ = 0;
};

class RddStorageTest : public ::testing::TestWithParam<const char*> {
 protected:
  static Config little_memory() { return config_of(GetParam()).set("memory", "1048576"); }

  /// Pairs of a word and a number; about 40 bytes each in memory.
  Rdd<std::pair<std::string, int>> words(int count, int different, std::uint32_t partitions) {
    return context_.range(0, count, 1, partitions)
        .map(weir::bind(different, [](int d, std::int64_t i) {
          return std::pair("word number " + std::to_string(i * 7919 % d), static_cast<int>(i));
        }));
  }
  std::uint64_t spilled() {
    context_.engine()->bus().flush();
    return spills_->bytes();
  }

  Context context_{little_memory()};
  std::shared_ptr<Spills> spills_ = [this] {
    auto spills = std::make_shared<Spills>();
    context_.add_listener(spills);
    return spills;
  }();
};
WEIR_TEST_OVER_MASTERS(RddStorageTest);

// --- levels ---

TEST_P(RddStorageTest, EveryLevelKeepsElementsAndComputesThemOnce) {
  for (const StorageLevel level : kLevels) {
    SCOPED_TRACE(to_string(level));
    const auto computed = context_.accumulator("computed", std::int64_t{0});
    const auto kept = context_.parallelize(Words{"a", "bb", "", "dddd"}, 3)
                          .map(weir::bind(computed,
                                          [](const auto& count, const std::string& word) {
                                            count.add(1);
                                            return std::pair(word, static_cast<int>(word.size()));
                                          }))
                          .persist(level);
    const std::vector<std::pair<std::string, int>> all{{"a", 1}, {"bb", 2}, {"", 0}, {"dddd", 4}};
    EXPECT_EQ(kept.collect(), all);
    EXPECT_EQ(kept.filter([](const auto&) { return true; }).collect(), all);
    EXPECT_EQ(computed.value(), 4);
    kept.unpersist();
    EXPECT_EQ(kept.collect(), all);
    EXPECT_EQ(computed.value(), 8);
  }
}

TEST_P(RddStorageTest, ViewsAreReadBackFromEveryLevel) {
  for (const StorageLevel level : kLevels) {
    SCOPED_TRACE(to_string(level));
    const auto kept = context_.parallelize(Words{"a b", "c"}, 2)
                          .flat_map([](const std::string& line) { return split(line, ' '); })
                          .persist(level);
    EXPECT_EQ(kept.count(), 3);
    EXPECT_EQ(kept.collect(), (Words{"a", "b", "c"}));
  }
}

TEST_P(RddStorageTest, MoreThanFitsIsReadFromDiskOrComputedAgain) {
  for (const StorageLevel level : kLevels) {
    SCOPED_TRACE(to_string(level));
    const auto computed = context_.accumulator("computed", std::int64_t{0});
    const auto kept = context_
                          .range(0, 400'000, 1, 20)  // 3.2 MB of 0.5 MB
                          .map(weir::bind(computed,
                                          [](const auto& count, std::int64_t x) {
                                            count.add(1);
                                            return x * 2;
                                          }))
                          .persist(level);
    for (int round = 0; round < 2; ++round) {
      EXPECT_EQ(kept.reduce([](std::int64_t a, std::int64_t b) { return a + b; }),
                std::int64_t{400'000} * 399'999);
    }
    if (internal::uses_disk(level)) {
      EXPECT_EQ(computed.value(), 400'000);
    } else {
      EXPECT_GT(computed.value(), 400'000);
      EXPECT_LE(computed.value(), 800'000);
    }
    kept.unpersist();
  }
}

TEST_P(RddStorageTest, ALevelIsChangedByWayOfNone) {
  const auto kept = context_.parallelize({1, 2}, 1).persist(StorageLevel::kDisk);
  kept.persist(StorageLevel::kDisk);
  const Error error = error_of([&] { kept.cache(); });
  EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
  EXPECT_NE(std::string(error.what()).find("persisted as disk"), std::string::npos);
  kept.unpersist();
  EXPECT_EQ(kept.cache().count(), 2);
}

// --- tasks that hold more than fits ---

TEST_P(RddStorageTest, ReduceByKeySpillsAndIsExact) {
  const auto counts = words(60'000, 20'000, 3)
                          .map([](const auto& pair) { return std::pair(pair.first, 1); })
                          .reduce_by_key([](int a, int b) { return a + b; }, 2);
  const auto all = counts.collect();
  EXPECT_EQ(all.size(), 20'000U);
  std::set<std::string> keys;
  for (const auto& [word, count] : all) {
    EXPECT_EQ(count, 3) << word;
    keys.insert(word);
  }
  EXPECT_EQ(keys.size(), 20'000U);
  EXPECT_GT(spilled(), 0U);
}

TEST_P(RddStorageTest, GroupByKeySpillsAndKeepsTheOrderOfValues) {
  const auto groups = words(60'000, 1'000, 3).group_by_key(1).collect();
  EXPECT_EQ(groups.size(), 1'000U);
  for (const auto& [word, values] : groups) {
    ASSERT_EQ(values.size(), 60U) << word;
    EXPECT_TRUE(std::ranges::is_sorted(values)) << word;  // as in the input
  }
  EXPECT_GT(spilled(), 0U);
}

TEST_P(RddStorageTest, GroupsOfDataThatIsSpreadAlreadySpillToo) {
  const auto spread = words(60'000, 1'000, 3).partition_by(2);
  EXPECT_EQ(spread.group_by_key()
                .map([](const auto& group) { return group.second.size(); })
                .reduce([](std::size_t a, std::size_t b) { return a + b; }),
            60'000U);
  EXPECT_GT(spilled(), 0U);
}

TEST_P(RddStorageTest, SortBySpillsAndIsStable) {
  const auto by_key =
      words(60'000, 500, 4).sort_by([](const auto& pair) { return pair.first; }, true, 2);
  const auto all = by_key.collect();
  ASSERT_EQ(all.size(), 60'000U);
  EXPECT_TRUE(std::ranges::is_sorted(all));  // equal words in the order of the input
  EXPECT_GT(spilled(), 0U);
  const auto down = words(60'000, 500, 4).sort_by_key(false, 2).collect();
  EXPECT_TRUE(std::ranges::is_sorted(down, [](const auto& a, const auto& b) {
    return a.first > b.first || (a.first == b.first && a.second < b.second);
  }));
}

TEST_P(RddStorageTest, AHotKeyIsReducedWithinTheLimit) {
  const auto hot = context_.range(0, 300'000, 1, 4).map([](std::int64_t i) {
    return std::pair(i % 10 == 0 ? std::to_string(i) : std::string("hot"), std::int64_t{1});
  });
  const auto counts = hot.reduce_by_key([](std::int64_t a, std::int64_t b) { return a + b; }, 2);
  EXPECT_EQ(counts.count(), 30'001);
  EXPECT_EQ(counts.lookup("hot"), std::vector<std::int64_t>{270'000});
}

TEST_P(RddStorageTest, AGroupThatCannotFitFailsNamingItsKeyAndBytes) {
  const auto hot = context_.range(0, 200'000, 1, 4).map([](std::int64_t i) {
    return std::pair(std::string("hot key"), i);
  });
  const std::string what = error_of([&] { hot.group_by_key(2).count(); }).what();
  EXPECT_NE(what.find("the key hot key takes"), std::string::npos) << what;
  EXPECT_NE(what.find("--weir.memory"), std::string::npos) << what;
}

TEST_P(RddStorageTest, AHugeRecordGoesThrough) {
  const auto huge = context_.parallelize({1, 2, 3}, 2).map([](int x) {
    return std::pair(x, std::string(std::size_t{3} << 20, static_cast<char>('a' + x)));
  });
  const auto sizes =
      huge.reduce_by_key([](const std::string& a, const std::string&) { return a; }, 2)
          .map_values([](const std::string& text) { return static_cast<int>(text.size()); });
  EXPECT_EQ(sorted(sizes.collect()), (Numbers{{1, 3 << 20}, {2, 3 << 20}, {3, 3 << 20}}));
  EXPECT_EQ(huge.repartition(2).count(), 3);
  EXPECT_EQ(huge.sort_by_key().keys().collect(), (Ints{1, 2, 3}));
}

TEST_P(RddStorageTest, WhatIsSpilledDoesNotDependOnTheNumberOfSlots) {
  const auto twice = [&] {
    return words(30'000, 9'000, 3)
        .map_values([](int x) { return 0.1 * x; })
        .reduce_by_key([](double a, double b) { return a + b; }, 2)
        .collect();
  };
  const auto first = twice();
  EXPECT_EQ(first, twice());
}

TEST_P(RddStorageTest, CompressedShufflesWriteLessAndGiveTheSame) {
  std::uint64_t written[2] = {};
  std::vector<std::pair<std::string, int>> sums[2];
  for (const bool compress : {false, true}) {
    Context context(little_memory().set("shuffle-compression", compress ? "lz4" : "none"));
    const auto spills = std::make_shared<Spills>();
    context.add_listener(spills);
    const auto numbers = context.range(0, 60'000, 1, 4).map([](std::int64_t i) {
      return std::pair(std::string("a word that is much like others ") + std::to_string(i % 20'000),
                       static_cast<int>(i % 7));
    });
    const auto add = [](int a, int b) { return a + b; };
    sums[compress ? 1 : 0] = sorted(numbers.reduce_by_key(add, 3).collect());
    EXPECT_EQ(numbers.repartition(50).count(), 60'000);
    EXPECT_EQ(numbers.sort_by_key().first().first, "a word that is much like others 0");
    context.engine()->bus().flush();
    written[compress ? 1 : 0] = spills->written();
  }
  EXPECT_EQ(sums[1], sums[0]);
  EXPECT_LT(written[1], written[0] / 2);
}

TEST(RddCompression, IsOfAKindThatThereIs) {
  const Error error = error_of(
      [] { const Context context(config_of("local[1]").set("shuffle-compression", "zip")); });
  EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
  EXPECT_NE(std::string(error.what()).find("none or lz4"), std::string::npos) << error.what();
}

TEST(RddSpillLimit, AFullDiskFailsTheJobWithItsPath) {
  Context context(config_of("local[2]").set("memory", "1048576").set("spill-limit", "100000"));
  const auto sorted_pairs =
      context.range(0, 400'000, 1, 4).sort_by([](std::int64_t x) { return -x; });
  const std::string what = error_of([&] { sorted_pairs.count(); }).what();
  EXPECT_NE(what.find("that do not fit into memory to /"), std::string::npos) << what;
  EXPECT_NE(what.find("--weir.spill-limit"), std::string::npos) << what;
}

// --- cut lineages ---

class RddCheckpointTest : public RddPairsTest {
 protected:
  RddCheckpointTest() { std::filesystem::create_directories(directory_); }
  ~RddCheckpointTest() override { std::filesystem::remove_all(directory_); }

  /// Counts how often it is computed.
  Rdd<Number> sums(const Accumulator<std::int64_t>& computed) {
    return context_.parallelize(Ints{1, 2, 3, 4, 5, 6}, 3)
        .map(weir::bind(computed,
                        [](const auto& count, int x) {
                          count.add(1);
                          return std::pair(x % 2, x);
                        }))
        .reduce_by_key([](int a, int b) { return a + b; }, 2)
        .map([](const Number& pair) { return pair; });
  }

  const std::string directory_ =
      std::filesystem::temp_directory_path() / ("weir-checkpoint-" + std::to_string(::getpid()));
};
WEIR_TEST_OVER_MASTERS(RddCheckpointTest);

TEST_P(RddCheckpointTest, ACheckpointIsMadeBehindTheNextJobAndReadFromThenOn) {
  context_.set_checkpoint_dir(directory_);
  const auto computed = context_.accumulator("computed", std::int64_t{0});
  const auto all = sums(computed).checkpoint();
  const auto more = all.map([](const Number& pair) { return pair.second; });
  EXPECT_FALSE(all.is_checkpointed());
  EXPECT_EQ(sorted(more.collect()), (Ints{9, 12}));  // a job on what is made from it
  EXPECT_TRUE(all.is_checkpointed());
  new_stages();
  EXPECT_EQ(sorted(all.collect()), (Numbers{{0, 12}, {1, 9}}));
  EXPECT_EQ(sorted(more.collect()), (Ints{9, 12}));
  EXPECT_EQ(new_stages(), (Words{"map", "map"}));  // no map stage of the shuffle
  EXPECT_EQ(computed.value(), 6);
  const std::string text = more.to_debug_string();
  EXPECT_NE(text.find(", checkpoint"), std::string::npos) << text;
  EXPECT_EQ(text.find("parallelize"), std::string::npos) << text;
}

TEST_P(RddCheckpointTest, APersistedDatasetIsWrittenFromItsBlocks) {
  context_.set_checkpoint_dir(directory_);
  const auto computed = context_.accumulator("computed", std::int64_t{0});
  const auto kept = context_.parallelize(Ints{1, 2, 3}, 3)
                        .map(weir::bind(computed,
                                        [](const auto& count, int x) {
                                          count.add(1);
                                          return x;
                                        }))
                        .cache()
                        .checkpoint();
  EXPECT_EQ(kept.count(), 3);
  EXPECT_EQ(kept.collect(), (Ints{1, 2, 3}));
  kept.unpersist();
  EXPECT_EQ(kept.collect(), (Ints{1, 2, 3}));
  EXPECT_EQ(computed.value(), 3);
}

TEST_P(RddCheckpointTest, ALocalCheckpointIsKeptOnTheWorkersAlone) {
  const auto computed = context_.accumulator("computed", std::int64_t{0});
  const auto all = sums(computed).local_checkpoint();
  EXPECT_EQ(all.take(1).size(), 1U);  // one partition; the others are computed for it
  EXPECT_TRUE(all.is_checkpointed());
  EXPECT_EQ(sorted(all.collect()), (Numbers{{0, 12}, {1, 9}}));
  EXPECT_EQ(computed.value(), 6);
  all.unpersist();
  const std::string what = error_of([&] { all.collect(); }).what();
  EXPECT_NE(what.find("local_checkpoint() cut"), std::string::npos) << what;
}

TEST_P(RddCheckpointTest, WhatCannotWorkIsSaidAtOnce) {
  const auto all = context_.parallelize({1}, 1);
  EXPECT_EQ(error_of([&] { all.checkpoint(); }).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(error_of([&] { all.cache().local_checkpoint(); }).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(error_of([&] { context_.set_checkpoint_dir("/proc/no/directory"); }).code(),
            ErrorCode::kUnreachable);
}

}  // namespace
}  // namespace weir::test
