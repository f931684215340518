// advice: captures must be explicit: use weir::bind(value..., lambda)
#include "weir/core/context.h"

void refused(weir::Context& context) {
  int sum = 0;
  context.parallelize({1, 2, 3}).foreach ([&](int x) { sum += x; });  // here
}
