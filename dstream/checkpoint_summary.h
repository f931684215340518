#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "weir/dstream/batch.h"

/// What a checkpoint directory holds, for people: read without changing or locking anything, so
/// that it may be done while a driver runs.
namespace weir {

struct CheckpointSummary {
  /// One operator's state as of the newest COMMIT.
  struct State {
    std::string uid;
    std::uint32_t partitions = 0;
    std::uint64_t pieces = 0;  ///< of files, that it is put together from
    std::uint64_t bytes = 0;   ///< of these
  };
  /// What a receiver has logged and nobody has released.
  struct ReceiverLog {
    std::string folder;
    std::uint64_t files = 0;
    std::uint64_t blocks = 0;
    std::uint64_t records = 0;
    std::uint64_t bytes = 0;
  };

  std::string application = {};
  std::uint64_t epoch = 0;      ///< of the newest driver
  Batch checkpointed = {};      ///< the batch of the newest CHECKPOINT; sequence 0: none
  std::uint64_t committed = 0;  ///< the newest batch that is done
  Batch last = {};              ///< the newest that was begun
  std::uint64_t log_bytes = 0;
  std::vector<State> states = {};
  std::vector<ReceiverLog> receivers = {};
  std::vector<std::string> notes = {};     ///< what does not matter, and why
  std::vector<std::string> problems = {};  ///< why a driver would not start from it, or would lose
};

/// `read_state`: also reads all pieces of state and compares their checksums. What cannot be read
/// is among the problems. Throws Error(kUnreachable) if there is no such directory.
CheckpointSummary summarize_checkpoint(const std::string& directory, bool read_state);

}  // namespace weir
