// advice: map the elements to std::pair(key, value) first
#include "weir/core/context.h"

void refused(weir::Context& context) {
  context.parallelize({1, 2, 3}).reduce_by_key([](int a, int b) { return a + b; });  // here
}
