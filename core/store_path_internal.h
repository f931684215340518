#pragma once

#include <string>
#include <string_view>

#include "weir/core/error.h"

/// What a path in a `DurableStore` may look like; the same for every kind of store.
namespace weir::internal {

inline bool is_store_name(std::string_view name) {
  if (name.empty() || name == "." || name == "..") return false;
  for (const char c : name) {
    const bool letter = ('a' <= c && c <= 'z') || ('A' <= c && c <= 'Z');
    const bool digit = '0' <= c && c <= '9';
    if (!letter && !digit && c != '.' && c != '-' && c != '_') return false;
  }
  return true;
}

/// Throws Error(kInvalidArgument) unless it is one or more names with '/' between them.
inline void check_store_path(std::string_view path) {
  std::size_t begin = 0;
  while (true) {
    const std::size_t end = path.find('/', begin);
    if (!is_store_name(path.substr(begin, end - begin))) {
      throw Error(ErrorCode::kInvalidArgument,
                  "'" + std::string(path) +
                      "' is not a path in a store: it has to be relative, with names of letters, "
                      "digits, '.', '-' and '_', none of them '..'");
    }
    if (end == std::string_view::npos) return;
    begin = end + 1;
  }
}

/// A directory may also be the store's own, "".
inline void check_store_directory(std::string_view path) {
  if (!path.empty()) check_store_path(path);
}

/// The directory that a path stands in, "" for the store's own.
inline std::string parent_of(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  return std::string(path.substr(0, slash == std::string_view::npos ? 0 : slash));
}

}  // namespace weir::internal
