#include <chrono>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>

#include "weir/cluster/worker_state.h"

namespace weir {
namespace {

using namespace std::chrono_literals;

constexpr StageHash kStage = 77;

/// A worker of two slots, unless said otherwise, whose driver, tasks and clock are the test.
class Worker {
 public:
  explicit Worker(std::uint32_t slots = 2, std::uint32_t resident_slots = 0,
                  std::uint32_t slots_ahead = 0)
      : state_(
            {{{0, 1}, 100, slots, {{5, "job"}}, "ipc:///x", resident_slots, slots_ahead}, 15s, 60s},
            [this](StageHash stage) { return known.count(stage) != 0; }) {
    collect(state_.start(now));
  }

  Worker& registered() {
    hear(wire::Registered{SteadyTime(500s)});
    actions.clear();
    return *this;
  }

  template <class Message>
  void hear(Message message) {
    collect(state_.received(std::move(message), now));
  }

  void launch(std::uint32_t slot, std::uint64_t sequence, AttemptId attempt,
              bool with_program = true, wire::Release release = {},
              std::optional<ShuffleId> writes = std::nullopt) {
    TaskSpec task;
    task.attempt = attempt;
    task.program = std::make_shared<const StageProgram>(StageProgram{kStage, Bytes("stage")});
    task.writes_shuffle = writes;
    hear(wire::Launch{{slot, sequence, attempt},
                      with_program,
                      std::make_shared<const TaskSpec>(std::move(task)),
                      {},
                      std::move(release)});
  }
  void finish(std::uint32_t slot, TaskOutcome outcome = Done{}) {
    collect(state_.finished(slot, std::move(outcome), now));
  }
  void stage_missing(std::uint32_t slot) { collect(state_.stage_missing(slot)); }
  void unsendable(const wire::LaunchId& launch, const std::string& why) {
    collect(state_.unsendable(launch, why, now));
  }
  void pass(Duration time) {
    now += time;
    collect(state_.on_timer(now));
  }
  wire::Heartbeat beat(std::vector<std::uint64_t> records = {0, 0}) {
    return state_.heartbeat(records, 4096).value();
  }

  /// The actions of a kind since the last look at that kind, in order.
  template <class T>
  std::vector<T> take() {
    std::vector<T> taken;
    std::erase_if(actions, [&](WorkerState::Action& action) {
      T* held = std::get_if<T>(&action);
      if (held != nullptr) taken.push_back(std::move(*held));
      return held != nullptr;
    });
    return taken;
  }
  /// The messages of a kind that were sent since the last look at that kind.
  template <class Message>
  std::vector<Message> sent() {
    std::vector<Message> taken;
    std::erase_if(actions, [&](WorkerState::Action& action) {
      auto* send = std::get_if<WorkerState::Send>(&action);
      auto* held = send != nullptr ? std::get_if<Message>(&send->message) : nullptr;
      if (held != nullptr) taken.push_back(std::move(*held));
      return held != nullptr;
    });
    return taken;
  }

  WorkerState& state() { return state_; }

  SteadyTime now{1000s};
  std::set<StageHash> known;
  WorkerState::Actions actions;

 private:
  void collect(WorkerState::Actions more) {
    for (auto& action : more) actions.push_back(std::move(action));
  }

