#include "weir/dstream/print.h"

#include <cstdint>
#include <cstdio>

namespace weir::internal {
namespace {

std::string milliseconds(Time time) {
  const std::int64_t us = time.time_since_epoch().count();
  char text[48];
  if (us % 1'000 == 0) {
    std::snprintf(text, sizeof text, "%lld", static_cast<long long>(us / 1'000));
  } else {
    std::snprintf(text, sizeof text, "%lld.%03lld", static_cast<long long>(us / 1'000),
                  static_cast<long long>(us % 1'000));
  }
  return text;
}

}  // namespace

void print_batch(Time time, const std::vector<std::string>& elements, bool more) {
  const std::string rule(43, '-');
  std::string text = rule + "\nTime: " + milliseconds(time) + " ms\n" + rule + "\n";
  for (const std::string& element : elements) text += element + "\n";
  if (more) text += "...\n";
  text += "\n";
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

std::string name_of_batch(const std::string& prefix, Time time, const std::string& suffix) {
  return prefix + "-" + milliseconds(time) + (suffix.empty() ? "" : "." + suffix);
}

}  // namespace weir::internal
