#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "weir/core/pipes.h"

/// The hash shuffle. A map task aggregates what it can, deals its records to the reducers' pieces
/// by the high bits of the key's hash and keeps the pieces; a reduce task reads its piece of every
/// map output in map-partition order, so that its result is a function of the input alone. A record
/// is written as (hash, key, value): the hash is computed once in a record's life.
namespace weir::internal {

/// The output of a map stage.
template <class K, class V, class Aggregator>
class ShuffleWriter final : public StageOutput {
 public:
  using In = std::pair<K, V>;

  ShuffleWriter(Partitioner partitioner, Aggregator aggregator)
      : partitioner_(partitioner), aggregator_(std::move(aggregator)) {}
  explicit ShuffleWriter(StageReader& in)
      : parent_(in.parent<In>()),
        partitioner_(read_partitioner(in.bytes())),
        aggregator_(read_function<Aggregator>(in.bytes())) {}

  static std::unique_ptr<StageNode> load(StageReader& in) {
    return std::unique_ptr<StageNode>(new ShuffleWriter(in));
  }
  CodeId code() const override {
    (void)Registered<ShuffleWriter>::value;
    return code_id(&ShuffleWriter::load);
  }
  void write(SlimWriter& out) const override {
    out & partitioner_;
    write_function(out, aggregator_);
  }

  Done run(TaskRun& run, std::uint32_t partition) const override {
    MapOutputWriter output(run, partitioner_.partitions);
    const std::uint64_t seed = partitioner_.seed_in(run);
    const auto input = parent_->open(run, partition);
    if constexpr (Aggregator::kCombinesEarly) {
      const auto deal_all = [&](auto& table) {
        for (std::size_t i = 0; i < table.size(); ++i) {
          const auto& [key, value] = table.entries()[i];
          deal(output, table.hashes()[i], key, value);
        }
        output.spill_if_full();
      };
      auto rest = aggregate(*input, aggregator_, seed, [&](auto& table) {
        if (table.bytes() <= run.memory_budget() / 2) return;
        deal_all(table);
        table = {};
      });
      deal_all(rest);
    } else {
      for (auto chunk = input->next(); !chunk.empty(); chunk = input->next()) {
        for (const In& element : chunk) {
          deal(output, key_hash(element.first, seed), element.first, element.second);
        }
        output.spill_if_full();
      }
    }
    return output.finish(partition);
  }

 private:
  template <class Key, class Value>
  void deal(MapOutputWriter& output, std::uint64_t hash, const Key& key, const Value& value) const {
    SlimWriter& piece = output.piece(partitioner_.partition_of(hash));
    piece.put(hash);
    write_owned(piece, key);
    write_owned(piece, value);
  }

  static Partitioner read_partitioner(SlimReader& in) {
    Partitioner partitioner;
    in & partitioner;
    return partitioner;
  }

  const Dataset<In>* const parent_ = nullptr;  // loaded stages only
  const Partitioner partitioner_;
  const Aggregator aggregator_;
};

/// The reduce side: partition r holds the combined values of the keys that hash to r.
template <class K, class V, class Aggregator>
class ShuffledDataset final : public Dataset<std::pair<owned_t<K>, typename Aggregator::Combined>>,
                              public ShuffleSource {
 public:
  using Combined = typename Aggregator::Combined;
  using Out = std::pair<owned_t<K>, Combined>;
  /// What crosses the shuffle: combined values, or single ones where nothing is combined early.
  using Crossing = std::conditional_t<Aggregator::kCombinesEarly, Combined, owned_t<V>>;

  ShuffledDataset(const DatasetPtr<std::pair<K, V>>& parent, const char* operation,
                  Partitioner partitioner, Aggregator aggregator)
      : Dataset<Out>(parent->engine(), operation, partitioner.partitions, {}, partitioner),
        ShuffleSource(*this, parent),
        aggregator_(std::move(aggregator)) {}
  explicit ShuffledDataset(StageReader& in) : aggregator_(read_function<Aggregator>(in.bytes())) {}

  static std::unique_ptr<StageNode> load(StageReader& in) {
    return std::unique_ptr<StageNode>(new ShuffledDataset(in));
  }
  CodeId code() const override {
    (void)Registered<ShuffledDataset>::value;
    return code_id(&ShuffledDataset::load);
  }
  void write(SlimWriter& out) const override { write_function(out, aggregator_); }

  const ShuffleSource* shuffle() const override { return this; }
  std::unique_ptr<const StageNode> map_output_node() const override {
    return std::unique_ptr<const StageNode>(
        new ShuffleWriter<K, V, Aggregator>(*this->partitioner(), aggregator_));
  }

  StreamPtr<Out> open(TaskRun& run, std::uint32_t partition) const override {
    using Groups = SpilledGroups<owned_t<K>, Combined, Aggregator>;
    Groups spilled(run, aggregator_);
    AggregationTable<owned_t<K>, Combined> table;
    run.read_segments(run.input(this->node_index(), partition), [&](const Bytes& bytes) {
      std::size_t records = 0;
      for (SlimReader reader(bytes.view()); !reader.at_end(); ++records) {
        const auto hash = reader.get<std::uint64_t>();
        auto key = read_in_place<owned_t<K>>(reader);
        Crossing value{};
        reader & value;
        absorb(table, hash, std::move(key), std::move(value));
        if (records % kChunkElements == 0 && spilled.is_full(table)) spilled.spill(table);
      }
      run.count_records(records);
    });
    return StreamPtr(
        new SteppedStream<Out>(Groups::finish(std::move(spilled), std::move(table)), run));
  }

 private:
  template <class Key>
  void absorb(AggregationTable<owned_t<K>, Combined>& table, std::uint64_t hash, Key&& key,
              Crossing&& value) const {
    std::size_t grows = 0;
    if constexpr (!owns_nothing<Combined>) grows = sizeof(Crossing) + table_growth(value);
    const auto [entry, is_new] = table.find_or_insert(hash, std::forward<Key>(key), [&] {
      if constexpr (Aggregator::kCombinesEarly) {
        return std::move(value);
      } else {
        return aggregator_.create(std::move(value));
      }
    });
    if (is_new) {
      return table.add_owned(table_growth(entry->first) + table_growth(entry->second));
    }
    if constexpr (!owns_nothing<Combined>) table.add_owned(grows);
    if constexpr (Aggregator::kCombinesEarly) {
      aggregator_.merge_combined(entry->second, std::move(value));
    } else {
      aggregator_.merge_value(entry->second, std::move(value));
    }
  }

  const Aggregator aggregator_;
};

}  // namespace weir::internal
