// Drivers that end in every way and are started again: what they find, do once more, or refuse.

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <set>

#include "recovery_kit.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

std::atomic<int> g_updates{0};  // calls of the update function: local masters only
std::atomic<int> g_outputs{0};  // of foreach_rdd, in the driver

std::optional<std::int64_t> counted(const std::vector<int>& values,
                                    std::optional<std::int64_t> total) {
  ++g_updates;
  return add_up(values, total);
}

class StreamRecovery : public Recovery {
 protected:
  StreamRecovery() { g_updates = g_outputs = 0; }

  /// Running totals into the sink, and an output operation that counts its calls.
  Driver::Setup totals(std::uint32_t partitions = 2) {
    return [this, partitions](StreamingContext& stream) {
      const auto all = counts(stream).update_state_by_key(fn<&counted>, {.partitions = partitions});
      all.write_to(sink(), {.uid = "totals"});
      all.foreach_rdd([](const Rdd<Total>&) { ++g_outputs; });
    };
  }
  int groups_of_log() const {
    int groups = 0;
    for (const auto& entry : std::filesystem::directory_iterator(directory() + "/log")) {
      const std::string bytes = read_file(entry.path());
      for (std::size_t at = 0; (at = bytes.find("WGRP", at)) != std::string::npos; ++at) ++groups;
    }
    return groups;
  }
  void expect_exact(std::size_t batches) const {
    EXPECT_EQ(sorted(output_->batches()), running_totals(batches_, batches));
    std::uint64_t sequence = 0;
    for (const CommitId& commit : output_->commits()) EXPECT_EQ(commit.sequence, ++sequence);
  }
};

/// Of numbers that others append, from the newest one on.
struct Tail {
  static inline std::atomic<int> end{0};
  int initial() { return end; }
  int latest(int, const SourceLimit&) { return end; }
  std::vector<std::pair<int, int>> plan(int from, int to) const { return {{from, to}}; }
  std::vector<int> read(const std::pair<int, int>& range) const {
    std::vector<int> numbers;
    for (int number = range.first; number < range.second; ++number) numbers.push_back(number);
    return numbers;
  }
  void released(int) {}
};

// --- ends ---

TEST_F(StreamRecovery, WhereAStreamBeginsIsKnownBeforeItsFirstBatch) {
  const auto numbers = std::make_shared<MemoryOutput<int>>();
  const auto setup = [&](StreamingContext& stream) {
    stream.source_stream(Tail()).write_to(MemorySink<int>(numbers), {.uid = "numbers"});
  };
  Tail::end = 10;
  for (int life = 0; life < 3; ++life) {
    auto driver = start(setup);
    Tail::end += 2;
    driver->kill();
  }
  auto driver = start(setup);
  driver->run(1, 1);
  driver->stop();
  EXPECT_EQ(numbers->batches(), (std::vector<std::vector<int>>{{10, 11, 12, 13, 14, 15}}));
}

TEST_F(StreamRecovery, AfterAStopTheStateIsKeptAndNothingRunsAgain) {
  auto driver = start(totals());
  driver->run(3, 3);
  driver->stop();
  EXPECT_EQ(g_outputs, 3);
  driver.reset();
  g_updates = 0;
  driver = start(totals());
  driver->run(1, 4);
  EXPECT_EQ(g_updates, 3) << "once for each key";
  driver->run(2, 6);
  driver->stop();
  EXPECT_EQ(g_outputs, 6);
  EXPECT_EQ(output_->skipped(), 0U);
  expect_exact(6);
}

TEST_F(StreamRecovery, AGracefulStopMakesOneMoreBatchAndLeavesNothingOpen) {
  auto driver = start(totals());
  driver->run(2, 2);
  driver->stop_gracefully();
  driver.reset();
  const std::size_t done = output_->batches().size();
  EXPECT_GE(done, 3U);
  EXPECT_EQ(static_cast<std::size_t>(g_outputs), done);
  driver = start(totals());
  driver->run(3, done + 3);
  driver->stop();
  EXPECT_EQ(static_cast<std::size_t>(g_outputs), done + 3);
  EXPECT_EQ(output_->skipped(), 0U);
  expect_exact(done + 3);
}

