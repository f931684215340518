#include "weir/core/sink.h"

#include <fmt/format.h>

#include "weir/core/error.h"

namespace weir {
namespace {

template <class Owned>
void require_same_owner(const SinkOwner& owner, const Owned& other, const std::string& where) {
  if (owner.application == other.application && owner.sink == other.sink) return;
  throw Error(
      ErrorCode::kDataLoss,
      fmt::format("{} holds the output of application {}, sink {}, and would be given that of "
                  "application {}, sink {}: use another place, or remove what is there; a driver "
                  "whose checkpoint was lost is another application",
                  where, owner.application, owner.sink, other.application, other.sink));
}

void require_epoch(const SinkOwner& owner, const CommitId& driver, const std::string& where) {
  if (driver.epoch >= owner.epoch) return;
  throw Error(ErrorCode::kNotAllowed,
              fmt::format("{} was taken over by epoch {} of the driver, and this is epoch {}: "
                          "another driver of this application was started; stop this one",
                          where, owner.epoch, driver.epoch));
}

}  // namespace

std::string to_string(const CommitId& commit) {
  return fmt::format("batch {} of application {}, sink {} (epoch {}, intent {:016x})",
                     commit.sequence, commit.application, commit.sink, commit.epoch, commit.intent);
}

SinkOwner fenced(const std::optional<SinkOwner>& known, const CommitId& driver,
                 const std::string& where) {
  if (known) {
    require_same_owner(*known, driver, where);
    require_epoch(*known, driver, where);
  }
  return {driver.application, driver.sink, driver.epoch};
}

bool must_publish(const CommitId& commit, const SinkOwner& owner,
                  const std::optional<CommitId>& stored, const std::string& where) {
  require_same_owner(owner, commit, where);
  require_epoch(owner, commit, where);
  if (!stored) return true;
  require_same_owner(owner, *stored, where);
  if (stored->intent == commit.intent) return false;
  throw Error(ErrorCode::kDataLoss,
              fmt::format("{} holds batch {} made from other input: it has intent {:016x} of epoch "
                          "{}, and would be given intent {:016x} of epoch {}. The log of batches "
                          "was lost or changed; nothing was written",
                          where, commit.sequence, stored->intent, stored->epoch, commit.intent,
                          commit.epoch));
}

}  // namespace weir
