#pragma once

#include <atomic>
#include <compare>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "weir/core/state/state_task.h"

namespace weir::internal {

/// A version by name: what one attempt made of one batch; attempt 0 is what was restored.
struct StateVersion {
  std::uint64_t sequence = 0;
  std::uint64_t attempt = 0;

  auto operator<=>(const StateVersion&) const = default;
};

/// The versions of one partition in memory: a table and overlays over it, each over the version
/// that its attempt read. Several attempts of one batch may stand side by side until the driver
/// names the one that it accepted.
///
///     table (6, a)  <--  overlay (7, b)  <--  overlay (8, c)
///                                        <--  overlay (8, d)      the attempt before c, say
///
/// The table is only changed while nobody reads it. Thread-safe.
class StateLine {
 public:
  StateLine(KeyGroups groups, std::unique_ptr<StateTable> table, StateVersion at)
      : groups_(groups), table_(std::move(table)), at_(at) {}

  using Overlays = std::vector<std::shared_ptr<const StateOverlay>>;

  /// The overlays between the table and the version, oldest first, for a reader who then says
  /// `end_reading`; nothing if the version is not here. What is named has been accepted by the
  /// driver: whatever contradicts it goes, and what it is made of is folded up to `fold_to` if the
  /// table is not being read.
  std::optional<Overlays> begin_reading(StateVersion version, std::uint64_t fold_to);
  void end_reading();
  const StateTable& table() const { return *table_; }
  const KeyGroups& groups() const { return groups_; }
  /// Whether it has gone on to versions after `sequence`.
  bool is_past(std::uint64_t sequence) const;

  void add(StateVersion version, StateVersion base, std::shared_ptr<const StateOverlay> overlay);

  /// Counts as reading; nothing if the last snapshot is not reported yet or was of this table. The
  /// result is the table's version.
  std::optional<std::uint64_t> begin_snapshot();
  void end_snapshot(std::optional<StateStep> finished);
  /// What is finished, again and again until the driver accepts an attempt that reported it.
  std::vector<StateStep> report_snapshots(std::uint64_t attempt);

  /// Nobody wants it any more: a snapshot of it ends early.
  void abandon() { abandoned_.store(true); }
  bool abandoned() const { return abandoned_.load(); }

 private:
  struct Layer {
    StateVersion version;
    StateVersion base;
    std::shared_ptr<const StateOverlay> overlay;
  };

  const Layer* find(StateVersion version) const;
  void drop_orphans();
  void fold(const Layer& layer);

  const KeyGroups groups_;
  const std::unique_ptr<StateTable> table_;  // changed under mutex_ while readers_ is 0
  std::atomic<bool> abandoned_{false};

  mutable std::mutex mutex_;        // guards what follows
  std::optional<StateVersion> at_;  // of the table; none: broken off while folding
  std::vector<Layer> layers_;
  std::uint32_t readers_ = 0;
  bool writing_snapshot_ = false;
  std::uint64_t snapshot_of_ = 0;  // the version that the last one was begun of
  std::optional<StateStep> finished_;
  std::vector<std::uint64_t> reported_by_;
};

}  // namespace weir::internal
