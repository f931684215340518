#include "weir/core/state/state_files.h"

#include <random>

#include <fmt/format.h>

namespace weir::internal {

StateFiles StateFiles::of_the_system() {
  return {[](const std::string& directory) { return directory_store_at(directory); },
          [] {
            std::random_device device;
            return (std::uint64_t{device()} << 32) | device();
          }};
}

StateFiles::Created StateFiles::create(const std::string& directory, const std::string& prefix,
                                       const std::string& suffix) const {
  const auto store = store_at(directory);
  Created created;
  while (created.file == nullptr) {
    created.name = fmt::format("{}{:016x}{}", prefix, number(), suffix);
    created.file = store->create(created.name);
  }
  return created;
}

}  // namespace weir::internal
