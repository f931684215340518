#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "weir/core/aggregation_table.h"
#include "weir/core/footprint.h"
#include "weir/core/hash.h"
#include "weir/core/print_value.h"
#include "weir/core/storage/block.h"
#include "weir/core/task_run.h"

/// Aggregation by key of more than fits into a task's memory. Whenever the table is full its
/// entries are dealt to buckets by bits of their keys' hashes, which go to the disk, and the table
/// begins anew; at the end each bucket is aggregated by itself, in the order in which it was
/// written, and dealt again by further bits if it does not fit either.
namespace weir::internal {

/// Hands a table's entries on as chunks, in insertion order, without copying them.
template <class K, class C>
class TableStream final : public ChunkStream<std::pair<K, C>> {
 public:
  explicit TableStream(AggregationTable<K, C> table) : table_(std::move(table)) {}

  ChunkRef<std::pair<K, C>> next() override {
    auto& entries = table_.entries();
    const std::size_t size = std::min(kChunkElements, entries.size() - at_);
    const std::size_t from = std::exchange(at_, at_ + size);
    return {entries.data() + from, size, true};
  }

 private:
  AggregationTable<K, C> table_;
  std::size_t at_ = 0;
};

/// Error(kJobFailed) of what is kept of one key.
[[noreturn]] void throw_group_too_large(const std::string& key, std::uint64_t bytes,
                                        std::uint64_t budget);

template <class K, class C, class Aggregator>
class SpilledGroups {
 public:
  using Table = AggregationTable<K, C>;
  using Out = std::pair<K, C>;

  SpilledGroups(TaskRun& run, const Aggregator& aggregator, std::uint32_t depth = 0)
      : run_(run), aggregator_(aggregator), depth_(depth) {}

  /// Whether the table has outgrown the task's share of memory.
  bool is_full(const Table& table) const { return table.bytes() > run_.memory_budget(); }

  /// Puts the entries on the disk and leaves the table empty. Throws Error(kJobFailed) if one key's
  /// alone do not fit into memory.
  void spill(Table& table) {
    require_divisible(table);
    if (depth_ == kMostDepth) return;  // what is left has equal hashes, nearly: it must do
    std::array<ElementEncoder, kBuckets> encoders;
    Table full = std::exchange(table, {});
    for (std::size_t i = 0; i < full.size(); ++i) {
      const std::uint64_t hash = full.hashes()[i];
      const auto& [key, combined] = full.entries()[i];
      encoders[bucket_of(hash)].add(hash, key, combined);
    }
    full = {};
    for (std::size_t b = 0; b < kBuckets; ++b) {
      for (const Bytes& part : encoders[b].take()) buckets_[b].push_back(run_.spill(part));
    }
    any_ = true;
  }

  /// All entries: those that were spilled, if any, and those of the table.
  static StreamPtr<Out> finish(SpilledGroups groups, Table table) {
    if (!groups.any_) return StreamPtr(new TableStream<K, C>(std::move(table)));
    groups.spill(table);
    return StreamPtr<Out>(new Stream(std::move(groups)));
  }

 private:
  static constexpr std::size_t kBucketBits = 4;
  static constexpr std::size_t kBuckets = std::size_t{1} << kBucketBits;
  static constexpr std::uint32_t kMostDepth = 6;

  /// Bucket by bucket.
  class Stream final : public ChunkStream<Out> {
   public:
    explicit Stream(SpilledGroups groups) : groups_(std::move(groups)) {}
    ChunkRef<Out> next() override {
      while (true) {
        if (current_ != nullptr) {
          const ChunkRef<Out> chunk = current_->next();
          if (!chunk.empty()) return chunk;
          current_ = nullptr;
        }
        if (at_ == kBuckets) return {};
        current_ = groups_.open(at_++);
      }
    }

   private:
    SpilledGroups groups_;
    std::size_t at_ = 0;
    StreamPtr<Out> current_;
  };

  /// Tables use the low bits, partitions the high ones.
  std::size_t bucket_of(std::uint64_t hash) const {
    return (hash_word(hash, depth_ + 1) >> 32) % kBuckets;
  }

  StreamPtr<Out> open(std::size_t bucket) {
    SpilledGroups deeper(run_, aggregator_, depth_ + 1);
    Table table;
    for (HeldBytes& part : std::exchange(buckets_[bucket], {})) {
      const Bytes bytes = std::exchange(part, {}).get();
      for (SlimReader reader(bytes.view()); !reader.at_end();) {
        const auto hash = reader.template get<std::uint64_t>();
        auto key = read_in_place<K>(reader);
        C combined{};
        reader & combined;
        const std::size_t grows = table_growth(combined);
        const auto [entry, is_new] =
            table.find_or_insert(hash, std::move(key), [&] { return std::move(combined); });
        if (!is_new) aggregator_.merge_combined(entry->second, std::move(combined));
        table.add_owned(is_new ? table_growth(entry->first) + grows : grows + sizeof(C));
      }
      run_.step();
      if (deeper.is_full(table)) deeper.spill(table);
    }
    return finish(std::move(deeper), std::move(table));
  }

  void require_divisible(const Table& table) const {
    if constexpr (Aggregator::kGathers && !owns_nothing<C>) {
      for (const auto& [key, combined] : table.entries()) {
        const std::size_t bytes = footprint(combined);
        if (bytes <= run_.memory_budget()) continue;
        std::string name = "a key";
        if constexpr (is_printable<K>()) name = "the key " + printed(key);
        throw_group_too_large(name, bytes, run_.memory_budget());
      }
    }
  }

  TaskRun& run_;
  const Aggregator& aggregator_;
  const std::uint32_t depth_;
  bool any_ = false;
  std::array<std::vector<HeldBytes>, kBuckets> buckets_;
};

}  // namespace weir::internal
