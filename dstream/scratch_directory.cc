#include "weir/dstream/scratch_directory.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "weir/core/error.h"

namespace weir::internal {

ScratchDirectory::ScratchDirectory() {
  const char* base = std::getenv("TMPDIR");
  path_ = std::string(base != nullptr && *base != 0 ? base : "/tmp") + "/weir-state-XXXXXX";
  if (::mkdtemp(path_.data()) == nullptr) {
    throw Error(ErrorCode::kUnreachable, "cannot make the folder " + path_ + ": " +
                                             std::strerror(errno) +
                                             "; set TMPDIR to another place");
  }
}

ScratchDirectory::~ScratchDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace weir::internal
