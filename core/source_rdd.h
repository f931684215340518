#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "weir/core/rdd.h"

namespace weir {

/// A dataset whose partition i is what `reader(partitions[i])` produces on the worker: an input
/// range or a std::unique_ptr<ChunkStream<T>>. The reader is shippable; the descriptions are
/// serializable and are the only thing that differs from batch to batch.
template <class F, class P>
auto read_partitions(const std::shared_ptr<Engine>& engine, F reader, std::vector<P> partitions,
                     const char* operation) {
  WEIR_REQUIRE_SHIPPABLE(F);
  using Node = internal::ReaderDataset<F, P>;
  return Rdd<typename Node::T>(
      new Node(engine, operation, std::move(reader), std::move(partitions)));
}

}  // namespace weir
