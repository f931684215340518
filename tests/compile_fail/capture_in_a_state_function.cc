// advice: captures must be explicit
#include <optional>
#include <string>

#include "weir/core/state/map_with_state.h"

int main() {
  int seen = 0;
  const auto count = [&](const std::string&, std::optional<int>, weir::State<int>&) {
    return ++seen;
  };
  const weir::StateSpec spec(count);  // here
  return spec.partitions() != 0 ? 1 : 0;
}
