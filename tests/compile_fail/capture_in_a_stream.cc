// advice: captures must be explicit: use weir::bind(value..., lambda)
#include "weir/dstream/streaming_context.h"

void refused(weir::DStream<int>& numbers) {
  int limit = 2;
  numbers.filter([&](int x) { return x < limit; }).map([](int x) { return x; });  // here
}
