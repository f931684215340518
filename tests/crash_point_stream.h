#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "process_tools.h"

/// crash_point_job in lives that a test ends, and what its results should be.
namespace weir::test {

using Totals = std::map<std::string, std::int64_t>;

inline constexpr int kFiles = 14;  // one batch each
inline constexpr int kLinesPerFile = 40;
inline constexpr int kKeys = 8;
inline constexpr std::size_t kNumbers = 300;  // that the job's receiver stores

/// Of a process that has ended.
struct Ending {
  int status = 0;
  std::string died;  ///< the process that the crash point killed; empty: none
  bool was_worker = false;
  bool hung = false;

  bool ended_well() const { return WIFEXITED(status) && WEXITSTATUS(status) == 0; }
  bool was_killed() const { return !hung && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL; }
};

inline std::string key_of_line(int number) { return "key" + std::to_string(number % kKeys); }

/// What the job has to count of all files.
inline Totals ledger_of_lines() {
  Totals ledger;
  for (int number = 0; number < kFiles * kLinesPerFile; ++number) ++ledger[key_of_line(number)];
  return ledger;
}

/// One stream: its folders, and the lives of its driver.
class Stream {
 public:
  /// The first so many of the files are there; `write_files` adds to them.
  explicit Stream(int files = kFiles) {
    std::filesystem::create_directory(folder_.file("in"));
    std::filesystem::create_directory(folder_.file("out"));
    write_files(files);
  }
  /// Those up to this number that are not there yet.
  void write_files(int end) {
    for (; files_ < end; ++files_) {
      std::ostringstream lines;
      for (int line = 0; line < kLinesPerFile; ++line) {
        const int number = files_ * kLinesPerFile + line;
        lines << key_of_line(number) << ' ' << number << '\n';
      }
      write_file(folder_.file("in/" + std::to_string(files_)), lines.str());
    }
  }

  struct Life {
    std::string point = {};              ///< dies there
    int lines = kFiles * kLinesPerFile;  ///< ends when they are counted
    const char* program = WEIR_CRASH_POINT_JOB;
    std::vector<std::string> options = {};
  };
  /// Until the driver ends.
  Ending run(const Life& life) {
    const std::string once = folder_.file("once");
    std::filesystem::remove(once);
    const std::string at = "WEIR_CRASH_AT=" + life.point;
    const std::string once_variable = "WEIR_CRASH_ONCE=" + once;
    std::vector<std::string> words{life.program,
                                   "--in",
                                   folder_.file("in"),
                                   "--lines",
                                   std::to_string(life.lines),
                                   "--numbers",
                                   std::to_string(kNumbers),
                                   "--checkpoint",
                                   folder_.file("checkpoint"),
                                   "--out",
                                   folder_.file("out"),
                                   "--weir.master=local-cluster[2,1]"};
    words.insert(words.end(), life.options.begin(), life.options.end());
    const std::string log = folder_.file("log");
    std::vector<const char*> arguments;
    for (const std::string& word : words) arguments.push_back(word.c_str());
    arguments.push_back(nullptr);
    std::vector<const char*> environment;
    for (char** variable = environ; *variable != nullptr; ++variable) {
      environment.push_back(*variable);
    }
    if (!life.point.empty())
      environment.insert(environment.end(), {at.c_str(), once_variable.c_str()});
    environment.push_back(nullptr);

    const pid_t pid = fork();
    if (pid == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      const int to = open(log.c_str(), O_CREAT | O_APPEND | O_WRONLY | O_CLOEXEC, 0600);
      dup2(to, STDOUT_FILENO);
      dup2(to, STDERR_FILENO);
      execve(life.program, const_cast<char**>(arguments.data()),
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

  /// Dies at `point` of crash_point_job, if that is not empty.
  Ending run(const std::string& point) { return run(Life{.point = point}); }

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
      compare(name, counts(name));
    }
    compare("sink", sink_counts());
    const std::size_t received = numbers().size();
    if (received != kNumbers) found += " received: " + std::to_string(received);
    return found + unfinished_files();
  }
  const Totals& ledger() const { return ledger_; }

  /// Of "totals", "running" or "window".
  Totals counts(const std::string& name) const {
    Totals totals;
    std::ifstream in(folder_.file("out/" + name));
    std::string key;
    std::int64_t count = 0;
    while (in >> key >> count) totals[key] += count;
    return totals;
  }

  /// That the receiver stored, each once.
  std::set<int> numbers() const {
    std::set<int> received;
    std::ifstream in(folder_.file("out/received"));
    for (int number = 0; in >> number;) received.insert(number);
    return received;
  }

  Totals sink_counts() const {
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

  std::string log() const { return read_file(folder_.file("log")); }

 private:
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
  const Totals ledger_ = ledger_of_lines();
  int files_ = 0;
};

}  // namespace weir::test
