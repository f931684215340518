#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "weir/core/state/state_tracker.h"
#include "weir/core/time.h"

namespace weir::internal {

class DatasetBase;
class StateHandle;
class StreamNode;
struct StateMigration;

/// How a stateful operator is known from one start of the program to the next.
struct OperatorIdentity {
  std::string uid;          ///< `.uid("name")`, or kind and order among the stateful operators
  bool is_named = false;    ///< by the user
  std::string kind;         ///< "map_with_state"
  std::string fingerprint;  ///< structure of its key and state types
  /// Batches after which deltas are not needed, longer than the operator says as long as some of a
  /// shorter batch interval are; 0: always needed.
  std::uint64_t expires_after = 0;

  bool operator==(const OperatorIdentity&) const = default;
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & uid & is_named & kind & fingerprint & expires_after;
  }
};

/// An operator that keeps state from batch to batch. Its stream's RDD at a time is made by updating
/// the state with the batch's input.
///
/// Used by the thread that starts the stream and then by the one that runs batches.
class StatefulOperator {
 public:
  virtual ~StatefulOperator() = default;

  virtual const char* kind() const = 0;
  virtual std::string fingerprint() const = 0;
  /// How state that was written as this becomes the operator's; null if it does not.
  virtual const StateMigration* migration_from(const std::string& fingerprint) const = 0;
  virtual std::uint32_t num_partitions() const = 0;
  /// Batches after which a batch's delta is not needed any more (windows); 0: always needed.
  virtual std::uint64_t expires_after() const = 0;
  virtual const StreamNode& stream() const = 0;

  /// Before the first batch.
  virtual void attach(std::shared_ptr<const StateHandle> state) = 0;
  /// As attached.
  virtual StateId state() const = 0;
  /// Makes what the update at `time` will read, and the update's RDD itself for `update` to take,
  /// so that map stages can be run ahead of it. Within a BatchScope of that batch.
  virtual std::shared_ptr<DatasetBase> prepare(Time time) = 0;
  /// Brings `partitions` of the state to the version of the batch at `time`, in a job of its own.
  /// Within a BatchScope of that batch.
  virtual void update(Time time, const std::vector<std::uint32_t>& partitions) = 0;
};

/// Finds each operator's state again: by uid. Throws Error(kDataLoss) that lists both sides when an
/// operator of the checkpoint has none to go to, when the operators without `.uid` changed in
/// number, order or kind, or when a fingerprint differs. `dropped` are uids that may go.
void require_same_operators(const std::vector<OperatorIdentity>& recorded,
                            const std::vector<OperatorIdentity>& current,
                            const std::vector<std::string>& dropped);

}  // namespace weir::internal
