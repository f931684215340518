#include "weir/connectors/sockets/line_receiver.h"

#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "weir/connectors/sockets/line_splitter_internal.h"
#include "weir/core/error.h"

namespace weir::sockets {
namespace internal {
namespace {

constexpr int kConnectTimeoutMs = 10'000;
constexpr std::size_t kReadBytes = 64 * 1024;

class Descriptor {
 public:
  explicit Descriptor(int number = -1) : number_(number) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~Descriptor() {
    if (number_ >= 0) close(number_);
  }
  int get() const { return number_; }

 private:
  int number_;
};

}  // namespace

/// A connection that another thread can end.
class LineConnection {
 public:
  LineConnection() : stop_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (stop_.get() < 0) {
      throw Error(ErrorCode::kUnreachable, fmt::format("eventfd: {}", std::strerror(errno)));
    }
  }

  void stop() { eventfd_write(stop_.get(), 1); }

  /// False if it was stopped. Throws Error(kUnreachable).
  bool connect_to(const std::string& host, std::uint16_t port) {
    addrinfo hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    const int failure = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
    if (failure != 0) {
      throw Error(ErrorCode::kUnreachable,
                  fmt::format("cannot find {}:{}: {}", host, port, gai_strerror(failure)));
    }
    const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> addresses(found, &freeaddrinfo);
    std::string why;
    for (const addrinfo* at = found; at != nullptr; at = at->ai_next) {
      socket_ =
          Descriptor(socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
      if (socket_.get() < 0) {
        why = std::strerror(errno);
        continue;
      }
      if (connect(socket_.get(), at->ai_addr, at->ai_addrlen) == 0) return true;
      if (errno != EINPROGRESS) {
        why = std::strerror(errno);
        continue;
      }
      const int ready = await(POLLOUT, kConnectTimeoutMs);
      if (ready < 0) return false;
      int error = ETIMEDOUT;
      socklen_t size = sizeof error;
      if (ready > 0) getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &error, &size);
      if (error == 0) return true;
      why = std::strerror(error);
    }
    throw Error(ErrorCode::kUnreachable,
                fmt::format("cannot connect to {}:{}: {}", host, port, why));
  }

  /// What has come, at least one byte; nothing when the server has ended or it was stopped. Throws
  /// Error(kUnreachable).
  std::string_view read() {
    while (true) {
      if (await(POLLIN, -1) < 0) return {};
      const ssize_t count = recv(socket_.get(), buffer_.data(), buffer_.size(), 0);
      if (count >= 0) return {buffer_.data(), static_cast<std::size_t>(count)};
      if (errno == EAGAIN || errno == EINTR) continue;
      throw Error(ErrorCode::kUnreachable,
                  fmt::format("the connection broke: {}", std::strerror(errno)));
    }
  }

 private:
  /// 1: ready, 0: not in time, -1: stopped.
  int await(short events, int timeout_ms) {
    while (true) {
      pollfd polled[] = {{socket_.get(), events, 0}, {stop_.get(), POLLIN, 0}};
      const int ready = poll(polled, 2, timeout_ms);
      if (ready < 0 && errno == EINTR) continue;
      if (polled[1].revents != 0) return -1;
      return ready > 0 ? 1 : 0;
    }
  }

  const Descriptor stop_;
  Descriptor socket_;
  std::vector<char> buffer_ = std::vector<char>(kReadBytes);
};

}  // namespace internal

LineReceiver::LineReceiver() : connection_(std::make_shared<internal::LineConnection>()) {}

LineReceiver::LineReceiver(std::string host, std::int64_t port)
    : host_(std::move(host)), port_(static_cast<std::uint16_t>(port)) {
  if (host_.empty()) {
    throw Error(ErrorCode::kInvalidArgument, "a socket stream needs the name of a host");
  }
  if (port < 1 || port > 65535) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("a socket stream needs a port from 1 to 65535, not {}", port));
  }
}

void LineReceiver::on_start(ReceiverStore<std::string>& store) {
  if (!connection_->connect_to(host_, port_)) return;
  internal::LineSplitter splitter;
  const auto keep = [&](const std::string& line) { return store.store(line); };
  while (!store.is_stopping()) {
    const std::string_view bytes = connection_->read();
    if (bytes.empty()) break;
    if (!splitter.add(bytes, keep)) return;
  }
  if (!splitter.finish(keep) || store.is_stopping()) return;
  throw Error(ErrorCode::kUnreachable,
              fmt::format("the server at {}:{} has ended the connection", host_, port_));
}

void LineReceiver::on_stop() { connection_->stop(); }

}  // namespace weir::sockets
