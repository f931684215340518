#include "weir/cluster/cluster_driver.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>

#include "weir/core/config.h"

namespace weir {
namespace {

using namespace std::chrono_literals;

ClusterSettings settings() {
  ClusterSettings s = ClusterSettings::from(Config());
  s.heartbeat_timeout = 2s;  // as by default, but the same under sanitizers
  s.task_hang_timeout = 5min;
  s.launch_grace = 1s;
  s.worker_start_timeout = 15s;
  s.stop_grace = 1s;
  return s;
}

constexpr StageHash kStage = 77;
const ProcessExit kKilled{ProcessExit::Kind::kSignalled, SIGKILL};
const ProcessExit kCrashed{ProcessExit::Kind::kSignalled, SIGSEGV};

/// A driver whose workers, processes and clock are the test.
class Cluster {
 public:
  explicit Cluster(std::uint32_t places, std::uint32_t slots = 1, ClusterSettings with = settings(),
                   std::uint32_t resident_slots = 0, std::uint32_t slots_ahead = 0)
      : slots_(slots),
        resident_slots_(resident_slots),
        slots_ahead_(slots_ahead),
        driver_({with, places, {{5, "job"}}}) {
    driver_.start(now);
    collect();
  }

  /// All places' workers register.
  Cluster& up() {
    for (std::uint32_t place = 0; place < driver_.membership().places(); ++place) {
      register_worker({place, 1});
    }
    actions.clear();
    return *this;
  }

  void register_worker(WorkerId worker, std::vector<ModuleId> modules = {{5, "job"}}) {
    say(worker, wire::Register{worker, 100, slots_, std::move(modules),
                               "ipc:///" + to_string(worker), resident_slots_, slots_ahead_});
  }

  void say(WorkerId from, wire::ToDriver message) {
    driver_.received(from, std::move(message), now);
    collect();
  }

  void launch(AttemptId attempt, std::uint32_t partition, std::vector<WorkerId> preferred = {}) {
    TaskSpec task;
    task.attempt = attempt;
    task.partition = partition;
    task.preferred = std::move(preferred);
    launch(std::move(task));
  }
  void launch(TaskSpec task) {
    task.program = std::make_shared<const StageProgram>(StageProgram{kStage, Bytes("stage")});
    driver_.launch(std::move(task), now);
    collect();
  }
  void cancel(AttemptId attempt) {
    driver_.cancel(attempt, now);
    collect();
  }
  void tell(AttemptId attempt, Bytes message) {
    driver_.tell(attempt, std::move(message));
    collect();
  }
  void exited(WorkerId worker, ProcessExit exit) {
    driver_.exited(worker, exit, now);
    collect();
  }

  /// The worker answers its launch of `attempt`.
  void answer(AttemptId attempt, TaskOutcome outcome = Done{}) {
    const auto [worker, launch] = launched.at(attempt);
    wire::Outcome message;
    message.launch = launch;
    message.outcome = std::move(outcome);
    say(worker, std::move(message));
  }

  /// A heartbeat that has heard everything the driver said up to now.
  void beat(WorkerId worker, std::vector<wire::SlotStatus> slots, std::uint64_t releases = 0) {
    beat_at(worker, now, std::move(slots), releases);
  }
  void beat_at(WorkerId worker, SteadyTime echo, std::vector<wire::SlotStatus> slots,
               std::uint64_t releases = 0) {
    say(worker, wire::Heartbeat{worker, ++beats_[worker], echo, releases, 0, std::move(slots)});
  }
  wire::SlotStatus running(AttemptId attempt, std::uint64_t records = 0) const {
    return {launched.at(attempt).second.sequence, attempt, true, false, records};
  }

  void pass(Duration time) {
    now += time;
    driver_.on_timer(now);
    collect();
  }
  void tick() {
    driver_.tick(now);
    collect();
  }
  /// Time passes, and the driver is awake.
  void wait(Duration time) {
    for (const SteadyTime end = now + time; now < end;) {
      pass(100ms);
      tick();
    }
  }
  /// Time passes while every alive worker sends idle heartbeats.
  void live(Duration time) {
    for (const SteadyTime end = now + time; now < end;) {
      pass(100ms);
      for (std::uint32_t place = 0; place < driver_.membership().places(); ++place) {
        const auto* member = driver_.membership().alive_at(place);
        if (member != nullptr) beat_at(member->id, {}, std::vector<wire::SlotStatus>(slots_));
      }
      tick();
    }
  }

  /// The actions of a kind since the last look at that kind, in order.
  template <class T>
  std::vector<T> take() {
    std::vector<T> taken;
    std::erase_if(actions, [&](ClusterDriver::Action& action) {
      T* held = std::get_if<T>(&action);
      if (held != nullptr) taken.push_back(std::move(*held));
      return held != nullptr;
    });
    return taken;
  }
  /// Messages of a kind that were sent since the last look at that kind.
  template <class Message>
  std::vector<std::pair<WorkerId, Message>> sent() {
    std::vector<std::pair<WorkerId, Message>> taken;
    std::erase_if(actions, [&](ClusterDriver::Action& action) {
      auto* send = std::get_if<ClusterDriver::Send>(&action);
      auto* held = send != nullptr ? std::get_if<Message>(&send->message) : nullptr;
      if (held != nullptr) taken.emplace_back(send->worker, std::move(*held));
      return held != nullptr;
    });
    return taken;
  }
  /// The one outcome there must be, of `attempt`.
  TaskOutcome outcome_of(AttemptId attempt) {
    const auto told = take<ClusterDriver::TellOutcome>();
    EXPECT_EQ(told.size(), 1U);
    if (told.size() != 1) return {};
    EXPECT_EQ(told[0].attempt, attempt);
    return told[0].outcome;
  }
  WorkerId worker_of(AttemptId attempt) const {
    const auto found = launched.find(attempt);
    return found == launched.end() ? WorkerId{99, 99} : found->second.first;
  }
  bool is_launched(AttemptId attempt) const { return launched.count(attempt) != 0; }

  ClusterDriver& driver() { return driver_; }

  SteadyTime now{1000s};
  bool sends = true;              ///< what is to be sent is, at once
  std::uint64_t frame_bytes = 0;  ///< how large it is
  std::vector<ClusterDriver::Action> actions;
  std::map<AttemptId, std::pair<WorkerId, wire::LaunchId>> launched;

 private:
  void collect() {
    while (auto action = driver_.next_action()) {
      const auto* send = std::get_if<ClusterDriver::Send>(&*action);
      const auto* launch = send != nullptr ? std::get_if<wire::Launch>(&send->message) : nullptr;
      if (launch != nullptr) {
        launched[launch->launch.attempt] = {send->worker, launch->launch};
        if (sends) driver_.sent(send->worker, launch->launch, frame_bytes, now);
      }
      actions.push_back(std::move(*action));
    }
    driver_.check_invariants();
  }

