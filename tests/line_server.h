#pragma once

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>

namespace weir::test {

/// A TCP server on loopback that serves one connection after the other.
class LineServer {
 public:
  /// Sends on the connection; false: it is broken.
  using Send = std::function<bool(const std::string& bytes)>;
  /// Called for each connection; it is closed when this returns.
  using Serve = std::function<void(const Send& send)>;

  explicit LineServer(Serve serve) : serve_(std::move(serve)) {
    listening_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::bind(listening_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(listening_, 8) != 0) {
      throw std::runtime_error("cannot listen on loopback");
    }
    socklen_t size = sizeof address;
    getsockname(listening_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { accept_all(); });
  }
  ~LineServer() {
    stopping_ = true;
    thread_.join();
    close(listening_);
  }
  LineServer(const LineServer&) = delete;
  LineServer& operator=(const LineServer&) = delete;

  std::uint16_t port() const { return port_; }
  bool is_stopping() const { return stopping_; }

 private:
  void accept_all() {
    while (!stopping_) {
      pollfd polled{listening_, POLLIN, 0};
      if (poll(&polled, 1, 5) <= 0) continue;
      const int connection = accept4(listening_, nullptr, nullptr, SOCK_CLOEXEC);
      if (connection < 0) continue;
      serve_([&](const std::string& bytes) {
        std::size_t sent = 0;
        while (sent < bytes.size() && !stopping_) {
          pollfd writable{connection, POLLOUT, 0};
          if (poll(&writable, 1, 5) <= 0) continue;
          const ssize_t count =
              ::send(connection, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
          if (count < 0) return false;
          sent += static_cast<std::size_t>(count);
        }
        return !stopping_;
      });
      close(connection);
    }
  }

  const Serve serve_;
  int listening_ = -1;
  std::uint16_t port_ = 0;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace weir::test
