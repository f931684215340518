// advice: specialise weir::owned
#include <array>
#include <string_view>

#include "weir/core/context.h"

void refused(weir::Context& context) {
  auto lines = context.parallelize({"a", "b"});
  auto words =
      lines.map([](const std::string& line) { return std::array<std::string_view, 1>{line}; });
  words.collect();  // here
}
