#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "weir/core/context.h"
#include "weir/dstream/batch_clock.h"
#include "weir/dstream/dstream.h"
#include "weir/dstream/queue_stream.h"
#include "weir/dstream/receiver_stream.h"
#include "weir/dstream/source_stream.h"
#include "weir/dstream/state_operators.h"
#include "weir/dstream/streaming_listener.h"

namespace weir {

struct FileStreamOptions;  // connectors/files/source.h

/// Until when a batch's record may be lost with the machine. All of them write it before the
/// batch's first effect, so that nothing is lost or doubled when processes die.
enum class LogDurability {
  kConfigured,  ///< as `weir.durability` says
  kBatch,       ///< synced before the batch's first effect: exactly-once
  kInterval,    ///< synced now and then: at-least-once when the machine dies
  kNone,        ///< synced at checkpoints only: at-least-once when the machine dies
};

struct StreamingOptions {
  /// What batches are cut by; null for the machine's wall clock. Tests give a `ManualClock`.
  std::shared_ptr<BatchClock> clock = {};
  LogDurability durability = LogDurability::kConfigured;
  /// Time between two sets of state that a restart can begin with; zero:
  /// `weir.checkpoint-interval`.
  Duration checkpoint_interval = {};
};

struct StopOptions {
  bool graceful = true;      ///< process what was received before the call
  bool stop_context = true;  ///< stop the `Context` too
};

/// Where it is in its life; there is no way back.
enum class StreamingState { kInitialized, kActive, kStopped };

/// The entry point of a streaming program: makes streams, starts and stops them. Every
/// `batch_interval`, at multiples of it since the epoch, a batch of what was received in the
/// interval before is cut, and the output operations run on it.
///
/// A cheap handle; the stream lives as long as one is held, and the last one to go stops it at
/// once. `start`, `stop`, the waiting functions, `state` and the listener functions may be called
/// from any thread, but not from where the stream's end would wait for itself (listeners, output
/// operations): there they throw. Streams are built by one thread at a time.
class StreamingContext {
 public:
  /// `context` must outlive it. Throws Error(kInvalidArgument) unless the interval is positive.
  StreamingContext(Context& context, Duration batch_interval, StreamingOptions options = {});

  /// A streaming context that goes on where the driver before it ended:
  /// `checkpoint(checkpoint_dir)` of a new one, then `setup(stream)`, which builds the streams,
  /// also after a restart: the checkpoint holds positions and state, never code. Throws what
  /// `checkpoint` and `setup` throw.
  template <class Setup>
  static StreamingContext get_or_create(Context& context, const std::string& checkpoint_dir,
                                        Duration batch_interval, Setup setup,
                                        StreamingOptions options = {}) {
    StreamingContext stream(context, batch_interval, std::move(options));
    stream.checkpoint(checkpoint_dir);
    setup(stream);
    return stream;
  }

  // --- inputs ---

  /// A stream of a replayable source's elements, see source.h.
  template <Source S>
  auto source_stream(S source) const {
    return add_input(std::make_shared<internal::SourceInput<S>>(graph(), input_name("source"),
                                                                std::move(source)));
  }
  /// A stream of what a receiver stores, see receiver.h.
  template <internal::AnyReceiver R>
  auto receiver_stream(const R& receiver, ReceiverOptions options = {}) const {
    return add_input(std::make_shared<internal::ReceiverInput<R>>(graph(), input_name("receiver"),
                                                                  receiver, options));
  }
  /// The lines that a server at `host`:`port` sends, by a receiver: see sockets::LineReceiver
  /// (connectors/sockets.h, which weir.h includes).
  template <class Port = std::uint16_t>
  auto socket_text_stream(std::string host, Port port, ReceiverOptions options = {}) const;
  /// A stream of RDDs that are put into a queue, from any thread: `{.one_at_a_time, .default_rdd}`.
  /// Throws Error(kInvalidArgument) for a null queue.
  template <class T>
  DStream<T> queue_stream(std::shared_ptr<RddQueue<T>> queue,
                          std::type_identity_t<QueueOptions<T>> options = {}) const {
    return add_input(std::make_shared<internal::QueueInput<T>>(
        graph(), input_name("queue"), std::move(queue), std::move(options)));
  }

  /// The lines of the files that come into a directory, and records of one length: see
  /// files::Source (connectors/files.h, which weir.h includes).
  template <class Options = FileStreamOptions>
  auto text_file_stream(std::string directory, Options options = {}) const;
  template <class Options = FileStreamOptions>
  auto binary_records_stream(std::string directory, std::uint64_t record_bytes,
                             Options options = {}) const;

