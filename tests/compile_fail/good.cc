// What the refused programs would be if they were right: shows that they fail for what they do
// wrong.
#include <string_view>

#include "weir/core/context.h"

int twice(int x) { return 2 * x; }

struct OwnedWord {
  std::string text;
  bool operator==(const OwnedWord&) const = default;
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & text;
  }
};

struct Word {
  std::string_view text;
  operator OwnedWord() const { return {std::string(text)}; }
};

template <>
struct weir::owned<Word> {
  using type = OwnedWord;
};

void accepted(weir::Context& context) {
  int limit = 2;
  auto numbers = context.parallelize({1, 2, 3});
  numbers.filter(weir::bind(limit, [](int l, int x) { return x < l; }));
  numbers.map(weir::fn<&twice>);
  numbers.foreach ([](int) {});
  numbers.map([](int x) { return std::pair(x, x); }).reduce_by_key([](int a, int b) {
    return a + b;
  });
  auto lines = context.parallelize({"a", "b"});
  auto words = lines.map([](const std::string& line) { return Word{line}; });
  words.collect();
  words.map([](const Word& word) { return std::pair(word, word); }).group_by_key().count();
}
