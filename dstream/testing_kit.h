#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "weir/core/context.h"
#include "weir/dstream/batch_clock.h"
#include "weir/dstream/memory_source.h"
#include "weir/dstream/streaming_context.h"

/// Tests of streaming jobs as tables: batches in, an operation, batches out. Part of the product:
/// users test their own operations with it. Include it as <weir/testing.h>.
namespace weir::testing {

/// One vector per batch.
template <class T>
using Batches = std::vector<std::vector<T>>;

struct Options {
  Duration batch = std::chrono::seconds(1);  ///< batch times are 1s, 2s, ... on a manual clock
  std::size_t num_batches = 0;               ///< 0: as many as the longest input
  int partitions = 2;                        ///< of each input RDD
  std::string master = "local[2]";           ///< also local-cluster[2,1]
  /// Where the stream checkpoints; empty: nowhere, or with `restart_before` in a folder of its own.
  std::filesystem::path checkpoint_dir = {};
  /// Indices, ascending, of batches before which the driver is killed, with its workers, and
  /// started again.
  std::vector<std::size_t> restart_before = {};
  int batches_in_flight = 1;  ///< `weir.batches-in-flight`
};

/// First thing in a test program's main: serves as a worker, and never returns, when the program is
/// launched as one. The target weir::testing_main has a main that does it.
void init(int* argc, char** argv);

namespace internal {

/// The drivers of one run, one after the other, on one manual clock.
class StreamRun {
 public:
  /// Throws Error(kInvalidArgument) for options that make no sense.
  StreamRun(Options options, std::size_t longest_input);
  ~StreamRun();

  const Options& options() const { return options_; }
  /// Lets all batch times pass and stops; rethrows what failed. `setup` builds the streams of each
  /// driver.
  void run(const std::function<void(StreamingContext&)>& setup);

 private:
  void run_driver(const std::function<void(StreamingContext&)>& setup, std::size_t end);

  Options options_;
  std::size_t num_batches_;
  bool is_own_directory_ = false;
  const std::shared_ptr<ManualClock> clock_;
};

/// Runs `op(stream)` and returns what it gives at each time at which it is due. A batch that a
/// restarted driver runs again counts once.
template <class Op>
auto collect(StreamRun& run, Op op) {
  using E = typename std::invoke_result_t<Op&, StreamingContext&>::value_type;
  std::map<Time, std::vector<owned_t<E>>> by_time;
  run.run([&](StreamingContext& stream) {
    op(stream).foreach_rdd(
        [&by_time](const Rdd<E>& rdd, Time time) { by_time[time] = rdd.collect(); });
  });
  Batches<owned_t<E>> batches;
  for (auto& [time, elements] : by_time) batches.push_back(std::move(elements));
  return batches;
}

template <class T>
MemorySource<owned_t<T>> source_of(Batches<T> input, int partitions) {
  Batches<owned_t<T>> owned;
  for (std::vector<T>& batch : input) {
    std::vector<owned_t<T>>& elements = owned.emplace_back();
    for (auto&& element : batch) elements.push_back(to_owned(T(std::move(element))));
  }
  return MemorySource<owned_t<T>>(std::make_shared<MemoryInput<owned_t<T>>>(std::move(owned)),
                                  static_cast<std::uint32_t>(partitions));
}

}  // namespace internal

/// Runs `op(stream)` on `input`, whose i-th vector is the i-th batch, cut into `partitions`
/// contiguous pieces. Returns one entry for each batch time at which op(stream) is due (every
/// slide), with its elements in partition order; after a shuffle their order is deterministic but
/// not specified. `op` runs in the driver and returns a DStream. Rethrows what ended the stream.
/// Takes no real time.
template <class T, class Op>
auto run_stream(Batches<T> input, Op op, Options options = {}) {
  internal::StreamRun run(std::move(options), input.size());
  const auto source = internal::source_of(std::move(input), run.options().partitions);
  return internal::collect(run, [&](StreamingContext& stream) {
    auto in = stream.source_stream(source);
    return op(in);
  });
}

/// The same with two inputs: `op(left, right)`.
template <class T, class V, class Op>
auto run_stream(Batches<T> left, Batches<V> right, Op op, Options options = {}) {
  internal::StreamRun run(std::move(options), std::max(left.size(), right.size()));
  const auto left_source = internal::source_of(std::move(left), run.options().partitions);
  const auto right_source = internal::source_of(std::move(right), run.options().partitions);
  return internal::collect(run, [&](StreamingContext& stream) {
    auto left_stream = stream.source_stream(left_source);
    auto right_stream = stream.source_stream(right_source);
    return op(left_stream, right_stream);
  });
}

}  // namespace weir::testing
