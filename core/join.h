#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "weir/core/cogroup.h"

/// Joins hold the right side of a partition in a table and stream the left one, so that the smaller
/// side belongs on the right. What they make of a key, the product of its values, is handed on
/// chunk by chunk and never held.
namespace weir::internal {

/// Values by key, those of a key in their order: one table and one array of links, whatever the
/// number of values per key.
template <class K, class V>
class ValuesByKey {
 public:
  static constexpr std::size_t kEnd = static_cast<std::size_t>(-1);

  struct Chain {
    std::size_t first = kEnd;
    std::size_t last = kEnd;
    bool seen = false;  ///< for the user's marks
  };
  struct Link {
    V value;
    std::size_t next = kEnd;
  };

  void add(std::uint64_t hash, K&& key, V&& value) {
    const std::size_t at = links_.size();
    links_.push_back({std::move(value)});
    Chain& chain =
        chains_.find_or_insert(hash, std::move(key), [] { return Chain(); }).first->second;
    (chain.first == kEnd ? chain.first : links_[chain.last].next) = at;
    chain.last = at;
  }
  /// Null for a key without values.
  Chain* find(std::uint64_t hash, const K& key) {
    const auto entry = chains_.find(hash, key);
    return entry == nullptr ? nullptr : &entry->second;
  }
  void prefetch(std::uint64_t hash) const { chains_.prefetch(hash); }

  Link& link(std::size_t at) { return links_[at]; }
  /// Keys in the order of their first appearance.
  std::vector<std::pair<K, Chain>>& chains() { return chains_.entries(); }

