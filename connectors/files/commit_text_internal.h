#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "weir/core/sink.h"

namespace weir::files::internal {

/// A CommitId as the files sink keeps it, for people to read:
///
///     weir files sink 1
///     application 5d41402abc4b2a76
///     sink words
///     sequence 12
///     epoch 3
///     intent 00000000000000ff
///     end
std::string to_text(const CommitId& commit);

/// Nothing if it is not exactly that: torn, or of a later version.
std::optional<CommitId> parse_commit(std::string_view text);

}  // namespace weir::files::internal
