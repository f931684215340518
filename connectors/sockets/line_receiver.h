#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "weir/dstream/receiver.h"

namespace weir::sockets {

namespace internal {

class LineConnection;

}  // namespace internal

/// Receives lines over TCP: connects to a server and stores each line that it sends, without its
/// "\n" or "\r\n", and what comes after the last one when the server ends. Bytes are not looked at
/// otherwise.
///
/// A server that cannot be reached, ends, or sends a line of more than 64 MiB is connected to again
/// after `weir.receiver.restart-delay`. TCP knows no answer for what was processed: what the server
/// sent and no block had, when the worker dies, is lost, whatever the receiver's options.
class LineReceiver : public Receiver<std::string> {
 public:
  LineReceiver();
  /// Throws Error(kInvalidArgument) unless the port is 1 to 65535 and there is a host.
  LineReceiver(std::string host, std::int64_t port);

  /// Returns when it is stopped; throws Error(kUnreachable) with host, port and cause.
  void on_start(ReceiverStore<std::string>& store);
  void on_stop();

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & host_ & port_;
  }

 private:
  std::string host_;
  std::uint16_t port_ = 0;
  std::shared_ptr<internal::LineConnection> connection_;
};

}  // namespace weir::sockets
