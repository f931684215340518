// advice: specialise weir::owned
#include <string_view>

#include "weir/core/context.h"

struct Word {
  std::string_view text;
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & text;
  }
};

void refused(weir::Context& context) {
  auto lines = context.parallelize({"a", "b"});
  auto words = lines.map([](const std::string& line) { return Word{line}; });
  words.collect();  // here
}
