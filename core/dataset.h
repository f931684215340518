#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "weir/core/chunk.h"
#include "weir/core/loader.h"
#include "weir/core/state/state_table.h"
#include "weir/core/storage/block.h"
#include "weir/core/storage/held_encoder.h"
#include "weir/core/task_run.h"

/// The untyped graph behind `Rdd<T>`.
///
/// A dataset is a contract of four things: a number of partitions, dependencies on other datasets,
/// a way to write itself into a stage, and, once loaded from one, a way to compute a partition. The
/// objects that the driver's handles hold are never computed: a runner loads the serialized stage
/// and computes what it loaded, in the driver's process (local runner) as in a worker's.
namespace weir {

class Engine;
class StageWriter;

namespace internal {

/// Anything in a serialized stage. Immutable once written or loaded.
class StageNode {
 public:
  StageNode() = default;
  StageNode(const StageNode&) = delete;
  StageNode& operator=(const StageNode&) = delete;
  virtual ~StageNode() = default;

  /// The function that recreates it; how `write`'s bytes find their reader.
  virtual CodeId code() const = 0;
  virtual void write(SlimWriter& out) const = 0;

  /// Position in the loaded stage: what task inputs refer to.
  std::uint32_t node_index() const { return node_index_; }
  void set_node_index(std::uint32_t index) { node_index_ = index; }

 private:
  std::uint32_t node_index_ = 0;
};

/// How keys are spread over partitions. Two datasets with equal partitioners hold equal keys in
/// partitions of equal index.
struct Partitioner {
  std::uint32_t partitions = 0;  ///< by the high bits of the key's hash
  std::uint32_t key_groups = 0;  ///< partitions are runs of so many key groups; 0: of hashes
  /// Of the hash. An application keeps its own over restarts, so what was shuffled before its
  /// stream began may be spread by another. 0: of the job that runs.
  std::uint64_t seed = 0;

  /// Names another rule than by hash, of the user's; then the other fields but `partitions` mean
  /// nothing. 0: by hash.
  std::uint64_t rule = 0;

  bool operator==(const Partitioner&) const = default;

  std::uint64_t seed_in(const TaskRun& run) const { return seed != 0 ? seed : run.hash_seed(); }
  /// The high bits choose the partition, so that the low bits stay even within one for its tables.
  std::uint32_t partition_of(std::uint64_t hash) const {
    if (key_groups != 0) return KeyGroups::partition_of(hash, partitions, key_groups);
    __extension__ using Wide = unsigned __int128;
    return static_cast<std::uint32_t>((static_cast<Wide>(hash) * partitions) >> 64);
  }

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & partitions & key_groups & seed & rule;
  }
};

/// Shows progress, and ends when the attempt is cancelled, with every chunk: what leaves a stored
/// block or a table of aggregates, of which no leaf knows any more.
template <class T>
class SteppedStream final : public ChunkStream<T> {
 public:
  SteppedStream(StreamPtr<T> input, TaskRun& run) : input_(std::move(input)), run_(run) {}
  ChunkRef<T> next() override {
    run_.step();
    return input_->next();
  }

 private:
  const StreamPtr<T> input_;
  TaskRun& run_;
};

class ShuffleSource;
class DatasetBase;

/// While a stage is written: its tasks need the broadcast's data, and find it under the index that
/// is returned. Throws Error(kInvalidArgument) at other times: a broadcast is no element or result.
std::uint32_t refer_to_broadcast(const std::shared_ptr<DatasetBase>& broadcast);

class DatasetBase : public StageNode, public std::enable_shared_from_this<DatasetBase> {
 public:
  ~DatasetBase() override;

  // --- in the driver ---
  DatasetId id() const { return id_; }
  const char* operation() const { return operation_; }
  std::uint32_t num_partitions() const { return num_partitions_; }
  const std::optional<Partitioner>& partitioner() const { return partitioner_; }
  const std::vector<std::shared_ptr<DatasetBase>>& parents() const { return parents_; }
  std::shared_ptr<Engine> engine() const { return engine_.lock(); }

