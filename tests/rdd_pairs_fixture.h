#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "weir/core/context.h"

#include "masters.h"
#include "process_tools.h"

/// What tests of datasets of pairs share.
namespace weir::test {

using Ints = std::vector<int>;
using Words = std::vector<std::string>;
using Number = std::pair<int, int>;
using Name = std::pair<int, std::string>;
using Numbers = std::vector<Number>;
using Names = std::vector<Name>;

template <class T>
std::vector<T> sorted(std::vector<T> values) {
  std::sort(values.begin(), values.end());
  return values;
}

/// What a call threw; its code is kInternal if it was nothing.
template <class F>
Error error_of(F f) {
  try {
    f();
  } catch (const Error& error) {
    return error;
  }
  return Error(ErrorCode::kInternal, "nothing was thrown");
}

/// Tasks wait for the worker that has their data, so that tests can count what is computed.
inline Config config_of(const char* master) {
  return Config()
      .set("master", master)
      .set("hash-seed", "42")
      .set("log-level", "error")
      .set("cluster.locality-wait", "1min");
}

class RddPairsTest : public ::testing::TestWithParam<const char*> {
 protected:
  RddPairsTest() : context_(config_of(GetParam())) { context_.add_listener(events_); }

  Rdd<Number> numbers(Numbers pairs) { return context_.parallelize(std::move(pairs), 3); }
  Rdd<Name> names(Names pairs) { return context_.parallelize(std::move(pairs), 2); }

  /// Stages that ran since the last call, by the names of their last operations.
  Words new_stages() {
    context_.engine()->bus().flush();
    Words stages;
    const auto all = events_->stages();
    for (; stages_seen_ < all.size(); ++stages_seen_) stages.push_back(all[stages_seen_].name);
    return stages;
  }
  /// Tasks that ran since the last call.
  std::size_t new_tasks() {
    context_.engine()->bus().flush();
    const auto all = events_->tasks().size();
    return all - std::exchange(tasks_seen_, all);
  }

  Context context_;

 private:
  const std::shared_ptr<EventRecord> events_ = std::make_shared<EventRecord>();
  std::size_t stages_seen_ = 0;
  std::size_t tasks_seen_ = 0;
};
}  // namespace weir::test
