#include "weir/core/map_output.h"

#include <utility>

#include "weir/core/hash.h"

namespace weir::internal {

void MapOutputWriter::spill_if_full() {
  std::uint64_t bytes = 0;
  for (const SlimWriter& piece : pieces_) bytes += piece.size();
  if (bytes > run_.memory_budget() / 2) spill();  // writers hold up to twice what they hold
}

void MapOutputWriter::spill() {
  std::vector<HeldBytes> parts;
  parts.reserve(pieces_.size());
  for (SlimWriter& piece : pieces_) parts.emplace_back(piece.take());
  spilled_.push_back(run_.spill(parts));
}

HeldBytes MapOutputWriter::assemble(std::uint32_t reducer, std::uint64_t& hash) {
  if (spilled_.empty()) {
    Bytes bytes = pieces_[reducer].take();
    hash = hash_bytes(bytes.view());
    return HeldBytes(std::move(bytes));
  }
  StreamHash running;
  std::string whole;
  std::uint64_t size = 0;
  for (const SpilledPieces& pieces : spilled_) size += pieces[reducer].size();
  whole.reserve(size);
  for (SpilledPieces& pieces : spilled_) {
    const Bytes part = std::exchange(pieces[reducer], {}).get();
    running.add(part.view());
    whole += part.view();
  }
  hash = running.value();
  return HeldBytes(Bytes(std::move(whole)));
}

Done MapOutputWriter::finish(std::uint32_t map_partition) {
  if (!spilled_.empty()) spill();  // the rest too, or what is written twice would be large
  Done done;
  MapOutput& output = done.output.emplace();
  output.worker = run_.options().self;
  output.segments.reserve(pieces_.size());
  std::vector<HeldBytes> kept(pieces_.size());
  bool any_kept = false;
  for (std::uint32_t r = 0; r < pieces_.size(); ++r) {
    std::uint64_t hash = 0;
    HeldBytes piece = assemble(r, hash);
    Segment& segment = output.segments.emplace_back();
    segment.map_partition = map_partition;
    segment.worker = output.worker;
    segment.size = piece.size();
    segment.hash = hash;
    if (segment.size == 0) continue;
    if (segment.size <= run_.options().inline_limit) {
      segment.inline_data = piece.get();
      continue;
    }
    kept[r] = spilled_.empty() ? std::move(piece) : run_.spill({piece})[0];
    any_kept = true;
  }
  if (any_kept) run_.keep_map_output(map_partition, std::move(kept));
  return done;
}

}  // namespace weir::internal
