#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "weir/core/error.h"
#include "weir/core/memory_store.h"
#include "weir/dstream/log/batch_log.h"

/// What the tests of the batch log share.
namespace weir::test {

inline Time second(std::int64_t number) { return Time(std::chrono::seconds(number)); }

inline LogRecord intent(std::uint64_t sequence, std::string input = "0-9") {
  return {LogRecord::Kind::kIntent,
          sequence,
          second(static_cast<std::int64_t>(sequence)),
          {{"input/lines", 1, std::move(input)}}};
}
inline LogRecord commit(std::uint64_t sequence) {
  return {LogRecord::Kind::kCommit, sequence, second(static_cast<std::int64_t>(sequence)), {}};
}
inline LogRecord checkpoint(std::uint64_t sequence, std::string pieces = "pieces") {
  return {LogRecord::Kind::kCheckpoint,
          sequence,
          second(static_cast<std::int64_t>(sequence)),
          {{"state", 2, std::move(pieces)}}};
}

inline const LogIdentity& an_identity() {
  static const LogIdentity made{"word-count-7", 42, 512};
  return made;
}

inline std::unique_ptr<BatchLog> open_log(std::shared_ptr<DurableStore> store,
                                          BatchLog::Options options = {}) {
  return BatchLog::open(std::move(store), an_identity(), options);
}

/// Appends and waits.
inline void write(BatchLog& log, LogRecord record) { log.await(log.append(std::move(record))); }

inline std::vector<std::uint64_t> sequences(const std::vector<LogRecord>& records) {
  std::vector<std::uint64_t> all;
  for (const LogRecord& record : records) all.push_back(record.sequence);
  return all;
}

/// The Error that `f` throws.
template <class F>
Error error_of(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "nothing was thrown";
  return {ErrorCode::kInternal, ""};
}

inline void expect_says(const Error& error, const std::string& words) {
  EXPECT_NE(std::string(error.what()).find(words), std::string::npos)
      << "'" << error.what() << "' does not say '" << words << "'";
}

using Sequences = std::vector<std::uint64_t>;

}  // namespace weir::test
