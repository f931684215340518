// advice: captures must be explicit: use weir::bind(value..., lambda)
#include "weir/core/context.h"

void refused(weir::Context& context) {
  int factor = 2;
  auto numbers = context.parallelize({1, 2, 3});
  numbers.map([=](int x) { return x * factor; });  // here
}
