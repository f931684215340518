// What tasks share: accumulators, broadcasts, objects of a worker; over every kind of master.

#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "weir/core/context.h"

#include "rdd_pairs_fixture.h"

namespace weir::test {
namespace {

class RddValuesTest : public RddPairsTest {
 protected:
  Rdd<int> ints(int end, std::uint32_t partitions) {
    Ints all;
    for (int i = 0; i < end; ++i) all.push_back(i);
    return context_.parallelize(std::move(all), partitions);
  }
};
WEIR_TEST_OVER_MASTERS(RddValuesTest);

// --- accumulators ---

TEST_P(RddValuesTest, TasksAddToAnAccumulatorAndTheDriverReadsIt) {
  const auto sum = context_.accumulator("sum", std::int64_t{5});
  ints(100, 4).foreach (
      weir::bind(sum, [](const Accumulator<std::int64_t>& total, int x) { total.add(x); }));
  EXPECT_EQ(sum.value(), 5 + 4950);
  EXPECT_EQ(sum.name(), "sum");
  sum.add(1);
  EXPECT_EQ(sum.value(), 4956);
  sum.reset();
  EXPECT_EQ(sum.value(), 5);
}

TEST_P(RddValuesTest, AttemptsThatFailAreNotCounted) {
  const auto seen = context_.accumulator("seen", std::int64_t{0});
  ints(40, 4).foreach (weir::bind(seen, [](const auto& count, int x) {
    count += 1;
    const auto& task = TaskContext::current();
    if (task.attempt() < 3 && x % 10 == 9) throw std::runtime_error("not yet");
  }));
  EXPECT_EQ(seen.value(), 40);
}

TEST_P(RddValuesTest, AMapTaskIsCountedOnceHoweverManyJobsReadItsOutput) {
  const auto seen = context_.accumulator("seen", std::int64_t{0});
  const auto counted = ints(30, 3)
                           .map(weir::bind(seen,
                                           [](const auto& count, int x) {
                                             count += 1;
                                             return std::pair(x % 3, 1);
                                           }))
                           .reduce_by_key([](int a, int b) { return a + b; });
  EXPECT_EQ(counted.count(), 3);
  EXPECT_EQ(counted.count(), 3);
  EXPECT_EQ(seen.value(), 30);
}

TEST_P(RddValuesTest, AnAccumulatorAddsAsItIsTold) {
  const auto words =
      context_.accumulator("words", std::set<std::string>{},
                           [](std::set<std::string>& all, const std::set<std::string>& more) {
                             all.insert(more.begin(), more.end());
                           });
  context_.parallelize(Words{"b", "a", "b", "c"}, 3)
      .foreach (
          weir::bind(words, [](const auto& all, const std::string& word) { all.add({word}); }));
  EXPECT_EQ(words.value(), (std::set<std::string>{"a", "b", "c"}));
}

TEST_P(RddValuesTest, WhatFailsInTheDriverIsThrownByValue) {
  const auto bad = context_.accumulator("bad", 0, [](int& sum, const int& more) {
    if (more == 3) throw std::runtime_error("three");  // what a task adds up is 3
    sum += more;
  });
  ints(3, 1).foreach (weir::bind(bad, [](const auto& sum, int x) { sum.add(x); }));
  const Error error = error_of([&] { (void)bad.value(); });
  EXPECT_EQ(error.code(), ErrorCode::kJobFailed);
  EXPECT_NE(std::string(error.what()).find("bad"), std::string::npos);
  EXPECT_NE(std::string(error.what()).find("three"), std::string::npos);
}

TEST_P(RddValuesTest, OnlyTheDriverReadsAccumulators) {
  const auto sum = context_.accumulator("sum", 0);
  const Error error = error_of([&] {
    ints(1, 1).map(weir::bind(sum, [](const auto& s, int) { return s.value(); })).collect();
  });
  EXPECT_NE(std::string(error.what()).find("in the driver only"), std::string::npos);
}

class Updates : public Listener {
 public:
  void on_accumulator_updated(const AccumulatorUpdated& update) override {
    const std::scoped_lock lock(mutex_);
    updates_.push_back(update);
  }
  std::vector<AccumulatorUpdated> all() const {
    const std::scoped_lock lock(mutex_);
    return updates_;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<AccumulatorUpdated> updates_;
};

TEST_P(RddValuesTest, EventsNameAccumulators) {
  const auto updates = std::make_shared<Updates>();
  context_.add_listener(updates);
  const auto sum = context_.accumulator("bytes read", std::int64_t{0});
  const auto other = context_.accumulator("other", std::int64_t{0});
  ints(10, 2).foreach (weir::bind(sum, [](const auto& total, int x) { total.add(x); }));
  context_.engine()->bus().flush();
  const auto all = updates->all();
  ASSERT_EQ(all.size(), 2U);  // one per task
  EXPECT_EQ(all[0].name, "bytes read");
  EXPECT_EQ(all[0].accumulator, sum.id());
  EXPECT_NE(sum.id(), other.id());
  EXPECT_EQ(all[1].value, "45");
}

// --- broadcasts ---

TEST_P(RddValuesTest, TasksReadABroadcast) {
  const auto names = context_.broadcast(std::map<int, std::string>{{1, "one"}, {2, "two"}});
  EXPECT_EQ(names->at(1), "one");
  const auto named =
      context_.parallelize({1, 2, 1}, 3).map(weir::bind(names, [](const auto& all, int x) {
        return all->at(x);
      }));
  EXPECT_EQ(named.collect(), (Words{"one", "two", "one"}));
}

TEST_P(RddValuesTest, ABroadcastIsDecodedOncePerWorkerAndSentInChunks) {
  const std::string large(5 << 20, 'x');  // five chunks
  const auto data = context_.broadcast(large);
  const auto where = [](const Broadcast<std::string>& value, int) {
    return std::pair(static_cast<std::int64_t>(getpid()),
                     reinterpret_cast<std::uint64_t>(&value.value()));
  };
  std::map<std::int64_t, std::set<std::uint64_t>> copies;  // by process
  for (int round = 0; round < 2; ++round) {
    for (const auto& [process, copy] : ints(16, 8).map(weir::bind(data, where)).collect()) {
      copies[process].insert(copy);
    }
  }
  for (const auto& [process, each] : copies) EXPECT_EQ(each.size(), 1U);
  EXPECT_EQ(new_stages(), (Words{"broadcast", "map", "map"}));
  EXPECT_EQ(ints(2, 2)
                .map(weir::bind(data, [](const auto& all, int) { return all.value().size(); }))
                .collect(),
            (std::vector<std::size_t>{large.size(), large.size()}));
}

TEST_P(RddValuesTest, BroadcastsAreSentAgainWhereTheyWereFreed) {
  const auto data = context_.broadcast(Words{"a", "b"});
  const auto sizes = ints(2, 2).map(
      weir::bind(data, [](const auto& all, int) { return static_cast<int>(all->size()); }));
  EXPECT_EQ(sizes.collect(), (Ints{2, 2}));
  data.unpersist();
  EXPECT_EQ(sizes.collect(), (Ints{2, 2}));
  EXPECT_EQ(new_stages(), (Words{"broadcast", "map", "broadcast", "map"}));
}

TEST_P(RddValuesTest, SeveralBroadcastsInMapAndReduceStages) {
  const auto factor = context_.broadcast(10);
  const auto limit = context_.broadcast(25);
  const auto empty = context_.broadcast(std::string());
  const auto sums =
      ints(10, 3)
          .map(weir::bind(factor, [](const auto& by, int x) { return std::pair(x % 2, x * *by); }))
          .reduce_by_key(weir::bind(
              limit, [](const auto& most, int a, int b) { return std::min(*most, a + b); }))
          .map(weir::bind(factor, empty, limit,
                          [](const auto& by, const auto& none, const auto& most, const auto& pair) {
                            return std::pair(pair.first, pair.second + *by + *most +
                                                             static_cast<int>(none->size()));
                          }));
  EXPECT_EQ(sorted(sums.collect()), (Numbers{{0, 60}, {1, 60}}));
}

TEST_P(RddValuesTest, StagesWithOtherBroadcastsAreTheSameStage) {
  const auto add = [](const Broadcast<int>& by, int x) { return x + *by; };
  for (int i = 0; i < 3; ++i) {
    const auto by = context_.broadcast(i);
    EXPECT_EQ(ints(2, 1).map(weir::bind(by, add)).collect(), (Ints{i, i + 1}));
  }
}

TEST_P(RddValuesTest, ABroadcastOutlivesItsHandleWhereADatasetRefersToIt) {
  const auto doubled = [&] {
    const auto by = context_.broadcast(2);
    return ints(3, 2).map(weir::bind(by, [](const auto& f, int x) { return x * *f; }));
  }();
  EXPECT_EQ(doubled.collect(), (Ints{0, 2, 4}));
}

TEST_P(RddValuesTest, ABroadcastIsNoElement) {
  const auto data = context_.broadcast(1);
  EXPECT_EQ(error_of([&] { context_.broadcast(std::vector{data}); }).code(),
            ErrorCode::kInvalidArgument);
}

// --- objects of a worker ---

struct Counted {
  Counted() { ++alive(); }
  ~Counted() { --alive(); }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
  static std::atomic<int>& alive() {
    static std::atomic<int> count{0};
    return count;
  }
  std::atomic<int> uses{0};
};

TEST_P(RddValuesTest, AWorkerMakesItsObjectOnce) {
  const auto local =
      worker_local([] { return std::string("made by ") + std::to_string(getpid()); });
  const auto of = [&] {
    return ints(8, 8)
        .map(weir::bind(local,
                        [](const auto& object, int) {
                          return std::pair(*object, reinterpret_cast<std::uint64_t>(&*object));
                        }))
        .collect();
  };
  std::map<std::string, std::set<std::uint64_t>> objects;
  for (int round = 0; round < 2; ++round) {
    for (const auto& [name, at] : of()) objects[name].insert(at);
  }
  const bool is_cluster = std::string(GetParam()).find("cluster") != std::string::npos;
  EXPECT_LE(objects.size(), is_cluster ? 2U : 1U);
  for (const auto& [name, each] : objects) EXPECT_EQ(each.size(), 1U) << name;
}

TEST_P(RddValuesTest, ObjectsWithOtherCapturedValuesAreOthers) {
  const auto named = [&](const std::string& name) {
    const auto local = worker_local(weir::bind(name, [](const std::string& n) { return n + "!"; }));
    return context_.parallelize({0}, 1)
        .map(weir::bind(local, [](const auto& object, int) { return *object; }))
        .collect()
        .front();
  };
  EXPECT_EQ(named("a"), "a!");
  EXPECT_EQ(named("b"), "b!");
}

TEST_P(RddValuesTest, AFactoryThatThrowsIsCalledAgain) {
  const auto local = worker_local([] {
    if (TaskContext::current().attempt() < 3) throw std::runtime_error("no database");
    return 7;
  });
  EXPECT_EQ(context_.parallelize({1}, 1)
                .map(weir::bind(local, [](const auto& object, int x) { return *object + x; }))
                .collect(),
            Ints{8});
}

TEST(WorkerLocal, ObjectsAreDestroyedWithTheContext) {
  {
    Context context(config_of("local[2]"));
    const auto local = worker_local([] { return std::make_unique<Counted>(); });
    context.parallelize({1, 2, 3}, 3).foreach (weir::bind(local, [](const auto& object, int) {
      ++(*object)->uses;
    }));
    EXPECT_EQ(Counted::alive(), 1);
    context.stop();
    EXPECT_EQ(Counted::alive(), 0);
  }
}

}  // namespace
}  // namespace weir::test
