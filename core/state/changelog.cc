#include "weir/core/state/changelog.h"

#include <utility>

#include "weir/core/crash_point.h"
#include "weir/core/hash.h"

namespace weir::internal {
namespace {

constexpr std::string_view kMagic = "WEIRCHG1";

}  // namespace

StatePiece Changelog::append(const std::string& directory, std::string_view bytes) {
  const std::uint64_t hash = hash_bytes(bytes);
  const std::scoped_lock lock(mutex_);
  StateFiles::Created& current = files_[directory];
  StateFiles::Created log = std::exchange(current, {});  // given up unless all of it is written
  if (log.file == nullptr || log.file->size() >= roll_bytes_ || log.file->is_removed()) {
    log = state_files_.create(directory, "log-", ".chg");
    log.file->append(kMagic);
  }
  WEIR_CRASH_POINT("state.before-delta");
  if (WEIR_CRASH_DUE("state.delta-torn")) {
    log.file->append(bytes.substr(0, bytes.size() / 2));
    die_at_once();
  }
  StatePiece piece{log.name, log.file->size(), bytes.size(), hash};
  log.file->append(bytes);
  WEIR_CRASH_POINT("state.after-delta");
  current = std::move(log);
  return piece;
}

}  // namespace weir::internal
