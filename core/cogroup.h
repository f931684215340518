#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "weir/core/zip.h"

/// Operators over two datasets of pairs with the same keys.
///
/// They are narrow: both sides are spread alike before (redistribute.h), a side that is already
/// stays where it is, and partition p of the result is made of both partitions p (zip.h). What is
/// made of them is a stream of the form
///
///     using Left; using Right; using Out;                // owning pairs of the same key type
///     Stream(StreamPtr<Left>, StreamPtr<Right>, std::uint64_t seed);      // of the keys' hash
///
/// Keys are hashed once more than if they kept their hash through the shuffle; in return any two
/// datasets that are spread alike can be zipped, wherever they come from.
namespace weir::internal {

template <class Stream>
struct KeyedZip {
  using Left = typename Stream::Left;
  using Right = typename Stream::Right;
  using Out = typename Stream::Out;

  StreamPtr<Out> operator()(StreamPtr<Left> left, StreamPtr<Right> right,
                            const TaskRun& run) const {
    return StreamPtr<Out>(new Stream(std::move(left), std::move(right), run.hash_seed()));
  }
  template <class Archive>
  void serialize(Archive&, unsigned) {}
};

/// The hashes of a chunk's keys, of which the table is told before they are looked up.
template <class K, class V, class Table>
void hash_keys(const ChunkRef<std::pair<K, V>>& chunk, std::uint64_t seed, const Table& table,
               std::vector<std::uint64_t>& hashes) {
  hashes.clear();
  for (const auto& element : chunk) {
    hashes.push_back(key_hash(element.first, seed));
    table.prefetch(hashes.back());
  }
}

/// Calls `use(hash, element)` for each element of the stream, as an rvalue that is `use`'s own.
template <class K, class V, class Table, class Use>
void for_each_hashed(ChunkStream<std::pair<K, V>>& input, std::uint64_t seed, const Table& table,
                     const Use& use) {
  std::vector<std::uint64_t> hashes;
  for (auto chunk = input.next(); !chunk.empty(); chunk = input.next()) {
    hash_keys(chunk, seed, table, hashes);
    for (std::size_t i = 0; i < chunk.size; ++i) {
      if (chunk.exclusive) {
        use(hashes[i], std::move(chunk.data[i]));
      } else {
        use(hashes[i], std::pair<K, V>(std::as_const(chunk.data[i])));
      }
    }
  }
}

/// All values of each key, of either side: both are held. Keys in the order of their first
/// appearance, those of the left side first; values in their order.
template <class K, class V, class W>
class CogroupZip final
    : public ChunkStream<std::pair<K, std::pair<std::vector<V>, std::vector<W>>>> {
 public:
  using Left = std::pair<K, V>;
  using Right = std::pair<K, W>;
  using Groups = std::pair<std::vector<V>, std::vector<W>>;
  using Out = std::pair<K, Groups>;

  CogroupZip(StreamPtr<Left> left, StreamPtr<Right> right, std::uint64_t seed)
      : left_(std::move(left)), right_(std::move(right)), seed_(seed) {}

  ChunkRef<Out> next() override {
    if (!result_) {
      AggregationTable<K, Groups> table;
      const auto groups_of = [&](std::uint64_t hash, K&& key) -> Groups& {
        return table.find_or_insert(hash, std::move(key), [] { return Groups(); }).first->second;
      };
      for_each_hashed(*left_, seed_, table, [&](std::uint64_t hash, Left&& element) {
        groups_of(hash, std::move(element.first)).first.push_back(std::move(element.second));
      });
      for_each_hashed(*right_, seed_, table, [&](std::uint64_t hash, Right&& element) {
        groups_of(hash, std::move(element.first)).second.push_back(std::move(element.second));
      });
      result_.emplace(std::move(table));
    }
    return result_->next();
  }

 private:
  const StreamPtr<Left> left_;
  const StreamPtr<Right> right_;
  const std::uint64_t seed_;
  std::optional<TableStream<K, Groups>> result_;
};

}  // namespace weir::internal
