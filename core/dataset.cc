#include "weir/core/dataset.h"

#include <algorithm>
#include <numeric>
#include <unordered_set>
#include <utility>

#include <fmt/format.h>

#include "weir/core/engine.h"
#include "weir/core/error.h"
#include "weir/core/partitioners.h"

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
  if (partitioner && partitioner->rule == 0 && partitioner->seed == 0)
    partitioner->seed = engine.hash_seed();
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

DatasetBase::DatasetBase(const std::shared_ptr<DatasetBase>& parent, const char* operation,
                         const std::optional<Partitioner>& partitioner)
    : DatasetBase(parent->engine(), operation, parent->num_partitions(), {parent}, partitioner) {}

DatasetBase::~DatasetBase() {
  const auto engine = engine_.lock();
  if (engine == nullptr) return;
  if (may_be_stored_.load()) engine->release_dataset(id_);
}

void DatasetBase::persist(StorageLevel level, std::unique_ptr<const StageNode> keeper) {
  if (keeper != nullptr) {
    const std::scoped_lock lock(mutex_);
    if (keeper_ == nullptr) keeper_ = std::move(keeper);
  }
  StorageLevel before = level_.load();
  do {
    if (before != StorageLevel::kNone && level != StorageLevel::kNone && before != level) {
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("persist: the dataset is persisted as {}; unpersist() it before it "
                              "gets the level {}",
                              to_string(before), to_string(level)));
    }
  } while (!level_.compare_exchange_weak(before, level));
  if (level != StorageLevel::kNone) {
    may_be_stored_.store(true);
  } else if (const auto engine = engine_.lock(); engine != nullptr && may_be_stored_.load()) {
    engine->release_dataset(id_);
  }
}

const StageNode* DatasetBase::keeper() const {
  const std::scoped_lock lock(mutex_);
  return keeper_.get();
}

std::string DatasetBase::name() const {
  const std::scoped_lock lock(mutex_);
  return name_;
}

void DatasetBase::set_name(std::string name) {
  const std::scoped_lock lock(mutex_);
  name_ = std::move(name);
}

std::optional<Partitioner> common_partitioner(
    const std::vector<std::shared_ptr<DatasetBase>>& datasets) {
  if (datasets.empty()) return std::nullopt;
  for (const auto& dataset : datasets) {
    if (dataset->partitioner() != datasets[0]->partitioner()) return std::nullopt;
  }
  return datasets[0]->partitioner();
}

std::uint32_t partitions_of_union(const std::vector<std::shared_ptr<DatasetBase>>& datasets) {
  if (const auto common = common_partitioner(datasets)) return common->partitions;
  std::uint32_t sum = 0;
  for (const auto& dataset : datasets) sum += dataset->num_partitions();
  return sum;
}

std::shared_mutex& lineage_mutex() {
  static std::shared_mutex mutex;
  return mutex;
}

bool DatasetBase::is_checkpointed() const {
  const std::shared_lock lock(lineage_mutex());
  return replacement_ != nullptr;
}

void DatasetBase::cut_lineage(std::shared_ptr<DatasetBase> replacement) {
  std::vector<std::shared_ptr<DatasetBase>> forgotten;  // destroyed without the lock
  {
    const std::unique_lock lock(lineage_mutex());
    if (replacement_ != nullptr) return;
    replacement_ = std::move(replacement);
    forgotten.swap(parents_);
    if (shuffle() != nullptr) forgotten.push_back(shuffle()->take_map_parent());
  }
}

namespace {

/// What the dataset is made from, over shuffles too. With the lock of lineage_mutex held.
void visit_parents(const DatasetBase& dataset,
                   const std::function<void(const DatasetBase&, bool is_shuffled)>& visit) {
  if (dataset.replacement() != nullptr) return;
  if (dataset.shuffle() != nullptr) visit(*dataset.shuffle()->map_parent(), true);
  for (const auto& parent : dataset.parents()) visit(*parent, false);
}

void describe(const DatasetBase& dataset, const std::string& indent, std::string& out) {
  const std::string name = dataset.name();
  out += fmt::format("{}({}) {}{} [{}]", indent, dataset.num_partitions(),
                     name.empty() ? "" : name + " ", dataset.operation(), dataset.id());
  if (dataset.storage_level() != StorageLevel::kNone) {
    out += fmt::format(" persisted: {}", to_string(dataset.storage_level()));
  }
  if (dataset.replacement() != nullptr) {
    out += fmt::format(", {}", dataset.replacement()->operation());
  }
  out += '\n';
  visit_parents(dataset, [&](const DatasetBase& parent, bool is_shuffled) {
    std::string deeper = indent;
    if (is_shuffled) {
      for (char& c : deeper) c = c == '|' ? '|' : ' ';
      deeper += "+-";
    } else {
      std::ranges::replace(deeper, '+', ' ');
      std::ranges::replace(deeper, '-', ' ');
      if (dataset.parents().size() > 1) deeper += "| ";
    }
    describe(parent, deeper, out);
  });
}

bool reaches(const DatasetBase& from, const DatasetBase& to,
             std::unordered_set<const DatasetBase*>& seen) {
  if (&from == &to) return true;
  if (!seen.insert(&from).second) return false;
  bool found = false;
  visit_parents(
      from, [&](const DatasetBase& parent, bool) { found = found || reaches(parent, to, seen); });
  return found;
}

}  // namespace

std::string describe_lineage(const DatasetBase& dataset) {
  const std::shared_lock lock(lineage_mutex());
  std::string out;
  describe(dataset, "", out);
  return out;
}

bool is_made_from(const DatasetBase& root, const DatasetBase& dataset) {
  const std::shared_lock lock(lineage_mutex());
  std::unordered_set<const DatasetBase*> seen;
  return reaches(root, dataset, seen);
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
  const bool all_alike = other == nullptr || input.partitioner() == other->partitioner();
  for (const DatasetBase* each : {&input, other}) {
    if (each == nullptr) continue;
    most = std::max(most, each->num_partitions());
    const auto& spread = each->partitioner();
    if (!spread || (partitions != 0 && spread->partitions != partitions)) continue;
    if (spread->rule != 0 && !all_alike) continue;  // nothing else can be spread by it
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

void throw_no_such_partition(std::int64_t partition, std::uint32_t partitions) {
  throw Error(
      ErrorCode::kInvalidArgument,
      fmt::format("partition_by: the function put a key into partition {}; they are 0 to {}",
                  partition, partitions - 1));
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

ShuffleSource::~ShuffleSource() {
  if (reader_ == nullptr) return;
  if (const auto engine = reader_->engine()) engine->release_shuffle(reader_->id());
}

std::vector<std::uint32_t> all_partitions(const DatasetBase& dataset) {
  std::vector<std::uint32_t> partitions(dataset.num_partitions());
  std::iota(partitions.begin(), partitions.end(), 0U);
  return partitions;
}

}  // namespace weir::internal

template class std::vector<weir::Bytes>;
template class std::vector<weir::HeldBytes>;
template class std::vector<std::shared_ptr<weir::internal::DatasetBase>>;
template class std::vector<weir::internal::DatasetPartition>;
