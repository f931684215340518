#pragma once

#include <signal.h>
#include <unistd.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "weir/core/context.h"
#include "weir/core/state/state_dataset.h"

#include "toy_state.h"

/// Batches that update a sum per key, and what the sums should be.
namespace weir::test {

using Record = std::pair<int, std::int64_t>;
using Sums = std::map<int, std::int64_t>;

inline Sums sums(const std::vector<Record>& records) {
  return Sums(records.begin(), records.end());
}

struct AddSums {
  std::int64_t operator()(std::int64_t a, std::int64_t b) const { return a + b; }
};

struct SumOperator {
  using Out = Record;
  using Aggregator = internal::ReduceAggregator<std::int64_t, AddSums>;
  using SnapshotElement = Record;
  static constexpr bool kKeepsKeys = true;

  // At these keys the first attempt ends, after others perhaps; 0: it does not.
  int throw_at = 0;
  int kill_at = 0;  ///< with its process

  Aggregator aggregator() const { return {}; }
  std::unique_ptr<internal::StateTable> make_table(const internal::KeyGroups& groups) const {
    return std::make_unique<SumTable>(groups);
  }

  class Update {
   public:
    Update(const internal::StateView& base, const SumOperator& by)
        : base_(base), by_(by), keys_(sums_of(base_).size()) {}

    void add(std::uint64_t hash, int&& key, std::int64_t&& value) {
      auto [at, is_new] = changed_.try_emplace(hash, SumOverlay::Sum{key, 0});
      if (is_new) {
        const auto before = sum_in(base_, hash);
        at->second.value = before.value_or(0);
        if (!before) ++keys_;
      }
      at->second.value += value;
      if (TaskContext::current().attempt() != 1) return;
      if (key == by_.throw_at) throw std::runtime_error("half way");
      if (key == by_.kill_at) kill(getpid(), SIGKILL);
    }
    std::unique_ptr<internal::StateOverlay> finish(std::vector<Out>& out) {
      for (const auto& [hash, sum] : changed_) out.emplace_back(sum.key, sum.value);
      return std::make_unique<SumOverlay>(std::move(changed_));
    }
    std::uint64_t total_keys() const { return keys_; }

   private:
    const internal::StateView base_;
    const SumOperator& by_;
    std::uint64_t keys_;
    SumOverlay::Sums changed_;
  };
  Update begin(const internal::StateView& base, const internal::StateBatch&) const {
    return {base, *this};
  }

  internal::StreamPtr<Record> snapshot(const internal::StateView& view) const {
    const Sums all = sums_of(view);
    return internal::StreamPtr<Record>(
        new internal::OwnedStream<Record>(std::vector<Record>(all.begin(), all.end())));
  }

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & throw_at & kill_at;
  }
};

class SumState {
 public:
  using Updated = Rdd<Record>;

  /// Goes on where `after` is, if given.
  SumState(Context& context, const std::string& directory, std::uint32_t partitions,
           const SumState* after = nullptr)
      : context_(context),
        handle_(
            internal::declare_state(context.engine(), {"sums", partitions, 512, directory, 0})) {
    if (after == nullptr) return;
    expected_ = after->expected_;
    sequence_ = after->sequence_;
  }

  /// The dataset of the next batch; nothing is computed yet.
  Updated update(const std::vector<Record>& records, SumOperator by = {}) {
    for (const auto& [key, value] : records) expected_[key] += value;
    return Rdd<Record>(new internal::StateUpdateDataset<int, std::int64_t, SumOperator>(
                           context_.parallelize(records, 3).dataset(), "sum", handle_,
                           internal::StateBatchId{sequence_, {}}, by))
        .persist();
  }
  Sums collect(const Updated& updated) const {
    const internal::BatchScope scope(this, sequence_, {});
    return sums(updated.collect());
  }
  void commit() { context_.engine()->states().committed(sequence_++); }
  Sums run(const std::vector<Record>& records) {
    const Sums out = collect(update(records));
    commit();
    return out;
  }

  /// All sums after the last batch that was committed.
  Sums snapshot() const {
    return sums(Rdd<Record>(new internal::StateSnapshotDataset<SumOperator>(
                                context_.engine(), "sums", handle_,
                                internal::StateBatchId{sequence_ - 1, {}}, SumOperator{}))
                    .collect());
  }
  Sums& expected() { return expected_; }
  std::uint64_t sequence() const { return sequence_; }
  StateId id() const { return handle_->id(); }

 private:
  Context& context_;
  const std::shared_ptr<internal::StateHandle> handle_;
  std::uint64_t sequence_ = 1;
  Sums expected_;
};

}  // namespace weir::test
