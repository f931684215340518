#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "weir/core/archive.h"
#include "weir/core/hash.h"
#include "weir/core/state/state_table.h"

/// Drives a stateful operator's partitions as the state store does, by hand.
namespace weir::testing {

inline constexpr std::uint64_t kStateSeed = 7;

inline Time at_seconds(double seconds) {
  return Time(Duration(static_cast<std::int64_t>(seconds * 1'000'000)));
}

/// One partition: a table, overlays above it and every delta so far.
template <class Operator>
class StatePartition {
 public:
  using Key = typename Operator::Key;
  using Out = typename Operator::Out;
  using Element = typename Operator::SnapshotElement;

  StatePartition(const Operator& op, internal::KeyGroups groups)
      : op_(op), groups_(groups), table_(op.make_table(groups)) {}

  /// Runs a batch over those of the records whose keys are owned, as its version.
  template <class Record>
  std::vector<Out> run(Time time, const std::vector<Record>& records) {
    auto update = op_.begin(view(), {++sequence_, time, kStateSeed, groups_});
    for (const auto& [key, value] : records) {
      const auto hash = internal::key_hash(key, kStateSeed);
      if (!groups_.owns(hash)) continue;
      std::string bytes = encode(key);  // gone when add returns
      SlimReader reader(bytes);
      update.add(hash, internal::read_in_place<Key>(reader), typename Operator::Value(value));
    }
    std::vector<Out> out;
    auto overlay = update.finish(out);
    keys_ = update.total_keys();
    SlimWriter delta;
    overlay->write(delta);
    deltas_.emplace_back(delta.view());
    overlays_.push_back(std::move(overlay));
    return out;
  }

  /// Folds all overlays but the newest `kept`.
  void fold(std::size_t kept = 0) {
    while (overlays_.size() > kept) {
      table_->fold(*overlays_.front());
      overlays_.erase(overlays_.begin());
    }
  }

  internal::StateView view() {
    pointers_.clear();
    for (const auto& overlay : overlays_) pointers_.push_back(overlay.get());
    return {table_.get(), pointers_};
  }
  std::vector<Element> elements() {
    std::vector<Element> all;
    const auto stream = op_.snapshot(view());
    for (auto chunk = stream->next(); !chunk.empty(); chunk = stream->next()) {
      all.insert(all.end(), chunk.begin(), chunk.end());
    }
    return all;
  }
  /// The table's groups, written.
  std::vector<std::string> groups() const {
    std::vector<std::string> all;
    for (auto group = groups_.begin; group < groups_.end; ++group) {
      SlimWriter out;
      table_->write_group(group, out);
      all.emplace_back(out.view());
    }
    return all;
  }
  void read_group(std::uint32_t group, const std::string& bytes) {
    SlimReader in(bytes);
    table_->read_group(group, in);
    in.expect_end();
  }
  void fold_delta(const std::string& bytes) { fold_delta(bytes, groups_); }
  void fold_delta(const std::string& bytes, const internal::KeyGroups& groups) {
    SlimReader in(bytes);
    table_->fold_delta(in, groups);
    in.expect_end();
  }
  void set_sequence(std::uint64_t sequence) { sequence_ = sequence; }

  const std::vector<std::string>& deltas() const { return deltas_; }
  internal::StateTable& table() { return *table_; }
  std::size_t overlays() const { return overlays_.size(); }
  std::uint64_t keys() const { return keys_; }
  std::uint64_t sequence() const { return sequence_; }
  internal::KeyGroups range() const { return groups_; }

 private:
  const Operator& op_;
  const internal::KeyGroups groups_;
  std::unique_ptr<internal::StateTable> table_;
  std::vector<std::unique_ptr<internal::StateOverlay>> overlays_;
  std::vector<const internal::StateOverlay*> pointers_;
  std::vector<std::string> deltas_;
  std::uint64_t sequence_ = 0;
  std::uint64_t keys_ = 0;
};

template <class T>
std::vector<T> sorted(std::vector<T> all) {
  std::sort(all.begin(), all.end());
  return all;
}

}  // namespace weir::testing
