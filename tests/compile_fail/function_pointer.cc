// advice: use weir::fn<&function> for a plain function
#include "weir/core/context.h"

int twice(int x) { return 2 * x; }

void refused(weir::Context& context) {
  context.parallelize({1, 2, 3}).map(&twice);  // here
}
