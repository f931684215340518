#include "weir/core/dataset.h"

#include "weir/core/engine.h"
#include "weir/core/error.h"
#include "weir/core/hash.h"

namespace weir::internal {
namespace {

DatasetId next_id(const std::shared_ptr<Engine>& engine) {
  if (engine == nullptr) {
    throw Error(ErrorCode::kCancelled, "the dataset's context no longer exists");
  }
  return engine->next_dataset_id();
}

}  // namespace

DatasetBase::DatasetBase(const std::shared_ptr<Engine>& engine, const char* operation,
                         std::uint32_t num_partitions,
                         std::vector<std::shared_ptr<DatasetBase>> parents,
                         std::optional<Partitioner> partitioner)
    : id_(next_id(engine)),
      engine_(engine),
      operation_(operation),
      num_partitions_(num_partitions),
      partitioner_(partitioner),
      parents_(std::move(parents)) {}

DatasetBase::~DatasetBase() {
  const auto engine = engine_.lock();
  if (engine == nullptr) return;
  if (level_.load() != StorageLevel::kNone) engine->release_dataset(id_);
}

void DatasetBase::visit_dependencies(
    std::uint32_t p, const std::function<void(std::uint32_t, std::uint32_t)>& visit) const {
  for (std::uint32_t i = 0; i < parents_.size(); ++i) visit(i, p);
}

void DatasetBase::describe_input(std::uint32_t, LeafInput&) const {}

void release_map_outputs(Engine& engine, ShuffleId shuffle) { engine.release_shuffle(shuffle); }

Done keep_map_output(TaskRun& run, std::uint32_t map_partition, std::vector<SlimWriter>& pieces) {
  Done done;
  MapOutput& output = done.output.emplace();
  output.worker = run.options().self;
  output.segments.reserve(pieces.size());
  std::vector<Bytes> kept(pieces.size());
  bool any_kept = false;
  for (std::size_t r = 0; r < pieces.size(); ++r) {
    Segment& segment = output.segments.emplace_back();
    segment.map_partition = map_partition;
    segment.worker = output.worker;
    segment.size = pieces[r].size();
    segment.hash = hash_bytes(pieces[r].view());
    if (segment.size == 0) continue;
    if (segment.size <= run.options().inline_limit) {
      segment.inline_data = pieces[r].take();
    } else {
      kept[r] = pieces[r].take();
      any_kept = true;
    }
  }
  if (any_kept) {
    run.blocks().put_map_output(run.task().writes_shuffle.value(), map_partition, std::move(kept));
  }
  return done;
}

}  // namespace weir::internal
