// Workers that are killed while they map, serve, hold the only copy, or write a checkpoint, and at
// random times over a fixed set of jobs: the results are those without any fault.

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <map>
#include <random>
#include <thread>

#include <gtest/gtest.h>

#include "weir/weir.h"

#include "process_tools.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;
using Number = std::int64_t;
using Pairs = std::vector<std::pair<Number, Number>>;

/// So that what is kept is evicted and what tasks hold is spilled.
Config little_memory() {
  return Config()
      .set("master", "local-cluster[2,1]")
      .set("memory", "2097152")
      .set("log-level", "error")
      .set("hash-seed", "42")
      .set("task-max-failures", "20")        // kills by chance may hit one task often
      .set("cluster.locality-wait", "1min")  // what is stored is read where it is
      .set("cluster.restart-backoff", "1ms")
      .set("cluster.restart-reset", "1ms");
}

template <class T>
std::vector<T> sorted(std::vector<T> values) {
  std::sort(values.begin(), values.end());
  return values;
}

/// Of the process that runs the task, the first time that it gets here with the file's name.
void kill_self_once(const std::string& file) {
  if (std::filesystem::exists(file)) return;
  write_file(file, "killed");
  kill(getpid(), SIGKILL);
}

TEST(CoreFaults, AWorkerKilledWhileItMapsAndSpills) {
  const TempFolder folder;
  Context context(little_memory());
  const auto sums = context.range(0, 200'000, 1, 4)
                        .map(weir::bind(folder.file("killed"),
                                        [](const std::string& file, Number i) {
                                          if (i == 90'000) kill_self_once(file);
                                          return std::pair(i % 50'000, i);
                                        }))
                        .reduce_by_key([](Number a, Number b) { return a + b; }, 3);
  const Pairs all = sums.collect();
  EXPECT_TRUE(std::filesystem::exists(folder.file("killed")));
  EXPECT_EQ(all.size(), 50'000U);
  for (const auto& [key, sum] : all) ASSERT_EQ(sum, 4 * key + 300'000) << key;
}

TEST(CoreFaults, AWorkerKilledWhileItServesWhatItSpilled) {
  const TempFolder folder;
  Context context(little_memory());
  const auto sorted_numbers =
      context.range(0, 300'000, 1, 4)
          .map([](Number i) { return i * 7919 % 300'007; })
          .sort_by([](Number x) { return x; }, true, 4)
          .map(weir::bind(folder.file("killed"), [](const std::string& file, Number x) {
            if (x == 150'000) kill_self_once(file);  // while others fetch from it
            return x;
          }));
  const auto all = sorted_numbers.collect();
  EXPECT_TRUE(std::filesystem::exists(folder.file("killed")));
  EXPECT_EQ(all.size(), 300'000U);
  EXPECT_TRUE(std::is_sorted(all.begin(), all.end()));
}

TEST(CoreFaults, AWorkerKilledThatHoldsTheOnlyCopyOrOneOfTwo) {
  for (const StorageLevel level : {StorageLevel::kMemory, StorageLevel::kDisk,
                                   StorageLevel::kMemory2, StorageLevel::kMemoryAndDisk2}) {
    SCOPED_TRACE(to_string(level));
    Context context(little_memory());
    const auto computed = context.accumulator("computed", Number{0});
    const auto kept = context.range(0, 1'000, 1, 4)
                          .map(weir::bind(computed,
                                          [](const auto& count, Number i) {
                                            count.add(1);
                                            return i * 3;
                                          }))
                          .persist(level);
    const auto before = kept.collect();
    const auto some = workers_of(getpid());
    ASSERT_EQ(some.size(), 2U);
    kill(some[0], SIGKILL);
    EXPECT_EQ(kept.collect(), before);
    if (internal::has_replica(level)) {
      EXPECT_EQ(computed.value(), 1'000);  // nothing was computed again
    } else {
      EXPECT_GT(computed.value(), 1'000);
    }
  }
}

TEST(CoreFaults, ALocalCheckpointWithASecondReplicaSurvivesItsWorker) {
  Context context(little_memory());
  const auto kept = context.range(0, 1'000, 1, 4)
                        .map([](Number i) { return i + 1; })
                        .persist(StorageLevel::kMemoryAndDisk2)
                        .local_checkpoint();
  const auto before = kept.collect();
  ASSERT_TRUE(kept.is_checkpointed());
  kill(workers_of(getpid()).at(1), SIGKILL);
  EXPECT_EQ(kept.collect(), before);
}

TEST(CoreFaults, AWorkerKilledWhileItWritesACheckpoint) {
  const TempFolder folder;
  Context context(little_memory());
  context.set_checkpoint_dir(folder.file("checkpoints"));
  const auto kept =
      context.range(0, 100'000, 1, 4)
          .map(weir::bind(folder.file("seen"), folder.file("killed"),
                          [](const std::string& seen, const std::string& killed, Number i) {
                            // The checkpoint's job is the second that comes here.
                            if (i == 60'000 && std::filesystem::exists(seen)) {
                              kill_self_once(killed);
                            }
                            if (i == 60'000) write_file(seen, "x");
                            return i;
                          }))
          .checkpoint();
  EXPECT_EQ(kept.count(), 100'000);
  EXPECT_TRUE(std::filesystem::exists(folder.file("killed")));
  EXPECT_TRUE(kept.is_checkpointed());
  const auto all = kept.collect();
  ASSERT_EQ(all.size(), 100'000U);
  EXPECT_TRUE(std::is_sorted(all.begin(), all.end()));
}

TEST(CoreFaults, ABroadcastSurvivesTheWorkersThatHaveItsChunks) {
  Context context(little_memory());
  const std::string large(3 << 20, 'x');
  const auto data = context.broadcast(large);
  const auto sizes = context.range(0, 4, 1, 4).map(weir::bind(data, [](const auto& value, Number) {
    return value->size();
  }));
  const std::vector<std::size_t> expected(4, large.size());
  EXPECT_EQ(sizes.collect(), expected);
  for (const pid_t worker : workers_of(getpid())) {
    kill(worker, SIGKILL);
    EXPECT_EQ(sizes.collect(), expected);
  }
}

TEST(CoreFaults, AStragglerIsCopiedToAnotherWorker) {
  Context context(little_memory().set("speculation", "true"));
  const auto events = std::make_shared<EventRecord>();
  context.add_listener(events);
  const auto numbers = context.range(0, 8, 1, 8).map([](Number i) {
    const auto& task = TaskContext::current();
    if (i == 7 && task.attempt() == 1) {  // until it is given up
      eventually([&] { return task.cancelled(); }, 60s);
    }
    return i;
  });
  EXPECT_EQ(numbers.count(), 8);
  context.engine()->bus().flush();
  const auto tasks = events->tasks();
  const auto copies = std::ranges::count(tasks, true, &TaskEnded::is_copy);
  EXPECT_EQ(copies, 1);
}

/// The fixed set of jobs, each of which ends in a few hundred milliseconds, and says what its
/// result is.
class Jobs {
 public:
  explicit Jobs(Context& context, const std::string& directory) : context_(context) {
    context.set_checkpoint_dir(directory);
  }

  static constexpr int kJobs = 5;

  std::string run(int job) {
    const auto numbers = context_.range(0, 60'000, 1, 6);
    const auto keyed = numbers.map([](Number i) { return std::pair(i * 31 % 7'001, i); });
    switch (job) {
      case 0:
        return text(keyed.reduce_by_key([](Number a, Number b) { return a + b; }, 4).collect());
      case 1:
        return text(keyed.group_by_key(4)
                        .map_values([](const std::vector<Number>& values) {
                          Number hash = 0;
                          for (const Number value : values) hash = hash * 31 + value % 97;
                          return hash;
                        })
                        .collect());
      case 2: {
        const auto sorted_pairs = keyed.sort_by_key(true, 4).collect();
        return text(sorted_pairs);
      }
      case 3: {
        const auto kept = keyed.persist(StorageLevel::kMemoryAndDisk2);
        const auto joined = kept.join(keyed.distinct().map_values([](Number v) { return v % 7; }));
        const auto counted = joined.count() + kept.count();
        kept.unpersist();
        return std::to_string(counted);
      }
      default: {
        const auto cut = keyed.partition_by(3).checkpoint();
        const auto first = cut.count();
        return std::to_string(first) + text(cut.collect());
      }
    }
  }

 private:
  static std::string text(Pairs pairs) {
    std::string all;
    for (const auto& [key, value] : sorted(std::move(pairs))) {
      all += std::to_string(key) + "," + std::to_string(value) + ";";
    }
    return all;
  }

  Context& context_;
};

TEST(CoreFaults, RandomKillsOverAFixedSetOfJobs) {
  const char* wanted = std::getenv("WEIR_KILLS");
  const int kills = wanted != nullptr ? std::atoi(wanted) : 40;
  const char* given = std::getenv("WEIR_KILL_SEED");
  const std::uint32_t seed =
      given != nullptr ? static_cast<std::uint32_t>(std::atoll(given)) : std::random_device()();
  std::cout << "kills: " << kills << ", WEIR_KILL_SEED=" << seed << std::endl;
  const TempFolder folder;
  Context context(little_memory());
  Jobs jobs(context, folder.file("checkpoints"));
  std::vector<std::string> expected;
  for (int job = 0; job < Jobs::kJobs; ++job) expected.push_back(jobs.run(job));

  std::atomic<int> left{kills};
  std::jthread killer([&](const std::stop_token& stopped) {
    std::mt19937 random(seed);
    while (left.load() > 0 && !stopped.stop_requested()) {
      const auto wait = std::chrono::milliseconds(20 + random() % 150);
      eventually([&] { return stopped.stop_requested(); }, wait);
      const auto all = workers_of(getpid());
      if (all.empty()) continue;
      kill(all[random() % all.size()], SIGKILL);
      --left;
    }
  });
  int rounds = 0;
  while (left.load() > 0) {
    for (int job = 0; job < Jobs::kJobs; ++job) {
      ASSERT_EQ(jobs.run(job) == expected[static_cast<std::size_t>(job)], true)
          << "job " << job << " in round " << rounds;
    }
    ++rounds;
  }
  std::cout << rounds << " rounds of " << Jobs::kJobs << " jobs" << std::endl;
}

}  // namespace
}  // namespace weir::test
