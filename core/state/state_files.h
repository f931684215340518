#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "weir/core/durable_store.h"

namespace weir::internal {

/// Where state's files are and how new ones are named. Names are random, so that processes that
/// never heard of each other share a directory. Thread-safe.
struct StateFiles {
  /// The store that a directory is.
  std::function<std::shared_ptr<DurableStore>(const std::string& directory)> store_at;
  /// A number that no other file was named by.
  std::function<std::uint64_t()> number;

  /// In the file system, by the system's random numbers.
  static StateFiles of_the_system();

  struct Created {
    std::string name;
    std::unique_ptr<DurableFile> file;
  };
  /// Creates `<prefix><16 hex digits><suffix>`. Throws Error(kUnreachable) with path and cause.
  Created create(const std::string& directory, const std::string& prefix,
                 const std::string& suffix) const;
};

}  // namespace weir::internal
