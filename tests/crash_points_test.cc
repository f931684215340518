// A job is killed at every crash point that it has, at several passings, in its first life and in
// its second one, and started again: sink, state and window must equal what was written, exactly.

#include <algorithm>
#include <cstdio>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "crash_point_stream.h"

namespace weir::test {
namespace {

constexpr unsigned kAtATime = 3;  // a run waits for disk and clock most of the time

/// Where the second life of a stream begins: in the middle of a batch, or when batches are
/// committed and no CHECKPOINT says that their input will not be needed again.
const std::string kFirstDeath = "batch.before-commit:4";
const std::string kFirstDeathBeforeReplay = "checkpoint.before-sync:1";

/// Those of state, staged files and receivers are passed by tasks.
bool is_in_workers(const std::string& point) {
  return point.starts_with("state.") || point.starts_with("staging.") ||
         point.starts_with("receiver.");
}

struct Outcome {
  std::string point;
  bool reached = false;
  std::string failure;  ///< empty: all is well
};

/// In a stream's first life, or in its second one, when there is something to recover.
Outcome crash_at(const std::string& point, bool in_second_life) {
  Outcome outcome{point, false, {}};
  Stream stream;
  // Deaths in a first life are of one batch at a time, those in a second one of batches in flight.
  std::vector<std::string> options;
  if (in_second_life) options.emplace_back("--weir.batches-in-flight=3");
  const auto live = [&](const std::string& until) {
    return stream.run({.point = until, .options = options});
  };
  const auto fail = [&](const std::string& what, const Ending& ending) {
    outcome.failure = what + (ending.hung ? ", hung" : "") + ", status " +
                      std::to_string(ending.status) + "\n" + stream.log();
    return outcome;
  };
  if (in_second_life) {
    const bool replays = point.starts_with("replay.");
    const Ending first = live(replays ? kFirstDeathBeforeReplay : kFirstDeath);
    if (!first.was_killed()) return fail("not killed in its first life", first);
    replays ? stream.lose_state() : stream.leave_a_state_file();
  }
  Ending ending = live(point);
  outcome.reached = !ending.died.empty();
  if (ending.was_killed()) {
    if (ending.was_worker || is_in_workers(point)) return fail("a worker took its driver", ending);
    ending = live("");
  } else if (outcome.reached && !ending.was_worker) {
    return fail("the driver's death was not a SIGKILL", ending);
  } else if (ending.was_worker && !is_in_workers(point)) {
    return fail("a worker died", ending);
  }
  if (!ending.ended_well()) return fail("not ended well", ending);
  const std::string difference = stream.difference();
  if (!difference.empty()) return fail("other results:" + difference, ending);
  return outcome;
}

std::vector<Outcome> crash_in_both_lives(const std::string& point) {
  std::vector<Outcome> outcomes;
  const auto crash = [&](bool in_second_life, const std::vector<int>& passings) {
    for (const int passing : passings) {
      outcomes.push_back(crash_at(point + ":" + std::to_string(passing), in_second_life));
      if (!outcomes.back().reached || !outcomes.back().failure.empty()) return;
    }
  };
  crash(false, {1, 2, 5});
  crash(true, {1, 3});
  return outcomes;
}

std::vector<std::string> crash_points_of_job() {
  FILE* const pipe = popen(WEIR_CRASH_POINT_JOB " --list-crash-points", "r");
  if (pipe == nullptr) throw std::runtime_error("popen failed");
  std::vector<std::string> names;
  for (char name[128]; std::fgets(name, sizeof name, pipe) != nullptr;) {
    names.emplace_back(name);
    names.back().pop_back();
  }
  EXPECT_EQ(pclose(pipe), 0);
  return names;
}

TEST(CrashPoints, SinkStateAndWindowEqualTheLedgerAfterADeathAtAnyOfThem) {
  const std::vector<std::string> points = crash_points_of_job();
  EXPECT_GE(points.size(), 32u);
  std::mutex mutex;
  std::size_t next = 0;
  std::size_t kills = 0;
  const auto work = [&] {
    std::unique_lock lock(mutex);
    while (next < points.size()) {
      const std::string point = points[next++];
      lock.unlock();
      const std::vector<Outcome> outcomes = crash_in_both_lives(point);
      lock.lock();
      if (std::ranges::none_of(outcomes, &Outcome::reached)) {
        ADD_FAILURE() << point << " was never reached";
      }
      for (const Outcome& each : outcomes) {
        kills += each.reached ? 1 : 0;
        if (!each.failure.empty()) ADD_FAILURE() << each.point << ": " << each.failure;
      }
    }
  };
  {
    std::vector<std::jthread> threads;
    for (unsigned i = 0; i < kAtATime; ++i) threads.emplace_back(work);
  }
  std::printf("%zu points, %zu deaths\n", points.size(), kills);
}

}  // namespace
}  // namespace weir::test
