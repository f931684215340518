#pragma once

#include "weir/connectors/kafka/client_internal.h"
#include "weir/connectors/kafka/deadline_internal.h"
#include "weir/connectors/kafka/position.h"

namespace weir::kafka::internal {

/// `options.starting` as offsets of all `partitions`. Asks the brokers until `deadline`; throws
/// Error(kUnreachable), or Error(kInvalidArgument) for a partition or an offset that is not there.
Position starting_position(Client& client, const Position& partitions, const Options& options,
                           const Deadline& deadline);

}  // namespace weir::kafka::internal
