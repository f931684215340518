#pragma once

#include <concepts>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "weir/core/archive.h"
#include "weir/core/function.h"
#include "weir/core/task.h"

/// Sinks: where a stream's results go exactly once. Knows no streams; a sink is a duck-typed class
/// (see `Sink`) that `DStream::write_to` makes an output of.
namespace weir {

/// Names one batch's output to one sink. The sink stores it with the data.
struct CommitId {
  std::string application;     ///< kept by the checkpoint, over all restarts
  std::string sink;            ///< uid of the sink in the application
  std::uint64_t sequence = 0;  ///< of the batch
  std::uint64_t epoch = 0;     ///< of the driver: a lower one is a driver that was replaced
  std::uint64_t intent = 0;    ///< hash of the batch's INTENT: of the input it owns

  bool operator==(const CommitId&) const = default;
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & application & sink & sequence & epoch & intent;
  }
};

/// "batch 12 of application a1, sink counts (epoch 3, intent 00000000000000ff)", for messages.
std::string to_string(const CommitId& commit);

enum class CommitPoint : std::uint8_t {
  kDriver,  ///< tasks prepare, the driver publishes all of a batch at once
  kTask,    ///< each task is a transaction that carries the CommitId
};

/// What a sink guarantees about a batch that is written again, as events show it.
enum class SinkGuarantee : std::uint8_t {
  kExactlyOnce,  ///< a batch that is there is not written again
  kAtLeastOnce,
};

/// What a batch does to what the sink holds already.
enum class SinkMode : std::uint8_t {
  kAppend,    ///< it is added
  kUpsert,    ///< its elements replace those of equal keys
  kTruncate,  ///< it is added, and batches that the driver no longer knows are taken back first
};

namespace internal {

template <class S>
using sink_writer_t = std::decay_t<decltype(std::declval<const S&>().begin(
    std::declval<const CommitId&>(), std::uint32_t{}, AttemptId{}))>;
/// What a task of sink S leaves for the driver.
template <class S>
using sink_token_t = std::decay_t<decltype(std::declval<sink_writer_t<S>&>().prepare())>;

}  // namespace internal

/// What a sink of elements T offers. What it is:
///
///     static constexpr CommitPoint commit_point();
///     static constexpr SinkGuarantee guarantee();
///     SinkMode mode() const;
///
/// In the driver, one call at a time, batches in the order of their sequence numbers:
///
///     void open(const CommitId& driver);
///         // once, before all else, with sequence 0: from now on a lower epoch is refused. Throws
///         // Error(kNotAllowed) if a higher epoch was seen, Error(kDataLoss) if the sink holds
///         // what another application or another sink of the application wrote.
///     std::optional<CommitId> last_committed(std::uint32_t partition);
///         // of all partitions (kDriver: asked for 0 only), or of one (kTask). May name an earlier
///         // batch than the last one if all since then gave the sink no element.
///     void commit(const CommitId& commit, const std::vector<Token>& tokens);
///         // publishes what the tasks prepared, tokens in partition order, atomically and durably;
///         // for kTask, which has published: cleans up. A batch that is there with the same intent
///         // is skipped, whatever the epochs and tokens; with another one: Error(kDataLoss). An
///         // epoch below the one that opened the sink last: Error(kNotAllowed). After
///         // Error(kUnreachable) it may be called again with the same arguments.
///     void abort(const std::vector<Token>& tokens);  // they will not be committed
///     void rollback_to(std::uint64_t sequence);      // kTruncate only: removes later batches
///
/// On workers, on copies, in tasks:
///
///     Writer begin(const CommitId& commit, std::uint32_t partition, AttemptId attempt) const;
///         // attempts of one epoch have different numbers, so (epoch, attempt) is unique: retries
///         // and duplicates must not write to the same place. kTask: what the partition holds
///         // already under an equal commit is not written again.
///     void Writer::write(std::span<const T> elements);  // valid during the call
///     Token Writer::prepare();  // all is written and safe; kTask: and committed with the CommitId
///     Writer::~Writer();        // without `prepare`: gives up what was written
///
/// Tokens are serializable. Of tokens that never arrive (the attempt failed, was a duplicate, or
/// the driver died) nothing must become visible; what such attempts left is removed by later calls
/// of `commit`, `abort` and `open`. The sink itself is shipped to workers: default constructible,
/// copyable and, unless it is empty, serializable; what it writes is what `begin` needs, the same
/// for every batch.
template <class S, class T>
concept Sink = std::default_initializable<S> && std::copyable<S> && shippable<S> &&
    requires(S& sink, const S& shipped, const CommitId& commit,
             const std::vector<internal::sink_token_t<S>>& tokens,
             internal::sink_writer_t<S>& writer, std::span<const T> elements) {
  { S::commit_point() } -> std::same_as<CommitPoint>;
  { S::guarantee() } -> std::same_as<SinkGuarantee>;
  { shipped.mode() } -> std::same_as<SinkMode>;
  sink.open(commit);
  { sink.last_committed(std::uint32_t{}) } -> std::same_as<std::optional<CommitId>>;
  sink.commit(commit, tokens);
  sink.abort(tokens);
  writer.write(elements);
} && internal::is_encodable<internal::sink_token_t<S>>;

/// Whether batches can be taken back, if the sink's `mode()` says so too.
template <class S>
concept RollbackSink = requires(S& sink) {
  sink.rollback_to(std::uint64_t{});
};

// --- what a sink decides, for those who write one ---

/// Whose output a sink holds; kept with the data.
struct SinkOwner {
  std::string application;
  std::string sink;
  std::uint64_t epoch = 0;  ///< the highest seen

  bool operator==(const SinkOwner&) const = default;
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & application & sink & epoch;
  }
};

/// The owner of a sink that `driver` opens, `known` being the one it has. `where` names the sink's
/// place in messages. Throws as `open` does.
SinkOwner fenced(const std::optional<SinkOwner>& known, const CommitId& driver,
                 const std::string& where);

/// Whether the batch is still to be published; `stored` is what the sink holds under its sequence
/// number. Throws as `commit` does.
bool must_publish(const CommitId& commit, const SinkOwner& owner,
                  const std::optional<CommitId>& stored, const std::string& where);

}  // namespace weir
