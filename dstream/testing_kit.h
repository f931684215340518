#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "weir/core/context.h"
#include "weir/dstream/batch_clock.h"
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
  /// This and the next need checkpoints, which come with a later release: until then both must be
  /// empty.
  std::filesystem::path checkpoint_dir = {};
  /// Indices of batches before which the driver is killed and restarted.
  std::vector<std::size_t> restart_before = {};
};

/// First thing in a test program's main: serves as a worker, and never returns, when the program is
/// launched as one. The target weir::testing_main has a main that does it.
void init(int* argc, char** argv);

namespace internal {

/// A streaming context on a manual clock, for one run.
class StreamRun {
 public:
  /// Throws Error(kInvalidArgument) for options that make no sense.
  StreamRun(const Options& options, std::size_t longest_input);

  template <class T>
  DStream<owned_t<T>> feed(const Batches<T>& input) {
    const auto queue = std::make_shared<RddQueue<owned_t<T>>>();
    for (const std::vector<T>& batch : input) queue->push(context_.parallelize(batch, partitions_));
    return stream_.queue_stream(queue);
  }

  template <class E>
  Batches<owned_t<E>> collect(const DStream<E>& result) {
    const auto batches = std::make_shared<Batches<owned_t<E>>>();
    result.foreach_rdd([batches](const Rdd<E>& rdd) { batches->push_back(rdd.collect()); });
    run();
    return std::move(*batches);
  }

 private:
  /// Lets all batch times pass and stops; rethrows what failed.
  void run();

  const Duration batch_;
  const std::size_t num_batches_;
  const std::uint32_t partitions_;
  const std::shared_ptr<ManualClock> clock_;
  Context context_;
  StreamingContext stream_;
};

}  // namespace internal

/// Runs `op(stream)` on `input`, whose i-th vector is the i-th batch, cut into `partitions`
/// contiguous pieces. Returns one entry for each batch time at which op(stream) is due (every
/// slide), with its elements in partition order; after a shuffle their order is deterministic but
/// not specified. `op` runs in the driver and returns a DStream. Rethrows what ended the stream.
/// Takes no real time.
template <class T, class Op>
auto run_stream(Batches<T> input, Op op, Options options = {}) {
  internal::StreamRun run(options, input.size());
  auto stream = run.feed(input);
  return run.collect(op(stream));
}

/// The same with two inputs: `op(left, right)`.
template <class T, class V, class Op>
auto run_stream(Batches<T> left, Batches<V> right, Op op, Options options = {}) {
  internal::StreamRun run(options, std::max(left.size(), right.size()));
  auto left_stream = run.feed(left);
  auto right_stream = run.feed(right);
  return run.collect(op(left_stream, right_stream));
}

}  // namespace weir::testing
