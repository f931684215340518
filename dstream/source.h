#pragma once

#include <concepts>
#include <optional>
#include <ranges>
#include <type_traits>
#include <utility>

#include "weir/core/archive.h"
#include "weir/core/function.h"
#include "weir/core/time.h"

/// Replayable sources: what can produce the same range of its elements twice. Knows no streams; a
/// source is a duck-typed class (see `Source`) that `StreamingContext::source_stream` makes one of.
namespace weir {

/// How much a batch may take from a source.
struct SourceLimit {
  Duration interval{};                                ///< the batch interval
  std::optional<double> max_records_per_second = {};  ///< of all its partitions together
  /// Set when the stream stops gracefully with this batch: what was received and is not in it is
  /// not processed, so that a source that must ask elsewhere for its end waits for the answer, at
  /// most this long.
  std::optional<Duration> last_wait = {};
};

namespace internal {

template <class S>
using source_position_t = std::decay_t<decltype(std::declval<S&>().initial())>;
template <class S>
using source_partition_t = std::ranges::range_value_t<decltype(std::declval<S&>().plan(
    std::declval<const source_position_t<S>&>(), std::declval<const source_position_t<S>&>()))>;

}  // namespace internal

/// What a source offers:
///
///     Position initial();                                  // where the first batch begins
///     Position latest(const Position& from, const SourceLimit& limit);  // where this batch ends
///     std::vector<Partition> plan(const Position& from, const Position& end);
///     <elements> read(const Partition& partition) const;   // on a worker; a range, or a
///                                                          // std::unique_ptr<ChunkStream<T>>
///     void released(const Position& end);                  // what lies before is not read again
///     void stop();                                         // optional: the stream has ended
///     std::uint64_t records(const Partition& partition);   // optional: elements, for listeners
///
/// Positions and partitions are serializable values. [from, end) must give the same elements
/// whenever it is read, on any worker; a batch that ends where it begins, by the encoded positions,
/// has none, and `plan` is not asked. The source itself is shipped to workers: it is default
/// constructible, copyable and, unless it is empty, serializable; what it writes is what `read`
/// needs, the same for every batch.
///
/// Threads: `read` runs in tasks, on copies. All else is called in the driver, one call at a time:
/// `initial` by `start`, the others by the thread that cuts the batches, so they must return in a
/// fraction of the batch interval (but for the last batch). What they throw ends the stream.
template <class S>
concept Source = std::default_initializable<S> && std::copyable<S> && shippable<S> &&
    requires(S& source, const S& shipped, const SourceLimit& limit,
             const internal::source_position_t<S>& position,
             const internal::source_partition_t<S>& partition) {
  { source.latest(position, limit) } -> std::convertible_to<internal::source_position_t<S>>;
  shipped.read(partition);
  source.released(position);
} && internal::is_encodable<internal::source_position_t<S>>;

namespace internal {

/// A source's `read` as a shippable function.
template <class S>
struct SourceReader {
  S source;

  auto operator()(const source_partition_t<S>& partition) const { return source.read(partition); }

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    serialize_function(ar, source);
  }
};

}  // namespace internal
}  // namespace weir
