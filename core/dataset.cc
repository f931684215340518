#include "weir/core/dataset.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

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

/// What is spread by the seed of the jobs of this thread stays so, whoever looks at it later.
std::optional<Partitioner> with_seed(std::optional<Partitioner> partitioner, const Engine& engine) {
  if (partitioner && partitioner->seed == 0) partitioner->seed = engine.hash_seed();
  return partitioner;
}

}  // namespace

DatasetBase::DatasetBase(const std::shared_ptr<Engine>& engine, const char* operation,
                         std::uint32_t num_partitions,
                         std::vector<std::shared_ptr<DatasetBase>> parents,
                         std::optional<Partitioner> partitioner)
    : id_(next_id(engine)),
      engine_(engine),
      operation_(operation),
      num_partitions_(num_partitions == 0 ? 0 : require_partitions(operation, num_partitions)),
      partitioner_(with_seed(partitioner, *engine)),
      parents_(std::move(parents)) {}

DatasetBase::~DatasetBase() {
  const auto engine = engine_.lock();
  if (engine == nullptr) return;
  if (may_be_stored_.load()) engine->release_dataset(id_);
}

void DatasetBase::persist(StorageLevel level) {
  level_.store(level);
  if (level != StorageLevel::kNone) {
    may_be_stored_.store(true);
  } else if (const auto engine = engine_.lock(); engine != nullptr && may_be_stored_.load()) {
    engine->release_dataset(id_);
  }
}

std::string DatasetBase::name() const {
  const std::scoped_lock lock(mutex_);
  return name_;
}

void DatasetBase::set_name(std::string name) {
  const std::scoped_lock lock(mutex_);
  name_ = std::move(name);
}

void DatasetBase::visit_dependencies(
    std::uint32_t p, const std::function<void(std::uint32_t, std::uint32_t)>& visit) const {
  for (std::uint32_t i = 0; i < parents_.size(); ++i) visit(i, p);
}

void DatasetBase::describe_input(std::uint32_t, LeafInput&) const {}
void DatasetBase::describe_state(std::uint32_t, StateInput&) const {}

std::uint32_t require_partitions(const char* operation, std::uint64_t partitions) {
  if (partitions >= 1 && partitions <= kMaxPartitions) {
    return static_cast<std::uint32_t>(partitions);
  }
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("{}: {} partitions were asked for; a dataset has 1 to {}", operation,
                          partitions, kMaxPartitions));
}

Partitioner choose_partitioner(const char* operation, std::uint32_t partitions,
                               const DatasetBase& input, const DatasetBase* other) {
  const auto engine = input.engine();
  if (engine == nullptr) {
    throw Error(ErrorCode::kCancelled, "the dataset's context no longer exists");
  }
  if (other != nullptr && other->engine() != engine) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{}: the datasets belong to different contexts", operation));
  }
  std::uint32_t most = 0;
  std::optional<Partitioner> known;  // the one with the most partitions, the first of equals
  for (const DatasetBase* each : {&input, other}) {
    if (each == nullptr) continue;
    most = std::max(most, each->num_partitions());
    const auto& spread = each->partitioner();
    if (!spread || (partitions != 0 && spread->partitions != partitions)) continue;
    if (!known || spread->partitions > known->partitions) known = spread;
  }
  const std::uint32_t usual = engine->default_parallelism();
  if (known && (partitions != 0 || known->partitions >= usual || known->partitions > most / 10)) {
    return *known;
  }
  return {.partitions = require_partitions(operation, partitions != 0 ? partitions : usual),
          .key_groups = 0,
          .seed = engine->hash_seed()};
}

void require_zippable(const char* operation, const DatasetBase& left, const DatasetBase& right) {
  if (left.engine() != right.engine()) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{}: the datasets belong to different contexts", operation));
  }
  if (left.num_partitions() == right.num_partitions()) return;
  throw Error(
      ErrorCode::kInvalidArgument,
      fmt::format("{}: this dataset has {} partitions, the other one {}; repartition one of "
                  "them, or join by zip_with_index",
                  operation, left.num_partitions(), right.num_partitions()));
}

void throw_uneven_zip(const char* shorter) {
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("zip: {} has fewer elements in a partition; join by zip_with_index "
                          "instead",
                          shorter));
}

void throw_empty(const char* action) {
  throw Error(
      ErrorCode::kInvalidArgument,
      fmt::format("{}: the dataset is empty, so there is nothing to return; check is_empty() "
                  "first",
                  action));
}

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
  if (any_kept) run.keep_map_output(map_partition, std::move(kept));
  return done;
}

}  // namespace weir::internal
