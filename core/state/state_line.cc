#include "weir/core/state/state_line.h"

#include <algorithm>
#include <utility>

namespace weir::internal {

std::optional<StateLine::Overlays> StateLine::begin_reading(StateVersion version,
                                                            std::uint64_t fold_to) {
  const std::scoped_lock lock(mutex_);
  if (!at_) return std::nullopt;
  std::vector<StateVersion> path;  // newest first
  for (StateVersion step = version; step != *at_;) {
    const Layer* layer = find(step);
    if (layer == nullptr) return std::nullopt;
    path.push_back(step);
    step = layer->base;
  }
  std::erase_if(layers_, [&](const Layer& layer) {
    return layer.version.sequence <= version.sequence &&
           std::ranges::count(path, layer.version) == 0;
  });
  if (std::ranges::count(reported_by_, version.attempt) != 0) {
    finished_.reset();
    reported_by_.clear();
  }
  while (!path.empty() && path.back().sequence <= fold_to && readers_ == 0) {
    fold(*find(path.back()));
    path.pop_back();
  }
  drop_orphans();
  Overlays overlays;
  std::ranges::reverse(path);
  for (const StateVersion& step : path) overlays.push_back(find(step)->overlay);
  ++readers_;
  return overlays;
}

const StateLine::Layer* StateLine::find(StateVersion version) const {
  const auto found = std::ranges::find(layers_, version, &Layer::version);
  return found == layers_.end() ? nullptr : &*found;
}

void StateLine::fold(const Layer& layer) {
  const StateVersion version = layer.version;
  at_.reset();
  table_->fold(*layer.overlay);
  at_ = version;
  std::erase_if(layers_, [&](const Layer& each) { return each.version == version; });
}

/// Layers stand behind the layers that they are over.
void StateLine::drop_orphans() {
  std::vector<StateVersion> known{*at_};
  std::erase_if(layers_, [&](const Layer& layer) {
    if (std::ranges::count(known, layer.base) == 0) return true;
    known.push_back(layer.version);
    return false;
  });
}

void StateLine::end_reading() {
  const std::scoped_lock lock(mutex_);
  --readers_;
}

bool StateLine::is_past(std::uint64_t sequence) const {
  const std::scoped_lock lock(mutex_);
  return at_ && (at_->sequence > sequence || std::ranges::any_of(layers_, [&](const Layer& layer) {
                   return layer.version.sequence > sequence;
                 }));
}

void StateLine::add(StateVersion version, StateVersion base,
                    std::shared_ptr<const StateOverlay> overlay) {
  const std::scoped_lock lock(mutex_);
  if (find(version) != nullptr) return;  // the attempt came by twice
  layers_.push_back({version, base, std::move(overlay)});
}

std::optional<std::uint64_t> StateLine::begin_snapshot() {
  const std::scoped_lock lock(mutex_);
  if (!at_ || at_->sequence == snapshot_of_ || finished_ || writing_snapshot_) return std::nullopt;
  writing_snapshot_ = true;
  snapshot_of_ = at_->sequence;
  ++readers_;
  return snapshot_of_;
}

void StateLine::end_snapshot(std::optional<StateStep> finished) {
  const std::scoped_lock lock(mutex_);
  --readers_;
  writing_snapshot_ = false;
  if (!finished) snapshot_of_ = 0;
  finished_ = std::move(finished);
}

std::vector<StateStep> StateLine::report_snapshots(std::uint64_t attempt) {
  const std::scoped_lock lock(mutex_);
  if (!finished_) return {};
  reported_by_.push_back(attempt);
  return {*finished_};
}

}  // namespace weir::internal
