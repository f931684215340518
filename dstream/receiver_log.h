#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "weir/core/bytes.h"
#include "weir/core/durable_store.h"

/// The log of what receivers received, ahead of the batches that will own it: files in the
/// checkpoint directory, each written by one run of one receiver.
///
///     <folder>/<run>.<n>    n in 8 digits, from 0: a file is followed by the next when it has 16
///                           MiB, also in the order of their names
///
///     offset  size  of each record (little-endian)
///          0     8  magic, "WEIRBLK1"
///          8     4  number of the block
///         12     4  zero
///         16     8  elements
///         24     8  bytes
///         32     8  XXH3 of the bytes
///         40     8  XXH3 of bytes 0 to 40
///         48        the bytes
namespace weir::internal {

/// One run's files while they are written. One thread at a time; errors as of DurableFile.
class ReceiverLog {
 public:
  struct Place {
    std::string file;          ///< relative to the directory
    std::uint64_t offset = 0;  ///< of the block's bytes
  };

  ReceiverLog(const std::string& directory, std::string folder, std::string run);

  Place append(std::uint32_t number, std::uint64_t records, const Bytes& block);
  /// What was appended survives the machine's death.
  void sync();

 private:
  const std::unique_ptr<DurableStore> store_;
  const std::string folder_;
  const std::string run_;
  std::uint32_t next_file_ = 0;
  std::string name_;
  std::unique_ptr<DurableFile> file_;
};

/// A block that a log has.
struct LoggedBlock {
  std::string run;
  std::string file;  ///< relative to the store
  std::uint64_t offset = 0;
  std::uint32_t number = 0;
  std::uint64_t records = 0;
  std::uint64_t size = 0;
  std::uint64_t hash = 0;
};

/// The run that a file is of: its name up to the last dot.
std::string run_of(const std::string& file);

/// All blocks of all runs in a folder, or of the files that begin with `prefix`, a run's blocks in
/// the order of their numbers. A file ends where a record is not whole: what comes there was
/// not synced, so nobody was told that it was safe; a warning says file, offset and bytes.
std::vector<LoggedBlock> read_receiver_logs(DurableStore& store, const std::string& folder,
                                            const std::string& prefix = {});

}  // namespace weir::internal