  const std::uint32_t slots_;
  const std::uint32_t resident_slots_;
  const std::uint32_t slots_ahead_;
  ClusterDriver driver_;
  std::map<WorkerId, std::uint64_t> beats_;
};

/// What a task that takes so long answers.
Done done_in(Duration time) {
  Done done;
  done.metrics.run_time = time;
  return done;
}

/// One worker with one thread, and `ahead` more slots of it, that knows how long tasks take.
struct ClusterWithRoomAhead : Cluster {
  explicit ClusterWithRoomAhead(std::uint32_t ahead, Duration task_time)
      : Cluster(1, 1, settings(), 0, ahead) {
    up();
    launch(1, 0);
    answer(1, done_in(task_time));
    actions.clear();
  }
  std::size_t launched_of(AttemptId first, AttemptId last) const {
    std::size_t count = 0;
    for (AttemptId id = first; id <= last; ++id) count += launched.count(id);
    return count;
  }
};

// --- membership ---

TEST(ClusterMembership, StartsAWorkerInEveryPlaceAndTellsWhenItRegisters) {
  Cluster cluster(2);
  const auto started = cluster.take<ClusterDriver::StartProcess>();
  ASSERT_EQ(started.size(), 2U);
  EXPECT_EQ(started[0].worker, (WorkerId{0, 1}));
  EXPECT_EQ(started[1].worker, (WorkerId{1, 1}));
  cluster.register_worker({1, 1});
  EXPECT_EQ(cluster.sent<wire::Registered>().size(), 1U);
  const auto added = cluster.take<ClusterDriver::TellAdded>();
  ASSERT_EQ(added.size(), 1U);
  EXPECT_EQ(added[0].worker, (WorkerId{1, 1}));
}

TEST(ClusterMembership, ARepeatedRegistrationIsAnsweredAgainAndToldOnce) {
  Cluster cluster(1);
  cluster.register_worker({0, 1});
  cluster.register_worker({0, 1});
  EXPECT_EQ(cluster.sent<wire::Registered>().size(), 2U);
  EXPECT_EQ(cluster.take<ClusterDriver::TellAdded>().size(), 1U);
}

TEST(ClusterMembership, AWorkerOfAnotherBinaryIsRefusedAndFailsTheClusterWithTheModulesName) {
  Cluster cluster(1);
  cluster.register_worker({0, 1}, {{6, "job"}});
  const auto refused = cluster.sent<wire::Refused>();
  ASSERT_EQ(refused.size(), 1U);
  EXPECT_NE(refused[0].second.reason.find("another binary"), std::string::npos);
  const auto failure = cluster.take<ClusterDriver::TellFailure>();
  ASSERT_EQ(failure.size(), 1U);
  EXPECT_NE(failure[0].reason.find("job"), std::string::npos);
  cluster.pass(1h);
  EXPECT_EQ(cluster.take<ClusterDriver::StartProcess>().size(), 1U) << "it is not tried again";
}

TEST(ClusterMembership, AnUnexpectedWorkerIsRefused) {
  Cluster cluster(1);
  cluster.register_worker({0, 9});
  EXPECT_EQ(cluster.sent<wire::Refused>().size(), 1U);
  EXPECT_TRUE(cluster.take<ClusterDriver::TellAdded>().empty());
}

TEST(ClusterMembership, SilenceIsALossAfterTheTimeoutAndNotBefore) {
  Cluster cluster(1);
  cluster.up();
  for (int i = 0; i < 19; ++i) {
    cluster.pass(100ms);
    cluster.tick();
  }
  EXPECT_TRUE(cluster.take<ClusterDriver::TellLost>().empty());
  cluster.pass(100ms);
  cluster.tick();
  const auto lost = cluster.take<ClusterDriver::TellLost>();
  ASSERT_EQ(lost.size(), 1U);
  EXPECT_NE(lost[0].reason.find("not heard of for 2s"), std::string::npos) << lost[0].reason;
}

TEST(ClusterMembership, SilenceIsFoundOutWhateverTheTimeoutIs) {
  for (const Duration timeout : {20ms, 100ms, 200ms, 400ms, 1000ms, 60'000ms}) {
    ClusterSettings with = settings();
    with.heartbeat_timeout = timeout;
    const Duration period = Membership::tick_period(with);
    Cluster cluster(1, 1, with);
    cluster.up();
    const SteadyTime start = cluster.now;
    cluster.tick();
    while (cluster.take<ClusterDriver::TellLost>().empty()) {
      ASSERT_LE(cluster.now - start, 2 * timeout) << to_string(timeout);
      cluster.now += period;
      cluster.tick();
    }
    EXPECT_GE(cluster.now - start, timeout);
    EXPECT_LE(cluster.now - start, timeout + period) << to_string(timeout);
  }
}

TEST(ClusterMembership, ALateHeartbeatThatArrivedInTimeCounts) {
  // The decision thread was busy for 10 s; beats and ticks were received meanwhile and come now.
  Cluster cluster(1);
  cluster.up();
  const SteadyTime start = cluster.now;
  for (int i = 1; i <= 100; ++i) {
    cluster.now = start + i * Duration(100ms);
    cluster.beat({0, 1}, {{}});
    cluster.tick();
  }
  EXPECT_TRUE(cluster.take<ClusterDriver::TellLost>().empty());
}

TEST(ClusterMembership, ADriverThatWasFrozenItselfDeclaresNobodyLost) {
  Cluster cluster(1);
  cluster.up();
  cluster.tick();
  cluster.now += 30s;
  cluster.tick();
  EXPECT_TRUE(cluster.take<ClusterDriver::TellLost>().empty());
  for (int i = 0; i < 20; ++i) {
    cluster.now += 100ms;
    cluster.tick();
  }
  EXPECT_EQ(cluster.take<ClusterDriver::TellLost>().size(), 1U) << "but silence after that counts";
}

TEST(ClusterMembership, AFrozenWorkerIsLeftToComeBackAndKilledAfterTheLinger) {
  Cluster cluster(1);
  cluster.up();
  for (int i = 0; i < 20; ++i) {
    cluster.pass(100ms);
    cluster.tick();
  }
  ASSERT_EQ(cluster.take<ClusterDriver::TellLost>().size(), 1U);
  EXPECT_TRUE(cluster.take<ClusterDriver::KillProcess>().empty());
  cluster.pass(30s);
  const auto killed = cluster.take<ClusterDriver::KillProcess>();
  ASSERT_FALSE(killed.empty());
  EXPECT_EQ(killed[0].worker, (WorkerId{0, 1}));
  EXPECT_EQ(killed[0].signal, SIGKILL);
}

TEST(ClusterMembership, AnExitIsALossThatNamesIt) {
  Cluster cluster(1);
  cluster.up().exited({0, 1}, kCrashed);
  const auto lost = cluster.take<ClusterDriver::TellLost>();
  ASSERT_EQ(lost.size(), 1U);
  EXPECT_NE(lost[0].reason.find("signal 11"), std::string::npos) << lost[0].reason;
}

TEST(ClusterMembership, ABrokenConnectionWaitsForTheExitReportThatExplainsIt) {
  Cluster cluster(1);
  cluster.up();
  cluster.driver().disconnected({0, 1}, cluster.now);
  cluster.pass(100ms);
  EXPECT_TRUE(cluster.take<ClusterDriver::TellLost>().empty());
  cluster.exited({0, 1}, kCrashed);
  EXPECT_NE(cluster.take<ClusterDriver::TellLost>().at(0).reason.find("signal 11"),
            std::string::npos);
}

TEST(ClusterMembership, ABrokenConnectionWithoutExitIsALossAndTheProcessIsKilled) {
  Cluster cluster(1);
  cluster.up();
  cluster.driver().disconnected({0, 1}, cluster.now);
  cluster.launch(1, 0);
  EXPECT_FALSE(cluster.is_launched(1)) << "nothing is given to it any more";
  cluster.pass(1s);
  EXPECT_EQ(cluster.take<ClusterDriver::TellLost>().size(), 1U);
  EXPECT_EQ(cluster.take<ClusterDriver::KillProcess>().at(0).signal, SIGKILL);
}

TEST(ClusterMembership, TheFirstReplacementIsImmediateAndIsANewIncarnation) {
  Cluster cluster(1);
  cluster.up().exited({0, 1}, kKilled);
  cluster.pass(0ms);
  const auto started = cluster.take<ClusterDriver::StartProcess>();
  ASSERT_EQ(started.size(), 1U);
  EXPECT_EQ(started[0].worker, (WorkerId{0, 2}));
}

TEST(ClusterMembership, ReplacementsOfWorkersThatDieYoungBackOff) {
  Cluster cluster(1);
  cluster.up();
  std::vector<Duration> waits;
  for (std::uint32_t i = 1; i <= 10; ++i) {
    cluster.exited({0, i}, kKilled);
    const SteadyTime died = cluster.now;
    while (cluster.take<ClusterDriver::StartProcess>().empty()) {
      cluster.now = std::max(cluster.now, *cluster.driver().next_deadline());
      cluster.pass(0ms);
    }
    waits.push_back(cluster.now - died);
    cluster.register_worker({0, i + 1});
  }
  const std::vector<Duration> expected = {0ms,   50ms,   100ms,  200ms, 400ms,
                                          800ms, 1600ms, 3200ms, 5s,    5s};
  EXPECT_EQ(waits, expected);
}

TEST(ClusterMembership, ALongLifeResetsTheBackOff) {
  Cluster cluster(1);
  cluster.up();
  for (std::uint32_t i = 1; i <= 3; ++i) {
    cluster.live(3s);
    cluster.exited({0, i}, kKilled);
    cluster.pass(0ms);
    EXPECT_EQ(cluster.take<ClusterDriver::StartProcess>().size(), 1U);
    cluster.register_worker({0, i + 1});
  }
}

TEST(ClusterMembership, AWorkerThatDoesNotRegisterInTimeIsKilledAndReplaced) {
  Cluster cluster(1);
  cluster.actions.clear();
  cluster.pass(15s);
  EXPECT_EQ(cluster.take<ClusterDriver::KillProcess>().at(0).worker, (WorkerId{0, 1}));
  EXPECT_EQ(cluster.take<ClusterDriver::StartProcess>().at(0).worker, (WorkerId{0, 2}));
  EXPECT_NE(cluster.take<ClusterDriver::Warn>().at(0).message.find("did not register within 15s"),
            std::string::npos);
  EXPECT_TRUE(cluster.take<ClusterDriver::TellLost>().empty()) << "it never was a member";
}

TEST(ClusterMembership, FailsWithTheCauseWhenNoPlaceEverGetsAWorker) {
  Cluster cluster(2);
  cluster.launch(1, 0);
  std::vector<ClusterDriver::TellFailure> failures;
  for (std::uint32_t i = 1; i <= 4; ++i) {
    EXPECT_TRUE(failures.empty());
    cluster.exited({0, i}, {ProcessExit::Kind::kExited, 127});
    cluster.exited({1, i}, {ProcessExit::Kind::kExited, 127});
    failures = cluster.take<ClusterDriver::TellFailure>();
    cluster.pass(10s);
  }
  ASSERT_EQ(failures.size(), 1U);
  EXPECT_NE(failures[0].reason.find("exited with status 127"), std::string::npos);
  cluster.actions.clear();
  cluster.pass(1h);
  EXPECT_TRUE(cluster.take<ClusterDriver::StartProcess>().empty());
  cluster.launch(2, 0);
  EXPECT_EQ(cluster.take<ClusterDriver::TellFailure>().size(), 1U) << "later tasks do not hang";
}

TEST(ClusterMembership, ADriverThatCannotGoOnFailsEveryJobAndCanBeStopped) {
  Cluster cluster(1);
  cluster.up().launch(1, 0);
  cluster.driver().fail("the decision thread broke", cluster.now);
  cluster.exited({0, 1}, kKilled);
  const auto failures = cluster.take<ClusterDriver::TellFailure>();
  ASSERT_EQ(failures.size(), 1U);
  EXPECT_EQ(failures[0].reason, "the decision thread broke");
  cluster.launch(2, 0);
  EXPECT_EQ(cluster.take<ClusterDriver::TellFailure>().size(), 1U) << "later tasks do not hang";
  cluster.pass(1h);
  EXPECT_TRUE(cluster.take<ClusterDriver::StartProcess>().empty());
  cluster.driver().stop(cluster.now);
  EXPECT_TRUE(cluster.driver().stopped());
}

TEST(ClusterMembership, GoesOnTryingForEverOnceAWorkerWasThere) {
  Cluster cluster(1);
  cluster.up().exited({0, 1}, kKilled);
  for (std::uint32_t i = 2; i <= 100; ++i) {  // no memory, no processes, for minutes
    cluster.pass(5s);
    cluster.exited({0, i}, {ProcessExit::Kind::kNotStarted, EAGAIN});
  }
  EXPECT_TRUE(cluster.take<ClusterDriver::TellFailure>().empty());
  const auto warnings = cluster.take<ClusterDriver::Warn>();
  ASSERT_EQ(warnings.size(), 100U);
  EXPECT_NE(warnings[0].message.find("0 workers are left"), std::string::npos);
  EXPECT_NE(warnings[99].message.find("could not be started"), std::string::npos);
  cluster.launch(1, 0);
  cluster.pass(5s);
  cluster.register_worker({0, 101});
  EXPECT_TRUE(cluster.is_launched(1)) << "and resumes";
}

TEST(ClusterMembership, OneBadPlaceIsNoFailureWhileAnotherWorks) {
  Cluster cluster(2);
  cluster.register_worker({0, 1});
  for (std::uint32_t i = 1; i <= 20; ++i) {
    cluster.exited({1, i}, {ProcessExit::Kind::kExited, 1});
    cluster.live(5s);
  }
  EXPECT_TRUE(cluster.take<ClusterDriver::TellFailure>().empty());
  EXPECT_EQ(cluster.take<ClusterDriver::StartProcess>().size(), 22U) << "it goes on trying";
}

TEST(ClusterMembership, StopTellsTermsAndKills) {
  Cluster cluster(2);
  cluster.up();
  cluster.driver().stop(cluster.now);
  cluster.pass(0ms);
  EXPECT_EQ(cluster.sent<wire::Shutdown>().size(), 2U);
  cluster.exited({0, 1}, {ProcessExit::Kind::kExited, 0});
  EXPECT_TRUE(cluster.take<ClusterDriver::TellLost>().empty());
  cluster.pass(1s);
  EXPECT_EQ(cluster.take<ClusterDriver::KillProcess>().at(0).signal, SIGTERM);
  cluster.pass(1s);
  EXPECT_EQ(cluster.take<ClusterDriver::KillProcess>().at(0).signal, SIGKILL);
  EXPECT_FALSE(cluster.driver().stopped());
  cluster.exited({1, 1}, kKilled);
  EXPECT_TRUE(cluster.driver().stopped());
  cluster.pass(1h);
  EXPECT_TRUE(cluster.take<ClusterDriver::StartProcess>().empty());
}

TEST(ClusterMembership, StopKillsWorkersThatCannotBeTold) {
  Cluster cluster(1);
  cluster.driver().stop(cluster.now);
  cluster.pass(0ms);
  EXPECT_EQ(cluster.take<ClusterDriver::KillProcess>().at(0).signal, SIGKILL);
}

TEST(ClusterMembership, StopDoesNotWaitForeverForAProcessThatSurvivesSigkill) {
  Cluster cluster(1);
  cluster.up();
  cluster.driver().stop(cluster.now);
  for (int i = 0; i < 10; ++i) cluster.pass(1s);
  EXPECT_TRUE(cluster.driver().stopped());
}

// --- placement ---

TEST(ClusterPlacement, TheSamePartitionGoesToTheSameWorkerAndSlot) {
  Cluster cluster(2, 2);
  cluster.up();
  for (AttemptId batch = 0; batch < 3; ++batch) {
    for (std::uint32_t partition : {3U, 1U, 0U, 2U}) {
      const AttemptId attempt = batch * 10 + partition + 1;
      cluster.launch(attempt, partition);
      EXPECT_EQ(cluster.worker_of(attempt).slot, partition % 2);
      EXPECT_EQ(cluster.launched[attempt].second.slot, partition / 2);
    }
    for (std::uint32_t partition = 0; partition < 4; ++partition) {
      cluster.answer(batch * 10 + partition + 1);
    }
  }
}

TEST(ClusterPlacement, PreferredWorkersComeFirst) {
  Cluster cluster(2);
  cluster.up().launch(1, 0, {{1, 1}});
  EXPECT_EQ(cluster.worker_of(1), (WorkerId{1, 1}));
}

TEST(ClusterPlacement, APreferredWorkerThatIsGoneDoesNotMatter) {
  Cluster cluster(2);
  cluster.up().launch(1, 0, {{1, 7}});
  EXPECT_EQ(cluster.worker_of(1), (WorkerId{0, 1}));
}

TEST(ClusterPlacement, WaitsShortlyForABusyWorkerThatHasTheData) {
  Cluster cluster(2);
  cluster.up().launch(1, 0, {{1, 1}});
  cluster.launch(2, 0, {{1, 1}});
  cluster.pass(19ms);
  EXPECT_FALSE(cluster.is_launched(2));
  EXPECT_EQ(cluster.driver().next_deadline(), cluster.now + Duration(1ms));
  cluster.pass(1ms);
  EXPECT_EQ(cluster.worker_of(2), (WorkerId{0, 1}));
}

TaskSpec sticky_task(AttemptId attempt, std::vector<WorkerId> preferred) {
  TaskSpec task;
  task.attempt = attempt;
  task.preferred = std::move(preferred);
  task.sticky = true;
  return task;
}

TEST(ClusterPlacement, AStickyTaskWaitsForItsWorkerAsLongAsThatIsAlive) {
  Cluster cluster(2);
  cluster.up().launch(1, 1, {{1, 1}});
  cluster.launch(sticky_task(2, {{1, 1}, {0, 1}}));
  for (int i = 0; i < 10; ++i) cluster.pass(100ms);
  EXPECT_FALSE(cluster.is_launched(2));
  const auto deadline = cluster.driver().next_deadline();
  EXPECT_TRUE(!deadline || *deadline > cluster.now) << "it wakes nobody up while it waits";
  cluster.answer(1);
  EXPECT_EQ(cluster.worker_of(2), (WorkerId{1, 1}));
}

TEST(ClusterPlacement, AStickyTaskGoesOnWhenItsWorkerIsGone) {
  Cluster cluster(2);
  cluster.up().launch(1, 1, {{1, 1}});
  cluster.launch(sticky_task(2, {{1, 1}}));
  EXPECT_FALSE(cluster.is_launched(2));
  cluster.exited({1, 1}, kKilled);
  EXPECT_EQ(cluster.worker_of(2), (WorkerId{0, 1}));
}

TEST(ClusterPlacement, TakesThePreferredWorkerIfItBecomesFreeInTime) {
  Cluster cluster(2);
  cluster.up().launch(1, 0, {{1, 1}});
  cluster.launch(2, 0, {{1, 1}});
  cluster.pass(5ms);
  cluster.answer(1);
  EXPECT_EQ(cluster.worker_of(2), (WorkerId{1, 1}));
}

TEST(ClusterPlacement, ATaskBehindAWaitingOneIsNotHeldUp) {
  Cluster cluster(2);
  cluster.up().launch(1, 0);
  cluster.launch(2, 2);  // home is busy
  cluster.launch(3, 1);
  EXPECT_FALSE(cluster.is_launched(2));
  EXPECT_EQ(cluster.worker_of(3), (WorkerId{1, 1}));
}

TEST(ClusterPlacement, QueuesWhenAllSlotsAreBusyAndGoesOnInOrder) {
  Cluster cluster(1, 2);
  cluster.up();
  for (AttemptId attempt = 1; attempt <= 4; ++attempt) cluster.launch(attempt, 0);
  EXPECT_TRUE(cluster.is_launched(2));
  EXPECT_FALSE(cluster.is_launched(3));
  cluster.answer(2);
  EXPECT_TRUE(cluster.is_launched(3));
  EXPECT_FALSE(cluster.is_launched(4));
}

TEST(ClusterAhead, ShortTasksAreSentWhileOthersRunEachIntoASlotOfItsOwn) {
  ClusterWithRoomAhead cluster(3, 10us);
  for (AttemptId id = 2; id <= 7; ++id) cluster.launch(id, 0);
  ASSERT_EQ(cluster.launched_of(2, 7), 4U);
  std::set<std::uint32_t> slots;
  for (AttemptId id = 2; id <= 5; ++id) slots.insert(cluster.launched.at(id).second.slot);
  EXPECT_EQ(slots.size(), 4U);
  for (const auto& action : cluster.actions) {
    const auto* send = std::get_if<ClusterDriver::Send>(&action);
    EXPECT_TRUE(send == nullptr || send->thread == 0U);
  }
  cluster.answer(2, done_in(10us));
  EXPECT_EQ(cluster.launched_of(2, 7), 5U) << "and the next as soon as there is a slot";
}

TEST(ClusterAhead, NothingIsSentBehindTasksThatTakeLongerOrAreNotKnown) {
  ClusterWithRoomAhead slow(3, 3ms);
  slow.launch(2, 0);
  slow.launch(3, 0);
  EXPECT_EQ(slow.launched_of(2, 3), 1U);

  Cluster fresh(1, 1, settings(), 0, 3);
  fresh.up();
  fresh.launch(2, 0);
  fresh.launch(3, 0);
  EXPECT_FALSE(fresh.is_launched(3));
}

TEST(ClusterAhead, AsMuchAsBeginsSoon) {
  ClusterWithRoomAhead cluster(7, 600us);
  for (AttemptId id = 2; id <= 9; ++id) cluster.launch(id, 0);
  EXPECT_EQ(cluster.launched_of(2, 9), 4U) << "of 600 us each, three begin within 2 ms";
}

TEST(ClusterAhead, OneLongTaskIsRememberedForAWhile) {
  ClusterWithRoomAhead cluster(7, 10us);
  cluster.launch(2, 0);
  cluster.answer(2, done_in(1s));
  cluster.launch(3, 0);
  cluster.answer(3, done_in(10us));
  cluster.launch(4, 0);
  cluster.launch(5, 0);
  EXPECT_FALSE(cluster.is_launched(5));
}

TEST(ClusterAhead, TasksGoToIdleThreadsFirst) {
  Cluster cluster(2, 1, settings(), 0, 3);
  cluster.up();
  cluster.launch(1, 0);
  cluster.answer(1, done_in(10us));
  cluster.launch(2, 0);
  cluster.launch(3, 1);
  EXPECT_EQ(cluster.worker_of(2).slot, 0U);
  EXPECT_EQ(cluster.worker_of(3).slot, 1U);
}

TEST(ClusterAhead, OnlyWhatRanIsToBlameForACrash) {
  ClusterWithRoomAhead cluster(3, 10us);
  for (AttemptId id = 2; id <= 4; ++id) cluster.launch(id, 0);
  cluster.answer(2, done_in(10us));
  cluster.launch(5, 0);  // into the first slot, but behind the others
  cluster.actions.clear();
  cluster.exited({0, 1}, kCrashed);
  std::map<AttemptId, bool> blamed;
  for (const auto& told : cluster.take<ClusterDriver::TellOutcome>()) {
    blamed[told.attempt] = std::get<AttemptLost>(told.outcome).blame;
  }
  EXPECT_EQ(blamed, (std::map<AttemptId, bool>{{3, true}, {4, false}, {5, false}}));
}

TEST(ClusterAhead, WhatWaitsBehindATaskThatTakesLongAfterAllIsTakenBack) {
  ClusterWithRoomAhead cluster(1, 10us);
  cluster.launch(2, 0);
  cluster.launch(3, 0);
  ASSERT_TRUE(cluster.is_launched(3));
  cluster.actions.clear();
  cluster.pass(1500ms);
  cluster.beat({0, 1}, {cluster.running(2, 5), {}});
  EXPECT_FALSE(std::get<AttemptLost>(cluster.outcome_of(3)).blame);
  const auto cancelled = cluster.sent<wire::Cancel>();
  ASSERT_EQ(cancelled.size(), 1U) << "so that it is not run when its turn comes";
  EXPECT_EQ(cancelled[0].second.launch.attempt, 3U);
}

TEST(ClusterAhead, CopiesAndTasksThatWorkOnStateWaitForAThread) {
  ClusterWithRoomAhead cluster(3, 10us);
  cluster.launch(2, 0);
  TaskSpec copy;
  copy.attempt = 3;
  copy.copy_of = 99;
  cluster.launch(copy);
  TaskSpec stateful;
  stateful.attempt = 4;
  stateful.states.emplace_back();
  cluster.launch(stateful);
  EXPECT_EQ(cluster.launched_of(3, 4), 0U);
}

TEST(ClusterPlacement, TasksWaitForTheFirstWorker) {
  Cluster cluster(1);
  cluster.launch(1, 0);
  EXPECT_FALSE(cluster.is_launched(1));
  cluster.register_worker({0, 1});
  EXPECT_TRUE(cluster.is_launched(1));
}

TEST(ClusterPlacement, TheHomeOfADeadWorkersPartitionsIsTakenByOthers) {
  Cluster cluster(2);
  cluster.up().exited({1, 1}, kKilled);
  cluster.launch(1, 1);
  EXPECT_EQ(cluster.worker_of(1), (WorkerId{0, 1}));
}

// --- stages ---

TEST(ClusterStages, BytesAreSentUntilAnOutcomeProvesThatTheyAreThere) {
  Cluster cluster(1, 2);
  cluster.up().launch(1, 0);
  cluster.launch(2, 1);
  auto sent = cluster.sent<wire::Launch>();
  ASSERT_EQ(sent.size(), 2U);
  EXPECT_TRUE(sent[0].second.with_program);
  EXPECT_TRUE(sent[1].second.with_program) << "another slot's copy may come first";
  cluster.answer(1);
  cluster.launch(3, 0);
  EXPECT_FALSE(cluster.sent<wire::Launch>().at(0).second.with_program);
}

TEST(ClusterStages, AFailedTaskProvesNothing) {
  Cluster cluster(1);
  cluster.up().launch(1, 0);
  cluster.answer(1, Failed{"corrupt stage"});
  cluster.sent<wire::Launch>();
  cluster.launch(2, 0);
  EXPECT_TRUE(cluster.sent<wire::Launch>().at(0).second.with_program);
}

TEST(ClusterStages, AnUnknownStageIsSentAgainInTheSameLaunch) {
  Cluster cluster(1);
  cluster.up().launch(1, 0);
  cluster.answer(1);
  cluster.launch(2, 0);
  cluster.sent<wire::Launch>();
  const auto launch = cluster.launched[2].second;
  cluster.say({0, 1}, wire::UnknownStage{launch, kStage});
  const auto sent = cluster.sent<wire::Launch>();
  ASSERT_EQ(sent.size(), 1U);
  EXPECT_EQ(sent[0].second.launch, launch);
  EXPECT_TRUE(sent[0].second.with_program);
  cluster.answer(2);
  cluster.say({0, 1}, wire::UnknownStage{launch, kStage});
  EXPECT_TRUE(cluster.sent<wire::Launch>().empty()) << "a late copy is ignored";
}

TEST(ClusterStages, AReplacedWorkerKnowsNothing) {
  Cluster cluster(1);
  cluster.up().launch(1, 0);
  cluster.answer(1);
  cluster.exited({0, 1}, kKilled);
  cluster.pass(0ms);
  cluster.register_worker({0, 2});
  cluster.sent<wire::Launch>();
  cluster.launch(2, 0);
  EXPECT_TRUE(cluster.sent<wire::Launch>().at(0).second.with_program);
}

TEST(ClusterStages, ALaunchNamesThePeersThatHoldWhatMustBeFetched) {
  Cluster cluster(3);
  cluster.up();
  TaskSpec task;
  task.attempt = 1;
  LeafInput input;
  input.is_shuffle = true;
  input.segments = {{0, {0, 1}, 100, 0, std::nullopt},  // its own
                    {1, {1, 1}, 100, 0, std::nullopt}, {2, {1, 1}, 100, 0, std::nullopt},
                    {3, {2, 1}, 3, 0, Bytes("abc")},     // inline
                    {4, {2, 1}, 0, 0, std::nullopt},     // empty
                    {5, {2, 9}, 100, 0, std::nullopt}};  // lost
  task.inputs = {input};
  cluster.launch(task);
  const auto sent = cluster.sent<wire::Launch>();
  ASSERT_EQ(sent.at(0).second.peers.size(), 1U);
  EXPECT_EQ(sent[0].second.peers[0].worker, (WorkerId{1, 1}));
  EXPECT_EQ(sent[0].second.peers[0].endpoint, "ipc:///" + to_string(WorkerId{1, 1}));
}

// --- outcomes ---

TEST(ClusterOutcomes, AreToldOnceHoweverOftenTheyCome) {
  Cluster cluster(1);
  cluster.up().launch(1, 0);
  cluster.answer(1);
  cluster.answer(1);
  EXPECT_TRUE(std::holds_alternative<Done>(cluster.outcome_of(1)));
  EXPECT_EQ(cluster.driver().refused_results(), 0U);
}

TEST(ClusterOutcomes, AnOldOneDoesNotSettleTheNextAttemptInTheSlot) {
  Cluster cluster(1);
  cluster.up().launch(1, 0);
  cluster.answer(1);
  cluster.launch(2, 0);
  cluster.take<ClusterDriver::TellOutcome>();
  cluster.answer(1);
  EXPECT_TRUE(cluster.take<ClusterDriver::TellOutcome>().empty());
  EXPECT_EQ(cluster.driver().unsettled_attempts(), 1U);
}

TEST(ClusterOutcomes, OfALostWorkersAttemptsAreWorkerLostAfterTheLossIsTold) {
  Cluster cluster(1, 2);
  cluster.up().launch(1, 0);
  cluster.launch(2, 1);
  cluster.actions.clear();
  cluster.exited({0, 1}, kKilled);
  ASSERT_GE(cluster.actions.size(), 3U);
  EXPECT_TRUE(std::holds_alternative<ClusterDriver::TellLost>(cluster.actions[0]));
  const auto told = cluster.take<ClusterDriver::TellOutcome>();
  ASSERT_EQ(told.size(), 2U);
  EXPECT_EQ(std::get<AttemptLost>(told[0].outcome).worker, (WorkerId{0, 1}));
}

TEST(ClusterOutcomes, BlameIsForCrashesAndExitsOnly) {
  struct Case {
    ProcessExit exit;
    bool blame;
    std::string message;
  };
  const Case cases[] = {
      {{ProcessExit::Kind::kSignalled, SIGSEGV}, true, "signal 11"},
      {{ProcessExit::Kind::kSignalled, SIGABRT}, true, "signal 6"},
      {{ProcessExit::Kind::kExited, 3}, true, "status 3"},
      {{ProcessExit::Kind::kExited, 0}, true, "status 0"},
      {{ProcessExit::Kind::kExited, kWorkerEndedItself}, false, "ended itself"},
      {{ProcessExit::Kind::kSignalled, SIGKILL}, false, "signal 9"},
      {{ProcessExit::Kind::kSignalled, SIGTERM}, false, "signal 15"},
      {{ProcessExit::Kind::kUnknown, 0}, false, "status"},
  };
  for (const Case& one : cases) {
    Cluster cluster(1);
    cluster.up().launch(1, 0);
    cluster.exited({0, 1}, one.exit);
    const auto lost = std::get<AttemptLost>(cluster.outcome_of(1));
    EXPECT_EQ(lost.blame, one.blame) << one.message;
    EXPECT_NE(lost.message.find(one.message), std::string::npos) << lost.message;
  }
}

TEST(ClusterOutcomes, OfAFrozenWorkerAreLostWithoutBlameAndRefusedWhenItContinues) {
  Cluster cluster(2);
  cluster.up().launch(1, 0);
  cluster.launch(2, 1);
  for (int i = 0; i < 20; ++i) {
    cluster.pass(100ms);
    cluster.beat({1, 1}, {cluster.running(2, static_cast<std::uint64_t>(i))});
    cluster.tick();
  }
  EXPECT_FALSE(std::get<AttemptLost>(cluster.outcome_of(1)).blame);
  cluster.pass(8s);
  cluster.actions.clear();
  cluster.answer(1);  // it continues
  EXPECT_TRUE(cluster.take<ClusterDriver::TellOutcome>().empty());
  const auto refused = cluster.take<ClusterDriver::TellRefused>();
  ASSERT_EQ(refused.size(), 1U);
  EXPECT_EQ(refused[0].worker, (WorkerId{0, 1}));
  EXPECT_EQ(refused[0].attempt, 1U);
  EXPECT_EQ(cluster.driver().refused_results(), 1U);
  const auto told = cluster.sent<wire::Shutdown>();
  ASSERT_EQ(told.size(), 1U);
  EXPECT_EQ(told[0].first, (WorkerId{0, 1}));
  cluster.pass(2s);
  EXPECT_EQ(cluster.take<ClusterDriver::KillProcess>().at(0).worker, (WorkerId{0, 1}))
      << "and killed if it does not do as it is told";
}

TEST(ClusterOutcomes, OfALostWorkerAreRefusedOnceHoweverOftenTheyCome) {
  Cluster cluster(1);
  cluster.up().launch(1, 0);
  for (int i = 0; i < 20; ++i) {
    cluster.pass(100ms);
    cluster.tick();
  }
  cluster.answer(1);
  cluster.answer(1);
  EXPECT_EQ(cluster.take<ClusterDriver::TellRefused>().size(), 1U);
  EXPECT_EQ(cluster.driver().refused_results(), 1U);
}

TEST(ClusterOutcomes, AHeartbeatOfALostWorkerIsAnsweredWithShutdown) {
  Cluster cluster(1);
  cluster.up();
  for (int i = 0; i < 20; ++i) {
    cluster.pass(100ms);
    cluster.tick();
  }
  cluster.actions.clear();
  cluster.beat({0, 1}, {{}});
  EXPECT_EQ(cluster.sent<wire::Shutdown>().size(), 1U);
}

TEST(ClusterOutcomes, ALaunchThatCannotBeSentFailsItsTaskOnly) {
  Cluster cluster(1);
  cluster.up().launch(1, 0);
  cluster.driver().unsendable({0, 1}, cluster.launched[1].second, "2 GiB");
  cluster.pass(0ms);
  EXPECT_NE(std::get<Failed>(cluster.outcome_of(1)).message.find("2 GiB"), std::string::npos);
  cluster.launch(2, 0);
  EXPECT_TRUE(cluster.is_launched(2));
}

TEST(ClusterOutcomes, ALossIsToldToTheOtherWorkers) {
  Cluster cluster(3);
  cluster.up().exited({1, 1}, kKilled);
  const auto told = cluster.sent<wire::PeerLost>();
  ASSERT_EQ(told.size(), 2U);
  EXPECT_EQ(told[0].second.worker, (WorkerId{1, 1}));
}

// --- cancelling ---

TEST(ClusterCancel, OfAQueuedAttemptRemovesIt) {
  Cluster cluster(1);
  cluster.up().launch(1, 0);
  cluster.launch(2, 0);
  cluster.cancel(2);
  cluster.answer(1);
  EXPECT_FALSE(cluster.is_launched(2));
  EXPECT_EQ(cluster.driver().unsettled_attempts(), 0U);
}

TEST(ClusterCancel, OfARunningAttemptTellsTheWorkerAndKeepsItsSlotUntilItEnds) {
  Cluster cluster(1);
  cluster.up().launch(1, 0);
  cluster.cancel(1);
  EXPECT_EQ(cluster.sent<wire::Cancel>().at(0).second.launch, cluster.launched[1].second);
  cluster.launch(2, 0);
  EXPECT_FALSE(cluster.is_launched(2));
  cluster.answer(1, Cancelled{});
  EXPECT_TRUE(cluster.is_launched(2));
}

TEST(ClusterCancel, IsRepeatedWhileTheWorkerStillRunsIt) {
  Cluster cluster(1);
  cluster.up().launch(1, 0);
  cluster.cancel(1);
  cluster.sent<wire::Cancel>();
  cluster.beat({0, 1}, {cluster.running(1, 5)});
  EXPECT_EQ(cluster.sent<wire::Cancel>().size(), 1U);
}

// --- what workers say against what they should do ---

TEST(ClusterReconcile, AnAttemptItsWorkerNeverGotIsGivenUpAfterTheGrace) {
  Cluster cluster(1);
  cluster.up().launch(1, 0);
  cluster.pass(900ms);
  cluster.beat({0, 1}, {{}});
  EXPECT_TRUE(cluster.take<ClusterDriver::TellOutcome>().empty());
  cluster.pass(100ms);
  cluster.beat({0, 1}, {{}});
  const auto lost = std::get<AttemptLost>(cluster.outcome_of(1));
  EXPECT_FALSE(lost.blame);
  EXPECT_NE(lost.message.find("did not arrive"), std::string::npos);
}

TEST(ClusterReconcile, ALargeLaunchHasTheTimeItTakes) {
  Cluster cluster(1);
  cluster.up();
  cluster.frame_bytes = 320 << 20;  // 20 s at 16 MiB/s
  cluster.launch(1, 0);
  cluster.pass(20'900ms);
  cluster.beat({0, 1}, {{}});
  EXPECT_TRUE(cluster.take<ClusterDriver::TellOutcome>().empty());
  cluster.pass(100ms);
  cluster.beat({0, 1}, {{}});
  EXPECT_FALSE(std::get<AttemptLost>(cluster.outcome_of(1)).blame);
}

TEST(ClusterReconcile, ALaunchThatIsStillBeingWrittenIsNotMissed) {
  Cluster cluster(1);
  cluster.up();
  cluster.sends = false;
  cluster.launch(1, 0);
  cluster.live(1min);
  cluster.beat({0, 1}, {{}});
  EXPECT_TRUE(cluster.take<ClusterDriver::TellOutcome>().empty());
  cluster.driver().sent({0, 1}, cluster.launched[1].second, 0, cluster.now);
  cluster.live(1s);
  cluster.beat({0, 1}, {{}});
  EXPECT_TRUE(std::holds_alternative<AttemptLost>(cluster.outcome_of(1)));
}

TEST(ClusterReconcile, AHeartbeatFromBeforeTheLaunchProvesNothing) {
  Cluster cluster(1);
  cluster.up();
  const SteadyTime before = cluster.now;
  cluster.launch(1, 0);
  cluster.pass(1500ms);
  cluster.beat_at({0, 1}, before, {{}});  // was on its way for that long
  EXPECT_TRUE(cluster.take<ClusterDriver::TellOutcome>().empty());
}

TEST(ClusterReconcile, ALateOutcomeOfAGivenUpAttemptIsRefusedAndSettled) {
  Cluster cluster(1);
  cluster.up().launch(1, 0);
  cluster.pass(1s);
  cluster.beat({0, 1}, {{}});
  cluster.actions.clear();
  cluster.answer(1);
  EXPECT_TRUE(cluster.take<ClusterDriver::TellOutcome>().empty());
  EXPECT_EQ(cluster.take<ClusterDriver::TellRefused>().size(), 1U);
  EXPECT_EQ(cluster.sent<wire::Settled>().size(), 1U);
  EXPECT_TRUE(cluster.sent<wire::Shutdown>().empty()) << "the worker itself is fine";
  cluster.answer(1);
  EXPECT_EQ(cluster.driver().refused_results(), 1U);
}

TEST(ClusterReconcile, ASlotThatRunsAGivenUpAttemptIsStoppedAndNotUsed) {
  Cluster cluster(1);
  cluster.up().launch(1, 0);
  cluster.pass(1s);
  cluster.beat({0, 1}, {{}});
  cluster.actions.clear();
  cluster.beat({0, 1}, {cluster.running(1)});  // the launch had only been slow
  EXPECT_EQ(cluster.sent<wire::Cancel>().size(), 1U);
  cluster.launch(2, 0);
  EXPECT_FALSE(cluster.is_launched(2));
  cluster.answer(1, Cancelled{});
  EXPECT_TRUE(cluster.is_launched(2));
}

TEST(ClusterReconcile, AnAttemptBehindAStrayOneIsNotGivenUp) {
  Cluster cluster(1);
  cluster.up().launch(1, 0);
  cluster.pass(1s);
  cluster.beat({0, 1}, {{}});
  cluster.launch(2, 0);
  ASSERT_TRUE(cluster.is_launched(2));
  cluster.actions.clear();
  cluster.pass(2s);
  cluster.beat({0, 1}, {cluster.running(1)});
  EXPECT_TRUE(cluster.take<ClusterDriver::TellOutcome>().empty());
}

TEST(ClusterReconcile, AnAttemptBehindAStrayOneHasItsTimeFromThatOnesEnd) {
  Cluster cluster(1);
  cluster.up().launch(1, 0);
  cluster.pass(1s);
  cluster.beat({0, 1}, {{}});
  cluster.launch(2, 0);
  cluster.pass(2s);
  cluster.beat({0, 1}, {cluster.running(1)});
  cluster.actions.clear();
  const wire::SlotStatus ended{1, 1, false, true, 0};
  cluster.beat({0, 1}, {ended});
  cluster.wait(900ms);
  cluster.beat({0, 1}, {ended});
  EXPECT_TRUE(cluster.take<ClusterDriver::TellOutcome>().empty());
  cluster.wait(100ms);
  cluster.beat({0, 1}, {ended});
  EXPECT_TRUE(std::holds_alternative<AttemptLost>(cluster.outcome_of(2)));
}

TEST(ClusterReconcile, WhatWasGivenUpIsForgottenWhenTheSlotHasGoneOn) {
  Cluster cluster(1);
  cluster.up().launch(1, 0);
  cluster.pass(1s);
  cluster.beat({0, 1}, {{}});
  cluster.launch(2, 0);
  cluster.beat({0, 1}, {cluster.running(2)});
  cluster.answer(1);  // never was there
  EXPECT_EQ(cluster.driver().refused_results(), 0U);
}

TEST(ClusterReconcile, AStaleHeartbeatAboutASettledAttemptDoesNotBlockItsSlot) {
  Cluster cluster(1);
  cluster.up().launch(1, 0);
  cluster.answer(1);
  cluster.beat({0, 1}, {cluster.running(1)});  // written before the outcome, heard after it
  cluster.launch(2, 0);
  EXPECT_TRUE(cluster.is_launched(2));
}

TEST(ClusterReconcile, OldHeartbeatsAreIgnored) {
  Cluster cluster(1);
  cluster.up().launch(1, 0);
  cluster.say({0, 1}, wire::Heartbeat{{0, 1}, 5, cluster.now, 0, 0, {cluster.running(1)}});
  cluster.pass(1s);
  cluster.say({0, 1}, wire::Heartbeat{{0, 1}, 4, cluster.now, 0, 0, {{}}});
  EXPECT_TRUE(cluster.take<ClusterDriver::TellOutcome>().empty());
}

TEST(ClusterReconcile, AnOutcomeThatStaysUnsettledIsSettled) {
  Cluster cluster(1);
  cluster.up().launch(1, 0);
  cluster.answer(1);
  const wire::SlotStatus ended{1, 1, false, true, 0};
  cluster.beat({0, 1}, {ended});
  EXPECT_TRUE(cluster.sent<wire::Settled>().empty()) << "the next launch would say so for free";
  cluster.beat({0, 1}, {ended});
  const auto sent = cluster.sent<wire::Settled>();
  ASSERT_EQ(sent.size(), 1U);
  EXPECT_EQ(sent[0].second.launch, cluster.launched[1].second);
}

TEST(ClusterReconcile, AnOutcomeTheDriverDoesNotHaveIsWaitedFor) {
  Cluster cluster(1);
  cluster.up().launch(1, 0);
  cluster.pass(5s);
  const wire::SlotStatus ended{1, 1, false, true, 0};
  cluster.beat({0, 1}, {ended});
  cluster.beat({0, 1}, {ended});
  EXPECT_TRUE(cluster.sent<wire::Settled>().empty());
  EXPECT_TRUE(cluster.take<ClusterDriver::TellOutcome>().empty());
  cluster.answer(1);
  EXPECT_TRUE(std::holds_alternative<Done>(cluster.outcome_of(1)));
}

TEST(ClusterReconcile, ATaskWithoutProgressIsHungAndItsWorkerIsKilled) {
  Cluster cluster(1, 2);
  cluster.up().launch(1, 0);
  cluster.launch(2, 1);
  for (std::uint64_t i = 0; i < 302; ++i) {
    cluster.beat({0, 1}, {cluster.running(1, 10), cluster.running(2, i)});
    cluster.wait(1s);
  }
  const auto killed = cluster.take<ClusterDriver::KillProcess>();
  ASSERT_FALSE(killed.empty());
  EXPECT_EQ(killed[0].signal, SIGKILL);
  const auto told = cluster.take<ClusterDriver::TellOutcome>();
  ASSERT_EQ(told.size(), 2U);
  for (const auto& one : told) {
    EXPECT_EQ(std::get<AttemptLost>(one.outcome).blame, one.attempt == 1) << "only it is to blame";
    EXPECT_NE(std::get<AttemptLost>(one.outcome).message.find("made no progress for 300s"),
              std::string::npos);
  }
}

TEST(ClusterReconcile, TimeThatTheDriverWasAwayIsNotHeldAgainstTasks) {
  Cluster cluster(1, 2);
  cluster.up().launch(1, 0);
  cluster.beat({0, 1}, {cluster.running(1, 10), {}});
  cluster.tick();
  cluster.launch(2, 1);
  cluster.now += 10min;  // frozen
  cluster.beat({0, 1}, {cluster.running(1, 10), {}});
  cluster.tick();
  EXPECT_TRUE(cluster.take<ClusterDriver::KillProcess>().empty());
  EXPECT_TRUE(cluster.take<ClusterDriver::TellOutcome>().empty());
  cluster.wait(1s);
  cluster.beat({0, 1}, {cluster.running(1, 10), {}});
  EXPECT_TRUE(std::holds_alternative<AttemptLost>(cluster.outcome_of(2))) << "it never arrived";
}

TEST(ClusterReconcile, ALaunchedTaskIsNotHungBeforeItRuns) {
  Cluster cluster(1);
  cluster.up();
  cluster.sends = false;  // for longer than a task may hang
  cluster.launch(1, 0);
  cluster.live(6min);
  cluster.beat({0, 1}, {cluster.running(1)});
  EXPECT_TRUE(cluster.take<ClusterDriver::KillProcess>().empty());
}

TEST(ClusterReconcile, ProgressKeepsATaskAlive) {
  Cluster cluster(1);
  cluster.up().launch(1, 0);
  for (std::uint64_t i = 0; i < 1000; ++i) {
    cluster.wait(1s);
    cluster.beat({0, 1}, {cluster.running(1, i / 200)});
  }
  EXPECT_TRUE(cluster.take<ClusterDriver::TellOutcome>().empty());
}

// --- releases ---

TEST(ClusterRelease, GoesWithTheNextLaunch) {
  Cluster cluster(1);
  cluster.up();
  cluster.driver().release_shuffle(40, cluster.now);
  cluster.driver().release_dataset(12, cluster.now);
  cluster.launch(1, 0);
  const auto sent = cluster.sent<wire::Launch>();
  EXPECT_EQ(sent.at(0).second.release.sequence, 1U);
  EXPECT_EQ(sent[0].second.release.shuffles, (std::vector<ShuffleId>{40}));
  EXPECT_EQ(sent[0].second.release.datasets, (std::vector<DatasetId>{12}));
  cluster.pass(1s);
  EXPECT_TRUE(cluster.sent<wire::Release>().empty());
}

TEST(ClusterRelease, GoesByItselfToAnIdleWorkerAndIsRepeatedUntilDone) {
  Cluster cluster(2);
  cluster.up();
  cluster.driver().release_shuffle(40, cluster.now);
  cluster.pass(50ms);
  EXPECT_EQ(cluster.sent<wire::Release>().size(), 2U);
  cluster.pass(1s);
  cluster.beat({0, 1}, {{}}, 0);
  cluster.beat({1, 1}, {{}}, 1);
  const auto again = cluster.sent<wire::Release>();
  ASSERT_EQ(again.size(), 1U);
  EXPECT_EQ(again[0].first, (WorkerId{0, 1}));
  EXPECT_EQ(again[0].second.sequence, 1U);
}

TEST(ProcessExit, SaysWhatHappened) {
  EXPECT_EQ(to_string(kKilled), "was killed by signal 9 (Killed)");
  EXPECT_EQ(to_string(ProcessExit{ProcessExit::Kind::kExited, 3}), "exited with status 3");
  EXPECT_EQ(to_string(ProcessExit{ProcessExit::Kind::kNotStarted, ENOENT}),
            "could not be started: No such file or directory");
}

TEST(ClusterSettings, RefuseValuesOutsideTheirRange) {
  EXPECT_THROW(ClusterSettings::from(Config().set("cluster.heartbeat-timeout", "300ms")),
               std::exception);
  EXPECT_THROW(ClusterSettings::from(Config().set("cluster.frame-bytes", "1")), std::exception);
  EXPECT_EQ(ClusterSettings::from(Config().set("cluster.locality-wait", "5ms")).locality_wait,
            Duration(5ms));
}

// --- resident tasks ---

TaskSpec resident(AttemptId attempt) {
  TaskSpec task;
  task.attempt = attempt;
  task.resident = true;
  return task;
}

TEST(ResidentTasks, RunBesideTheSlotsAndAreSpread) {
  Cluster cluster(2, 1, settings(), 2);
  cluster.up();
  for (AttemptId attempt = 1; attempt <= 5; ++attempt) cluster.launch(resident(attempt));
  cluster.launch(10, 0);
  cluster.launch(11, 1);
  std::map<std::uint32_t, int> by_worker;
  for (AttemptId attempt = 1; attempt <= 4; ++attempt) {
    const auto& [worker, launch] = cluster.launched.at(attempt);
    ++by_worker[worker.slot];
    EXPECT_GE(launch.slot, 1u) << "behind the slots of other tasks";
  }
  EXPECT_EQ(by_worker, (std::map<std::uint32_t, int>{{0, 2}, {1, 2}}));
  EXPECT_EQ(cluster.launched.count(5), 0u) << "there is no room";
  EXPECT_EQ(cluster.launched.at(10).second.slot, 0u);
  EXPECT_EQ(cluster.launched.at(11).second.slot, 0u);
  cluster.answer(3);
  EXPECT_EQ(cluster.launched.count(5), 1u);
}

TEST(ResidentTasks, HaveWordsWithTheDriver) {
  Cluster cluster(2, 1, settings(), 1);
  cluster.up().launch(resident(1));
  const auto [worker, launch] = cluster.launched.at(1);
  cluster.say(worker, wire::Report{launch, Bytes("report")});
  const auto reports = cluster.take<ClusterDriver::TellReport>();
  ASSERT_EQ(reports.size(), 1u);
  EXPECT_EQ(reports[0].attempt, 1u);
  EXPECT_EQ(reports[0].worker, worker);
  EXPECT_EQ(reports[0].report.view(), "report");
  cluster.tell(1, Bytes("orders"));
  cluster.tell(99, Bytes("for nobody"));
  const auto sent = cluster.sent<wire::Tell>();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].second.launch, launch);
  ASSERT_EQ(sent[0].second.peers.size(), 1u) << "the other worker, for copies";
  EXPECT_NE(sent[0].second.peers[0].worker, worker);
  cluster.answer(1);
  cluster.say(worker, wire::Report{launch, Bytes("late")});
  EXPECT_TRUE(cluster.take<ClusterDriver::TellReport>().empty());
}

TEST(ResidentTasks, MayMakeNoProgressAndEndWithTheirWorker) {
  Cluster cluster(1, 1, settings(), 1);
  cluster.up().launch(resident(1));
  const auto worker = cluster.launched.at(1).first;
  for (int i = 0; i < 4000; ++i) {
    cluster.pass(100ms);
    cluster.beat(worker, {{}, cluster.running(1)});
    cluster.tick();
  }
  EXPECT_TRUE(cluster.take<ClusterDriver::TellLost>().empty());
  cluster.exited(worker, kKilled);
  const auto outcomes = cluster.take<ClusterDriver::TellOutcome>();
  ASSERT_EQ(outcomes.size(), 1u);
  EXPECT_TRUE(std::holds_alternative<AttemptLost>(outcomes[0].outcome));
}

}  // namespace
}  // namespace weir