TEST_F(StreamRecovery, KilledBetweenBatchesNothingRunsAgain) {
  auto driver = start(totals());
  driver->run(3, 3);
  driver->kill();
  driver.reset();
  g_updates = 0;
  driver = start(totals());
  driver->run(1, 4);
  // The last COMMIT may not have been written: then that batch runs again and is skipped.
  const auto again = static_cast<int>(output_->skipped());
  EXPECT_LE(again, 1);
  EXPECT_EQ(g_outputs, 4 + again);
  driver->run(2, 6);
  driver->kill();
  expect_exact(6);
}

TEST_F(StreamRecovery, KilledAtAnyMomentItIsExact) {
  for (int life = 0; life < 12; ++life) {
    auto driver = start(totals());
    driver->tick(2);
    driver->kill();
  }
  auto driver = start(totals());
  driver->tick();
  ASSERT_TRUE(eventually([&] { return !output_->batches().empty(); }));
  driver->stop();
  expect_exact(output_->batches().size());
}

TEST_F(StreamRecovery, AnOpenBatchRunsAgainWithTheSameInputAndTheSinkSkipsIt) {
  std::atomic<bool> hangs{true};
  std::atomic<bool> begun{false};
  std::vector<Totals> seen;  // of the third batch
  const auto setup = [&](StreamingContext& stream) {
    const auto all = counts(stream).update_state_by_key(fn<&counted>);
    all.write_to(sink(), {.uid = "totals"});
    all.foreach_rdd([&](const Rdd<Total>& rdd, Time time) {
      if (time != Time(3s)) return;
      seen.push_back(rdd.collect());
      begun = true;
      while (hangs) (void)rdd.count();  // until the job is cancelled
    });
  };
  auto driver = start(setup);
  driver->run(2, 2);
  driver->tick();
  ASSERT_TRUE(eventually([&] { return begun.load(); }));
  EXPECT_EQ(output_->batches().size(), 3U);
  driver->kill();
  driver.reset();

  hangs = false;
  driver = start(setup);
  driver->await(3);
  EXPECT_EQ(output_->skipped(), 1U);
  driver->run(1, 4);
  driver->stop();
  EXPECT_EQ(sorted(seen), (std::vector<Totals>(2, {{"a", 11}, {"b", 22}, {"c", 1}})));
  expect_exact(4);
}

TEST_F(StreamRecovery, ABatchWhoseOutputThrewRunsAgainInTheNextDriver) {
  std::atomic<bool> throws{true};
  const auto setup = [&](StreamingContext& stream) {
    const auto all = counts(stream).update_state_by_key(fn<&counted>);
    all.foreach_rdd([&](const Rdd<Total>&, Time time) {
      if (throws && time == Time(2s)) throw std::runtime_error("the disk is full");
    });
    all.write_to(sink(), {.uid = "totals"});
  };
  auto driver = start(setup);
  driver->tick(2);
  expect_refused(refusal([&] { driver->await(2); }), ErrorCode::kJobFailed,
                 {"batch 2", "foreach_rdd", "the disk is full"});
  EXPECT_EQ(output_->batches().size(), 1U);
  driver.reset();
  throws = false;
  driver = start(setup);
  driver->await(2);
  driver->run(1, 3);
  driver->stop();
  EXPECT_EQ(output_->skipped(), 0U);
  expect_exact(3);
}

TEST_F(StreamRecovery, SeveralOpenBatchesRunAgainInOrder) {
  std::atomic<bool> throws{true};
  const auto setup = [&](StreamingContext& stream) {
    const auto all = counts(stream).update_state_by_key(fn<&counted>);
    all.foreach_rdd([&](const Rdd<Total>& rdd) {
      while (throws) (void)rdd.count();
    });
    all.write_to(sink(), {.uid = "totals"});
  };
  for (int lives = 0; lives < 3; ++lives) {  // each leaves one more open batch
    auto driver = start(setup);
    driver->tick();
    ASSERT_TRUE(eventually([&] { return groups_of_log() == lives + 2; }))
        << "where the stream begins, and an INTENT of each driver";
    driver->kill();
  }
  EXPECT_TRUE(output_->batches().empty());
  throws = false;
  auto driver = start(setup);
  driver->run(3, 5);
  driver->stop();
  const auto got = sorted(output_->batches());
  EXPECT_EQ(got, running_totals(batches_, got.size()));
}

// --- state that is made again ---

