#include "weir/cluster/membership.h"

#include <algorithm>
#include <csignal>
#include <iterator>
#include <utility>

#include <fmt/format.h>

namespace weir {

using namespace std::chrono_literals;

namespace {

/// How long the report of a process's end may come after its connection broke.
constexpr Duration kExitReportTime = 500ms;
/// What a returning worker that is no longer a member gets to report results, which are refused.
constexpr Duration kDrainTime = 1s;

std::optional<SteadyTime> earlier(std::optional<SteadyTime> a, std::optional<SteadyTime> b) {
  if (!a || !b) return a ? a : b;
  return std::min(*a, *b);
}

}  // namespace

Membership::Membership(const ClusterSettings& settings, std::uint32_t places)
    : settings_(settings), places_(places) {}

void Membership::start(SteadyTime now) {
  for (std::uint32_t place = 0; place < places_.size(); ++place) start_at(place, now);
}

bool Membership::registered(WorkerId worker, std::uint32_t slots, std::string endpoint,
                            SteadyTime now) {
  Member* member = mutable_find(worker);
  if (member == nullptr || member->state == State::kLost || stopping_) return false;
  member->last_heard = std::max(member->last_heard, now);
  if (member->state != State::kStarting) return true;
  member->slots = slots;
  member->endpoint = std::move(endpoint);
  member->alive_since = now;
  enter(*member, State::kAlive, std::nullopt);
  places_[worker.slot].failed_starts = 0;
  ever_registered_ = true;
  return true;
}

void Membership::unfit(WorkerId worker, const std::string& reason, SteadyTime now) {
  Member* member = mutable_find(worker);
  if (member == nullptr || member->state == State::kLost || stopping_ || failed_) return;
  fail(fmt::format("worker {} {}", to_string(worker), reason));  // first: no place starts again
  lose(*member, false, reason, now);
  member->deadline = now + settings_.stop_grace;
}

void Membership::fail(const std::string& reason) {
  if (failed_) return;
  failed_ = true;
  for (Place& place : places_) place.start_at.reset();
  events_.push_back(ClusterFailed{reason});
}

void Membership::heard(WorkerId worker, SteadyTime at) {
  Member* member = mutable_find(worker);
  if (member == nullptr) return;
  member->last_heard = std::max(member->last_heard, at);
}

void Membership::dismiss(WorkerId worker, SteadyTime now) {
  events_.push_back(TellShutdown{
      worker, fmt::format("worker {} is not a member any more", to_string(worker)), kDrainTime});
  Member* member = mutable_find(worker);
  if (member == nullptr || member->state != State::kLost || stopping_) return;
  member->deadline = earlier(member->deadline, now + kDrainTime + settings_.stop_grace);
}

void Membership::disconnected(WorkerId worker, SteadyTime now) {
  Member* member = mutable_find(worker);
  if (member == nullptr || member->state != State::kAlive || stopping_) return;
  enter(*member, State::kSuspect, now + kExitReportTime);
}

void Membership::exited(WorkerId worker, const ProcessExit& exit, SteadyTime now) {
  Member* member = mutable_find(worker);
  if (member == nullptr) return;
  if (member->state != State::kLost && !stopping_) {
    lose(*member, is_own_fault(exit), to_string(exit), now);
  }
  members_.erase(worker);
}

void Membership::hung(WorkerId worker, const std::string& reason, SteadyTime now) {
  Member* member = mutable_find(worker);
  if (member == nullptr || member->state == State::kLost || stopping_) return;
  lose(*member, false, reason, now);
  kill(*member, SIGKILL, now);
}

Duration Membership::tick_period(const ClusterSettings& settings) {
  return std::min<Duration>(100ms, settings.heartbeat_timeout / 8);
}

Duration Membership::absence(SteadyTime at) {
  const Duration gap = last_awake_ ? at - *last_awake_ : Duration{};
  last_awake_ = at;
  if (gap <= std::max(settings_.heartbeat_timeout / 4, 3 * tick_period(settings_))) return {};
  for (auto& [id, member] : members_) member.last_heard = std::min(at, member.last_heard + gap);
  return gap;
}

void Membership::tick(SteadyTime at) {
  for (auto& [id, member] : members_) {
    if (member.state != State::kAlive || stopping_) continue;
    const Duration silence = at - member.last_heard;
    if (silence < settings_.heartbeat_timeout) continue;
    lose(member, false,
         fmt::format("was not heard of for {}: frozen or cut off", to_string(silence)), at);
    member.deadline = at + settings_.lost_worker_linger;
  }
}

void Membership::on_timer(SteadyTime now) {
  for (auto next = members_.begin(); next != members_.end();) {
    Member& member = (next++)->second;  // `overdue` may forget it
    if (member.deadline && *member.deadline <= now) overdue(member, now);
  }
  for (std::uint32_t place = 0; place < places_.size(); ++place) {
    if (places_[place].start_at && *places_[place].start_at <= now) start_at(place, now);
  }
}

void Membership::overdue(Member& member, SteadyTime now) {
  member.deadline.reset();
  switch (member.state) {
    case State::kAlive:  // told to end at `stop`, and has not
      kill(member, member.last_signal == 0 ? SIGTERM : SIGKILL, now);
      return;
    case State::kStarting:
      lose(member, false,
           fmt::format("did not register within {}", to_string(settings_.worker_start_timeout)),
           now);
      kill(member, SIGKILL, now);
      return;
    case State::kSuspect:
      lose(member, false, "broke its connection", now);
      kill(member, SIGKILL, now);
      return;
    case State::kLost:
      if (member.last_signal != SIGKILL) {
        kill(member, SIGKILL, now);
      } else if (stopping_) {
        members_.erase(member.id);  // nothing more can be done; do not wait for ever
      }
      return;
  }
}

void Membership::stop(SteadyTime now) {
  if (stopping_) return;
  stopping_ = true;
  for (Place& place : places_) place.start_at.reset();
  for (auto& [id, member] : members_) {
    if (member.state == State::kAlive || member.state == State::kSuspect) {
      events_.push_back(TellShutdown{id, "the driver stops", Duration{}});
      enter(member, State::kAlive, now + settings_.stop_grace);
    } else {
      enter(member, State::kLost, std::nullopt);
      kill(member, SIGKILL, now);
    }
  }
}

std::optional<Membership::Event> Membership::next_event() {
  if (next_event_ == events_.size()) {
    events_.clear();
    next_event_ = 0;
    return std::nullopt;
  }
  return std::move(events_[next_event_++]);
}

std::optional<SteadyTime> Membership::next_deadline() const {
  std::optional<SteadyTime> next;
  for (const auto& [id, member] : members_) next = earlier(next, member.deadline);
  for (const Place& place : places_) next = earlier(next, place.start_at);
  return next;
}

const Membership::Member* Membership::find(WorkerId worker) const {
  const auto found = members_.find(worker);
  return found == members_.end() ? nullptr : &found->second;
}

Membership::Member* Membership::mutable_find(WorkerId worker) {
  return const_cast<Member*>(std::as_const(*this).find(worker));
}

bool Membership::is_member(WorkerId worker) const {
  const Member* member = find(worker);
  return member != nullptr && (member->state == State::kAlive || member->state == State::kSuspect);
}

const Membership::Member* Membership::alive_at(std::uint32_t place) const {
  if (place >= places_.size() || !places_[place].current) return nullptr;
  const Member* member = find(*places_[place].current);
  return member != nullptr && member->state == State::kAlive ? member : nullptr;
}

std::uint32_t Membership::alive_count() const {
  return static_cast<std::uint32_t>(std::ranges::count_if(
      members_, [](const auto& entry) { return entry.second.state == State::kAlive; }));
}

void Membership::enter(Member& member, State state, std::optional<SteadyTime> deadline) {
  member.state = state;
  member.deadline = deadline;
}

void Membership::start_at(std::uint32_t place, SteadyTime now) {
  Place& at = places_[place];
  const WorkerId id{place, ++at.incarnations};
  at.start_at.reset();
  at.current = id;
  Member& member = members_[id];
  member.id = id;
  member.last_heard = now;
  enter(member, State::kStarting, now + settings_.worker_start_timeout);
  events_.push_back(Start{id});
}

void Membership::lose(Member& member, bool blame, const std::string& reason, SteadyTime now) {
  const bool was_member = member.state != State::kStarting;
  last_trouble_ = fmt::format("worker {} {}", to_string(member.id), reason);
  enter(member, State::kLost, std::nullopt);
  events_.push_back(Lost{member.id, was_member, blame, reason});
  replace(member, now);
  if (!was_member) fail_if_hopeless();
}

void Membership::replace(Member& member, SteadyTime now) {
  Place& place = places_[member.id.slot];
  const bool had_registered = member.alive_since.has_value();
  place.current.reset();
  if (!had_registered) ++place.failed_starts;
  if (had_registered && now - *member.alive_since >= settings_.restart_reset)
    place.young_deaths = 0;
  Duration delay{};
  if (place.young_deaths > 0) {
    const std::uint32_t doublings = std::min(place.young_deaths - 1, 20U);
    delay = std::min(settings_.restart_backoff * (1 << doublings), settings_.restart_backoff_max);
  }
  ++place.young_deaths;
  if (!failed_ && !stopping_) place.start_at = now + delay;
}

void Membership::kill(Member& member, int signal, SteadyTime now) {
  member.last_signal = signal;
  enter(member, signal == SIGKILL ? State::kLost : member.state, now + settings_.stop_grace);
  events_.push_back(Kill{member.id, signal});
}

void Membership::fail_if_hopeless() {
  if (ever_registered_) return;
  const bool hopeless = std::ranges::all_of(
      places_, [&](const Place& place) { return place.failed_starts >= settings_.start_attempts; });
  if (!hopeless) return;
  fail(fmt::format(
      "no worker can be started: {}, the {}th time in a row; what it printed is on standard error",
      last_trouble_, settings_.start_attempts));
}

}  // namespace weir
