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
  SteppedStream(std::unique_ptr<ChunkStream<T>> input, TaskRun& run)
      : input_(std::move(input)), run_(run) {}
  ChunkRef<T> next() override {
    run_.step();
    return input_->next();
  }

 private:
  const std::unique_ptr<ChunkStream<T>> input_;
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
  /// kNone frees what is stored. Throws Error(kInvalidArgument) for another level than the present
  /// one: what is stored would have two.
  void persist(StorageLevel level);
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
  std::string name_;  // guarded by mutex_
};

/// The map side of a shuffle: what the stage before it computes and how it writes its output.
class ShuffleSource {
 public:
  virtual ~ShuffleSource() = default;
  virtual const std::shared_ptr<DatasetBase>& map_parent() const = 0;
  /// Takes it away, when the reader's lineage is cut.
  virtual std::shared_ptr<DatasetBase> take_map_parent() { return nullptr; }
  virtual std::uint32_t num_reducers() const = 0;
  /// The output node of the map stage.
  virtual std::shared_ptr<const StageNode> map_output_node() const = 0;
};

/// A dataset of elements of type T (which may be a view, see owned.h).
template <class T>
class Dataset : public DatasetBase {
 public:
  using element_type = T;

  /// The partition's elements, from the stored block if the dataset is persisted and it is here.
  std::unique_ptr<ChunkStream<T>> open(TaskRun& run, std::uint32_t partition) const {
    if (run.cached_as(node_index()) == nullptr) return compute(run, partition);
    if constexpr (is_persistable<T>) {
      auto stored = run.stored_block(node_index(), partition);
      if (!stored) return compute_and_keep(run, partition);
      return std::make_unique<SteppedStream<T>>(open_stored<T>(*std::move(stored)), run);
    } else {
      throw Error(ErrorCode::kInternal, "a dataset is persisted whose elements cannot be");
    }
  }

 protected:
  using DatasetBase::DatasetBase;

  virtual std::unique_ptr<ChunkStream<T>> compute(TaskRun& run, std::uint32_t partition) const = 0;

 private:
  std::unique_ptr<ChunkStream<T>> compute_and_keep(TaskRun& run, std::uint32_t partition) const {
    auto input = compute(run, partition);
    const StorageLevel level = run.cached_as(node_index())->level;
    StoredElements stored;
    if (is_serialized(level)) {
      stored.parts = encode(run, {}, *input, !uses_memory(level));
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
        stored.block = std::make_shared<const MemoryBlock<owned_t<T>>>(std::move(elements));
      } else if (uses_disk(level)) {
        stored.parts = encode(run, std::move(elements), *input, true);
      } else {  // too large to keep: only passes through
        return std::make_unique<SteppedStream<T>>(
            std::make_unique<ContinuedStream<T>>(std::move(elements), std::move(input)), run);
      }
    }
    run.keep_block(node_index(), partition, stored);
    return std::make_unique<SteppedStream<T>>(open_stored<T>(std::move(stored)), run);
  }

  /// Elements that were read, and then the rest of the stream.
  static std::vector<HeldBytes> encode(TaskRun& run, std::vector<owned_t<T>> first,
                                       ChunkStream<T>& rest, bool to_disk) {
    std::vector<HeldBytes> held;
    ElementEncoder encoder;
    const auto hold = [&](std::vector<Bytes> parts) {
      for (Bytes& part : parts) {
        held.push_back(to_disk ? run.spill(part) : HeldBytes(std::move(part)));
      }
    };
    for (const owned_t<T>& element : first) {
      encoder.add(element);
      if (encoder.full_parts() != 0) hold(encoder.take_full());
    }
    first = {};
    for (auto chunk = rest.next(); !chunk.empty(); chunk = rest.next()) {
      for (const T& element : chunk) encoder.add(element);
      if (encoder.full_parts() != 0) hold(encoder.take_full());
    }
    hold(encoder.take());
    return held;
  }
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

/// Frees the outputs of a shuffle that nothing refers to any more.
void release_map_outputs(Engine& engine, ShuffleId shuffle);

/// The most partitions of one dataset: a larger number is a mistake (-1, say).
inline constexpr std::uint32_t kMaxPartitions = 1'000'000;
/// Throws Error(kInvalidArgument) unless `partitions` is 1 to kMaxPartitions.
std::uint32_t require_partitions(const char* operation, std::uint64_t partitions);

/// Throws Error(kInvalidArgument) unless both have as many partitions and the same context.
void require_zippable(const char* operation, const DatasetBase& left, const DatasetBase& right);
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

/// Gives a node's `load` its parents and its bytes.
class StageReader {
 public:
  StageReader(const std::vector<std::shared_ptr<internal::StageNode>>& nodes,
              std::vector<std::uint32_t> parents, SlimReader& bytes)
      : nodes_(nodes), parents_(std::move(parents)), bytes_(bytes) {}

  SlimReader& bytes() { return bytes_; }
  std::size_t num_parents() const { return parents_.size(); }

  template <class T>
  std::shared_ptr<const internal::Dataset<T>> parent(std::size_t i = 0) const {
    auto typed = i < parents_.size()
                     ? std::dynamic_pointer_cast<const internal::Dataset<T>>(nodes_[parents_[i]])
                     : nullptr;
    if (typed == nullptr) throw_bad_parent(i);
    return typed;
  }

 private:
  [[noreturn]] static void throw_bad_parent(std::size_t i);

  const std::vector<std::shared_ptr<internal::StageNode>>& nodes_;
  std::vector<std::uint32_t> parents_;
  SlimReader& bytes_;
};

}  // namespace weir
