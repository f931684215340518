#pragma once

#include <optional>
#include <string>
#include <vector>

/// Rows of joins as text, so that their tables are of one type: one to compile, and to read.
namespace weir::test {

inline std::string shown(int value) { return std::to_string(value); }
inline std::string shown(const std::string& value) { return value; }
template <class T>
std::string shown(const std::optional<T>& value) {
  return value ? shown(*value) : "-";
}
template <class T>
std::string shown(const std::vector<T>& values) {
  std::string all;
  for (const T& value : values) all += shown(value) + ".";
  return all;
}

/// "1:10:a" of the row (1, (10, "a")).
struct RowText {
  template <class Row>
  std::string operator()(const Row& row) const {
    return shown(row.first) + ":" + shown(row.second.first) + ":" + shown(row.second.second);
  }
};

}  // namespace weir::test
