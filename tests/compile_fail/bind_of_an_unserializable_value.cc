// advice: weir::bind: every value must be serializable
#include "weir/core/context.h"

struct Limits {
  int low = 0;
};

void refused(weir::Context& context) {
  auto numbers = context.parallelize({1, 2, 3});
  numbers.filter(weir::bind(Limits{}, [](const Limits& l, int x) { return x > l.low; }));  // here
}
