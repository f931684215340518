#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "weir/cluster/process_exit.h"
#include "weir/core/task.h"

namespace weir {

/// Starts worker processes, watches them end and kills them: this program once more, with the
/// arguments and environment that it was started with itself, from its own executable image (so a
/// file that was replaced in the meantime does not matter).
///
/// A worker has /dev/null as standard input and the driver's standard error for both outputs, is in
/// a process group of its own (Ctrl-C in a terminal is the driver's business, which drains) and
/// inherits no other descriptor than a pipe: what it must know stands in it, and its end-of-file
/// says that the driver is gone. The kernel kills workers when the driver's thread that started
/// them ends, which makes it twice certain that none outlives its driver. Needs Linux 5.11.
///
/// Threads: start and kill may be called from any; one thread of its own forks, waits for all
/// processes (pidfds, so that no signal ever goes to somebody else's process) and calls `on_exit`.
class WorkerProcesses {
 public:
  using OnExit = std::function<void(WorkerId, const ProcessExit&)>;

  /// Throws Error if the system cannot do it.
  explicit WorkerProcesses(OnExit on_exit);
  /// Kills and reaps what still runs; gives up on what does not end within seconds of SIGKILL.
  ~WorkerProcesses();
  WorkerProcesses(const WorkerProcesses&) = delete;
  WorkerProcesses& operator=(const WorkerProcesses&) = delete;

  /// `boot` is written into the pipe. Every start is answered by one `on_exit`, failed ones too.
  void start(WorkerId worker, std::string boot);
  /// Does nothing if the process has ended.
  void kill(WorkerId worker, int signal);

 private:
  struct Command {
    WorkerId worker;
    bool start = false;
    std::string boot;
    int signal = 0;
  };
  struct Process {
    int pid = 0;
    int pidfd = -1;
    int lifeline = -1;  ///< our end of its pipe
  };

  void post(Command command);
  void run();
  bool run_commands();
  void spawn(const Command& command);
  void reap(WorkerId worker);
  void end_all();
  void close_all(const Process& process);

  const OnExit on_exit_;
  std::vector<std::string> arguments_;
  std::vector<std::string> environment_;
  int wake_ = -1;

  std::mutex mutex_;
  std::vector<Command> commands_;  // guarded by mutex_
  bool stopping_ = false;          // guarded by mutex_

  std::map<WorkerId, Process> processes_;  // the thread's own
  std::jthread thread_;
};

}  // namespace weir
