// advice: write [] where [=] or [&] captures nothing
#include "weir/core/context.h"

void refused(weir::Context& context) {
  auto numbers = context.parallelize({1, 2, 3});
  numbers.map([&](int x) { return x * 2; });  // here
}
