#pragma once

#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "weir/connectors/kafka/source.h"
#include "weir/core/error.h"

/// What the tests of the Kafka connector share.
namespace weir::kafka {

/// "v3", "v4" ... for [from, to).
inline std::vector<std::string> numbered(int from, int to) {
  std::vector<std::string> values;
  for (int i = from; i < to; ++i) values.push_back("v" + std::to_string(i));
  return values;
}

inline std::vector<std::string> read_values(const Source& source, const Range& range) {
  std::vector<std::string> values;
  const auto stream = source.read(range);
  for (auto chunk = stream->next(); !chunk.empty(); chunk = stream->next()) {
    for (const Record& record : chunk) values.emplace_back(record.value);
  }
  return values;
}

/// Of the Error that `action` throws.
inline ErrorCode code_of(const std::function<void()>& action, std::string* message = nullptr) {
  try {
    action();
  } catch (const Error& error) {
    if (message != nullptr) *message = error.what();
    return error.code();
  }
  ADD_FAILURE() << "nothing was thrown";
  return ErrorCode::kInternal;
}

}  // namespace weir::kafka
