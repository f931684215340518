#include <algorithm>
#include <functional>
#include <iterator>
#include <tuple>
#include <utility>

#include "weir/connectors/files/arrivals_internal.h"

namespace weir::files::internal {

void Arrivals::restart(const Position& from) {
  position_ = from;
  just_taken_.clear();
  waiting_.clear();
  waiting_names_.clear();
}

bool Arrivals::is_owned(const FileMark& mark) const {
  const auto is_it = [&](const FileMark& other) {
    return other.inode == mark.inode && other.mtime == mark.mtime && other.size == mark.size &&
           other.name == mark.name;
  };
  const auto taken = just_taken_.find(mark.name);
  if (taken != just_taken_.end() && is_it(taken->second)) return true;
  return std::ranges::any_of(position_.owned, is_it);
}

void Arrivals::on_listed(Arrival arrival) {
  if (arrival.mark.ctime < position_.watermark || is_owned(arrival.mark)) return;
  wait(std::move(arrival));
}

void Arrivals::on_event(Arrival arrival) {
  if (!is_owned(arrival.mark)) wait(std::move(arrival));
}

void Arrivals::on_gone(const std::string& name) {
  const auto known = waiting_names_.find(name);
  if (known == waiting_names_.end()) return;
  waiting_.erase({known->second, name});
  waiting_names_.erase(known);
}

std::vector<std::string> Arrivals::waiting() const {
  std::vector<std::string> names;
  for (const auto& [name, ctime] : waiting_names_) names.push_back(name);
  return names;
}

void Arrivals::wait(Arrival arrival) {
  on_gone(arrival.mark.name);  // replaced before it was taken
  waiting_names_[arrival.mark.name] = arrival.mark.ctime;
  auto key = std::pair(arrival.mark.ctime, arrival.mark.name);
  waiting_.emplace(std::move(key), std::move(arrival));
}

Position Arrivals::take(std::uint32_t max_files) {
  position_.files.clear();
  just_taken_.clear();
  while (!waiting_.empty()) {
    Arrival& next = waiting_.begin()->second;
    if (max_files != 0 && !position_.files.empty() &&
        position_.files.size() + next.files.size() > max_files) {
      break;
    }
    std::ranges::move(next.files, std::back_inserter(position_.files));
    position_.watermark = std::max(position_.watermark, next.mark.ctime - kOverlap);
    waiting_names_.erase(next.mark.name);
    just_taken_.emplace(next.mark.name, next.mark);
    position_.owned.push_back(std::move(next.mark));
    waiting_.erase(waiting_.begin());
  }
  forget_old_marks();
  return position_;
}

void Arrivals::forget_old_marks() {
  auto& owned = position_.owned;
  if (owned.size() > kMostMarks) {
    const auto oldest = owned.begin() + (kMostMarks - 1);
    std::ranges::nth_element(owned, oldest, std::ranges::greater(), &FileMark::ctime);
    position_.watermark = std::max(position_.watermark, oldest->ctime);
  }
  std::erase_if(owned, [&](const FileMark& mark) { return mark.ctime < position_.watermark; });
  std::ranges::sort(owned, {},
                    [](const FileMark& mark) { return std::tie(mark.ctime, mark.name); });
}

}  // namespace weir::files::internal
