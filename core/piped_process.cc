#include "weir/core/piped_process.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <sstream>

#include <fmt/format.h>

#include "weir/core/error.h"

extern char** environ;

namespace weir::internal {
namespace {

constexpr std::size_t kReadBytes = std::size_t{64} << 10;
constexpr int kPollMilliseconds = 100;  // to notice that the task was cancelled

struct FileActions {
  FileActions() { posix_spawn_file_actions_init(&actions); }
  ~FileActions() { posix_spawn_file_actions_destroy(&actions); }
  FileActions(const FileActions&) = delete;
  FileActions& operator=(const FileActions&) = delete;
  posix_spawn_file_actions_t actions;
};

/// Programs expect signals as a shell leaves them; the threads of a worker block some.
struct Attributes {
  Attributes() {
    posix_spawnattr_init(&attributes);
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attributes, &none);
    sigset_t pipe;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    posix_spawnattr_setsigdefault(&attributes, &pipe);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  }
  ~Attributes() { posix_spawnattr_destroy(&attributes); }
  Attributes(const Attributes&) = delete;
  Attributes& operator=(const Attributes&) = delete;
  posix_spawnattr_t attributes;
};

void close_if_open(int& descriptor) {
  if (descriptor >= 0) ::close(descriptor);
  descriptor = -1;
}

[[noreturn]] void throw_unstartable(const std::string& name, int error) {
  throw Error(ErrorCode::kUnreachable,
              fmt::format("pipe: cannot start {}: {}; it must be there on every worker", name,
                          std::strerror(error)));
}

}  // namespace

std::vector<std::string> require_command(std::vector<std::string> command) {
  if (command.empty() || command.front().empty()) {
    throw Error(ErrorCode::kInvalidArgument,
                "pipe: the command has no words; give a program and its arguments");
  }
  return command;
}

std::vector<std::string> split_command(std::string_view text) {
  std::istringstream in{std::string(text)};
  std::vector<std::string> words;
  for (std::string word; in >> word;) words.push_back(word);
  return require_command(std::move(words));
}

PipedProcess::PipedProcess(const std::vector<std::string>& command) : name_(command.front()) {
  int in[2] = {-1, -1};  // a socket, which can be written to without SIGPIPE
  int out[2] = {-1, -1};
  const auto close_all = [&] {
    for (int* descriptor : {&in[0], &in[1], &out[0], &out[1]}) close_if_open(*descriptor);
  };
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, in) != 0 ||
      ::pipe2(out, O_CLOEXEC) != 0) {
    const int error = errno;
    close_all();
    throw_unstartable(name_, error);
  }
  FileActions files;
  posix_spawn_file_actions_adddup2(&files.actions, in[1], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&files.actions, out[1], STDOUT_FILENO);
  const Attributes attributes;
  std::vector<char*> arguments;
  arguments.reserve(command.size() + 1);
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  const int error = ::posix_spawnp(&process_, name_.c_str(), &files.actions, &attributes.attributes,
                                   arguments.data(), environ);
  if (error != 0) {
    process_ = -1;
    close_all();
    throw_unstartable(name_, error);
  }
  ::close(in[1]);
  ::close(out[1]);
  in_ = in[0];
  out_ = out[0];
  ::fcntl(in_, F_SETFL, O_NONBLOCK);
  ::fcntl(out_, F_SETFL, O_NONBLOCK);
}

PipedProcess::~PipedProcess() {
  close_if_open(in_);
  close_if_open(out_);
  if (process_ < 0) return;
  ::kill(process_, SIGKILL);
  while (::waitpid(process_, nullptr, 0) < 0 && errno == EINTR) continue;
}

void PipedProcess::write_some() {
  while (unwritten() != 0) {
    const ssize_t sent = ::send(in_, input_.data() + written_, unwritten(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno != EAGAIN) {  // it reads no more, as `head` does
      input_.clear();
      written_ = 0;
      return close_if_open(in_);
    }
    if (sent < 0) return;
    written_ += static_cast<std::size_t>(sent);
  }
  input_.clear();
  written_ = 0;
}

bool PipedProcess::exchange() {
  if (in_ < 0) {
    input_.clear();
    written_ = 0;
  } else if (unwritten() == 0 && no_more_) {
    close_if_open(in_);
  }
  if (in_ >= 0) write_some();
  pollfd polled[] = {{out_, POLLIN, 0},
                     {in_, static_cast<short>(unwritten() != 0 ? POLLOUT : 0), 0}};
  // With nothing to write, more input may be waiting: only look.
  const bool may_feed = in_ >= 0 && unwritten() == 0 && !no_more_;
  ::poll(polled, in_ >= 0 ? 2 : 1, may_feed ? 0 : kPollMilliseconds);
  if (polled[0].revents == 0) return true;
  const std::size_t before = output_.size();
  output_.resize(before + kReadBytes);
  const ssize_t got = ::read(out_, output_.data() + before, kReadBytes);
  output_.resize(before + (got > 0 ? static_cast<std::size_t>(got) : 0));
  if (got > 0 || (got < 0 && (errno == EINTR || errno == EAGAIN))) return true;
  check_exit();
  return false;
}

void PipedProcess::check_exit() {
  close_if_open(in_);
  close_if_open(out_);
  int status = 0;
  while (::waitpid(process_, &status, 0) < 0 && errno == EINTR) continue;
  process_ = -1;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
  throw Error(
      ErrorCode::kJobFailed,
      WIFSIGNALED(status)
          ? fmt::format("pipe: {} was ended by signal {}", name_, WTERMSIG(status))
          : fmt::format("pipe: {} ended with status {}, not 0", name_, WEXITSTATUS(status)));
}

}  // namespace weir::internal
