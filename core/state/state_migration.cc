#include "weir/core/state/state_migration.h"

#include "weir/core/error.h"
#include "weir/core/state/snapshot_file.h"

namespace weir::internal {

StateStep rewrite_state(
    const WrittenState& written, const MakeStateTable& make_table,
    const std::function<std::unique_ptr<StateTable>(const StateTable&)>& convert,
    const std::function<void()>& step) {
  StateInput input;
  input.directory = written.directory;
  input.groups = written.groups;
  input.history = written.steps;
  const StateFiles files = StateFiles::of_the_system();
  auto restored = restore_state(files, input, make_table, step);
  if (const auto* lost = std::get_if<StateLost>(&restored)) {
    throw Error(ErrorCode::kDataLoss, lost->message);
  }
  const auto table = convert(*std::get<RestoredState>(restored).table);
  SnapshotWriter file(files, written.directory);
  SlimWriter bytes;
  for (std::uint32_t group = written.groups.begin; group < written.groups.end; ++group) {
    bytes.clear();
    table->write_group(group, bytes);
    file.add(group, bytes.view());
    step();
  }
  return {.sequence = written.sequence, .is_snapshot = true, .piece = file.finish()};
}

}  // namespace weir::internal
