#include "weir/cluster/process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <iterator>
#include <utility>

#include <fmt/format.h>

#include "weir/cluster/quiet_thread.h"
#include "weir/cluster/worker_boot.h"
#include "weir/core/error.h"
#include "weir/core/log.h"
#include "weir/core/time.h"

extern char** environ;

namespace weir {
namespace {

using namespace std::chrono_literals;

constexpr unsigned kCloseRangeCloexec = 4;  // CLOSE_RANGE_CLOEXEC of linux/close_range.h
/// A process in the middle of an operation of the kernel's (a dead network disk) survives SIGKILL.
constexpr Duration kEndTimeout = 2s;

/// Marks every descriptor from `first` up to be closed by exec.
bool close_at_exec(unsigned first) {
  return syscall(SYS_close_range, first, ~0U, kCloseRangeCloexec) == 0;
}

int open_pidfd(pid_t pid) { return static_cast<int>(syscall(SYS_pidfd_open, pid, 0)); }

void signal_pidfd(int pidfd, int signal) {
  syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0);
}

std::vector<std::string> own_arguments() {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  std::vector<std::string> arguments;
  for (std::string argument; std::getline(file, argument, '\0');) arguments.push_back(argument);
  if (arguments.empty()) {
    throw Error(ErrorCode::kInternal, "cannot read /proc/self/cmdline to start workers with");
  }
  return arguments;
}

std::vector<std::string> own_environment() {
  std::vector<std::string> variables;
  const std::string role = std::string(kWorkerRoleVariable) + "=";
  for (char** variable = environ; *variable != nullptr; ++variable) {
    if (std::strncmp(*variable, role.c_str(), role.size()) != 0) variables.emplace_back(*variable);
  }
  return variables;
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> result;
  result.reserve(strings.size() + 1);
  for (std::string& string : strings) result.push_back(string.data());
  result.push_back(nullptr);
  return result;
}

struct Image {
  char** arguments;
  char** environment;
  int lifeline;
  pid_t parent;
};

/// What happens in the new process before it is the new program. It still shares the driver's
/// memory and stands in one of many threads: system calls only, and nothing is changed that the
/// driver sees.
[[noreturn]] void become_worker(const Image& image) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != image.parent) _exit(126);  // it died before that
  setpgid(0, 0);
  if (!close_at_exec(3)) _exit(126);
  fcntl(image.lifeline, F_SETFD, 0);
  dup2(open("/dev/null", O_RDONLY | O_CLOEXEC), STDIN_FILENO);
  fcntl(STDIN_FILENO, F_SETFD, 0);  // where the driver has none, it is the opened one itself
  dup2(STDERR_FILENO, STDOUT_FILENO);
  signal(SIGINT, SIG_IGN);
  signal(SIGTTOU, SIG_IGN);  // its process group is not the terminal's, and it may still print
  signal(SIGTERM, SIG_DFL);
  signal(SIGCHLD, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  execve("/proc/self/exe", image.arguments, image.environment);
  _exit(127);
}

/// vfork, not fork: a driver's memory may be large, and copying its page tables would hold up all
/// its threads. Signals are blocked so that none of the driver's handlers runs in the child.
pid_t start_process(const Image& image) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t pid = vfork();  // NOLINT(clang-analyzer-security.insecureAPI.vfork)
  if (pid == 0) become_worker(image);
  const int error = errno;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = error;
  return pid;
}

ProcessExit wait_for(int pidfd) {
  siginfo_t info{};
  int result = 0;
  do {
    result = waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(pidfd), &info, WEXITED);
  } while (result != 0 && errno == EINTR);
  if (result != 0) return {};
  if (info.si_code == CLD_EXITED) return {ProcessExit::Kind::kExited, info.si_status};
  return {ProcessExit::Kind::kSignalled, info.si_status};
}

}  // namespace

WorkerProcesses::WorkerProcesses(OnExit on_exit)
    : on_exit_(std::move(on_exit)), arguments_(own_arguments()), environment_(own_environment()) {
  const int pidfd = open_pidfd(getpid());
  const bool works = pidfd >= 0 && close_at_exec(~0U);  // the latter marks nothing
  const int error = errno;
  if (pidfd >= 0) close(pidfd);
  if (!works) {
    throw Error(ErrorCode::kUnreachable,
                fmt::format("worker processes need pidfd_open and close_range with "
                            "CLOSE_RANGE_CLOEXEC (Linux 5.11 or later): {}",
                            std::strerror(error)));
  }
  wake_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_ < 0)
    throw Error(ErrorCode::kUnreachable, "eventfd: " + std::string(std::strerror(errno)));
  thread_ = quiet_thread([this] { run(); });
}

