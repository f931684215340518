#include "weir/core/state/state_dataset.h"

#include <fmt/format.h>

#include "weir/core/error.h"

namespace weir::internal {

std::shared_ptr<StateHandle> declare_state(const std::shared_ptr<Engine>& engine,
                                           StateTracker::Declaration declaration) {
  const std::uint32_t partitions = declaration.partitions;
  const std::uint32_t key_groups = declaration.key_groups;
  if (partitions == 0 || partitions > key_groups) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{}: state cannot have {} partitions; it has {} key groups, and each "
                            "partition owns one at least",
                            declaration.name, partitions, key_groups));
  }
  const StateId id = engine->next_state_id();
  engine->states().declare(id, std::move(declaration));
  return std::make_shared<StateHandle>(engine, id, partitions, key_groups);
}

}  // namespace weir::internal
