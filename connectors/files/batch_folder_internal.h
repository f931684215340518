#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "weir/connectors/files/folder_ops_internal.h"
#include "weir/connectors/files/sink.h"
#include "weir/core/sink.h"

namespace weir::files::internal {

/// What tasks call a file that they prepare, in `staging_of(directory)`.
std::string staged_name(const CommitId& commit, std::uint32_t partition, AttemptId attempt);
std::string staging_of(const std::string& directory);

/// The driver's side of the files sink: what becomes visible, and when.
///
///     DIR/batch-000000000012/part-00000.txt    one directory per batch that has elements
///                           /_COMMIT           its CommitId
///     DIR/_weir/fence                          application, sink and highest epoch
///              /lock                           held during each call
///              /staging/                       what is not committed
///
/// A commit and what is there when the driver or the machine dies behind a step:
///
///     tasks wrote and synced their files in staging/          nothing is visible; `open` removes
///     it
///  1  staging/12-assembled/ is made, the files move there     the same
///  2  its _COMMIT is written and synced                       the same
///  3  staging/12-assembled/ is synced                         the same: whole, but not visible
///  4  it is renamed to DIR/batch-000000000012                 all visible, _COMMIT with it. If the
///                                                             machine dies, all or nothing: what
///                                                             the rename shows was synced before
///  5  DIR is synced                                           durable; only now is it reported. A
///                                                             driver that died behind 4 is made up
///                                                             for by its successor: `open` syncs
///                                                             DIR before it tells what is there
///  6  staging/ is cleaned of this batch and those before      left-overs cost room, until `open`
///
/// A batch without elements leaves nothing, and the one before stays the last one: the driver
/// records what is told as the last batch and later misses what is not there any more, so only what
/// outlives the machine is told. Committed again, such a batch is the same nothing.
///
/// Two drivers: `open` raises the epoch in `fence` (written beside, synced, renamed, DIR/_weir
/// synced) and every call reads it again, under one lock, so that behind `open` no driver of a
/// lower epoch publishes. Where the file system has no locks over machines, a commit that has read
/// the fence already may still come through; then its batch is there when the new driver commits
/// the same one, and is skipped or, made from other input, refused: never both.
///
/// Threads: one at a time.
class BatchFolder {
 public:
  /// `directory` is absolute.
  BatchFolder(std::string directory, std::string_view extension,
              std::shared_ptr<FolderOps> ops = FolderOps::system());

  void open(const CommitId& driver);
  /// The newest batch that has elements.
  std::optional<CommitId> last_committed() const { return last_; }
  void commit(const CommitId& commit, const std::vector<StagedFile>& files);
  void abort(const std::vector<StagedFile>& files);
  void rollback_to(std::uint64_t sequence);

 private:
  std::string path(const std::string& name) const { return directory_ + "/" + name; }
  /// In the sink's own folder.
  std::string own(const std::string& name) const { return directory_ + "/_weir/" + name; }
  void require_empty() const;
  std::optional<CommitId> read_fence() const;
  /// What the directory holds under this sequence number.
  std::optional<CommitId> stored(std::uint64_t sequence) const;
  CommitId read_batch(const std::string& name) const;
  void publish(const CommitId& commit, const std::vector<StagedFile>& files);
  void publish_directory(const CommitId& commit, const std::vector<StagedFile>& files);
  void replace_fence(const CommitId& driver);
  [[noreturn]] void throw_without_fence() const;
  void find_last();
  /// Removes what is staged for batches up to `sequence`.
  void clean(std::uint64_t sequence);

  const std::string directory_;
  const std::string extension_;
  const std::string where_;  // for messages
  const std::shared_ptr<FolderOps> ops_;
  std::optional<CommitId> driver_;  // that opened it
  std::optional<CommitId> last_;    // that is durable
};

}  // namespace weir::files::internal
