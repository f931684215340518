#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "weir/core/time.h"

namespace weir::tools {

/// Finds the shortest batch interval that can be sustained, by halving a ladder of intervals. Pure:
/// says what to try and is told how it went. What it finds was tried twice, because a trial is a
/// sample; when the second one fails it goes on with the next longer one.
class IntervalSearch {
 public:
  /// Longest first, at least one.
  explicit IntervalSearch(std::vector<Duration> ladder);

  /// 1 s to 2 ms, about ten steps to a decade.
  static std::vector<Duration> default_ladder();

  /// The interval to try now; nothing when the search is over.
  std::optional<Duration> next() const;
  /// How the trial of `next()` went.
  void tried(bool sustained);
  /// When it is over: the shortest interval that was sustained twice, if any was.
  std::optional<Duration> found() const;

 private:
  const std::vector<Duration> ladder_;
  std::size_t begin_ = 0;  // all before it are sustained
  std::size_t end_ = 0;    // it, and all behind it, are not
  std::size_t at_ = 0;     // to be tried
  bool confirming_ = false;
  bool over_ = false;
};

}  // namespace weir::tools
