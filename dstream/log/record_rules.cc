#include <fmt/format.h>

#include "weir/dstream/log/record_rules_internal.h"

namespace weir::internal {

std::string RecordRules::accept(LogRecord::Kind kind, std::uint64_t sequence) {
  switch (kind) {
    case LogRecord::Kind::kIntent:
      // Where an epoch's numbering begins is the caller's: a sink may be ahead of the log.
      if (sequence != last_ + 1 && !(may_skip_ && sequence > last_)) {
        return fmt::format("INTENT({}) does not follow INTENT({})", sequence, last_);
      }
      last_ = sequence;
      may_skip_ = false;
      open_.insert(sequence);
      return "";
    case LogRecord::Kind::kCommit:
      if (open_.erase(sequence) == 1) return "";
      return fmt::format("COMMIT({}) of a batch that has {}", sequence,
                         sequence <= last_ ? "one already, or never had an INTENT" : "no INTENT");
    case LogRecord::Kind::kCheckpoint:
      // That of 0 says where a stream begins, as long as it has no batch.
      if (!is_committed(sequence) || (sequence == 0 && last_ != 0)) {
        return fmt::format("CHECKPOINT({}) though {}", sequence, describe_open());
      }
      if (sequence < checkpoint_) {
        return fmt::format("CHECKPOINT({}) behind CHECKPOINT({})", sequence, checkpoint_);
      }
      checkpoint_ = sequence;
      return "";
  }
  return fmt::format("a record of the unknown kind {}", static_cast<int>(kind));
}

std::string RecordRules::accept_release(std::uint64_t sequence) {
  if (!is_committed(sequence)) {
    return fmt::format("release of the batches up to {} though {}", sequence, describe_open());
  }
  if (sequence < released_) {
    return fmt::format("release of the batches up to {} behind one up to {}", sequence, released_);
  }
  released_ = sequence;
  return "";
}

std::string RecordRules::describe_open() const {
  if (open_.empty()) return fmt::format("the newest batch is {}", last_);
  return fmt::format("batch {} is not committed and the newest is {}", *open_.begin(), last_);
}

}  // namespace weir::internal
