#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace weir {

/// A file that is only ever appended to. One thread at a time.
///
/// After `append` returns, the bytes survive the death of this process; after `sync` returns, they
/// survive the death of the machine, provided the file's directory was synced since the file was
/// created. When `append` or `sync` throws, the file's end is unknown from its last synced size on,
/// and it must not be written any more: a failed fsync is never tried again, because the kernel may
/// have dropped the pages (https://lwn.net/Articles/752063/).
class DurableFile {
 public:
  virtual ~DurableFile() = default;
  /// Throws Error(kUnreachable) that names path, bytes and cause.
  virtual void append(std::string_view bytes) = 0;
  /// fdatasync.
  virtual void sync() = 0;
  /// Bytes appended so far.
  virtual std::uint64_t size() const = 0;
  /// Whether somebody removed it: nobody will find what is appended from now on.
  virtual bool is_removed() const = 0;
};

/// A file that is read piece by piece, which others may append to or remove meanwhile. One thread
/// at a time.
class DurableReader {
 public:
  virtual ~DurableReader() = default;
  /// Bytes that there are now.
  virtual std::uint64_t size() const = 0;
  /// Fills `to` with what stands from `offset` on. Returns how many bytes that were: fewer where
  /// the file ends.
  virtual std::size_t read(std::uint64_t offset, std::span<char> to) = 0;
};

/// Held while it lives: one holder of a store at a time, over all processes.
class StoreLock {
 public:
  virtual ~StoreLock() = default;
};

/// Where what must survive is kept, batch log and state: a directory on every driver and worker
/// today, an object store later, a simulation in tests. Paths are relative, with '/' between names;
/// a name is made of letters, digits, '.', '-' and '_'. Thread-safe. Errors are Error(kUnreachable)
/// with path and cause unless stated.
class DurableStore {
 public:
  virtual ~DurableStore() = default;

  /// How people know it: the directory's path.
  virtual std::string name() const = 0;

  /// Creates a file that does not exist, with its parent directories; null if it exists. The file's
  /// name survives the machine's death after `sync_directory` of its parent.
  virtual std::unique_ptr<DurableFile> create(const std::string& path) = 0;
  /// Null if there is no such file.
  virtual std::unique_ptr<DurableReader> open(const std::string& path) = 0;
  /// Whole or part; fewer bytes than `length` where the file ends. Throws Error(kCorrupt) if there
  /// is no such file.
  std::string read(const std::string& path, std::uint64_t offset, std::uint64_t length);
  /// Bytes of a file, or -1 if there is none.
  virtual std::int64_t size(const std::string& path) = 0;
  /// Names of the files in a directory, sorted; empty if there is no such directory.
  virtual std::vector<std::string> list(const std::string& directory) = 0;
  /// Does nothing if there is no such file.
  virtual void remove(const std::string& path) = 0;
  /// Replaces `path` by `content`, atomically and durably (new file, sync, rename, directory sync).
  virtual void replace(const std::string& path, std::string_view content) = 0;
  /// Makes the contents of a file durable that another process may have written.
  virtual void sync_file(const std::string& path) = 0;
  virtual void sync_directory(const std::string& directory) = 0;
  /// Throws Error(kNotAllowed) that says who holds it (process, host, since when) if it is held.
  virtual std::unique_ptr<StoreLock> lock() = 0;
};

/// A directory of the file system, created with mode 0700 where missing. Throws
/// Error(kInvalidArgument) if it cannot be written, saying why.
std::unique_ptr<DurableStore> open_directory_store(const std::string& directory);

/// A directory that is another process's matter. Nothing is looked at before it is used, and
/// `create` makes the directory only where the one above exists: a file system that is not mounted
/// must not be mistaken for an empty one.
std::unique_ptr<DurableStore> directory_store_at(const std::string& directory);

}  // namespace weir
