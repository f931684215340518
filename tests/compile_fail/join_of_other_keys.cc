// advice: the keys of both datasets must have one type
#include <string>

#include "weir/core/context.h"

void refused(weir::Context& context) {
  auto counts = context.parallelize({std::pair(1, 10)});
  auto names = context.parallelize({std::pair(std::string("one"), std::string("a"))});
  counts.join(names);  // here
}
