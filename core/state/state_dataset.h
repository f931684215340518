#pragma once

#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "weir/core/engine.h"
#include "weir/core/shuffle.h"

/// Datasets that update and read state: typed shells over the state store. What a state is, its
/// *operator* says, a shippable object with
///
///     using Out;                                 // what an update yields; owning
///     using Aggregator;                          // how values are combined before the shuffle
///     Aggregator aggregator() const;
///     std::unique_ptr<StateTable> make_table(const KeyGroups&) const;
///     using Update;                              // one batch over one partition:
///     Update begin(const StateView& base, const StateBatch& batch) const;
///         void add(std::uint64_t hash, Key&& key, Crossing&& value);
///         std::unique_ptr<StateOverlay> finish(std::vector<Out>& out);
///         std::uint64_t total_keys() const;      // of the version made; after `finish`
///     static constexpr bool kKeepsKeys = true;   // optional: Out is (key, ...) of the same keys
///
/// and, to be read as a whole:
///
///     using SnapshotElement;
///     StreamPtr<SnapshotElement> snapshot(const StateView&) const;
namespace weir::internal {

/// A stateful operator's state while anything refers to it; then it is forgotten and freed.
class StateHandle {
 public:
  StateHandle(const std::shared_ptr<Engine>& engine, StateId id, std::uint32_t partitions,
              std::uint32_t key_groups)
      : engine_(engine), id_(id), partitions_(partitions), key_groups_(key_groups) {}
  ~StateHandle() {
    if (const auto engine = engine_.lock()) engine->release_state(id_);
  }
  StateHandle(const StateHandle&) = delete;
  StateHandle& operator=(const StateHandle&) = delete;

  StateId id() const { return id_; }
  std::uint32_t partitions() const { return partitions_; }
  Partitioner partitioner() const { return {partitions_, key_groups_}; }

 private:
  const std::weak_ptr<Engine> engine_;
  const StateId id_;
  const std::uint32_t partitions_;
  const std::uint32_t key_groups_;
};

/// A new state, all of whose partitions are at the empty version 0 (see StateTracker::restore).
/// Throws Error(kInvalidArgument) unless it has 1 to `key_groups` partitions.
std::shared_ptr<StateHandle> declare_state(const std::shared_ptr<Engine>& engine,
                                           StateTracker::Declaration declaration);

/// The batch that a dataset belongs to.
struct StateBatchId {
  std::uint64_t sequence = 0;
  Time time{};
};

/// Elements made beforehand, handed on in chunks.
template <class T>
class OwnedStream final : public ChunkStream<T> {
 public:
  explicit OwnedStream(std::vector<T> elements) : elements_(std::move(elements)) {}

  ChunkRef<T> next() override {
    const std::size_t size = std::min(kChunkElements, elements_.size() - at_);
    return {elements_.data() + std::exchange(at_, at_ + size), size, true};
  }

 private:
  std::vector<T> elements_;
  std::size_t at_ = 0;
};

template <class T>
StreamPtr<T> stream_of(std::vector<T> elements) {
  if constexpr (std::is_same_v<T, bool>) {  // a vector of bool has no elements to hand on
    return open_block<bool>(make_block(std::move(elements)));
  } else {
    return StreamPtr(new OwnedStream<T>(std::move(elements)));
  }
}

/// Partition p is what updating partition p of the state by the batch's records yields. Who makes
/// it persists it: a later job of the batch then reads the block, and if that is gone, updates the
/// same base again.
template <class K, class V, class Operator>
class StateUpdateDataset final : public Dataset<typename Operator::Out>, public ShuffleSource {
 public:
  using Out = typename Operator::Out;
  using Aggregator = typename Operator::Aggregator;
  using Crossing =
      std::conditional_t<Aggregator::kCombinesEarly, typename Aggregator::Combined, owned_t<V>>;

  StateUpdateDataset(const DatasetPtr<std::pair<K, V>>& parent, const char* operation,
                     std::shared_ptr<const StateHandle> state, StateBatchId batch,
                     Operator state_operator)
      : Dataset<Out>(parent->engine(), operation, state->partitions(), {}, kept_keys(*state)),
        ShuffleSource(*this, parent),
        state_(std::move(state)),
        batch_(batch),
        operator_(std::move(state_operator)) {}
  explicit StateUpdateDataset(StageReader& in) : operator_(read_function<Operator>(in.bytes())) {}

  static std::unique_ptr<StageNode> load(StageReader& in) {
    return std::unique_ptr<StageNode>(new StateUpdateDataset(in));
  }
  CodeId code() const override {
    (void)Registered<StateUpdateDataset>::value;
    return code_id(&StateUpdateDataset::load);
  }
  void write(SlimWriter& out) const override { write_function(out, operator_); }