TEST_F(StreamRecovery, StateWithoutItsChangelogIsMadeAgainWithoutOutputs) {
  auto driver = start(totals());
  driver->run(4, 4);
  driver->stop();
  driver.reset();
  driver = start(totals());  // a CHECKPOINT at 4, COMMITs behind it
  driver->run(1, 5);
  driver->kill();
  driver.reset();
  const int outputs = g_outputs;
  const auto skipped = output_->skipped();
  // All that is not named by the CHECKPOINT.
  std::vector<std::filesystem::path> newest;
  for (const auto& entry : std::filesystem::directory_iterator(state_directory())) {
    newest.push_back(entry.path());
  }
  ASSERT_EQ(newest.size(), 2U);
  std::filesystem::remove(std::filesystem::last_write_time(newest[0]) <
                                  std::filesystem::last_write_time(newest[1])
                              ? newest[1]
                              : newest[0]);
  driver = start(totals());
  driver->run(1, 6);
  driver->stop();
  const auto again = static_cast<int>(output_->skipped() - skipped);
  EXPECT_EQ(g_outputs, outputs + 1 + again) << "no outputs of committed batches";
  expect_exact(6);
}

TEST_F(StreamRecovery, WithoutACheckpointAllOfTheInputIsReplayed) {
  auto driver = start(totals());
  driver->run(5, 5);
  driver->kill();
  driver.reset();
  ASSERT_GT(remove_state_files(".chg"), 0U);
  g_outputs = 0;
  driver = start(totals());
  driver->run(1, 6);
  driver->stop();
  EXPECT_EQ(g_outputs, 1 + static_cast<int>(output_->skipped()));
  expect_exact(6);
}

TEST_F(StreamRecovery, FilesThatACheckpointNamesAreMissedAndNamed) {
  auto driver = start(totals());
  driver->run(2, 2);
  driver->stop();
  driver.reset();
  ASSERT_GT(remove_state_files(".chg"), 0U);
  driver = start(totals());
  driver->tick();
  expect_refused(refusal([&] { driver->await(3); }), ErrorCode::kDataLoss,
                 {"update_state_by_key", "files of the checkpoint directory are missing"});
}

/// How often a value came, over how often a key did.
auto chained(const DStream<Count>& stream) {
  return stream.update_state_by_key(fn<&add_up>)
      .map([](const Total& total) {
        return Count(total.second % 2 == 0 ? "even" : "odd", static_cast<int>(total.second));
      })
      .update_state_by_key(fn<&add_up>);
}

std::vector<Totals> chained_totals(const std::vector<Counts>& input, std::size_t batches) {
  std::vector<Counts> second;
  for (const Totals& totals : running_totals(input, batches)) {
    Counts& counts = second.emplace_back();
    for (const auto& [key, total] : totals) {
      counts.emplace_back(total % 2 == 0 ? "even" : "odd", static_cast<int>(total));
    }
  }
  return running_totals(second, batches);
}

TEST_F(StreamRecovery, AStateOverAStateIsMadeAgain) {
  const auto setup = [&](StreamingContext& stream) {
    chained(counts(stream)).write_to(sink(), {.uid = "chained"});
  };
  for (std::uint64_t last = 2; last <= 6; last += 2) {
    auto driver = start(setup);
    driver->run(2, last);
    driver->kill();
    driver.reset();
    ASSERT_GT(remove_state_files(".chg"), 0U);
  }
  EXPECT_EQ(sorted(output_->batches()), chained_totals(batches_, 6));
}

std::set<pid_t> workers_of(Context& context) {
  const auto pids = context.parallelize({0, 1}, 2).map([](int) { return getpid(); }).collect();
  return {pids.begin(), pids.end()};
}

TEST_F(StreamRecovery, AWorkerThatDiesWithoutItsChangelogIsMadeAgain) {
  const auto setup = [&](StreamingContext& stream) {
    chained(counts(stream)).write_to(sink(), {.uid = "chained"});
  };
  auto driver = start(setup, {.master = "local-cluster[2,1]"});
  driver->run(2, 2);
  for (std::uint64_t last = 3; last <= 5; ++last) {
    std::set<pid_t> pids;
    ASSERT_TRUE(eventually([&] { return (pids = workers_of(driver->context())).size() == 2; }));
    (void)remove_state_files(".chg");
    kill(*pids.begin(), SIGKILL);
    driver->run(1, last);
  }
  driver->kill();  // no CHECKPOINT can name what is not there
  EXPECT_EQ(sorted(output_->batches()), chained_totals(batches_, 5));
}

