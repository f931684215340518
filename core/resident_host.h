#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "weir/core/bytes.h"
#include "weir/core/task.h"

namespace weir {

/// What a resident task has beside what every task has: words with the driver, and copies of what
/// it keeps on another worker. Made by the runner for one attempt; used by the task's thread.
///
/// Words are not repeated by anyone: each may be lost or overtaken, so both sides say how things
/// stand, and say it again until the other side knows.
class ResidentHost {
 public:
  virtual ~ResidentHost() = default;

  /// To the driver, see TaskRunner::Observer::on_report.
  virtual void report(Bytes report) = 0;
  /// `take` is given each message of the driver (TaskRunner::tell) from now on, on another thread;
  /// an empty function ends that, and none is running when it returns.
  virtual void listen(std::function<void(Bytes)> take) = 0;
  /// Keeps a copy of block `number` of this receiver on another worker, preferably where the last
  /// one went, and frees the copies there that come before `release_before`. Returns who has it;
  /// nothing if no other worker can be reached now, or the task is cancelled.
  virtual std::optional<WorkerId> copy(ShuffleId receiver, std::uint32_t number, const Bytes& block,
                                       std::uint32_t release_before) = 0;
};

}  // namespace weir
