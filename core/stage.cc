#include "weir/core/stage.h"

#include <algorithm>
#include <shared_mutex>
#include <unordered_map>
#include <unordered_set>

#include "weir/core/error.h"
#include "weir/core/hash.h"

namespace weir {

// A serialized stage: node count, then each node after its parents, the output last. A node is its
// code, the indices of its parents and its own bytes. Nothing in it changes from batch to batch.

namespace internal {
namespace {

void write_node(SlimWriter& out, const StageNode& node, const std::vector<std::uint32_t>& parents) {
  out & node.code() & parents;
  SlimWriter own;
  node.write(own);
  out & own.view();
}

/// What stands for the dataset in stages.
DatasetBase& in_lineage(DatasetBase& dataset) {
  return dataset.replacement() != nullptr ? *dataset.replacement() : dataset;
}

using Broadcasts = std::vector<std::shared_ptr<DatasetBase>>;

/// Of the stage that this thread writes.
thread_local Broadcasts* current_broadcasts = nullptr;

class BroadcastScope {
 public:
  explicit BroadcastScope(Broadcasts& broadcasts)
      : outer_(std::exchange(current_broadcasts, &broadcasts)) {}
  ~BroadcastScope() { current_broadcasts = outer_; }
  BroadcastScope(const BroadcastScope&) = delete;
  BroadcastScope& operator=(const BroadcastScope&) = delete;

 private:
  Broadcasts* const outer_;
};

/// Serializes one stage and remembers where each dataset ended up in it.
class StageBuilder {
 public:
  StageBuilder(const std::shared_ptr<DatasetBase>& root, const StageNode& output) {
    const BroadcastScope scope(broadcasts_);
    const std::uint32_t at = add(*root);
    write_node(nodes_, output, {at});
    SlimWriter all;
    all.put(count_ + 1);
    all.put_bytes(nodes_.view().data(), nodes_.size());
    auto program = std::make_shared<StageProgram>();
    program->bytes = all.take();
    program->hash = hash_bytes(program->bytes.view());
    plan_.program = std::move(program);
    for (const auto& broadcast : broadcasts_) shuffles_.push_back(broadcast.get());
  }

  StagePlan take() { return std::move(plan_); }
  std::uint32_t index_of(const DatasetBase& dataset) const { return index_.at(&dataset).node; }
  /// What functions of the stage refer to; they need not be in its graph.
  const Broadcasts& broadcasts() const { return broadcasts_; }
  /// The shuffles that the stage reads, each once; broadcasts too.
  const std::vector<DatasetBase*>& shuffles() const { return shuffles_; }

  void add_task(const std::shared_ptr<DatasetBase>& root, std::uint32_t partition) {
    std::vector<LeafNeed> needs;
    std::vector<StateNeed> states;
    collect(*root, partition, std::nullopt, needs, states);
    for (std::uint32_t i = 0; i < broadcasts_.size(); ++i) {
      LeafInput& input = needs.emplace_back().input;
      input.node = LeafInput::kFirstBroadcast + i;
      input.is_shuffle = true;
      input.shuffle = broadcasts_[i]->id();
    }
    plan_.partitions.push_back(partition);
    plan_.needs.push_back(std::move(needs));
    if (!states_.empty()) plan_.states.push_back(std::move(states));
  }

 private:
  struct Place {
    std::uint32_t node = 0;
    std::uint32_t read_from = 0;  ///< the same, or the node that keeps what it yields
  };

  /// Returns what is to be read in the dataset's place.
  std::uint32_t add(DatasetBase& dataset) {
    if (const auto known = index_.find(&dataset); known != index_.end()) {
      return known->second.read_from;
    }
    std::vector<std::uint32_t> parents;
    std::vector<std::uint32_t> states;
    DatasetBase& node = in_lineage(dataset);
    for (const auto& parent : node.parents()) {
      parents.push_back(add(*parent));
      if (const auto with = states_.find(parents.back()); with != states_.end()) {
        states.insert(states.end(), with->second.begin(), with->second.end());
      }
    }
    Place place{count_, count_};
    if (node.has_state()) states.push_back(place.node);
    std::sort(states.begin(), states.end());
    states.erase(std::unique(states.begin(), states.end()), states.end());
    write(node, parents);
    if (node.shuffle() != nullptr) shuffles_.push_back(&node);
    const StorageLevel level = dataset.storage_level();
    if (level != StorageLevel::kNone) {
      place.read_from = write(*dataset.keeper(), {place.node});
      plan_.cached.push_back({place.node, dataset.id(), states, level});
    }
    if (!states.empty()) states_.emplace(place.read_from, std::move(states));
    index_.emplace(&dataset, place);
    return place.read_from;
  }

