// A job is killed at every crash point that it has, at several passings, in its first life and in
// its second one, and started again: sink, state and window must equal what was written, exactly.

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "process_tools.h"

namespace weir::test {
namespace {

using Totals = std::map<std::string, std::int64_t>;

constexpr int kFiles = 14;  // one batch each
constexpr int kLinesPerFile = 40;
constexpr int kKeys = 8;
constexpr unsigned kAtATime = 3;  // a run waits for disk and clock most of the time

/// Where the second life of a stream begins: in the middle of a batch, or when batches are
/// committed and no CHECKPOINT says that their input will not be needed again.
const std::string kFirstDeath = "batch.before-commit:4";
const std::string kFirstDeathBeforeReplay = "checkpoint.before-sync:1";

/// Of a process that has ended.
struct Ending {
  int status = 0;
  std::string died;  ///< the process that the crash point killed; empty: none
  bool was_worker = false;
  bool hung = false;

  bool ended_well() const { return WIFEXITED(status) && WEXITSTATUS(status) == 0; }
  bool was_killed() const { return !hung && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL; }
};

/// What was written for the job to count.
Totals write_lines(const std::string& directory) {
  std::filesystem::create_directory(directory);
  Totals ledger;
  int number = 0;
  for (int file = 0; file < kFiles; ++file) {
    std::ostringstream lines;
    for (int line = 0; line < kLinesPerFile; ++line, ++number) {
      const std::string key = "key" + std::to_string(number % kKeys);
      lines << key << ' ' << number << '\n';
      ++ledger[key];
    }
    std::ofstream(directory + "/" + std::to_string(file)) << lines.str();
  }
  return ledger;
}

/// One stream: its folders, and the lives of its driver.
class Stream {
 public:
  Stream() : ledger_(write_lines(folder_.file("in"))) {
    std::filesystem::create_directory(folder_.file("out"));
  }

  /// Until the driver ends. `point` may be empty.
  Ending run(const std::string& point) {
    const std::string once = folder_.file("once");
    const std::string lines = std::to_string(kFiles * kLinesPerFile);
    const std::string in = folder_.file("in");
    const std::string out = folder_.file("out");
    const std::string checkpoint = folder_.file("checkpoint");
    const std::string log = folder_.file("log");
    std::filesystem::remove(once);
    const std::string at = "WEIR_CRASH_AT=" + point;
    const std::string once_variable = "WEIR_CRASH_ONCE=" + once;
    std::vector<const char*> arguments{WEIR_CRASH_POINT_JOB,
                                       "--in",
                                       in.c_str(),
                                       "--lines",
                                       lines.c_str(),
                                       "--checkpoint",
                                       checkpoint.c_str(),
                                       "--out",
                                       out.c_str(),
                                       "--weir.master=local-cluster[2,1]",
                                       nullptr};
    std::vector<const char*> environment;
    for (char** variable = environ; *variable != nullptr; ++variable) {
      environment.push_back(*variable);
    }
    if (!point.empty()) environment.insert(environment.end(), {at.c_str(), once_variable.c_str()});
    environment.push_back(nullptr);

    const pid_t pid = fork();
    if (pid == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      const int to = open(log.c_str(), O_CREAT | O_APPEND | O_WRONLY | O_CLOEXEC, 0600);
      dup2(to, STDOUT_FILENO);
      dup2(to, STDERR_FILENO);
      execve(WEIR_CRASH_POINT_JOB, const_cast<char**>(arguments.data()),
             const_cast<char**>(environment.data()));
      _exit(127);
    }
    Ending ending;
    ending.hung = !eventually([&] { return waitpid(pid, &ending.status, WNOHANG) == pid; },
                              std::chrono::minutes(1));
    if (ending.hung) {
      kill(pid, SIGKILL);
      waitpid(pid, &ending.status, 0);
    }
    ending.died = read_file(once);
    ending.was_worker = !ending.died.empty() && ending.died != std::to_string(pid);
    return ending;
  }

  /// As a worker does that dies after it wrote a snapshot and before anybody knew of it.
  void leave_a_state_file() {
    std::ofstream(folder_.file("checkpoint/state/snap-0000000000000000.snp")) << "WEIRSNP1";
  }

  /// Then batches have to be run again for their state.
  void lose_state() { std::filesystem::remove_all(folder_.file("checkpoint/state")); }

  /// What is wrong with the job's results; empty: nothing.
  std::string difference() const {
    std::string found;
    const auto compare = [&](const char* what, const Totals& counted) {
      if (counted == ledger_) return;
      found += std::string(" ") + what + ":";
      for (const auto& [key, count] : counted) found += " " + key + "=" + std::to_string(count);
    };
    for (const char* name : {"totals", "running", "window"}) {
      compare(name, read_counts(folder_.file(std::string("out/") + name)));
    }
    compare("sink", read_sink());
    return found + unfinished_files();
  }

  std::string log() const { return read_file(folder_.file("log")); }

 private:
  static Totals read_counts(const std::string& path) {
    Totals totals;
    std::ifstream in(path);
    std::string key;
    std::int64_t count = 0;
    while (in >> key >> count) totals[key] += count;
    return totals;
  }

  Totals read_sink() const {
    Totals totals;
    std::error_code none;
    for (const auto& file : std::filesystem::recursive_directory_iterator(sink(), none)) {
      if (!std::string(file.path().filename()).starts_with("part-")) continue;
      std::ifstream in(file.path());
      for (std::string line; std::getline(in, line);) {
        const auto comma = line.rfind(',');
        totals[line.substr(0, comma)] += std::stoll(line.substr(comma + 1));
      }
    }
    return totals;
  }

  /// All that a sink may hold are whole batches and what it knows of itself.
  std::string unfinished_files() const {
    std::string found;
    std::error_code none;
    for (const auto& file : std::filesystem::recursive_directory_iterator(sink(), none)) {
      const std::string name = std::filesystem::relative(file.path(), sink());
      const bool known = name.starts_with("batch-") || name == "_weir" || name == "_weir/fence" ||
                         name == "_weir/last" || name == "_weir/lock" || name == "_weir/staging";
      if (!known) found += " left in the sink: " + name;
    }
    return found;
  }

  std::string sink() const { return folder_.file("out/counts"); }

  const TempFolder folder_;
  const Totals ledger_;
};

/// Those of state and staged files are passed by tasks.
bool is_in_workers(const std::string& point) {
  return point.starts_with("state.") || point.starts_with("staging.");
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
  const auto fail = [&](const std::string& what, const Ending& ending) {
    outcome.failure = what + (ending.hung ? ", hung" : "") + ", status " +
                      std::to_string(ending.status) + "\n" + stream.log();
    return outcome;
  };
  if (in_second_life) {
    const bool replays = point.starts_with("replay.");
    const Ending first = stream.run(replays ? kFirstDeathBeforeReplay : kFirstDeath);
    if (!first.was_killed()) return fail("not killed in its first life", first);
    replays ? stream.lose_state() : stream.leave_a_state_file();
  }
  Ending ending = stream.run(point);
  outcome.reached = !ending.died.empty();
  if (ending.was_killed()) {
    if (ending.was_worker || is_in_workers(point)) return fail("a worker took its driver", ending);
    ending = stream.run("");
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
