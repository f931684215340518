#include "weir/core/sorting.h"

#include <algorithm>
#include <numeric>

namespace weir::internal {

std::vector<std::size_t> stable_order(std::size_t size,
                                      const std::function<bool(std::size_t, std::size_t)>& less) {
  std::vector<std::size_t> order(size);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), less);
  return order;
}

}  // namespace weir::internal