  std::uint32_t write(const StageNode& node, const std::vector<std::uint32_t>& parents) {
    write_node(nodes_, node, parents);
    return count_++;
  }

  void collect(DatasetBase& handle, std::uint32_t partition,
               std::optional<std::pair<DatasetId, std::uint32_t>> behind,
               std::vector<LeafNeed>& needs, std::vector<StateNeed>& states) const {
    if (!behind && handle.storage_level() != StorageLevel::kNone) {
      behind.emplace(handle.id(), partition);
    }
    DatasetBase& dataset = in_lineage(handle);
    if (!dataset.is_source() && dataset.shuffle() == nullptr) {
      dataset.visit_dependencies(partition, [&](std::uint32_t i, std::uint32_t q) {
        collect(*dataset.parents()[i], q, behind, needs, states);
      });
      return;
    }
    LeafNeed need;
    need.input.node = index_of(handle);
    need.input.partition = partition;
    const auto same = std::find_if(needs.begin(), needs.end(), [&](const LeafNeed& other) {
      return other.input.node == need.input.node && other.input.partition == partition;
    });
    if (same != needs.end()) {  // reached twice: spared only if both ways are behind one block
      if (same->behind == behind) return;
      same->behind.reset();
      for (StateNeed& state : states) {
        if (state.input.node == need.input.node && state.input.partition == partition) {
          state.behind.reset();
        }
      }
      return;
    }
    if (dataset.has_state()) {
      StateNeed state;
      dataset.describe_state(partition, state.input);
      state.input.node = need.input.node;
      state.partitions = dataset.num_partitions();
      state.behind = behind;
      states.push_back(std::move(state));
    }
    need.behind = behind;
    if (dataset.shuffle() != nullptr) {
      need.input.is_shuffle = true;
      need.input.shuffle = dataset.id();
    } else {
      dataset.describe_input(partition, need.input);
    }
    needs.push_back(std::move(need));
  }

