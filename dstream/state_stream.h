#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "weir/core/actions.h"
#include "weir/core/context.h"
#include "weir/core/state/fingerprint.h"
#include "weir/core/state/state_dataset.h"
#include "weir/core/state/state_migration.h"
#include "weir/dstream/dstream_node.h"
#include "weir/dstream/stateful.h"
#include "weir/dstream/stream_graph.h"

/// The streams of stateful operators; the operators themselves are core's (core/state/).
namespace weir::internal {

/// A state that is updated once per batch with the pairs of the parent stream. Its stream is what
/// the updates yield, which is stored until the batch is done, so that no update runs twice.
template <class K, class V, class Operator>
class StateStreamNode final : public TypedStreamNode<typename Operator::Out>,
                              public StatefulOperator {
 public:
  using Out = typename Operator::Out;
  using Snapshot = typename Operator::SnapshotElement;
  using Parent = TypedStreamNode<std::pair<K, V>>;

  struct Options {
    std::uint32_t partitions = 0;  ///< 0: the context's default parallelism
    std::uint64_t expires_after = 0;
    std::string shape = {};  ///< of the state, beside its types
    std::vector<StateMigration> migrations = {};
  };

  /// Adds it to the parent's graph.
  static std::shared_ptr<StateStreamNode> make(const char* kind,
                                               const std::shared_ptr<Parent>& parent, Operator op,
                                               Options options) {
    const auto graph = parent->graph();
    auto node = std::shared_ptr<StateStreamNode>(
        new StateStreamNode(graph, kind, parent, std::move(op), std::move(options)));
    node->persist(StorageLevel::kMemory);
    graph->add_stateful(node, node);
    return node;
  }

  const char* kind() const override { return this->operation(); }
  std::string fingerprint() const override {
    return weir::internal::fingerprint<Snapshot>() + options_.shape;
  }
  const StateMigration* migration_from(const std::string& written) const override {
    const auto found = std::ranges::find(options_.migrations, written, &StateMigration::from);
    return found == options_.migrations.end() ? nullptr : &*found;
  }
  std::uint32_t num_partitions() const override { return partitions_; }
  std::uint64_t expires_after() const override { return options_.expires_after; }
  const StreamNode& stream() const override { return *this; }
  void attach(std::shared_ptr<const StateHandle> state) override { state_ = std::move(state); }
  StateId state() const override { return state_->id(); }
  std::shared_ptr<DatasetBase> prepare(Time time) override {
    const auto making = this->making();
    return prepared_.insert_or_assign(time, make(time)).first->second.dataset();
  }
  void update(Time time, const std::vector<std::uint32_t>& partitions) override {
    // Nothing is done with the elements but to store them: what is wanted is the state. Those that
    // are stored already would be taken as they are and not update it.
    const Rdd<Out> updated = this->has_rdd_at(time) ? make(time) : *this->rdd_at(time);
    run_action(updated.dataset(), CountAction<Out>(), partitions);
  }

  void forget(Time time) override {
    TypedStreamNode<Out>::forget(time);
    const auto making = this->making();
    prepared_.erase(prepared_.begin(), prepared_.upper_bound(time));
  }

  /// All keys with their state after the batch at `time`, which must be the one that runs.
  Rdd<Snapshot> snapshot(Time time) const {
    using Node = StateSnapshotDataset<Operator>;
    return Rdd<Snapshot>(new Node(this->graph()->context().engine(), "state_snapshots", state_,
                                  running(time), operator_));
  }

 protected:
  Rdd<Out> compute(Time time) override {
    auto prepared = prepared_.extract(time);
    return prepared ? std::move(prepared.mapped()) : make(time);
  }

 private:
  Rdd<Out> make(Time time) {
    const auto making = this->making();
    if constexpr (requires { operator_.set_origin(time); }) {
      operator_.set_origin(this->zero_time());
    }
    using Node = StateUpdateDataset<K, V, Operator>;
    return Rdd<Out>(new Node(parent_->rdd_at(time)->dataset(), this->operation(), state_,
                             running(time), operator_));
  }

  StateStreamNode(std::shared_ptr<StreamGraph> graph, const char* kind,
                  std::shared_ptr<Parent> parent, Operator op, Options options)
      : TypedStreamNode<Out>(graph, kind, parent->slide(), {parent}, Duration::zero()),
        parent_(std::move(parent)),
        operator_(std::move(op)),
        options_(std::move(options)),
        partitions_(options_.partitions != 0 ? options_.partitions
                                             : graph->context().default_parallelism()) {}

  /// The batch that is running. State is made in the order of the batches: it cannot be asked for
  /// at a time before.
  StateBatchId running(Time time) const {
    const BatchScope::Running batch = BatchScope::running();
    if (batch.time == time) return {batch.sequence, batch.time};
    throw Error(ErrorCode::kInvalidArgument,
                std::string(this->operation()) + ": what the batch at " + to_string(time) +
                    " made of the state is gone; a window over it cannot be had after a restart");
  }

  const std::shared_ptr<Parent> parent_;
  Operator operator_;
  const Options options_;
  const std::uint32_t partitions_;
  std::shared_ptr<const StateHandle> state_;
  std::map<Time, Rdd<Out>> prepared_;  // guarded by `making`
};

}  // namespace weir::internal
