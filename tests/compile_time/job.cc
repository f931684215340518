// A job of ten operators, for compile_time.sh.

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <weir/weir.h>

int main(int argc, char** argv) {
  weir::Context context(argc, argv);
  const auto lines = context.text_file(argv[1]);
  const auto counts =
      lines.flat_map([](const std::string& line) { return weir::split(line, ' '); })
          .filter([](std::string_view word) { return !word.empty(); })
          .map([](std::string_view word) { return std::pair(word, std::int64_t{1}); })
          .reduce_by_key([](std::int64_t a, std::int64_t b) { return a + b; })
          .map_values([](std::int64_t count) { return count * 2; })
          .persist();
  const auto longest = counts.map([](const auto& pair) { return pair.first.size(); }).max();
  for (const auto& [word, count] : counts.sort_by_key().take(10)) {
    if (word.size() == longest) return static_cast<int>(count);
  }
  return static_cast<int>(counts.union_with(counts).distinct().count());
}