WorkerProcesses::~WorkerProcesses() {
  {
    const std::scoped_lock lock(mutex_);
    stopping_ = true;
  }
  eventfd_write(wake_, 1);
  thread_.join();
  close(wake_);
}

void WorkerProcesses::start(WorkerId worker, std::string boot) {
  post({worker, true, std::move(boot), 0});
}

void WorkerProcesses::kill(WorkerId worker, int signal) { post({worker, false, {}, signal}); }

void WorkerProcesses::post(Command command) {
  {
    const std::scoped_lock lock(mutex_);
    commands_.push_back(std::move(command));
  }
  eventfd_write(wake_, 1);
}

void WorkerProcesses::run() {
  std::vector<pollfd> polled;
  std::vector<WorkerId> workers;
  while (run_commands()) {
    polled.assign(1, {wake_, POLLIN, 0});
    workers.clear();
    for (const auto& [worker, process] : processes_) {
      polled.push_back({process.pidfd, POLLIN, 0});
      workers.push_back(worker);
    }
    if (poll(polled.data(), polled.size(), -1) < 0) continue;
    if ((polled[0].revents & POLLIN) != 0) {
      eventfd_t ignored = 0;
      eventfd_read(wake_, &ignored);
    }
    for (std::size_t i = 0; i < workers.size(); ++i) {
      if (polled[i + 1].revents != 0) reap(workers[i]);
    }
  }
  end_all();
}

void WorkerProcesses::end_all() {
  for (const auto& [worker, process] : processes_) signal_pidfd(process.pidfd, SIGKILL);
  const SteadyTime deadline = Clock::system().steady_now() + kEndTimeout;
  for (const auto& [worker, process] : processes_) {
    const Duration left = std::max(deadline - Clock::system().steady_now(), Duration{});
    pollfd ended{process.pidfd, POLLIN, 0};
    if (poll(&ended, 1, static_cast<int>(left / 1ms)) > 0) {
      wait_for(process.pidfd);
    } else {
      log_warning(fmt::format("worker {} (process {}) survives SIGKILL and is left behind",
                              to_string(worker), process.pid));
    }
    close_all(process);
  }
}

/// False when it is time to end.
bool WorkerProcesses::run_commands() {
  std::vector<Command> commands;
  {
    const std::scoped_lock lock(mutex_);
    if (stopping_) return false;
    commands.swap(commands_);
  }
  for (const Command& command : commands) {
    if (command.start) {
      spawn(command);
      continue;
    }
    const auto process = processes_.find(command.worker);
    if (process != processes_.end()) signal_pidfd(process->second.pidfd, command.signal);
  }
  return true;
}

void WorkerProcesses::spawn(const Command& command) {
  const auto failed = [&] { on_exit_(command.worker, {ProcessExit::Kind::kNotStarted, errno}); };
  int lifeline[2];  // read end, write end
  if (pipe2(lifeline, O_CLOEXEC) != 0) return failed();
  fcntl(lifeline[1], F_SETFL, O_NONBLOCK);  // a pipe may be given less room than usual
  if (write(lifeline[1], command.boot.data(), command.boot.size()) !=
      static_cast<ssize_t>(command.boot.size())) {
    failed();
    close(lifeline[0]);
    close(lifeline[1]);
    return;
  }
  auto environment = environment_;
  environment.push_back(fmt::format("{}={}", kWorkerRoleVariable, lifeline[0]));
  const auto argument_pointers = pointers(arguments_);
  const auto environment_pointers = pointers(environment);
  const pid_t pid =
      start_process({const_cast<char**>(argument_pointers.data()),
                     const_cast<char**>(environment_pointers.data()), lifeline[0], getpid()});
  const int pidfd = pid < 0 ? -1 : open_pidfd(pid);
  if (pidfd < 0) {
    failed();
    if (pid > 0) {
      ::kill(pid, SIGKILL);
      waitpid(pid, nullptr, 0);
    }
    close(lifeline[1]);
  } else {
    processes_[command.worker] = {pid, pidfd, lifeline[1]};
  }
  close(lifeline[0]);
}

void WorkerProcesses::reap(WorkerId worker) {
  const auto node = processes_.extract(worker);
  const ProcessExit exit = wait_for(node.mapped().pidfd);
  close_all(node.mapped());
  on_exit_(worker, exit);
}

void WorkerProcesses::close_all(const Process& process) {
  close(process.pidfd);
  close(process.lifeline);
}

}  // namespace weir
