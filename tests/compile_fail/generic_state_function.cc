// advice: with every parameter type spelled out (no auto)
#include <optional>
#include <string>

#include "weir/core/state/map_with_state.h"

int main() {
  const auto last = [](const std::string&, std::optional<int> value, auto& state) {
    state.update(*value);
    return *value;
  };
  const weir::StateSpec spec(last);  // here
  return spec.partitions() != 0 ? 1 : 0;
}