  StorageLevel storage_level() const { return level_.load(); }
  /// kNone frees what is stored. `keeper`: a KeptDataset of the elements' type for any other level.
  /// Throws Error(kInvalidArgument) for another level than the present one: what is stored would
  /// have two.
  void persist(StorageLevel level, std::unique_ptr<const StageNode> keeper);
  /// See KeptDataset; null before it was persisted.
  const StageNode* keeper() const;
  /// As the user calls it; empty until set.
  std::string name() const;
  void set_name(std::string name);

  /// Calls `visit(i, q)` for each partition q of parent i that partition p is computed from.
  virtual void visit_dependencies(
      std::uint32_t p, const std::function<void(std::uint32_t, std::uint32_t)>& visit) const;
  /// Sources: describes partition p to the task that will compute it.
  virtual void describe_input(std::uint32_t p, LeafInput& input) const;
  virtual bool is_source() const { return false; }
  /// Leaves that read or update state: which version partition p works on (`state`, `partition`,
  /// `sequence`, `time`, `writes`; the rest is filled in when the task is launched).
  virtual bool has_state() const { return false; }
  virtual void describe_state(std::uint32_t p, StateInput& input) const;
  /// Set for datasets that read a shuffle: their other side.
  virtual const ShuffleSource* shuffle() const { return nullptr; }
  ShuffleSource* shuffle() { return const_cast<ShuffleSource*>(std::as_const(*this).shuffle()); }

  // The lineage changes once at most, while nobody plans a job; see `lineage_mutex`.

  /// What stages have in place of the dataset since its lineage was cut; null: it was not.
  const std::shared_ptr<DatasetBase>& replacement() const { return replacement_; }
  bool is_checkpointed() const;
  /// From now on `replacement`, a source of the same elements and partitions, stands for the
  /// dataset, which forgets what it was made from. What is stored of it stays; its own map outputs
  /// too, as long as it lives, for running jobs may read them.
  void cut_lineage(std::shared_ptr<DatasetBase> replacement);

 protected:
  /// In the driver.
  DatasetBase(const std::shared_ptr<Engine>& engine, const char* operation,
              std::uint32_t num_partitions, std::vector<std::shared_ptr<DatasetBase>> parents,
              std::optional<Partitioner> partitioner);
  /// The same, narrow: as many partitions as its only parent has.
  DatasetBase(const std::shared_ptr<DatasetBase>& parent, const char* operation,
              const std::optional<Partitioner>& partitioner);
  /// Loaded from a stage.
  DatasetBase() = default;

 private:
  const DatasetId id_ = 0;
  const std::weak_ptr<Engine> engine_{};
  const char* const operation_ = "";
  const std::uint32_t num_partitions_ = 0;
  const std::optional<Partitioner> partitioner_{};
  std::vector<std::shared_ptr<DatasetBase>> parents_{};  // guarded by lineage_mutex, as the next
  std::shared_ptr<DatasetBase> replacement_;
  std::atomic<StorageLevel> level_{StorageLevel::kNone};
  /// A task that runs while the level goes back to kNone may still leave a block.
  std::atomic<bool> may_be_stored_{false};
  mutable std::mutex mutex_;
  std::string name_;                         // guarded by mutex_
  std::unique_ptr<const StageNode> keeper_;  // too, but stays once it is there
};

/// The map side of a shuffle: what the stage before it computes and how it writes its output. A
/// base of datasets that read a shuffle, after their own.
class ShuffleSource {
 public:
  ShuffleSource(const ShuffleSource&) = delete;
  ShuffleSource& operator=(const ShuffleSource&) = delete;
  /// Null in loaded stages, and once the reader's lineage was cut.
  const std::shared_ptr<DatasetBase>& map_parent() const { return map_parent_; }
  /// Takes it away, when the reader's lineage is cut.
  std::shared_ptr<DatasetBase> take_map_parent() { return std::exchange(map_parent_, nullptr); }
  /// The output node of the map stage.
  virtual std::unique_ptr<const StageNode> map_output_node() const = 0;

 protected:
  /// In the driver: `reader` is this object.
  ShuffleSource(const DatasetBase& reader, std::shared_ptr<DatasetBase> map_parent)
      : reader_(&reader), map_parent_(std::move(map_parent)) {}
  /// Loaded from a stage.
  ShuffleSource() = default;
  /// Frees the map outputs: nothing refers to them any more.
  virtual ~ShuffleSource();