  WorkerState state_;
};

// --- registering ---

TEST(WorkerRegisters, UntilItIsAnswered) {
  Worker worker;
  EXPECT_EQ(worker.sent<wire::Register>().size(), 1U);
  worker.pass(100ms);
  worker.pass(100ms);
  EXPECT_EQ(worker.sent<wire::Register>().size(), 2U);
  worker.registered();
  worker.pass(100ms);
  EXPECT_TRUE(worker.sent<wire::Register>().empty());
  EXPECT_EQ(worker.state().state(), WorkerState::State::kRegistered);
}

TEST(WorkerRegisters, AndEndsWhenRefused) {
  Worker worker;
  worker.hear(wire::Refused{"another binary"});
  const auto ends = worker.take<WorkerState::End>();
  ASSERT_EQ(ends.size(), 1U);
  EXPECT_NE(ends[0].reason.find("another binary"), std::string::npos);
}

TEST(WorkerRegisters, AndEndsWhenNobodyAnswers) {
  Worker worker;
  worker.pass(15s);
  EXPECT_TRUE(worker.take<WorkerState::End>().empty());
  worker.pass(100ms);
  EXPECT_EQ(worker.take<WorkerState::End>().size(), 1U);
}

TEST(WorkerRegisters, AndSendsNoHeartbeatBefore) {
  Worker worker;
  const std::vector<std::uint64_t> records = {0, 0};
  EXPECT_FALSE(worker.state().heartbeat(records, 0).has_value());
}

// --- running ---

TEST(WorkerRuns, ALaunchAndReportsItsOutcome) {
  Worker worker;
  worker.registered().launch(1, 1, 7);
  const auto runs = worker.take<WorkerState::Run>();
  ASSERT_EQ(runs.size(), 1U);
  EXPECT_EQ(runs[0].task->attempt, 7U);
  EXPECT_TRUE(worker.state().is_running(1));
  worker.finish(1, Failed{"no"});
  const auto outcomes = worker.sent<wire::Outcome>();
  ASSERT_EQ(outcomes.size(), 1U);
  EXPECT_EQ(outcomes[0].launch, (wire::LaunchId{1, 1, 7}));
  EXPECT_EQ(std::get<Failed>(outcomes[0].outcome).message, "no");
}

TEST(WorkerRuns, ALaunchThatOvertakesTheAnswerToItsRegistration) {
  Worker worker;
  worker.launch(0, 1, 7);
  EXPECT_EQ(worker.take<WorkerState::Run>().size(), 1U);
}

TEST(WorkerRuns, NoLaunchTwice) {
  Worker worker;
  worker.registered().launch(0, 1, 7);
  worker.launch(0, 1, 7);
  worker.finish(0);
  worker.launch(0, 1, 7);
  EXPECT_EQ(worker.take<WorkerState::Run>().size(), 1U);
}

TEST(WorkerRuns, NoLaunchThatIsOlderThanItsLast) {
  Worker worker;
  worker.registered().launch(0, 2, 8);
  worker.finish(0);
  worker.take<WorkerState::Run>();
  worker.launch(0, 1, 7);  // given up by the driver, or it would not have sent another
  EXPECT_TRUE(worker.take<WorkerState::Run>().empty());
  worker.launch(1, 1, 9);  // slots count by themselves
  EXPECT_EQ(worker.take<WorkerState::Run>().size(), 1U);
}

TEST(WorkerRuns, NothingInASlotItDoesNotHave) {
  Worker worker;
  worker.registered().launch(2, 1, 7);
  EXPECT_TRUE(worker.actions.empty());
}

TEST(WorkerRuns, WhatAThreadWasSentAheadInSlotsOfItsOwn) {
  Worker worker(1, 1, 2);
  worker.registered().launch(0, 1, 7);
  worker.finish(0);
  worker.launch(2, 1, 8);
  worker.finish(2);
  worker.launch(3, 1, 9);
  EXPECT_EQ(worker.take<WorkerState::Run>().size(), 3U);
  const auto beat = worker.beat({0, 0, 5, 5});
  ASSERT_EQ(beat.slots.size(), 4U);
  EXPECT_TRUE(beat.slots[0].unsettled);
  EXPECT_TRUE(beat.slots[2].unsettled) << "each outcome is kept until it is settled";
  EXPECT_TRUE(beat.slots[3].running);
  EXPECT_EQ(beat.slots[3].steps, 5U);
}

TEST(WorkerRuns, NothingThatWasCancelledWhileItWaitedForItsThread) {
  Worker worker(1, 0, 1);
  worker.registered().launch(0, 1, 7);
  worker.hear(wire::Cancel{{1, 1, 8}});
  EXPECT_TRUE(worker.take<WorkerState::StopRunning>().empty());
  worker.finish(0);
  worker.actions.clear();
  worker.launch(1, 1, 8);
  EXPECT_TRUE(worker.take<WorkerState::Run>().empty());
  const auto outcomes = worker.sent<wire::Outcome>();
  ASSERT_EQ(outcomes.size(), 1U);
  EXPECT_TRUE(std::holds_alternative<Cancelled>(outcomes[0].outcome));
}

TEST(SlotLayout, GivesEveryThreadItsSlots) {
  const wire::SlotLayout layout{3, 2, 4};
  std::set<std::uint32_t> all;
  for (std::uint32_t thread = 0; thread < 5; ++thread) {
    EXPECT_EQ(layout.slots_of(thread), thread < 3 ? 5U : 1U);
    for (std::uint32_t i = 0; i < layout.slots_of(thread); ++i) {
      EXPECT_EQ(layout.thread_of(layout.slot_of(thread, i)), thread);
      all.insert(layout.slot_of(thread, i));
    }
  }
  EXPECT_EQ(all.size(), layout.slots());
  EXPECT_EQ(*all.rbegin() + 1, layout.slots());
}

TEST(WorkerStages, AnUnknownOneIsAskedForAndTheLaunchRunsWhenItComes) {
  Worker worker;
  worker.registered().launch(0, 1, 7, false);
  const auto asked = worker.sent<wire::UnknownStage>();
  ASSERT_EQ(asked.size(), 1U);
  EXPECT_EQ(asked[0].launch, (wire::LaunchId{0, 1, 7}));
  EXPECT_EQ(asked[0].stage, kStage);
  EXPECT_TRUE(worker.take<WorkerState::Run>().empty());
  EXPECT_EQ(worker.beat().slots[0].sequence, 0U) << "it is not accepted yet";
  worker.launch(0, 1, 7, true);
  EXPECT_EQ(worker.take<WorkerState::Run>().size(), 1U);
}

TEST(WorkerStages, OneThatWasDroppedBeforeItsTaskBeganIsAskedForToo) {
  Worker worker;
  worker.known = {kStage};
  worker.registered().launch(0, 4, 7, false, {1, {40}, {}, {}});
  EXPECT_EQ(worker.take<WorkerState::Run>().size(), 1U);
  worker.stage_missing(0);
  EXPECT_EQ(worker.sent<wire::UnknownStage>().at(0).launch, (wire::LaunchId{0, 4, 7}));
  EXPECT_TRUE(worker.sent<wire::Outcome>().empty());
  EXPECT_EQ(worker.take<WorkerState::Free>().size(), 1U);
  EXPECT_FALSE(worker.beat().slots[0].running);
  EXPECT_EQ(worker.beat().slots[0].sequence, 3U) << "it is not accepted yet";
  worker.launch(0, 4, 7, true);
  EXPECT_EQ(worker.take<WorkerState::Run>().size(), 1U);
  worker.finish(0);
  EXPECT_EQ(worker.sent<wire::Outcome>().at(0).launch, (wire::LaunchId{0, 4, 7}));
}

TEST(WorkerStages, AKnownOneNeedsNoBytes) {
  Worker worker;
  worker.known = {kStage};
  worker.registered().launch(0, 1, 7, false);
  EXPECT_EQ(worker.take<WorkerState::Run>().size(), 1U);
}

// --- cancelling ---

TEST(WorkerCancels, WhatRuns) {
  Worker worker;
  worker.registered().launch(1, 1, 7);
  worker.hear(wire::Cancel{{1, 1, 7}});
  EXPECT_EQ(worker.take<WorkerState::StopRunning>().at(0).slot, 1U);
}

TEST(WorkerCancels, WhatHasNotComeYet) {
  Worker worker;
  worker.registered().hear(wire::Cancel{{0, 1, 7}});
  worker.launch(0, 1, 7);
  EXPECT_TRUE(worker.take<WorkerState::Run>().empty());
  EXPECT_TRUE(std::holds_alternative<Cancelled>(worker.sent<wire::Outcome>().at(0).outcome));
  worker.launch(0, 2, 8);
  EXPECT_EQ(worker.take<WorkerState::Run>().size(), 1U) << "the next one is another matter";
}

TEST(WorkerCancels, NothingThatHasEnded) {
  Worker worker;
  worker.registered().launch(0, 1, 7);
  worker.finish(0);
  worker.hear(wire::Cancel{{0, 1, 7}});
  worker.launch(0, 2, 8);
  worker.hear(wire::Cancel{{0, 1, 7}});
  EXPECT_TRUE(worker.take<WorkerState::StopRunning>().empty());
}

// --- outcomes ---

TEST(WorkerOutcome, IsRepeatedUntilItIsSettled) {
  Worker worker;
  worker.registered().launch(0, 1, 7);
  worker.finish(0);
  worker.sent<wire::Outcome>();
  worker.pass(900ms);
  EXPECT_TRUE(worker.sent<wire::Outcome>().empty());
  worker.hear(wire::HeartbeatReply{SteadyTime(501s)});
  worker.pass(100ms);
  EXPECT_EQ(worker.sent<wire::Outcome>().size(), 1U);
  worker.hear(wire::Settled{{0, 1, 7}});
  worker.pass(10s);
  EXPECT_TRUE(worker.sent<wire::Outcome>().empty());
}

TEST(WorkerOutcome, IsRepeatedLessAndLessOften) {
  Worker worker;
  worker.registered().launch(0, 1, 7);
  worker.finish(0);
  worker.sent<wire::Outcome>();
  const SteadyTime finished = worker.now;
  std::vector<Duration> repeated;
  while (worker.now < finished + 130s) {  // the driver lives, but is busy with something else
    worker.hear(wire::HeartbeatReply{worker.now});
    worker.pass(100ms);
    if (!worker.sent<wire::Outcome>().empty()) repeated.push_back(worker.now - finished);
  }
  EXPECT_EQ(repeated, (std::vector<Duration>{1s, 3s, 7s, 15s, 31s, 61s, 91s, 121s}));
}

TEST(WorkerOutcome, IsNotRepeatedToADriverThatIsStopped) {
  Worker worker;
  worker.registered().launch(0, 1, 7);
  worker.finish(0);
  worker.sent<wire::Outcome>();
  for (int i = 0; i < 500; ++i) worker.pass(100ms);
  EXPECT_TRUE(worker.sent<wire::Outcome>().empty());
  worker.hear(wire::HeartbeatReply{SteadyTime(550s)});  // it continues
  worker.pass(100ms);
  EXPECT_EQ(worker.sent<wire::Outcome>().size(), 1U);
}

TEST(WorkerOutcome, IsSettledByTheNextLaunch) {
  Worker worker;
  worker.registered().launch(0, 1, 7);
  worker.finish(0);
  EXPECT_TRUE(worker.beat().slots[0].unsettled);
  worker.launch(0, 2, 8);
  EXPECT_FALSE(worker.beat().slots[0].unsettled);
}

TEST(WorkerOutcome, IsNotSettledByALateWordAboutAnEarlierOne) {
  Worker worker;
  worker.registered().launch(0, 1, 7);
  worker.finish(0);
  worker.launch(0, 2, 8);
  worker.finish(0);
  worker.hear(wire::Settled{{0, 1, 7}});
  EXPECT_TRUE(worker.beat().slots[0].unsettled);
}

TEST(WorkerOutcome, ThatCannotBeSentBecomesAFailureThatSaysWhy) {
  Worker worker;
  worker.registered().launch(0, 1, 7);
  worker.finish(0);
  worker.sent<wire::Outcome>();
  worker.unsendable({0, 1, 7}, "it takes 2 GiB");
  const auto outcomes = worker.sent<wire::Outcome>();
  ASSERT_EQ(outcomes.size(), 1U);
  EXPECT_NE(std::get<Failed>(outcomes[0].outcome).message.find("2 GiB"), std::string::npos);
  worker.hear(wire::Settled{{0, 1, 7}});
  worker.unsendable({0, 1, 7}, "a late word");
  EXPECT_TRUE(worker.sent<wire::Outcome>().empty());
}

// --- heartbeats ---

TEST(WorkerHeartbeat, StatesWhatEverySlotDoes) {
  Worker worker;
  worker.registered().launch(0, 3, 7);
  worker.launch(1, 1, 8);
  worker.finish(1);
  const wire::Heartbeat beat = worker.beat({123, 456});
  EXPECT_EQ(beat.worker, (WorkerId{0, 1}));
  EXPECT_EQ(beat.sequence, 1U);
  EXPECT_EQ(beat.rss_bytes, 4096U);
  ASSERT_EQ(beat.slots.size(), 2U);
  EXPECT_TRUE(beat.slots[0].running);
  EXPECT_EQ(beat.slots[0].sequence, 3U);
  EXPECT_EQ(beat.slots[0].attempt, 7U);
  EXPECT_EQ(beat.slots[0].steps, 123U);
  EXPECT_FALSE(beat.slots[1].running);
  EXPECT_TRUE(beat.slots[1].unsettled);
  EXPECT_EQ(beat.slots[1].steps, 0U);
  EXPECT_EQ(worker.beat().sequence, 2U);
}

TEST(WorkerHeartbeat, TellsTheLatestDriverTimeItHasHeard) {
  Worker worker;
  worker.registered();
  EXPECT_EQ(worker.beat().echo, SteadyTime(500s));
  worker.hear(wire::HeartbeatReply{SteadyTime(502s)});
  worker.hear(wire::HeartbeatReply{SteadyTime(501s)});
  EXPECT_EQ(worker.beat().echo, SteadyTime(502s));
}

// --- releasing ---

TEST(WorkerReleases, WhatItIsTold) {
  Worker worker;
  worker.registered().hear(wire::Release{1, {40}, {12}, {3}});
  const auto freed = worker.take<WorkerState::Free>();
  ASSERT_EQ(freed.size(), 1U);
  EXPECT_EQ(freed[0].shuffles, (std::vector<ShuffleId>{40}));
  EXPECT_EQ(freed[0].datasets, (std::vector<DatasetId>{12}));
  EXPECT_EQ(freed[0].states, (std::vector<StateId>{3}));
  EXPECT_EQ(worker.beat().releases, 1U);
}

TEST(WorkerReleases, WhatCameWithALaunchAfterTheTask) {
  Worker worker;
  worker.registered().launch(0, 1, 7, true, {1, {40}, {}, {}});
  EXPECT_TRUE(worker.take<WorkerState::Free>().empty());
  EXPECT_EQ(worker.beat().releases, 0U);
  worker.finish(0);
  EXPECT_EQ(worker.take<WorkerState::Free>().size(), 1U);
  EXPECT_EQ(worker.beat().releases, 1U);
}

TEST(WorkerReleases, OutOfOrderAndSaysUpToWhereNoneIsMissing) {
  Worker worker;
  worker.registered().hear(wire::Release{3, {43}, {}, {}});
  worker.hear(wire::Release{1, {41}, {}, {}});
  EXPECT_EQ(worker.beat().releases, 1U);
  worker.hear(wire::Release{2, {42}, {}, {}});
  EXPECT_EQ(worker.beat().releases, 3U);
  EXPECT_EQ(worker.take<WorkerState::Free>().size(), 3U);
}

TEST(WorkerReleases, WhatATaskWroteForAShuffleThatWasReleasedWhileItRan) {
  Worker worker;
  worker.registered().launch(0, 1, 7, true, {}, ShuffleId{40});
  worker.hear(wire::Release{1, {40}, {}, {}});
  worker.take<WorkerState::Free>();
  worker.finish(0);
  EXPECT_EQ(worker.take<WorkerState::Free>().at(0).shuffles, (std::vector<ShuffleId>{40}));
}

TEST(WorkerReleases, WhatATaskWroteHoweverManyReleasesItOutlives) {
  Worker worker;
  worker.registered().launch(0, 1, 7, true, {}, ShuffleId{40});
  for (std::uint64_t i = 1; i <= 5000; ++i) worker.hear(wire::Release{i, {39 + i}, {}, {}});
  worker.take<WorkerState::Free>();
  worker.finish(0);
  EXPECT_EQ(worker.take<WorkerState::Free>().at(0).shuffles, (std::vector<ShuffleId>{40}));
}

TEST(WorkerReleases, WhatATaskWroteThatCameAfterTheRelease) {
  Worker worker;
  worker.registered().hear(wire::Release{1, {40}, {}, {}});
  worker.launch(0, 1, 7, true, {}, ShuffleId{40});
  worker.launch(1, 1, 8, true, {}, ShuffleId{41});
  worker.take<WorkerState::Free>();
  worker.finish(1);
  EXPECT_TRUE(worker.take<WorkerState::Free>().empty());
  worker.finish(0);
  EXPECT_EQ(worker.take<WorkerState::Free>().at(0).shuffles, (std::vector<ShuffleId>{40}));
}

// --- ending ---

TEST(WorkerEnds, AtOnceWhenTold) {
  Worker worker;
  worker.registered().hear(wire::Shutdown{"the driver stops", 0s});
  EXPECT_EQ(worker.take<WorkerState::End>().at(0).reason, "the driver stops");
  worker.hear(wire::Shutdown{"again", 0s});
  EXPECT_TRUE(worker.take<WorkerState::End>().empty());
}

TEST(WorkerEnds, AfterWhatRunsHasReportedIfItMay) {
  Worker worker;
  worker.registered().launch(0, 1, 7);
  worker.hear(wire::Shutdown{"lost", 1s});
  EXPECT_TRUE(worker.take<WorkerState::End>().empty());
  worker.launch(1, 1, 8);
  EXPECT_EQ(worker.take<WorkerState::Run>().size(), 1U) << "nothing new is begun";
  worker.finish(0);
  EXPECT_EQ(worker.sent<wire::Outcome>().size(), 1U);
  EXPECT_EQ(worker.take<WorkerState::End>().size(), 1U);
}

TEST(WorkerEnds, WithoutWaitingLongerThanItMay) {
  Worker worker;
  worker.registered().launch(0, 1, 7);
  worker.hear(wire::Shutdown{"lost", 1s});
  worker.pass(900ms);
  EXPECT_TRUE(worker.take<WorkerState::End>().empty());
  worker.pass(100ms);
  EXPECT_EQ(worker.take<WorkerState::End>().size(), 1U);
}

TEST(WorkerEnds, WhenItsDriverFallsSilent) {
  Worker worker;
  worker.registered();
  worker.pass(60s);
  EXPECT_TRUE(worker.take<WorkerState::End>().empty());
  worker.hear(wire::HeartbeatReply{SteadyTime(560s)});
  worker.pass(60s);
  EXPECT_TRUE(worker.take<WorkerState::End>().empty());
  worker.pass(100ms);
  EXPECT_EQ(worker.take<WorkerState::End>().size(), 1U);
}

TEST(WorkerForgets, LostPeers) {
  Worker worker;
  worker.registered().hear(wire::PeerLost{{1, 1}});
  EXPECT_EQ(worker.take<WorkerState::ForgetPeer>().at(0).worker, (WorkerId{1, 1}));
}

// --- resident tasks ---

TEST(ResidentTasks, AreToldWhatIsMeantForThem) {
  Worker worker;
  worker.registered().launch(0, 1, 7);
  worker.hear(wire::Tell{{0, 1, 7}, Bytes("orders"), {{{1, 4}, "ipc:///y"}}});
  worker.hear(wire::Tell{{0, 1, 6}, Bytes("another's"), {}});
  worker.hear(wire::Tell{{1, 1, 7}, Bytes("nobody's"), {}});
  worker.hear(wire::Tell{{9, 1, 7}, Bytes("no slot's"), {}});
  const auto delivered = worker.take<WorkerState::Deliver>();
  ASSERT_EQ(delivered.size(), 1u);
  EXPECT_EQ(delivered[0].launch.attempt, 7u);
  EXPECT_EQ(delivered[0].message.view(), "orders");
  EXPECT_EQ(delivered[0].peers.size(), 1u);
  worker.finish(0);
  worker.hear(wire::Tell{{0, 1, 7}, Bytes("late"), {}});
  EXPECT_TRUE(worker.take<WorkerState::Deliver>().empty());
}

TEST(ResidentTasks, AreStoppedWhenTheWorkerIsToEnd) {
  Worker worker(1, 1);
  worker.registered().launch(0, 1, 7);
  worker.launch(1, 1, 8);
  worker.hear(wire::Shutdown{"the driver stops", 10s});
  const auto stopped = worker.take<WorkerState::StopRunning>();
  ASSERT_EQ(stopped.size(), 1u) << "the other one may finish";
  EXPECT_EQ(stopped[0].slot, 1u);
  EXPECT_TRUE(worker.take<WorkerState::End>().empty());
  worker.finish(1, Cancelled{});
  worker.finish(0);
  EXPECT_EQ(worker.take<WorkerState::End>().size(), 1u);
}

}  // namespace
}  // namespace weir
