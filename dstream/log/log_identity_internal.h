#pragma once

#include <optional>
#include <string>

#include "weir/dstream/log/batch_log.h"

namespace weir::internal {

/// The store's file that says what the log belongs to.
constexpr const char* kIdentityPath = "application";

/// Durably. The log's first segment is there before, so that either without the other means loss.
void write_identity(DurableStore& store, const LogIdentity& identity);
/// Nothing if there is none. Throws Error(kCorrupt) if it cannot be read, and Error(kDataLoss) if
/// a newer version of the format wrote it.
std::optional<LogIdentity> read_identity(DurableStore& store);

}  // namespace weir::internal