 private:
  const DatasetBase* const reader_ = nullptr;
  std::shared_ptr<DatasetBase> map_parent_;
};

/// A dataset of elements of type T (which may be a view, see owned.h).
template <class T>
class Dataset : public DatasetBase {
 public:
  using element_type = T;

  /// The partition's elements; of a loaded stage. The stream must not outlive it, nor `run`.
  virtual StreamPtr<T> open(TaskRun& run, std::uint32_t partition) const = 0;

 protected:
  using DatasetBase::DatasetBase;
};

/// Shares a dataset: a std::shared_ptr to its base that knows the type of the elements. See
/// StreamPtr for why.
template <class T>
class DatasetPtr {
 public:
  DatasetPtr() = default;
  explicit DatasetPtr(Dataset<T>* made) : dataset_(static_cast<DatasetBase*>(made)) {}
  /// Of what is known to be a Dataset<T>, or null.
  static DatasetPtr of(std::shared_ptr<DatasetBase> dataset) {
    DatasetPtr typed;
    typed.dataset_ = std::move(dataset);
    return typed;
  }

  Dataset<T>* operator->() const { return static_cast<Dataset<T>*>(dataset_.get()); }
  Dataset<T>& operator*() const { return *operator->(); }
  const std::shared_ptr<DatasetBase>& base() const { return dataset_; }
  operator const std::shared_ptr<DatasetBase>&() const { return dataset_; }  // NOLINT: an upcast

 private:
  std::shared_ptr<DatasetBase> dataset_;
};

/// Stands in stages between a persisted dataset and all that read it: the stored block of a
/// partition if it is here, else what is computed, which is kept as the level says.
template <class T>
class KeptDataset final : public Dataset<T> {
 public:
  static_assert(is_persistable<T>,
                "elements of this type cannot be kept and read back: make the type serializable, "
                "or map its views to owning values before persist()");

  KeptDataset() = default;
  explicit KeptDataset(StageReader& in);

  static std::unique_ptr<StageNode> load(StageReader& in) {
    return std::unique_ptr<StageNode>(new KeptDataset(in));
  }
  CodeId code() const override {
    (void)Registered<KeptDataset>::value;
    return code_id(&KeptDataset::load);
  }
  void write(SlimWriter&) const override {}

  StreamPtr<T> open(TaskRun& run, std::uint32_t partition) const override {
    auto stored = run.stored_block(parent_->node_index(), partition);
    if (!stored) return compute(run, partition);
    return StreamPtr<T>(new SteppedStream<T>(open_stored<T>(*std::move(stored)), run));
  }

 private:
  StreamPtr<T> compute(TaskRun& run, std::uint32_t partition) const {
    const CacheSlot* const slot = run.cached_as(parent_->node_index());
    auto input = parent_->open(run, partition);
    if (slot == nullptr) return input;
    StoredElements stored;
    if (is_serialized(slot->level)) {
      stored.parts = encode(run, {}, *input, !uses_memory(slot->level));
    } else {
      std::vector<owned_t<T>> elements;
      std::size_t bytes = 0;
      while (bytes <= run.memory_budget()) {
        const auto chunk = input->next();
        if (chunk.empty()) break;
        bytes += append_owned(elements, chunk);
      }
      if (bytes <= run.memory_budget()) {
        elements.shrink_to_fit();
        stored.block = make_block(std::move(elements));
      } else if (uses_disk(slot->level)) {
        stored.parts = encode(run, std::move(elements), *input, true);
      } else {  // too large to keep: only passes through
        return StreamPtr<T>(new SteppedStream<T>(
            StreamPtr<T>(new ContinuedStream<T>(std::move(elements), std::move(input))), run));
      }
    }
    run.keep_block(parent_->node_index(), partition, stored);
    return StreamPtr<T>(new SteppedStream<T>(open_stored<T>(std::move(stored)), run));
  }
  /// Elements that were read, and then the rest of the stream.
  static std::vector<HeldBytes> encode(TaskRun& run, std::vector<owned_t<T>> first,
                                       ChunkStream<T>& rest, bool to_disk) {
    HeldEncoder encoder(run, to_disk);
    for (const owned_t<T>& element : first) encoder.add(element);
    first = {};
    for (auto chunk = rest.next(); !chunk.empty(); chunk = rest.next()) {
      for (const T& element : chunk) encoder.add(element);
    }
    return encoder.finish();
  }

