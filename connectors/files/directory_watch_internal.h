#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "weir/connectors/files/arrivals_internal.h"
#include "weir/connectors/files/folder_ops_internal.h"

namespace weir::files::internal {

/// Looks at a directory: by listing it, and through the kernel's reports of what comes into it
/// (inotify), which cost nothing for what was there before. Used by one thread; never blocks.
///
/// What comes under its name by rename or link, or is closed after it was created in place, is
/// reported; what is opened again and changed later is not (`rewritten`).
class DirectoryWatch {
 public:
  struct Events {
    std::vector<std::string> arrived;    ///< names, in order
    std::vector<std::string> gone;       ///< removed or renamed away
    std::vector<std::string> rewritten;  ///< changed in place though not created while watched
    bool overflow = false;               ///< the kernel dropped some: list the directory
  };

  /// Begins to watch, so that what comes after a later listing is reported. Throws
  /// Error(kInvalidArgument) if there is no such directory, Error(kUnreachable) if it cannot be
  /// watched.
  explicit DirectoryWatch(std::string directory);

  /// What happened since the last call. Throws Error(kUnreachable) when the directory is gone.
  Events poll();
  /// All that is there.
  std::vector<Arrival> list() const;
  /// What has this name: a file, or a directory of the files sink; nothing else counts.
  std::optional<Arrival> look_at(const std::string& name) const;

 private:
  const std::string directory_;
  const OpenFile inotify_;
  std::set<std::string> being_written_;  // created and not closed yet
};

/// Whether names of the directory are looked at: not those that begin with '.' or '_'.
bool is_visible(const std::string& name);

/// The file behind a path as it is now; nothing if there is none.
std::optional<FileInfo> file_info(const std::string& path, const std::string& name);

}  // namespace weir::files::internal