TEST_F(StreamRecovery, AWorkersDeathAfterACheckpointReachesBackToIt) {
  const auto setup = [&](StreamingContext& stream) {
    chained(counts(stream)).write_to(sink(), {.uid = "chained"});
  };
  auto driver = start(setup, {.master = "local-cluster[2,1]"});
  driver->run(2, 2);
  driver->stop();
  driver.reset();
  driver = start(setup, {.master = "local-cluster[2,1]"});
  driver->run(2, 4);
  std::set<pid_t> pids;
  ASSERT_TRUE(eventually([&] { return (pids = workers_of(driver->context())).size() == 2; }));
  for (const pid_t pid : pids) kill(pid, SIGKILL);
  driver->run(2, 6);
  driver->stop();
  EXPECT_EQ(sorted(output_->batches()), chained_totals(batches_, 6));
}

// --- other numbers of partitions, other durability ---

TEST_F(StreamRecovery, PartitionsChangeInNumberBehindACheckpoint) {
  std::uint64_t last = 0;
  for (const std::uint32_t partitions : {4U, 7U, 2U, 5U}) {
    auto driver = start(totals(partitions));
    driver->run(2, last += 2);
    driver->stop();
  }
  expect_exact(8);
}

TEST_F(StreamRecovery, PartitionsChangeInNumberWithoutACheckpoint) {
  std::uint64_t last = 0;
  for (const std::uint32_t partitions : {4U, 7U, 2U, 5U}) {
    auto driver = start(totals(partitions));
    driver->run(2, last += 2);
    driver->kill();
  }
  expect_exact(8);
}

TEST_F(StreamRecovery, PartitionsChangeInNumberAndTheStateIsMadeAgain) {
  std::uint64_t last = 0;
  for (const std::uint32_t partitions : {4U, 7U, 2U}) {
    auto driver = start(totals(partitions));
    driver->run(2, last += 2);
    driver->kill();
    driver.reset();
    ASSERT_GT(remove_state_files(".chg"), 0U);
  }
  expect_exact(6);
}

TEST_F(StreamRecovery, EveryDurabilityIsExactWhenTheProcessDies) {
  std::uint64_t last = 0;
  for (const auto durability :
       {LogDurability::kBatch, LogDurability::kInterval, LogDurability::kNone, LogDurability::kNone,
        LogDurability::kInterval}) {
    auto driver = start(totals(), {.durability = durability});
    driver->run(2, last += 2);
    driver->kill();
  }
  expect_exact(10);
}

TEST_F(StreamRecovery, TheInitialStateIsNotUsedTwice) {
  const auto setup = [&](StreamingContext& stream) {
    counts(stream)
        .update_state_by_key(
            [](const std::string& key, Time, const std::vector<int>& values,
               std::optional<std::int64_t> total) -> std::optional<std::int64_t> {
              if (key == "z") return std::nullopt;  // goes with the first batch
              return add_up(values, total);
            },
            {.initial = {{"a", 1000}, {"y", 7}, {"z", 9}}, .partitions = 3})
        .write_to(sink(), {.uid = "totals"});
  };
  for (std::uint64_t last = 1; last <= 6; ++last) {
    auto driver = start(setup);
    driver->run(1, last);
    if (last % 2 == 0) {
      driver->stop();
    } else {
      driver->kill();
    }
  }
  auto expected = running_totals(batches_, 6);
  for (Totals& totals : expected) {
    totals.front().second += 1000;
    totals.emplace_back("y", 7);
  }
  EXPECT_EQ(sorted(output_->batches()), expected);
}

// --- windows ---

TEST_F(StreamRecovery, ARawWindowReachesBackOverRestarts) {
  const auto setup = [&](StreamingContext& stream) {
    counts(stream)
        .map([](const Count& count) { return Total(count.first, count.second); })
        .window(3s)
        .write_to(sink(), {.uid = "window"});
  };
  for (std::uint64_t last = 1; last <= 6; ++last) {
    auto driver = start(setup);
    driver->run(1, last);
    if (last % 2 == 0) {
      driver->stop();
    } else {
      driver->kill();
    }
  }
  EXPECT_EQ(sorted(output_->batches()),
            (std::vector<Totals>{{{"a", 1}, {"b", 2}},
                                 {{"a", 1}, {"a", 10}, {"b", 2}, {"c", 1}},
                                 {{"a", 1}, {"a", 10}, {"b", 2}, {"b", 20}, {"c", 1}},
                                 {{"a", 10}, {"b", 20}, {"c", 1}},
                                 {{"b", 20}, {"c", 5}, {"d", 3}},
                                 {{"a", 100}, {"c", 5}, {"d", 3}}}));
}

