#include "interval_search.h"

#include <utility>

#include "weir/core/error.h"

namespace weir::tools {

IntervalSearch::IntervalSearch(std::vector<Duration> ladder)
    : ladder_(std::move(ladder)), end_(ladder_.size()), at_(ladder_.size() / 2) {
  if (ladder_.empty()) {
    throw Error(ErrorCode::kInvalidArgument, "there is no batch interval to try");
  }
}

std::vector<Duration> IntervalSearch::default_ladder() {
  std::vector<Duration> ladder;
  for (const int ms :
       {1000, 700, 500, 400, 300, 200, 150, 100, 70, 50, 40, 30, 20, 15, 10, 7, 5, 4, 3, 2}) {
    ladder.emplace_back(std::chrono::milliseconds(ms));
  }
  return ladder;
}

std::optional<Duration> IntervalSearch::next() const {
  if (over_) return std::nullopt;
  return ladder_[at_];
}

void IntervalSearch::tried(bool sustained) {
  if (confirming_ && sustained) {
    over_ = true;
    return;
  }
  if (sustained) {
    begin_ = at_ + 1;
  } else {
    end_ = at_;
    if (confirming_) begin_ = at_ == 0 ? 0 : at_ - 1;  // the next longer one has to be tried
  }
  confirming_ = false;
  if (begin_ < end_) {
    at_ = begin_ + (end_ - begin_) / 2;
  } else if (end_ == 0) {
    over_ = true;  // not even the longest
  } else {
    at_ = end_ - 1;
    confirming_ = true;
  }
}

std::optional<Duration> IntervalSearch::found() const {
  if (!over_ || end_ == 0) return std::nullopt;
  return ladder_[end_ - 1];
}

}  // namespace weir::tools
