#include <algorithm>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include <weir/weir.h>

// A dataset job: counts the words of some lines and prints them in order.
int main(int argc, char** argv) {
  weir::Context context(argc, argv);
  std::string least = argc > 1 ? argv[1] : "a";
  auto counts = context.parallelize({"to be or not to be", "that is the question"}, 2)
                    .flat_map([](const std::string& line) { return weir::split(line, ' '); })
                    .filter(weir::bind(
                        least, [](const std::string& l, std::string_view w) { return w >= l; }))
                    .map([](std::string_view word) { return std::pair(word, std::int64_t{1}); })
                    .reduce_by_key([](std::int64_t a, std::int64_t b) { return a + b; })
                    .collect();
  std::sort(counts.begin(), counts.end());
  for (const auto& [word, count] : counts) {
    std::printf("%s %lld\n", word.c_str(), static_cast<long long>(count));
  }
}
