#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "weir/testing.h"

namespace weir::testing {

/// Table tests run over every kind of master: one thread, several, worker processes; and with
/// batches in flight.
class OverMasters : public ::testing::TestWithParam<const char*> {
 protected:
  static constexpr const char* kInFlight = " with 3 in flight";

  static Options options() {
    std::string master = GetParam();
    const std::size_t in_flight = master.find(kInFlight);
    if (in_flight == std::string::npos) return {.master = master};
    return {.master = master.substr(0, in_flight), .batches_in_flight = 3};
  }
  /// The same for a stream of the test's own.
  static Config config() {
    return Config()
        .set("master", options().master)
        .set("batches-in-flight", std::to_string(options().batches_in_flight))
        .set("stop-on-signal", "false");
  }
};

inline std::string master_name(const ::testing::TestParamInfo<const char*>& info) {
  std::string name;
  for (const char c : std::string(info.param)) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0) name += c;
  }
  return name;
}

#define WEIR_OVER_MASTERS(suite)                                                           \
  INSTANTIATE_TEST_SUITE_P(Masters, suite,                                                 \
                           ::testing::Values("local[1]", "local[4]", "local-cluster[2,1]", \
                                             "local[4] with 3 in flight"),                 \
                           ::weir::testing::master_name)

/// What comes out of a shuffle is compared sorted.
template <class T>
Batches<T> sorted(Batches<T> batches) {
  for (auto& batch : batches) std::sort(batch.begin(), batch.end());
  return batches;
}

}  // namespace weir::testing
