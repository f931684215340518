#include "weir/dstream/stream_input.h"

namespace weir::internal {

void StreamInput::restore(const Batch&, const BatchInput&) {
  throw Error(ErrorCode::kInternal, name() + " cannot be replayed");
}

void StreamInput::resume(const std::string&) {
  throw Error(ErrorCode::kInternal, name() + " has no positions");
}

}  // namespace weir::internal
