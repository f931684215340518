#pragma once

#include <string>
#include <utility>

#include "weir/connectors/sockets/line_receiver.h"
#include "weir/dstream/streaming_context.h"

namespace weir {

namespace sockets {

/// The lines that a server sends; see `LineReceiver`.
///
///     auto lines = sockets::text_stream(stream, "localhost", 9999);
///
/// Throws Error(kInvalidArgument) for a port that is none and options that make no sense; the
/// server is first looked for when the streaming context has started.
///
/// A template, so that a program that includes weir.h and needs none need not link the connector.
template <class Stream = StreamingContext>
DStream<std::string> text_stream(const Stream& stream, std::string host, std::int64_t port,
                                 ReceiverOptions options = {}) {
  return stream.receiver_stream(LineReceiver(std::move(host), port), options);
}

}  // namespace sockets

// The same under Spark's name.

template <class Port>
auto StreamingContext::socket_text_stream(std::string host, Port port,
                                          ReceiverOptions options) const {
  return sockets::text_stream(*this, std::move(host), static_cast<std::int64_t>(port), options);
}

}  // namespace weir
