#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <variant>

#include "weir/core/state/state_files.h"
#include "weir/core/state/state_task.h"

namespace weir::internal {

using MakeStateTable = std::function<std::unique_ptr<StateTable>(const KeyGroups&)>;

struct RestoredState {
  std::unique_ptr<StateTable> table;
  std::uint64_t bytes = 0;  ///< read from files
};

/// Puts the base of `input` together from its history. `step` is called for every delta and group:
/// it may throw to end the work. A piece that is not there or is damaged is a `StateLost`.
std::variant<RestoredState, StateLost> restore_state(const StateFiles& files,
                                                     const StateInput& input,
                                                     const MakeStateTable& make_table,
                                                     const std::function<void()>& step);

}  // namespace weir::internal
