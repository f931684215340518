#include "weir/core/error.h"
#include "weir/dstream/batch_journal.h"
#include "weir/dstream/stream_parts_internal.h"
#include "weir/dstream/stream_sink.h"

namespace weir::internal {

CommitId StreamParts::commit_id(const StreamSink& sink, const Batch& batch,
                                std::uint64_t intent) const {
  return {.application = application,
          .sink = sink.uid(),
          .sequence = batch.sequence,
          .epoch = journal ? journal->epoch() : 1,
          .intent = intent};
}

std::string to_text(const Batch& batch) {
  return "batch " + std::to_string(batch.sequence) + " of " + to_string(batch.time);
}

std::string message_of(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (...) {
    return describe_current_exception();
  }
}

std::exception_ptr located(const std::string& where) {
  ErrorCode code = ErrorCode::kJobFailed;
  try {
    throw;
  } catch (const Error& error) {
    code = error.code();
  } catch (...) {
  }
  return std::make_exception_ptr(Error(code, where + ": " + describe_current_exception()));
}

}  // namespace weir::internal
