#pragma once

#include <cctype>
#include <string>

#include <gtest/gtest.h>

/// Table tests run over every kind of master: one thread, several threads, worker processes.
namespace weir::test {

inline constexpr const char* kMasters[] = {"local[1]", "local[4]", "local-cluster[2,1]"};

/// "localcluster21", for the names of tests.
inline std::string master_name(const ::testing::TestParamInfo<const char*>& info) {
  std::string name;
  for (const char c : std::string(info.param)) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0) name += c;
  }
  return name;
}

#define WEIR_TEST_OVER_MASTERS(suite)                                                   \
  INSTANTIATE_TEST_SUITE_P(Masters, suite, ::testing::ValuesIn(::weir::test::kMasters), \
                           ::weir::test::master_name)

}  // namespace weir::test