/// What a window of that length holds of batches cut at these times.
std::vector<Totals> windows(const std::vector<Counts>& input, const std::vector<Duration>& times,
                            Duration length) {
  std::vector<Totals> all;
  for (std::size_t i = 0; i < times.size(); ++i) {
    std::map<std::string, std::int64_t> totals;
    for (std::size_t j = 0; j <= i && j < input.size(); ++j) {
      if (times[j] <= times[i] - length) continue;
      for (const auto& [key, value] : input[j]) totals[key] += value;
    }
    all.emplace_back(totals.begin(), totals.end());
  }
  return all;
}

std::int64_t plus(std::int64_t a, std::int64_t b) { return a + b; }
std::int64_t minus(std::int64_t a, std::int64_t b) { return a - b; }

TEST_F(StreamRecovery, WindowsAsStateGoOnAtAnotherInterval) {
  for (int i = 0; i < 12; ++i) input_->push({{"a", 1 << i}, {i % 2 == 0 ? "b" : "c", i}});
  std::vector<Counts> all;
  for (std::size_t i = 0; i < input_->size(); ++i) all.push_back(input_->batch(i));
  const auto inverse = std::make_shared<MemoryOutput<Total>>();
  const auto setup = [&](StreamingContext& stream) {
    const auto in = counts(stream).map_values([](int value) { return std::int64_t{value}; });
    in.reduce_by_key_and_window(fn<&plus>, {.length = 4s}).write_to(sink(), {.uid = "plain"});
    in.reduce_by_key_and_window(
          fn<&plus>, fn<&minus>,
          {.length = 4s, .keep = [](const Total& total) { return total.second != 0; }})
        .write_to(MemorySink<Total>(inverse), {.uid = "inverse"});
  };
  std::vector<Duration> times;
  std::uint64_t last = 0;
  const auto live = [&](Duration interval, int batches, bool killed) {
    auto driver = start(setup, {.interval = interval});
    driver->run(batches, last += static_cast<std::uint64_t>(batches));
    for (int i = batches - 1; i >= 0; --i) {
      times.push_back(clock_->now().time_since_epoch() - i * interval);
    }
    if (killed) {
      driver->kill();
    } else {
      driver->stop();
    }
  };
  live(1s, 3, false);
  live(500ms, 2, true);
  live(500ms, 8, false);
  live(2s, 1, false);
  live(2s, 3, true);
  live(1s, 2, true);
  EXPECT_EQ(sorted(output_->batches()), windows(all, times, 4s));
  auto with_inverse = windows(all, times, 4s);
  for (Totals& totals : with_inverse) {
    std::erase_if(totals, [](const Total& total) { return total.second == 0; });
  }
  EXPECT_EQ(sorted(inverse->batches()), with_inverse);
}

TEST_F(StreamRecovery, BatchesThatAWindowWouldMissAtAnotherIntervalAreRefused) {
  const auto raw = [&](StreamingContext& stream) {
    counts(stream).window(4s).foreach_rdd([](const auto&) {});
  };
  auto driver = start(raw, {.interval = 500ms});
  driver->run(3, 3);
  driver->stop();
  driver.reset();
  expect_refused(refusal([&] { (void)start(raw, {.interval = 2s}); }), ErrorCode::kDataLoss,
                 {"is not on the grid of 2s", "an interval that divides the former one"});
  driver = start(raw, {.interval = 250ms});
  driver->run(1, 4);
  driver->stop();
}

TEST_F(StreamRecovery, AnOpenBatchThatAWindowWouldMissIsRefused) {
  std::atomic<bool> throws{true};
  const auto setup = [&](StreamingContext& stream) {
    counts(stream)
        .reduce_by_key_and_window([](int a, int b) { return a + b; }, {.length = 4s})
        .foreach_rdd([&](const auto&, Time time) {
          if (throws && time == Time(1500ms)) throw std::runtime_error("no");
        });
  };
  auto driver = start(setup, {.interval = 500ms});
  driver->run(2, 2);
  driver->tick();
  (void)refusal([&] { driver->await(3); });
  driver.reset();
  expect_refused(refusal([&] { (void)start(setup, {.interval = 2s}); }), ErrorCode::kDataLoss,
                 {"batch 3", "is not on the grid of 2s", "stop it gracefully"});
  throws = false;
  driver = start(setup, {.interval = 500ms});
  driver->await(3);
  driver->stop();
  driver.reset();
  driver = start(setup, {.interval = 2s});
  driver->run(1, 4);
  driver->stop();
}

