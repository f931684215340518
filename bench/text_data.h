#pragma once

#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

namespace weir::bench {

/// Lines of ten words, about 70 bytes, words drawn from `vocabulary` with Zipf weights (s = 1): the
/// standard word-count text. The same for every call.
inline std::vector<std::string> zipf_lines(std::size_t lines, std::size_t vocabulary) {
  std::mt19937_64 random(42);
  std::vector<std::string> words;
  std::vector<double> cumulative;
  double sum = 0;
  for (std::size_t i = 0; i < vocabulary; ++i) {
    std::string word;
    for (std::size_t length = 3 + random() % 7; word.size() < length;) {
      word += static_cast<char>('a' + random() % 26);
    }
    words.push_back(word + std::to_string(i % 10));
    cumulative.push_back(sum += 1.0 / static_cast<double>(i + 1));
  }
  std::uniform_real_distribution<double> uniform(0, sum);
  std::vector<std::string> text;
  for (std::size_t i = 0; i < lines; ++i) {
    std::string line;
    for (int w = 0; w < 10; ++w) {
      const auto at = std::lower_bound(cumulative.begin(), cumulative.end(), uniform(random));
      if (w != 0) line += ' ';
      line += words[static_cast<std::size_t>(at - cumulative.begin())];
    }
    text.push_back(std::move(line));
  }
  return text;
}

}  // namespace weir::bench