  const Dataset<T>* const parent_ = nullptr;  // loaded stages only
};

/// The end of a stage: what a task returns.
class StageOutput : public StageNode {
 public:
  virtual Done run(TaskRun& run, std::uint32_t partition) const = 0;
};

/// Shared by who reads lineages, of any context: plans are made in microseconds.
std::shared_mutex& lineage_mutex();
/// See Rdd::to_debug_string.
std::string describe_lineage(const DatasetBase& dataset);
/// Whether `root` is, or is made from, `dataset`.
bool is_made_from(const DatasetBase& root, const DatasetBase& dataset);

/// One of a dataset's, of a loaded stage.
struct DatasetPartition {
  const DatasetBase* dataset = nullptr;
  std::uint32_t partition = 0;
};

/// Their indices.
std::vector<std::uint32_t> all_partitions(const DatasetBase& dataset);

/// The most partitions of one dataset: a larger number is a mistake (-1, say).
inline constexpr std::uint32_t kMaxPartitions = 1'000'000;
/// Throws Error(kInvalidArgument) unless `partitions` is 1 to kMaxPartitions.
std::uint32_t require_partitions(const char* operation, std::uint64_t partitions);

/// Throws Error(kInvalidArgument) unless both have as many partitions and the same context.
void require_zippable(const char* operation, const DatasetBase& left, const DatasetBase& right);

/// That all of them have; nothing if they do not, or there are none.
std::optional<Partitioner> common_partitioner(
    const std::vector<std::shared_ptr<DatasetBase>>& datasets);
/// How many their union has: see UnionDataset.
std::uint32_t partitions_of_union(const std::vector<std::shared_ptr<DatasetBase>>& datasets);

/// Error(kInvalidArgument): `shorter` says whose partition ended first.
[[noreturn]] void throw_uneven_zip(const char* shorter);
/// Error(kInvalidArgument) of an action that needs an element.
[[noreturn]] void throw_empty(const char* action);

/// How an operator by key spreads its result over `partitions`: as an input is spread already,
/// where one has that many. For 0 partitions: as the input with the most partitions of those that
/// are spread by key, unless that is less than the default parallelism and less than a tenth of the
/// partitions of the other; else the default parallelism. A rule of the user's counts only where
/// all are spread by it. Throws Error(kInvalidArgument) for too many partitions and inputs of
/// different contexts, Error(kCancelled) without a context.
Partitioner choose_partitioner(const char* operation, std::uint32_t partitions,
                               const DatasetBase& input, const DatasetBase* other = nullptr);

}  // namespace internal
}  // namespace weir

// Instantiated in the library: jobs need not.
extern template class std::vector<weir::Bytes>;
extern template class std::vector<weir::HeldBytes>;
extern template class std::vector<std::shared_ptr<weir::internal::DatasetBase>>;
extern template class std::vector<weir::internal::DatasetPartition>;

namespace weir {

/// Gives a node's `load` its parents and its bytes.
class StageReader {
 public:
  StageReader(const std::vector<std::unique_ptr<internal::StageNode>>& nodes,
              std::vector<std::uint32_t> parents, SlimReader& bytes)
      : nodes_(nodes), parents_(std::move(parents)), bytes_(bytes) {}

  SlimReader& bytes() { return bytes_; }
  std::size_t num_parents() const { return parents_.size(); }

  /// Owned by the stage, as the node that is loaded.
  template <class T>
  const internal::Dataset<T>* parent(std::size_t i = 0) const {
    const auto* typed = i < parents_.size()
                            ? dynamic_cast<const internal::Dataset<T>*>(nodes_[parents_[i]].get())
                            : nullptr;
    if (typed == nullptr) throw_bad_parent(i);
    return typed;
  }

 private:
  [[noreturn]] static void throw_bad_parent(std::size_t i);

  const std::vector<std::unique_ptr<internal::StageNode>>& nodes_;
  std::vector<std::uint32_t> parents_;
  SlimReader& bytes_;
};

template <class T>
internal::KeptDataset<T>::KeptDataset(StageReader& in) : parent_(in.parent<T>()) {}

}  // namespace weir