// --- sinks ---

TEST_F(StreamRecovery, TwoSinksWithOtherNumbersOfTasks) {
  const auto other = std::make_shared<MemoryOutput<Total>>();
  const auto setup = [&](StreamingContext& stream) {
    const auto all = counts(stream).update_state_by_key(fn<&add_up>);
    all.write_to(sink(), {.uid = "first", .partitions = 1});
    all.write_to(MemorySink<Total>(other), {.partitions = 5});
  };
  for (std::uint64_t last = 2; last <= 6; last += 2) {
    auto driver = start(setup);
    driver->run(2, last);
    driver->kill();
  }
  expect_exact(6);
  EXPECT_EQ(sorted(other->batches()), sorted(output_->batches()));
  EXPECT_EQ(other->commits()[0].sink, "sink-1");
}

TEST_F(StreamRecovery, SinksOfOneUidAreRefused) {
  expect_refused(refusal([&] {
                   (void)start([&](StreamingContext& stream) {
                     const auto all = counts(stream).update_state_by_key(fn<&add_up>);
                     all.write_to(sink(), {.uid = "same"});
                     all.write_to(sink(), {.uid = "same"});
                   });
                 }),
                 ErrorCode::kInvalidArgument, {"same"});
}

TEST_F(StreamRecovery, SinksNeedNoCheckpointDirectory) {
  Driver driver("", clock_, totals(), {});
  driver.run(3, 3);
  driver.stop();
  expect_exact(3);
}

TEST_F(StreamRecovery, WithoutACheckpointDirectoryASecondDriverIsAnotherApplication) {
  {
    Driver driver("", clock_, totals(), {});
    driver.run(1, 1);
    driver.stop();
  }
  expect_refused(refusal([&] { Driver("", clock_, totals(), {}); }), ErrorCode::kDataLoss,
                 {"holds the output of application", "use another place, or remove"});
}

// --- other intervals ---

TEST_F(StreamRecovery, AnotherIntervalGoesOnOnItsGridWithTheStateKept) {
  std::vector<Time> times;
  const auto setup = [&](StreamingContext& stream) {
    const auto all = counts(stream).update_state_by_key(fn<&counted>);
    all.write_to(sink(), {.uid = "totals"});
    all.foreach_rdd([&](const Rdd<Total>&, Time time) { times.push_back(time); });
  };
  std::uint64_t last = 0;
  for (const Duration interval : std::vector<Duration>{1s, 500ms, 2s}) {
    auto driver = start(setup, {.interval = interval});
    driver->run(2, last += 2);
    driver->stop();
  }
  EXPECT_EQ(times,
            (std::vector<Time>{Time(1s), Time(2s), Time(2500ms), Time(3s), Time(4s), Time(6s)}));
  expect_exact(6);
}

TEST_F(StreamRecovery, OpenBatchesKeepTheirTimesUnderAnotherInterval) {
  std::atomic<bool> throws{true};
  std::vector<Time> times;
  const auto setup = [&](StreamingContext& stream) {
    const auto all = counts(stream).update_state_by_key(fn<&counted>);
    all.foreach_rdd([&](const Rdd<Total>&, Time time) {
      if (throws && time == Time(1500ms)) throw std::runtime_error("no");
      times.push_back(time);
    });
    all.write_to(sink(), {.uid = "totals"});
  };
  auto driver = start(setup, {.interval = 500ms});
  driver->tick(3);
  (void)refusal([&] { driver->await(3); });
  driver.reset();
  throws = false;
  driver = start(setup, {.interval = 2s});
  driver->await(3);
  driver->run(1, 4);
  driver->stop();
  EXPECT_EQ(times, (std::vector<Time>{Time(500ms), Time(1s), Time(1500ms), Time(2s)}));
  expect_exact(4);
}

TEST_F(StreamRecovery, StateIsMadeAgainUnderAnotherInterval) {
  auto driver = start(totals(), {.interval = 500ms});
  driver->run(3, 3);
  driver->kill();
  driver.reset();
  ASSERT_GT(remove_state_files(".chg"), 0U);
  driver = start(totals(), {.interval = 2s});
  driver->run(1, output_->batches().size() + 1);
  driver->stop();
  expect_exact(4);
}

}  // namespace
}  // namespace weir::test
