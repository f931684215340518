#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "weir/core/pipes.h"

/// The shuffle of whole elements, aggregated nowhere: partitions are streamed, not put into tables.
/// Where an element goes, its *deal* says, a shippable object with
///
///     using In;
///     std::uint32_t pieces() const;
///     PieceOf start(const TaskRun&, std::uint32_t map_partition) const;   // one map task:
///         std::uint32_t operator()(const In&);                            // in their order
///
/// A partition of the result has its pieces in the order of the input's partitions, and each in the
/// order of its elements.
namespace weir::internal {

/// Pairs by their keys' hash.
template <class K, class V>
struct DealByKey {
  using In = std::pair<K, V>;
  Partitioner partitioner;

  std::uint32_t pieces() const { return partitioner.partitions; }
  auto start(const TaskRun& run, std::uint32_t) const {
    return [by = partitioner, seed = partitioner.seed_in(run)](const In& element) {
      return by.partition_of(key_hash(element.first, seed));
    };
  }
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & partitioner;
  }
};

/// Elements in turn, so that pieces are of equal size. Each partition begins with the piece after
/// the one before it did: many small ones do not all go to the first.
template <class T>
struct DealInTurn {
  using In = T;
  std::uint32_t partitions = 1;

  std::uint32_t pieces() const { return partitions; }
  auto start(const TaskRun&, std::uint32_t map_partition) const {
    return [n = partitions, next = map_partition % partitions](const T&) mutable {
      const std::uint32_t piece = next;
      next = next + 1 == n ? 0 : next + 1;
      return piece;
    };
  }
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & partitions;
  }
};

/// Elements by what they are, so that a piece holds the same ones however the input is partitioned.
/// Equal elements go to one piece.
template <class T>
struct DealByContent {
  using In = T;
  std::uint32_t partitions = 1;

  std::uint32_t pieces() const { return partitions; }
  auto start(const TaskRun&, std::uint32_t) const {
    return
        [by = Partitioner{.partitions = partitions}, out = SlimWriter()](const T& element) mutable {
          out.clear();
          write_owned(out, element);
          return by.partition_of(hash_bytes(out.view()));
        };
  }
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & partitions;
  }
};

/// The output of the map stage.
template <class Deal>
class DealWriter final : public StageOutput {
 public:
  using In = typename Deal::In;

  explicit DealWriter(Deal deal) : deal_(std::move(deal)) {}
  explicit DealWriter(StageReader& in)
      : parent_(in.parent<In>()), deal_(read_function<Deal>(in.bytes())) {}

  static std::unique_ptr<StageNode> load(StageReader& in) {
    return std::unique_ptr<StageNode>(new DealWriter(in));
  }
  CodeId code() const override {
    (void)Registered<DealWriter>::value;
    return code_id(&DealWriter::load);
  }
  void write(SlimWriter& out) const override { write_function(out, deal_); }

  Done run(TaskRun& run, std::uint32_t partition) const override {
    MapOutputWriter output(run, deal_.pieces());
    auto piece_of = deal_.start(run, partition);
    const auto input = parent_->open(run, partition);
    for (auto chunk = input->next(); !chunk.empty(); chunk = input->next()) {
      for (const In& element : chunk) write_owned(output.piece(piece_of(element)), element);
      output.spill_if_full();
    }
    return output.finish(partition);
  }

 private:
  const Dataset<In>* const parent_ = nullptr;  // loaded stages only
  const Deal deal_;
};

/// The reduce side: partition p is the pieces p of all map outputs, decoded chunk by chunk.
template <class Deal>
class DealtDataset final : public Dataset<owned_t<typename Deal::In>>, public ShuffleSource {
 public:
  using In = typename Deal::In;
  using Out = owned_t<In>;

  DealtDataset(const DatasetPtr<In>& parent, const char* operation, Deal deal,
               std::optional<Partitioner> partitioner)
      : Dataset<Out>(parent->engine(), operation, deal.pieces(), {}, partitioner),
        ShuffleSource(*this, parent),
        deal_(std::move(deal)) {
    require_storable<Out>();
  }
  explicit DealtDataset(StageReader&) {}

  static std::unique_ptr<StageNode> load(StageReader& in) {
    return std::unique_ptr<StageNode>(new DealtDataset(in));
  }
  CodeId code() const override {
    (void)Registered<DealtDataset>::value;
    return code_id(&DealtDataset::load);
  }
  void write(SlimWriter&) const override {}

  const ShuffleSource* shuffle() const override { return this; }
  std::unique_ptr<const StageNode> map_output_node() const override {
    return std::unique_ptr<const StageNode>(new DealWriter<Deal>(deal_));
  }

  StreamPtr<Out> open(TaskRun& run, std::uint32_t partition) const override {
    std::vector<HeldBytes> segments;
    std::uint64_t copied = 0;
    run.read_segments(run.input(this->node_index(), partition),
                      [&](HeldBytes piece, bool is_shared) {
                        if (!is_shared) copied += piece.size();
                        if (!is_shared && copied > run.memory_budget() / 2) {
                          piece = run.spill({piece})[0];
                        }
                        segments.push_back(std::move(piece));
                      });
    return StreamPtr<Out>(new Stream(run, std::move(segments)));
  }

 private:
  /// Holds what is not decoded yet, as it was written, or on the disk.
  struct Stream final : ChunkStream<Out> {
    Stream(TaskRun& r, std::vector<HeldBytes> s) : run(r), segments(std::move(s)) {}
    ChunkRef<Out> next() override {
      out.clear();
      while (!out.full()) {
        if (!reader || reader->at_end()) {
          reader.reset();
          if (at == segments.size()) break;
          segment = std::exchange(segments[at++], {}).get();
          reader.emplace(segment.view());
          continue;
        }
        Out element{};
        *reader& element;
        out.emplace_back(std::move(element));
      }
      run.count_records(out.size());
      return out.ref();
    }
    TaskRun& run;
    std::vector<HeldBytes> segments;
    std::size_t at = 0;
    Bytes segment;  // that is being read
    std::optional<SlimReader> reader;
    ChunkBuffer<Out> out;
  };

  const Deal deal_{};  // in the driver only
};

struct ToOwned {
  template <class T>
  owned_t<T> operator()(const T& element) const {
    return to_owned(element);
  }
  template <class Archive>
  void serialize(Archive&, unsigned) {}
};

/// A dataset's pairs in their owning form, spread by `partitioner`: no shuffle where they are.
template <class K, class V>
DatasetPtr<std::pair<owned_t<K>, owned_t<V>>> spread_by_key(
    const DatasetPtr<std::pair<K, V>>& dataset, const char* operation,
    const Partitioner& partitioner) {
  using T = std::pair<K, V>;
  if (dataset->partitioner() != partitioner) {
    return DatasetPtr(new DealtDataset<DealByKey<K, V>>(dataset, operation,
                                                        DealByKey<K, V>{partitioner}, partitioner));
  } else if constexpr (is_owned<T>) {
    return dataset;
  } else {
    return DatasetPtr(new PipeDataset<T, MapPipe<T, ToOwned>>(
        dataset, operation, MapPipe<T, ToOwned>{{ToOwned{}}}, partitioner));
  }
}

}  // namespace weir::internal
