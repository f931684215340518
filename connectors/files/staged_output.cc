#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <locale>
#include <utility>

#include "weir/connectors/files/staged_output_internal.h"
#include "weir/core/crash_point.h"
#include "weir/core/error.h"

namespace weir::files::internal {
namespace {

constexpr std::size_t kFlushBytes = 256 * 1024;

}  // namespace

StagedOutput::StagedOutput(std::string directory, std::string name)
    : directory_(std::move(directory)), name_(std::move(name)), path_(directory_ + "/" + name_) {
  printing_.imbue(std::locale::classic());
}

StagedOutput::~StagedOutput() {
  if (file_ != nullptr && !finished_) ::unlink(path_.c_str());
}

void StagedOutput::flush_if_full() {
  if (lines_.size() >= kFlushBytes) flush();
}

void StagedOutput::flush() {
  if (file_ == nullptr) {
    const int descriptor = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor < 0 && errno == ENOENT) {
      throw Error(ErrorCode::kUnreachable,
                  directory_ +
                      " is not there: a files sink's directory must be the same one, by the "
                      "same path, on driver and workers");
    }
    if (descriptor < 0) fail_with_errno("create", path_);
    file_ = std::make_unique<OpenFile>(descriptor);
    WEIR_CRASH_POINT("staging.created");
  }
  write_all(file_->descriptor(), lines_, path_);
  bytes_ += lines_.size();
  lines_.clear();
}

StagedFile StagedOutput::finish() {
  if (empty()) return {};
  flush();
  WEIR_CRASH_POINT("staging.written");
  if (::fsync(file_->descriptor()) != 0) fail_with_errno("sync", path_);
  WEIR_CRASH_POINT("staging.synced");
  finished_ = true;
  return {name_, bytes_};
}

}  // namespace weir::files::internal
