#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "weir/testing.h"

namespace weir::testing {

/// Table tests run over every kind of master: one thread, several, worker processes.
class OverMasters : public ::testing::TestWithParam<const char*> {
 protected:
  Options options() const { return {.master = GetParam()}; }
};

inline std::string master_name(const ::testing::TestParamInfo<const char*>& info) {
  std::string name;
  for (const char c : std::string(info.param)) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0) name += c;
  }
  return name;
}

#define WEIR_OVER_MASTERS(suite)                                                            \
  INSTANTIATE_TEST_SUITE_P(Masters, suite,                                                  \
                           ::testing::Values("local[1]", "local[4]", "local-cluster[2,1]"), \
                           ::weir::testing::master_name)

/// What comes out of a shuffle is compared sorted.
template <class T>
Batches<T> sorted(Batches<T> batches) {
  for (auto& batch : batches) std::sort(batch.begin(), batch.end());
  return batches;
}

}  // namespace weir::testing