  const ShuffleSource* shuffle() const override { return this; }
  std::unique_ptr<const StageNode> map_output_node() const override {
    return std::unique_ptr<const StageNode>(
        new ShuffleWriter<K, V, Aggregator>(state_->partitioner(), operator_.aggregator()));
  }
  bool has_state() const override { return true; }
  void describe_state(std::uint32_t p, StateInput& input) const override {
    input.state = state_->id();
    input.partition = p;
    input.sequence = batch_.sequence;
    input.time = batch_.time;
    input.writes = true;
  }

  StreamPtr<Out> open(TaskRun& run, std::uint32_t partition) const override {
    const StateInput& state = run.state(this->node_index(), partition);
    const LeafInput& records = run.input(this->node_index(), partition);
    const StateLease base = run.open_state(
        state, [this](const KeyGroups& groups) { return operator_.make_table(groups); });
    auto update = operator_.begin(
        base.view(), StateBatch{state.sequence, state.time, run.hash_seed(), state.groups});
    run.read_segments(records, [&](const Bytes& bytes) {
      std::size_t count = 0;
      for (SlimReader reader(bytes.view()); !reader.at_end(); ++count) {
        const auto hash = reader.get<std::uint64_t>();
        auto key = read_in_place<owned_t<K>>(reader);
        Crossing value{};
        reader & value;
        update.add(hash, std::move(key), std::move(value));
      }
      run.count_records(count);
    });
    std::vector<Out> out;
    std::shared_ptr<const StateOverlay> overlay = update.finish(out);
    run.keep_state(state, base, std::move(overlay), update.total_keys());
    return StreamPtr(new SteppedStream<Out>(stream_of(std::move(out)), run));
  }

 private:
  static std::optional<Partitioner> kept_keys(const StateHandle& state) {
    if constexpr (requires { requires Operator::kKeepsKeys; }) return state.partitioner();
    return std::nullopt;
  }

  const std::shared_ptr<const StateHandle> state_;
  const StateBatchId batch_{};
  const Operator operator_;
};

/// All of a state as of a batch, whose update must have been computed before.
template <class Operator>
class StateSnapshotDataset final : public Dataset<typename Operator::SnapshotElement> {
 public:
  using Element = typename Operator::SnapshotElement;

  StateSnapshotDataset(const std::shared_ptr<Engine>& engine, const char* operation,
                       std::shared_ptr<const StateHandle> state, StateBatchId batch,
                       Operator state_operator)
      : Dataset<Element>(engine, operation, state->partitions(), {}, {}),
        state_(std::move(state)),
        batch_(batch),
        operator_(std::move(state_operator)) {}
  explicit StateSnapshotDataset(StageReader& in) : operator_(read_function<Operator>(in.bytes())) {}

  static std::unique_ptr<StageNode> load(StageReader& in) {
    return std::unique_ptr<StageNode>(new StateSnapshotDataset(in));
  }
  CodeId code() const override {
    (void)Registered<StateSnapshotDataset>::value;
    return code_id(&StateSnapshotDataset::load);
  }
  void write(SlimWriter& out) const override { write_function(out, operator_); }
  bool is_source() const override { return true; }
  bool has_state() const override { return true; }
  void describe_state(std::uint32_t p, StateInput& input) const override {
    input.state = state_->id();
    input.partition = p;
    input.sequence = batch_.sequence;
    input.time = batch_.time;
  }

  StreamPtr<Element> open(TaskRun& run, std::uint32_t partition) const override {
    StateLease version =
        run.open_state(run.state(this->node_index(), partition),
                       [this](const KeyGroups& groups) { return operator_.make_table(groups); });
    return StreamPtr<Element>(new Stream(std::move(version), operator_, run));
  }

 private:
  /// Keeps the version while it is read.
  struct Stream final : ChunkStream<Element> {
    Stream(StateLease held, const Operator& by, TaskRun& r)
        : version(std::move(held)), elements(by.snapshot(version.view())), run(r) {}
    ChunkRef<Element> next() override {
      const ChunkRef<Element> chunk = elements->next();
      run.count_records(chunk.size);
      return chunk;
    }
    const StateLease version;
    const StreamPtr<Element> elements;
    TaskRun& run;
  };

  const std::shared_ptr<const StateHandle> state_;  // in the driver only, as the next
  const StateBatchId batch_{};
  const Operator operator_;
};

}  // namespace weir::internal
