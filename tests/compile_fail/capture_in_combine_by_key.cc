// advice: captures must be explicit: use weir::bind(value..., lambda)
#include "weir/core/context.h"

void refused(weir::Context& context) {
  int most = 2;
  auto counts = context.parallelize({std::pair(1, 10)});
  const auto add = [](int a, int b) { return a + b; };
  counts.combine_by_key([=](int v) { return v < most ? v : most; }, add, add);  // here
}
