#pragma once

#include <cstdint>
#include <set>
#include <string>

#include "weir/core/codecs.h"
#include "weir/dstream/log/batch_log.h"

namespace weir::internal {

/// What may follow what in a log: INTENTs are dense within an epoch; a COMMIT is of a batch that
/// has an INTENT and no COMMIT; CHECKPOINTs and releases are of batches that are committed with all
/// before them, and never go back. The same rules for what a caller appends and for what a file
/// holds.
class RecordRules {
 public:
  /// The next INTENT is an epoch's first: it may leave out numbers, those of batches that sinks
  /// hold and the log lost.
  void begin_epoch() { may_skip_ = true; }
  /// What is wrong with the record as the next one; "" if nothing is. Takes it in if nothing is.
  std::string accept(LogRecord::Kind kind, std::uint64_t sequence);
  /// The same for a release of the batches up to `sequence`.
  std::string accept_release(std::uint64_t sequence);

  std::uint64_t last_sequence() const { return last_; }
  std::uint64_t released() const { return released_; }

  bool operator==(const RecordRules& other) const {
    return last_ == other.last_ && open_ == other.open_ && checkpoint_ == other.checkpoint_ &&
           released_ == other.released_;
  }
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & last_ & open_ & checkpoint_ & released_;
  }

 private:
  /// Whether all batches up to `sequence` are.
  bool is_committed(std::uint64_t sequence) const {
    return sequence <= last_ && (open_.empty() || sequence < *open_.begin());
  }
  std::string describe_open() const;

  std::uint64_t last_ = 0;        ///< of the newest INTENT, 0: none
  std::set<std::uint64_t> open_;  ///< with an INTENT and no COMMIT
  std::uint64_t checkpoint_ = 0;  ///< of the newest CHECKPOINT, 0: none
  std::uint64_t released_ = 0;
  bool may_skip_ = true;  // of the epoch that is being read or written, so not part of the state
};

}  // namespace weir::internal