  // --- several streams ---

  /// Elements of all streams, which must have the same slide.
  template <class T>
  DStream<T> union_of(const std::vector<DStream<T>>& streams) const {
    return combine("union_of", streams, [context = &context()](const std::vector<Rdd<T>>& rdds) {
      return context->union_of(rdds);
    });
  }
  template <class T>
  DStream<T> union_of(std::initializer_list<DStream<T>> streams) const {
    return union_of(std::vector<DStream<T>>(streams));
  }
  /// The stream of the RDDs that `f(rdds)` or `f(rdds, time)` returns, `f(const
  /// std::vector<Rdd<T>>&)` in the driver. The streams must have the same slide.
  template <class T, class F>
  auto transform(const std::vector<DStream<T>>& streams, F f) const {
    return combine("transform", streams, std::move(f));
  }
  template <class T, class F>
  auto transform(std::initializer_list<DStream<T>> streams, F f) const {
    return transform(std::vector<DStream<T>>(streams), std::move(f));
  }

  /// Records in this directory which input each batch owns, that it is done, and the state it
  /// leaves, so that a driver that is started again with it loses nothing and counts nothing twice.
  /// Drivers and workers must see it under the same path; it is created if missing. One driver at a
  /// time. Throws Error(kInvalidArgument) if it cannot be written, Error(kNotAllowed) if another
  /// driver has it, Error(kCorrupt) or Error(kDataLoss) with file and offset if it is damaged.
  void checkpoint(const std::string& directory);

  /// Keeps every stream's RDDs for at least this long.
  void remember(Duration duration);

  // --- life ---

  /// Starts the inputs and cuts the first batch at the next grid point. From now on streams cannot
  /// be changed. SIGINT and SIGTERM stop it gracefully from now on, the second one at once (unless
  /// `weir.stop-on-signal` is false or another streaming context of the process has them).
  ///
  /// Throws Error(kInvalidArgument) without output operations or after `stop`, and what an input
  /// throws; it may then be called again.
  void start();

  /// Ends the stream; returns when it has ended. Gracefully: one more batch at the next grid point,
  /// then all that are waiting, for at most `weir.graceful-stop-timeout`; else running jobs are
  /// cancelled. Throws Error(kCancelled) if user code in the driver has not returned 10 s after
  /// that. May be called again.
  void stop(StopOptions options = {});

  /// Waits until the stream has ended and rethrows the first error: of an output operation or
  /// transform (with batch, time and operation in its message) or of an input. Throws if it was
  /// never started.
  void await_termination();
  /// The same for at most `timeout`; false if it has not ended.
  bool await_termination_for(Duration timeout);
  /// Waits until the batch with this sequence number, counted from 1, has succeeded. Throws what
  /// ended the stream if it ends before, as it does when a batch fails. For tests on a
  /// `ManualClock`.
  void await_batch(std::uint64_t sequence);

  /// Ends as a killed driver does: what is not written yet never is. For tests of recovery.
  void abandon();

  StreamingState state() const;
  Context& context() const;
  Duration batch_interval() const;

  void add_listener(std::shared_ptr<StreamingListener> listener);
  void remove_listener(const std::shared_ptr<StreamingListener>& listener);

 private:
  class Impl;

  const std::shared_ptr<internal::StreamGraph>& graph() const;
  /// "source-0": the kind and the order among all inputs.
  std::string input_name(const char* kind) const;

  template <class Input>
  auto add_input(std::shared_ptr<Input> input) const {
    graph()->add_input(input);
    return input->dstream();
  }

  template <class T, class F>
  auto combine(const char* operation, const std::vector<DStream<T>>& streams, F f) const {
    std::vector<std::shared_ptr<internal::TypedStreamNode<T>>> nodes;
    for (const DStream<T>& stream : streams) nodes.push_back(stream.node());
    std::vector<std::shared_ptr<internal::StreamNode>> parents(nodes.begin(), nodes.end());
    internal::require_combinable(operation, parents);
    const Duration slide = parents.front()->slide();
    return internal::computed_stream(
        operation, slide, std::move(parents), Duration::zero(),
        [nodes = std::move(nodes), f = std::move(f)](Time time) mutable {
          std::vector<Rdd<T>> rdds;
          for (const auto& node : nodes) {
            rdds.push_back(*node->rdd_at(time));
          }
          return internal::call_per_batch(f, time, rdds);
        });
  }

  std::shared_ptr<Impl> impl_;
};

}  // namespace weir
