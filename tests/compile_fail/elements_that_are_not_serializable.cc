// advice: this type is not serializable: give it a public member
#include "weir/core/context.h"

struct Point {
  int x = 0;
};

void refused(weir::Context& context) {
  auto points = context.parallelize({1, 2, 3}).map([](int x) { return Point{x}; });
  points.collect();  // here
}
