#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "weir/core/error.h"
#include "weir/dstream/source.h"

namespace weir {

/// The batches of a `MemorySource`. Held by whoever fills it, outside the drivers that read it, so
/// that it outlives them as a log would: what was pushed stays. Thread-safe.
template <class T>
class MemoryInput {
 public:
  using Elements = std::vector<T>;

  MemoryInput() = default;
  explicit MemoryInput(std::vector<Elements> batches) : batches_(std::move(batches)) {}

  void push(Elements batch) {
    const std::scoped_lock lock(mutex_);
    batches_.push_back(std::move(batch));
  }
  std::uint64_t size() const {
    const std::scoped_lock lock(mutex_);
    return batches_.size();
  }
  Elements batch(std::uint64_t index) const {
    const std::scoped_lock lock(mutex_);
    return batches_.at(index);
  }
  /// How many batches from the first on no stream will read again.
  std::uint64_t released() const {
    const std::scoped_lock lock(mutex_);
    return released_;
  }
  void release(std::uint64_t end) {
    const std::scoped_lock lock(mutex_);
    released_ = std::max(released_, end);
  }

 private:
  mutable std::mutex mutex_;  // guards what follows
  std::vector<Elements> batches_;
  std::uint64_t released_ = 0;
};

/// A replayable source of batches that are given in the driver's process, for tests of jobs that
/// are restarted: each batch of the stream owns the next one, or nothing when all have been read,
/// and a position is the index of the next. Elements travel inside the partitions' descriptions.
///
///     auto input = std::make_shared<weir::MemoryInput<int>>();
///     stream.source_stream(weir::MemorySource(input, 2)).map(...)
template <class T>
class MemorySource {
 public:
  MemorySource() = default;
  /// Each batch is cut into `partitions` contiguous pieces, as `parallelize` does.
  explicit MemorySource(std::shared_ptr<MemoryInput<T>> input, std::uint32_t partitions = 1)
      : input_(std::move(input)), partitions_(partitions) {
    if (input_ == nullptr || partitions == 0) {
      throw Error(ErrorCode::kInvalidArgument,
                  input_ == nullptr ? "a MemorySource was given no input; make one with "
                                      "std::make_shared<weir::MemoryInput<T>>()"
                                    : "a MemorySource needs at least one partition");
    }
  }

  std::uint64_t initial() { return 0; }
  std::uint64_t latest(std::uint64_t from, const SourceLimit&) {
    if (from > input_->size()) {
      throw Error(ErrorCode::kDataLoss, "a MemorySource has " + std::to_string(input_->size()) +
                                            " batches, and its stream has read " +
                                            std::to_string(from) +
                                            ": was it given another input than before?");
    }
    return std::min(from + 1, input_->size());
  }
  std::vector<std::vector<T>> plan(std::uint64_t from, std::uint64_t end) const {
    std::vector<std::vector<T>> pieces(partitions_);
    for (; from < end; ++from) {
      const std::vector<T> batch = input_->batch(from);
      for (std::size_t i = 0; i < pieces.size(); ++i) {
        const auto at = [&](std::size_t piece) {
          return batch.begin() + static_cast<std::ptrdiff_t>(piece * batch.size() / pieces.size());
        };
        pieces[i].insert(pieces[i].end(), at(i), at(i + 1));
      }
    }
    return pieces;
  }
  std::vector<T> read(const std::vector<T>& piece) const { return piece; }
  std::uint64_t records(const std::vector<T>& piece) const { return piece.size(); }
  void released(std::uint64_t end) { input_->release(end); }

  /// Workers need nothing of it.
  template <class Archive>
  void serialize(Archive&, unsigned) {}

 private:
  std::shared_ptr<MemoryInput<T>> input_;  // in the driver only
  std::uint32_t partitions_ = 1;
};

}  // namespace weir
