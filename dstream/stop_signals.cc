#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <string>
#include <thread>
#include <utility>

#include "weir/core/error.h"
#include "weir/dstream/stop_signals_internal.h"

namespace weir::internal {
namespace {

constexpr int kSignals[] = {SIGINT, SIGTERM};
constexpr unsigned char kQuit = 0;

std::atomic<bool> caught{false};
std::atomic<int> pipe_end{-1};  // what the handler writes to

void handle(int signal) {
  const int saved = errno;
  const auto byte = static_cast<unsigned char>(signal);
  // A full pipe holds enough signals already.
  [[maybe_unused]] const auto written = ::write(pipe_end.load(), &byte, 1);
  errno = saved;
}

class Pipe {
 public:
  Pipe() {
    if (::pipe2(ends_, O_CLOEXEC) != 0) {
      throw Error(ErrorCode::kInternal,
                  std::string("no pipe for signals: ") + std::strerror(errno));
    }
    ::fcntl(ends_[1], F_SETFL, O_NONBLOCK);
  }
  ~Pipe() {
    ::close(ends_[0]);
    ::close(ends_[1]);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;

  int reading() const { return ends_[0]; }
  int writing() const { return ends_[1]; }

 private:
  int ends_[2] = {-1, -1};
};

class PipedSignals final : public StopSignals {
 public:
  explicit PipedSignals(std::function<void(const char*, int)> on_signal)
      : on_signal_(std::move(on_signal)) {
    pipe_end = pipe_.writing();
    struct sigaction action {};
    action.sa_handler = handle;
    action.sa_flags = SA_RESTART;
    for (std::size_t i = 0; i < std::size(kSignals); ++i) {
      ::sigaction(kSignals[i], &action, &before_[i]);
    }
    try {
      thread_ = std::jthread([this] { read_signals(); });
    } catch (...) {
      restore();
      pipe_end = -1;
      throw;
    }
  }

  ~PipedSignals() override {
    restore();
    while (::write(pipe_.writing(), &kQuit, 1) < 0 && errno == EINTR) {
    }
    thread_.join();
    pipe_end = -1;
    caught = false;
  }

 private:
  void read_signals() {
    int count = 0;
    unsigned char byte = kQuit;
    while (true) {
      const auto size = ::read(pipe_.reading(), &byte, 1);
      if (size < 0 && errno == EINTR) continue;
      if (size != 1 || byte == kQuit) return;
      if (++count == 2) restore();
      on_signal_(byte == SIGINT ? "SIGINT" : "SIGTERM", count);
    }
  }

  void restore() {
    if (restored_.exchange(true)) return;
    for (std::size_t i = 0; i < std::size(kSignals); ++i) {
      ::sigaction(kSignals[i], &before_[i], nullptr);
    }
  }

  const std::function<void(const char*, int)> on_signal_;
  const Pipe pipe_;
  struct sigaction before_[std::size(kSignals)]{};
  std::atomic<bool> restored_{false};
  std::jthread thread_;
};

}  // namespace

std::unique_ptr<StopSignals> StopSignals::catch_them(
    std::function<void(const char*, int)> on_signal) {
  if (caught.exchange(true)) return nullptr;
  try {
    return std::make_unique<PipedSignals>(std::move(on_signal));
  } catch (...) {
    caught = false;
    throw;
  }
}

}  // namespace weir::internal