  StagePlan plan_;
  SlimWriter nodes_;
  std::uint32_t count_ = 0;  // of nodes
  std::unordered_map<const DatasetBase*, Place> index_;
  std::vector<DatasetBase*> shuffles_;
  Broadcasts broadcasts_;
  std::unordered_map<std::uint32_t, std::vector<std::uint32_t>> states_;  // see CacheSlot
};

/// What the user calls the dataset, else its operation.
std::string title(const DatasetBase& dataset) {
  std::string name = dataset.name();
  return name.empty() ? dataset.operation() : name;
}

/// Functions of an action live no longer than the plan is made.
void keep_broadcasts(JobPlan& plan, const StageBuilder& builder) {
  plan.keep.insert(plan.keep.end(), builder.broadcasts().begin(), builder.broadcasts().end());
}

/// Adds the map stage that feeds `reader`, and before it those that feed that stage.
void add_map_stages(JobPlan& plan, DatasetBase& reader) {
  const auto planned = [&](const StagePlan& stage) { return stage.writes == reader.id(); };
  if (std::any_of(plan.stages.begin(), plan.stages.end(), planned)) return;
  const std::shared_ptr<DatasetBase>& root = reader.shuffle()->map_parent();
  StageBuilder builder(root, *reader.shuffle()->map_output_node());
  keep_broadcasts(plan, builder);
  for (DatasetBase* shuffle : builder.shuffles()) add_map_stages(plan, *shuffle);
  for (std::uint32_t p = 0; p < root->num_partitions(); ++p) builder.add_task(root, p);
  StagePlan stage = builder.take();
  stage.name = title(reader);
  stage.writes = reader.id();
  stage.reducers = reader.num_partitions();
  plan.stages.push_back(std::move(stage));
}

/// Whether the dataset, or one that it is made from, is made from state.
bool reads_state(const DatasetBase& dataset) {
  if (dataset.replacement() != nullptr) return false;
  if (dataset.has_state()) return true;
  if (dataset.shuffle() != nullptr) return reads_state(*dataset.shuffle()->map_parent());
  return std::ranges::any_of(dataset.parents(),
                             [](const auto& parent) { return reads_state(*parent); });
}

/// The shuffles that the stage which ends in `dataset` reads, each once.
void collect_shuffles(const std::shared_ptr<DatasetBase>& dataset,
                      std::unordered_set<const DatasetBase*>& seen,
                      std::vector<std::shared_ptr<DatasetBase>>& shuffles) {
  if (!seen.insert(dataset.get()).second || dataset->replacement() != nullptr) return;
  if (dataset->shuffle() != nullptr) shuffles.push_back(dataset);
  for (const auto& parent : dataset->parents()) collect_shuffles(parent, seen, shuffles);
}

}  // namespace

std::uint32_t refer_to_broadcast(const std::shared_ptr<DatasetBase>& broadcast) {
  if (broadcast == nullptr || current_broadcasts == nullptr) {
    throw Error(ErrorCode::kInvalidArgument,
                "a broadcast can be a captured value of a function only, not an element, a result "
                "or part of another broadcast");
  }
  const auto known = std::ranges::find(*current_broadcasts, broadcast);
  const auto index = static_cast<std::uint32_t>(known - current_broadcasts->begin());
  if (known == current_broadcasts->end()) current_broadcasts->push_back(broadcast);
  return index;
}

std::vector<JobPlan> plan_map_stages(const std::shared_ptr<DatasetBase>& root) {
  const std::shared_lock lock(lineage_mutex());
  std::unordered_set<const DatasetBase*> seen;
  std::vector<std::shared_ptr<DatasetBase>> shuffles;
  collect_shuffles(root, seen, shuffles);
  std::vector<JobPlan> plans;
  for (const auto& reader : shuffles) {
    if (reads_state(*reader->shuffle()->map_parent())) continue;
    JobPlan& plan = plans.emplace_back();
    plan.keep.push_back(reader);
    add_map_stages(plan, *reader);
  }
  return plans;
}

JobPlan plan_job(const std::shared_ptr<DatasetBase>& root, const StageOutput& action,
                 bool has_effects, const std::vector<std::uint32_t>& partitions) {
  const std::shared_lock lock(lineage_mutex());
  JobPlan plan;
  plan.keep.push_back(root);
  StageBuilder builder(root, action);
  keep_broadcasts(plan, builder);
  for (DatasetBase* shuffle : builder.shuffles()) add_map_stages(plan, *shuffle);
  for (const std::uint32_t p : partitions) builder.add_task(root, p);
  StagePlan stage = builder.take();
  stage.name = title(*root);
  stage.has_effects = has_effects;
  plan.stages.push_back(std::move(stage));
  return plan;
}

}  // namespace internal

LoadedStage::LoadedStage(std::string_view program) {
  SlimReader in(program);
  const auto count = in.get<std::uint32_t>();
  if (count == 0 || count > program.size()) {
    throw Error(ErrorCode::kCorrupt, "a serialized stage has no nodes");
  }
  for (std::uint32_t i = 0; i < count; ++i) {
    CodeId code;
    std::vector<std::uint32_t> parents;
    in & code & parents;
    for (const std::uint32_t parent : parents) {
      if (parent >= i) throw Error(ErrorCode::kCorrupt, "a stage's node comes before its parent");
    }
    SlimReader own_in(in.get_view());
    StageReader reader(nodes_, std::move(parents), own_in);
    auto node = internal::find_loader(code)(reader);
    own_in.expect_end();
    node->set_node_index(i);
    nodes_.push_back(std::move(node));
  }
  in.expect_end();
  output_ = dynamic_cast<const internal::StageOutput*>(nodes_.back().get());
  if (output_ == nullptr) throw Error(ErrorCode::kCorrupt, "a stage does not end in an output");
}

void StageReader::throw_bad_parent(std::size_t i) {
  throw Error(ErrorCode::kCorrupt,
              "a stage's node has no parent " + std::to_string(i) + " of the type it reads");
}

}  // namespace weir
