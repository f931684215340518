#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "weir/core/error.h"
#include "weir/core/owned.h"
#include "weir/core/sink.h"

namespace weir {

/// What a `MemorySink` has been given. Held by whoever looks at it, outside the drivers that write
/// to it, so that it outlives them as a directory would. Thread-safe.
template <class T>
class MemoryOutput {
 public:
  using Elements = std::vector<T>;

  /// The elements of each batch that was committed, by sequence number; empty batches too.
  std::vector<Elements> batches() const {
    const std::scoped_lock lock(mutex_);
    std::vector<Elements> all;
    for (const auto& [sequence, batch] : batches_) all.push_back(batch.elements);
    return all;
  }
  /// What they were committed as.
  std::vector<CommitId> commits() const {
    const std::scoped_lock lock(mutex_);
    std::vector<CommitId> all;
    for (const auto& [sequence, batch] : batches_) all.push_back(batch.commit);
    return all;
  }
  /// Commits that were skipped because the batch was there.
  std::size_t skipped() const {
    const std::scoped_lock lock(mutex_);
    return skipped_;
  }

  void open(const CommitId& driver) {
    const std::scoped_lock lock(mutex_);
    owner_ = fenced(owner_, driver, kWhere);
  }
  std::optional<CommitId> last_committed() const {
    const std::scoped_lock lock(mutex_);
    if (batches_.empty()) return std::nullopt;
    return batches_.rbegin()->second.commit;
  }
  void commit(const CommitId& commit, const std::vector<Elements>& pieces) {
    const std::scoped_lock lock(mutex_);
    if (!owner_) {
      throw Error(ErrorCode::kInvalidArgument, "a MemorySink was not opened before its commit");
    }
    const auto found = batches_.find(commit.sequence);
    std::optional<CommitId> stored;
    if (found != batches_.end()) stored = found->second.commit;
    if (!must_publish(commit, *owner_, stored, kWhere)) {
      ++skipped_;
      return;
    }
    Batch batch{commit, {}};
    for (const Elements& piece : pieces) {
      batch.elements.insert(batch.elements.end(), piece.begin(), piece.end());
    }
    batches_.emplace(commit.sequence, std::move(batch));
  }
  void rollback_to(std::uint64_t sequence) {
    const std::scoped_lock lock(mutex_);
    batches_.erase(batches_.upper_bound(sequence), batches_.end());
  }

 private:
  static constexpr const char* kWhere = "a MemorySink";

  struct Batch {
    CommitId commit;
    Elements elements;
  };
  mutable std::mutex mutex_;  // guards what follows
  std::optional<SinkOwner> owner_;
  std::map<std::uint64_t, Batch> batches_;
  std::size_t skipped_ = 0;
};

/// Commits batches into the memory of the driver's process, under all the rules of a durable sink:
/// for tests of jobs and of whatever writes to sinks. Elements travel inside the tokens.
///
///     auto output = std::make_shared<weir::MemoryOutput<std::string>>();
///     stream.write_to(weir::MemorySink(output), {.uid = "words"});
///
/// T is the owning form of the stream's elements. With SinkMode::kTruncate it takes batches back.
template <class T>
class MemorySink {
 public:
  class Writer {
   public:
    template <class E>
    void write(std::span<const E> elements) {
      for (const E& element : elements) elements_.push_back(to_owned(element));
    }
    std::vector<T> prepare() { return std::move(elements_); }

   private:
    std::vector<T> elements_;
  };

  MemorySink() = default;
  explicit MemorySink(std::shared_ptr<MemoryOutput<T>> output, SinkMode mode = SinkMode::kAppend)
      : output_(std::move(output)), mode_(mode) {
    if (output_ == nullptr || mode == SinkMode::kUpsert) {
      throw Error(ErrorCode::kInvalidArgument,
                  output_ == nullptr ? "a MemorySink was given no output; make one with "
                                       "std::make_shared<weir::MemoryOutput<T>>()"
                                     : "a MemorySink knows no keys, so it cannot upsert");
    }
  }

  static constexpr CommitPoint commit_point() { return CommitPoint::kDriver; }
  static constexpr SinkGuarantee guarantee() { return SinkGuarantee::kExactlyOnce; }
  SinkMode mode() const { return mode_; }

  void open(const CommitId& driver) { output_->open(driver); }
  std::optional<CommitId> last_committed(std::uint32_t) { return output_->last_committed(); }
  void commit(const CommitId& commit, const std::vector<std::vector<T>>& tokens) {
    output_->commit(commit, tokens);
  }
  void abort(const std::vector<std::vector<T>>&) {}
  void rollback_to(std::uint64_t sequence) { output_->rollback_to(sequence); }

  Writer begin(const CommitId&, std::uint32_t, AttemptId) const { return {}; }

  /// Workers need nothing of it.
  template <class Archive>
  void serialize(Archive&, unsigned) {}

 private:
  std::shared_ptr<MemoryOutput<T>> output_;  // in the driver only
  SinkMode mode_ = SinkMode::kAppend;
};

}  // namespace weir
