#include "weir/core/state/state_restore.h"

#include <algorithm>

#include <fmt/format.h>

#include "weir/core/error.h"
#include "weir/core/state/snapshot_file.h"

namespace weir::internal {
namespace {

/// The newest version that does not need the step. (A chain that begins with a later snapshot may
/// not reach that version either: the driver knows the chains.)
StateLost lost_at(const StateInput& input, const StateStep& broken, const Error& error) {
  StateLost lost{input.state, input.partition, 0, {}};
  for (const StateStep& step : input.history) {
    if (step.sequence < broken.sequence) lost.sequence = std::max(lost.sequence, step.sequence);
  }
  lost.message =
      fmt::format("partition {}: the {} of batch {} cannot be read: {}", input.partition,
                  broken.is_snapshot ? "snapshot" : "delta", broken.sequence, error.what());
  return lost;
}

void apply(const StateStep& step, const KeyGroups& groups, PieceReader& pieces, StateTable& table,
           const std::function<void()>& progress) {
  if (!step.is_snapshot) {
    SlimReader in(pieces.read(step.piece));
    table.fold_delta(in, groups);
    progress();
    return;
  }
  pieces.read_groups(step.piece, [&](std::uint32_t group, SlimReader& in) {
    if (groups.begin <= group && group < groups.end) table.read_group(group, in);
    progress();
  });
}

/// Those that a step counts for.
KeyGroups groups_of(const StateStep& step, KeyGroups owned) {
  if (step.end_group == 0) return owned;
  owned.begin = std::max(owned.begin, step.begin_group);
  owned.end = std::min(owned.end, step.end_group);
  return owned;
}

bool same_groups(const StateStep& a, const StateStep& b) {
  return a.begin_group == b.begin_group && a.end_group == b.end_group;
}

}  // namespace

std::variant<RestoredState, StateLost> restore_state(const StateFiles& files,
                                                     const StateInput& input,
                                                     const MakeStateTable& make_table,
                                                     const std::function<void()>& step) {
  PieceReader pieces(files, input.directory);
  auto whole = make_table(input.groups);
  // Chains of several partitions that begin with snapshots are put together one by one, each in a
  // table of the groups that it counts for, and then handed over. Deltas alone are in order.
  const bool in_order = std::ranges::none_of(input.history, &StateStep::is_snapshot);
  for (auto at = input.history.begin(); at != input.history.end();) {
    const StateStep& first = *at;
    std::unique_ptr<StateTable> part;
    const KeyGroups groups = groups_of(first, input.groups);
    if (first.end_group != 0 && !in_order) part = make_table(groups);
    for (; at != input.history.end() && same_groups(*at, first); ++at) {
      try {
        apply(*at, groups, pieces, part != nullptr ? *part : *whole, step);
      } catch (const Error& error) {
        if (error.code() != ErrorCode::kCorrupt) throw;
        return lost_at(input, *at, error);
      }
    }
    if (part == nullptr) continue;
    for (std::uint32_t group = groups.begin; group < groups.end; ++group) {
      SlimWriter out;
      part->write_group(group, out);
      SlimReader in(out.view());
      whole->read_group(group, in);
      step();
    }
  }
  return RestoredState{std::move(whole), pieces.bytes_read()};
}

}  // namespace weir::internal
