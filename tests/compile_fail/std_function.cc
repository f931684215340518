// advice: captures must be explicit: use weir::bind(value..., lambda)
#include <functional>

#include "weir/core/context.h"

void refused(weir::Context& context) {
  std::function<int(int)> twice = [](int x) { return 2 * x; };
  context.parallelize({1, 2, 3}).map(twice);  // here
}
