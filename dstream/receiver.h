#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "weir/core/archive.h"
#include "weir/core/function.h"
#include "weir/dstream/receiver_core.h"

/// Receivers: input that cannot be asked for twice. A receiver runs on a worker, beside its slots,
/// takes what comes and stores it; `StreamingContext::receiver_stream` makes a stream of it.
namespace weir {

/// The base of a receiver of elements of type T. A receiver has beside that
///
///     void on_start(ReceiverStore<T>& store);  // receives, or starts threads that do
///     void on_stop();                          // makes all of that end
///
/// and is shipped: default constructible and, unless it is empty, serializable; what it writes is
/// what `on_start` needs. Nothing else of it need be copyable.
///
/// `on_start` is called on a thread of its own, once for each object, and may return at once (what
/// it has started goes on storing) or when all is over. What it throws ends this run of the
/// receiver, and after `weir.receiver.restart-delay` another one starts, perhaps on another worker.
/// `on_stop` is called once, from another thread, perhaps while `on_start` still runs: it returns
/// when nothing is stored any more, or makes `on_start` return, for which it is waited.
template <class T>
struct Receiver {
  using element_type = T;
};

/// Where a receiver puts what it received. A cheap handle; any number of threads may use it.
///
/// Whoever stores waits while the stream takes no more: `weir.receiver.buffer-bytes` wait to be
/// taken into a batch already, or the rate that the stream can bear (`weir.backpressure`,
/// `weir.max-rate`) is reached. Functions return false, and nothing was stored that anybody will
/// read, when the receiver is to end: its threads should.
template <class T>
class ReceiverStore {
 public:
  explicit ReceiverStore(std::shared_ptr<internal::ReceiverCore> core) : core_(std::move(core)) {}

  /// Stores one element. It is lost if this worker dies within about a block interval
  /// (`weir.receiver.block-interval`), after which it is part of a block.
  bool store(const T& element) {
    return core_->append([&](SlimWriter& to) { to& element; });
  }
  /// Stores the elements as one block and returns when they are as safe as the receiver's options
  /// make blocks, so that their origin may forget them. Also false when that could not be done
  /// within `weir.receiver.store-timeout`; then they may be stored or not.
  bool store(const std::vector<T>& elements) {
    if (elements.empty()) return !core_->is_stopping();
    SlimWriter block;
    for (const T& element : elements) block& element;
    return core_->put(block.take(), elements.size());
  }

  /// Ends this run of the receiver; another one starts after `weir.receiver.restart-delay`.
  void restart(const std::string& why) { core_->fail(why); }
  /// Ends the receiver for good: nothing more will come.
  void stop() { core_->finish(); }
  /// Tells listeners of trouble that it gets over by itself.
  void report_error(const std::string& what) { core_->report_error(what); }
  /// Whether it is to end.
  bool is_stopping() const { return core_->is_stopping(); }

 private:
  std::shared_ptr<internal::ReceiverCore> core_;
};

/// What becomes of what a receiver has stored. `copies` are those in the memory of workers: with
/// one, a worker that dies takes along what no batch has finished with; with two, on different
/// workers where there are several, both must die for that. With the log blocks are also written
/// and synced to the checkpoint directory, from where a restarted driver reads them: nothing that
/// was stored is lost. Without it what no batch has finished with dies with the driver.
struct ReceiverOptions {
  std::optional<int> copies = {};  ///< 1 or 2; nothing: `weir.receiver.copies`
  std::optional<bool> log = {};    ///< nothing: `weir.receiver.log`
};

namespace internal {

/// What `receiver_stream` accepts.
template <class R>
concept AnyReceiver = std::default_initializable<R> && shippable<R> &&
    requires(R& receiver, ReceiverStore<typename R::element_type>& store) {
  receiver.on_start(store);
  receiver.on_stop();
};

/// A receiver at work, as the function of the one partition of a resident task. Its fields travel
/// as bytes, so that receivers need not be copyable.
template <class R>
struct ReceiverRun {
  std::string fields;

  /// Returns when the receiver has ended; there are no elements.
  std::vector<int> operator()(const ReceiverSettings& settings) const {
    R receiver{};
    SlimReader reader(fields);
    serialize_function(reader, receiver);
    serve_receiver(
        settings,
        [&](const std::shared_ptr<ReceiverCore>& core) {
          ReceiverStore<typename R::element_type> store(core);
          receiver.on_start(store);
        },
        [&] { receiver.on_stop(); });
    return {};
  }
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & fields;
  }
};

}  // namespace internal
}  // namespace weir
