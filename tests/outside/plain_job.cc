#include <cstdio>

#include <weir/weir.h>

// A job without a command line of its own: all settings are in the program.
int main() {
  weir::Context context(weir::Config().set("master", "local-cluster[2,1]"));
  std::printf("%lld\n", static_cast<long long>(context.parallelize({1, 2, 3}, 2).count()));
}
