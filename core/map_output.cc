#include "weir/core/map_output.h"

#include <algorithm>
#include <string>
#include <unordered_map>
#include <utility>

#include "weir/core/compression.h"
#include "weir/core/hash.h"

namespace weir::internal {

namespace {

/// What this thread's last map task of each stage wrote, piece by piece. The next one will write
/// about as much, and a piece that begins with room for it need not grow, which copies it.
using PieceSizes = std::unordered_map<StageHash, std::vector<std::size_t>>;
constexpr std::size_t kStages = 64;
constexpr std::size_t kMostPieces = 1024;
constexpr std::size_t kGrowsCheaply = 64 << 10;
constexpr std::size_t kWorthCompressing = 256;
/// A piece that has got so much more is hashed as it grows, else at its end.
constexpr std::size_t kHashedApart = 256 << 10;

PieceSizes& last_sizes() {
  thread_local PieceSizes sizes;
  return sizes;
}

}  // namespace

MapOutputWriter::MapOutputWriter(TaskRun& run, std::uint32_t reducers)
    : run_(run), pieces_(reducers) {
  const auto last = last_sizes().find(run.task().program->hash);
  if (last == last_sizes().end() || last->second.size() != reducers) return;
  for (std::uint32_t r = 0; r < reducers; ++r) {
    const std::size_t size = last->second[r];
    if (size <= kGrowsCheaply) continue;
    pieces_[r].writer.reserve(
        std::min<std::size_t>(size + size / 16, run.memory_budget() / 2 / reducers));
  }
}

/// Now, while it is in the cache. What is compressed has another hash.
void MapOutputWriter::hash_new(Piece& piece) const {
  if (run_.options().compress) return;
  if (!piece.hash) piece.hash.emplace();
  piece.hash->add(piece.writer.view().substr(piece.hashed));
  piece.hashed = piece.writer.size();
}

void MapOutputWriter::spill_if_full() {
  std::uint64_t bytes = 0;
  for (Piece& piece : pieces_) {
    bytes += piece.writer.size();
    if (piece.writer.size() - piece.hashed >= kHashedApart) hash_new(piece);
  }
  if (bytes > run_.memory_budget() / 2) spill();  // writers hold up to twice what they hold
}

void MapOutputWriter::spill() {
  std::vector<HeldBytes> parts;
  parts.reserve(pieces_.size());
  for (Piece& piece : pieces_) {
    hash_new(piece);
    piece.hashed = 0;
    parts.emplace_back(piece.writer.take());
  }
  spilled_.push_back(run_.spill(parts));
}

Bytes MapOutputWriter::assemble(std::uint32_t reducer) {
  if (spilled_.empty()) {
    Piece& piece = pieces_[reducer];
    if (piece.hash) hash_new(piece);
    return piece.writer.take();
  }
  std::string whole;
  std::uint64_t size = 0;
  for (const SpilledPieces& pieces : spilled_) size += pieces[reducer].size();
  whole.reserve(size);
  for (SpilledPieces& pieces : spilled_) {
    whole += std::exchange(pieces[reducer], {}).get().view();
  }
  return Bytes(std::move(whole));
}

Done MapOutputWriter::finish(std::uint32_t map_partition) {
  if (!spilled_.empty()) spill();  // the rest too, or what is written twice would be large
  Done done;
  MapOutput& output = done.output.emplace();
  output.worker = run_.options().self;
  output.segments.reserve(pieces_.size());
  std::vector<HeldBytes> kept(pieces_.size());
  std::vector<std::size_t> sizes;
  bool any_kept = false;
  for (std::uint32_t r = 0; r < pieces_.size(); ++r) {
    Segment& segment = output.segments.emplace_back();
    segment.map_partition = map_partition;
    segment.worker = output.worker;
    Bytes piece = assemble(r);
    sizes.push_back(piece.size());
    if (run_.options().compress && piece.size() >= kWorthCompressing) {
      std::string frame = compress(piece.view());
      if (frame.size() < piece.size()) {
        piece = Bytes(std::move(frame));
        segment.compressed = true;
      }
    }
    segment.hash = pieces_[r].hash ? pieces_[r].hash->value() : hash_bytes(piece.view());
    segment.size = piece.size();
    if (segment.size == 0) continue;
    if (segment.size <= run_.options().inline_limit) {
      segment.inline_data = std::move(piece);
      continue;
    }
    kept[r] = spilled_.empty() ? HeldBytes(std::move(piece)) : run_.spill(piece);
    any_kept = true;
  }
  if (any_kept) run_.keep_map_output(map_partition, std::move(kept));
  if (pieces_.size() <= kMostPieces && any_kept) {
    if (last_sizes().size() >= kStages) last_sizes().clear();
    last_sizes()[run_.task().program->hash] = std::move(sizes);
  }
  return done;
}

}  // namespace weir::internal