 private:
  AggregationTable<K, Chain> chains_;
  std::vector<Link> links_;
};

/// The pairs of values of each key that both sides have, in the order of the left side and for each
/// of its elements in that of the right one. `kAllLeft`: also elements of the left side whose key
/// the right one has not. `kAllRight`: and the other way round, after all others.
template <class K, class V, class W, bool kAllLeft, bool kAllRight>
class JoinZip final
    : public ChunkStream<
          std::pair<K, std::pair<std::conditional_t<kAllRight, std::optional<V>, V>,
                                 std::conditional_t<kAllLeft, std::optional<W>, W>>>> {
 public:
  using Left = std::pair<K, V>;
  using Right = std::pair<K, W>;
  using LeftValue = std::conditional_t<kAllRight, std::optional<V>, V>;
  using RightValue = std::conditional_t<kAllLeft, std::optional<W>, W>;
  using Values = std::pair<LeftValue, RightValue>;
  using Out = std::pair<K, Values>;

  JoinZip(StreamPtr<Left> left, StreamPtr<Right> right, std::uint64_t seed)
      : left_(std::move(left)), right_(std::move(right)), seed_(seed) {}

  ChunkRef<Out> next() override {
    if (right_ != nullptr) {
      for_each_hashed(*right_, seed_, table_, [&](std::uint64_t hash, Right&& element) {
        table_.add(hash, std::move(element.first), std::move(element.second));
      });
      right_ = nullptr;
    }
    out_.clear();
    while (!out_.full()) {
      if (link_ != kEnd) {
        put_pair();
      } else if (at_ < chunk_.size) {
        look_up();
      } else if (left_ != nullptr) {
        next_chunk();
      } else if (!kAllRight || !put_unseen()) {
        break;
      }
    }
    return out_.ref();
  }

 private:
  static constexpr std::size_t kEnd = ValuesByKey<K, W>::kEnd;

  void next_chunk() {
    chunk_ = left_->next();
    at_ = 0;
    if (chunk_.empty()) left_ = nullptr;
    hash_keys(chunk_, seed_, table_, hashes_);
  }

  /// Begins with the element at `at_`, unless there is nothing to pair it with.
  void look_up() {
    if (auto* chain = table_.find(hashes_[at_], chunk_.data[at_].first)) {
      chain->seen = true;
      link_ = chain->first;
      return;
    }
    if constexpr (kAllLeft) put(RightValue());
    ++at_;
  }

  void put_pair() {
    auto& link = table_.link(link_);
    link_ = link.next;
    if (link_ != kEnd) {  // the element is needed again
      const Left& element = chunk_.data[at_];
      out_.emplace_back(element.first, Values(element.second, link.value));
      return;
    }
    put(RightValue(std::as_const(link.value)));
    ++at_;
  }

  /// The element's last row.
  void put(RightValue value) {
    Left& element = chunk_.data[at_];
    if (chunk_.exclusive) {
      out_.emplace_back(std::move(element.first),
                        Values(std::move(element.second), std::move(value)));
    } else {
      out_.emplace_back(std::as_const(element.first),
                        Values(std::as_const(element.second), std::move(value)));
    }
  }

  /// A value of the right side that nothing was paired with; false: there are no more.
  bool put_unseen() {
    auto& chains = table_.chains();
    for (; chain_ < chains.size(); ++chain_, unseen_ = kEnd) {
      auto& [key, chain] = chains[chain_];
      if (chain.seen) continue;
      if (unseen_ == kEnd) unseen_ = chain.first;
      auto& link = table_.link(unseen_);
      unseen_ = link.next;
      if (unseen_ != kEnd) {
        out_.emplace_back(std::as_const(key), Values(LeftValue(), std::move(link.value)));
      } else {
        out_.emplace_back(std::move(key), Values(LeftValue(), std::move(link.value)));
        ++chain_;
      }
      return true;
    }
    return false;
  }

  StreamPtr<Left> left_;    // null: at its end
  StreamPtr<Right> right_;  // null: in the table
  const std::uint64_t seed_;
  ValuesByKey<K, W> table_;

  ChunkRef<Left> chunk_;
  std::vector<std::uint64_t> hashes_;  // of its keys
  std::size_t at_ = 0;                 // in the chunk
  std::size_t link_ = kEnd;            // of what the element there is paired with next

  std::size_t chain_ = 0;      // among all keys, once the left side has ended
  std::size_t unseen_ = kEnd;  // and among its values
  ChunkBuffer<Out> out_;
};

/// The elements of the left side whose key the right one has (`kPresent`) or has not, in their
/// order. The right side's values are of no interest.
template <class K, class V, bool kPresent>
class MatchZip final : public ChunkStream<std::pair<K, V>> {
 public:
  using Left = std::pair<K, V>;
  using Right = std::pair<K, char>;
  using Out = Left;

  MatchZip(StreamPtr<Left> left, StreamPtr<Right> right, std::uint64_t seed)
      : left_(std::move(left)), right_(std::move(right)), seed_(seed) {}

  ChunkRef<Out> next() override {
    if (right_ != nullptr) {
      for_each_hashed(*right_, seed_, keys_, [&](std::uint64_t hash, Right&& element) {
        keys_.find_or_insert(hash, std::move(element.first), [] { return char(); });
      });
      right_ = nullptr;
    }
    out_.clear();
    while (out_.size() == 0) {
      const ChunkRef<Left> chunk = left_->next();
      if (chunk.empty()) break;
      hash_keys(chunk, seed_, keys_, hashes_);
      for (std::size_t i = 0; i < chunk.size; ++i) {
        Left& element = chunk.data[i];
        if ((keys_.find(hashes_[i], element.first) != nullptr) != kPresent) continue;
        if (chunk.exclusive) {
          out_.emplace_back(std::move(element));
        } else {
          out_.emplace_back(std::as_const(element));
        }
      }
    }
    return out_.ref();
  }

 private:
  const StreamPtr<Left> left_;
  StreamPtr<Right> right_;  // null: in the table
  const std::uint64_t seed_;
  AggregationTable<K, char> keys_;
  std::vector<std::uint64_t> hashes_;
  ChunkBuffer<Out> out_;
};

}  // namespace weir::internal
