#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <string>

#include "weir/core/durable_store.h"

namespace weir {

/// A disk that lives in this process, for tests and simulations: it can lose what was not synced,
/// fill up and fail, which a real one does too rarely.
///
/// Processes are *starts*: `kill`, `crash` and `stop_after` end all of those that there are, whose
/// every later call throws; what stays is seen by the next start. Thread-safe.
class MemoryDisk {
 public:
  MemoryDisk();
  ~MemoryDisk();
  MemoryDisk(const MemoryDisk&) = delete;
  MemoryDisk& operator=(const MemoryDisk&) = delete;

  /// The disk as a process that starts now sees it. May outlive the disk.
  std::shared_ptr<DurableStore> start();

  /// The processes die: everything written stays, their locks do not.
  void kill();
  /// The machine dies. Independently of each other: every append since its file's last sync
  /// survives whole, in part, as zeros, as garbage of its length, or not at all; every name made,
  /// renamed or removed since its directory's last sync is as it was before or after.
  void crash(std::mt19937_64& random);
  /// The disk that there would be if the machine died now and nothing survived that was not synced;
  /// nothing happens to this one.
  std::unique_ptr<MemoryDisk> without_unsynced() const;
  /// Processes die in the `operations`-th changing call from now (from 1): a sync does nothing any
  /// more, everything else was done just before. Follow it with `crash` to let the machine die.
  void stop_after(std::uint64_t operations);

  /// Appends fail for want of space once `bytes` more were written, half done.
  void fill_after(std::uint64_t bytes);
  void make_room();
  /// The `syncs`-th sync of a file from now (from 1) fails and loses what it should have saved.
  void fail_sync(std::uint64_t syncs);
  /// Locks are granted although they are held, as on a file system that has none.
  void ignore_locks();

  struct Counts {
    std::uint64_t operations = 0;  ///< calls that change anything
    std::uint64_t appends = 0;
    std::uint64_t syncs = 0;  ///< of files
    std::uint64_t directory_syncs = 0;
  };
  Counts counts() const;

  /// Damages a file, or makes one, durably.
  void put(const std::string& path, const std::string& content);
  void erase(const std::string& path);

 private:
  class State;
  class Process;
  class File;
  class Reader;
  class Lock;
  const std::shared_ptr<State> state_;
};

}  // namespace weir
