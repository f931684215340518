#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "weir/core/pipes.h"
#include "weir/core/state/fingerprint.h"
#include "weir/core/state/window_steps.h"

namespace weir::internal {

/// `reduce_by_key_and_window`; `reduce_by_window` and `count_by_window` are it with a single key.
/// Takes in a slice at every batch and, when the window is due, gives every key with its aggregate
/// over the window, ordered by the keys' hashes. K and V are the stream's, in their owning form.
///
/// The work of a batch goes with the keys of the entering, of the leaving and of one more slice
/// and, where due, with all keys; not with the window's length. Deltas older than the window's
/// length in batches are not needed.
///
/// Restored state gives the same results to the bit without an inverse, and with one where
/// inverse(reduce(a, b), b) is exactly a; sums of floating-point numbers with an inverse drift, and
/// drift less after a restore.
template <class K, class V, class Reduce, class Inverse = NoInverse, class Keep = KeepAll>
class WindowOperator {
 public:
  using Key = K;
  using Value = V;
  using Aggregator = ReduceAggregator<V, Reduce>;
  using Steps = WindowSteps<K, V, Reduce, Inverse, Keep>;
  using Table = WindowTable<Steps>;
  using Out = std::pair<K, V>;
  using SnapshotElement = Out;
  class Update;

  WindowOperator() = default;
  /// Throws Error(kInvalidArgument) unless length and slide are positive multiples of the interval.
  WindowOperator(WindowMeasures measures, Reduce reduce, Inverse inverse = {}, Keep keep = {})
      : steps_(measures, std::move(reduce), std::move(inverse), std::move(keep)) {
    require_multiple("length", measures.length, measures.interval);
    require_multiple("slide", measures.slide, measures.interval);
  }

  /// When the windows' grid begins. Before `begin`.
  void set_origin(Time origin) { steps_.set_origin(origin); }
  Aggregator aggregator() const { return Aggregator{{steps_.reduce()}}; }
  /// The structure of what is kept.
  static std::string fingerprint() { return internal::fingerprint<std::pair<K, V>>(); }
  std::unique_ptr<StateTable> make_table(KeyGroups groups) const {
    return std::make_unique<Table>(groups, steps_);
  }
  /// How many of the newest deltas a version is made of: slices in the window.
  std::uint64_t expires_after() const { return static_cast<std::uint64_t>(steps_.blocks().length); }
  /// The base must outlive the update.
  Update begin(const StateView& base, const StateBatch& batch) const {
    return Update(*this, base, batch);
  }
  /// All keys with their aggregates, whether due or not. The view's table and overlays must outlive
  /// this call only.
  StreamPtr<SnapshotElement> snapshot(const StateView& view) const;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & steps_;
  }

 private:
  using Version = KeyedVersion<K, typename Steps::Total>;
  using Overlay = typename Table::Overlay;

  static void require_multiple(const char* what, Duration value, Duration interval) {
    if (value > Duration::zero() && interval > Duration::zero() &&
        value % interval == Duration::zero()) {
      return;
    }
    throw Error(ErrorCode::kInvalidArgument, std::string("window ") + what + " " +
                                                 to_string(value) +
                                                 " is not a positive multiple of the interval " +
                                                 to_string(interval) + " of its stream");
  }

  static Version records_of(const StateView& view) {
    const auto& table = static_cast<const Table&>(*view.table);
    table.settle();
    std::vector<const typename Overlay::Records*> records;
    for (const auto* overlay : view.overlays) {
      records.push_back(&static_cast<const Overlay*>(overlay)->records());
    }
    return Version(table.records(), std::move(records));
  }
  static std::optional<std::int64_t> newest_of(const StateView& view) {
    if (view.overlays.empty()) return static_cast<const Table&>(*view.table).newest();
    return static_cast<const Overlay*>(view.overlays.back())->slice().position;
  }

  void append_results(const Version& version, std::int64_t at, std::vector<Out>& out) const;

  Steps steps_;
};

/// One batch of one partition.
template <class K, class V, class Reduce, class Inverse, class Keep>
class WindowOperator<K, V, Reduce, Inverse, Keep>::Update {
 public:
  Update(const WindowOperator& op, const StateView& base, const StateBatch& batch)
      : op_(op), base_(base), batch_(batch) {}

  /// Combined values of a key from one map task. `key` may be a view that lives until this returns.
  template <class Key>
  void add(std::uint64_t hash, Key&& key, V&& value) {
    const auto [entry, is_new] =
        entering_.find_or_insert(hash, std::forward<Key>(key), [&] { return std::move(value); });
    if (!is_new) op_.steps_.combine(entry->second, value);
  }

  /// The end of the batch: appends the results if they are due.
  std::unique_ptr<StateOverlay> finish(std::vector<Out>& out) {
    const Version before = records_of(base_);
    const auto newest = newest_of(base_);
    const Slice slice = make_slice();
    if (newest && slice.position < *newest) {
      throw Error(ErrorCode::kInternal,
                  "batch time " + to_string(batch_.time) +
                      " is before that of the newest slice of the window's state");
    }
    auto overlay = std::make_unique<Overlay>(slice);
    overlay_ = overlay.get();
    KeyedUpdate<K, Total> records(before, batch_.time);
    op_.steps_.advance(records, *this, newest, slice, &overlay->resting);
    overlay->set_records(records.take());
    auto layers = before.overlays();
    layers.push_back(&overlay->records());
    const Version after(before.table(), std::move(layers));
    if (newest) repeat_resting(after, *newest, slice.position);
    if (op_.steps_.due(batch_.time)) op_.append_results(after, slice.position, out);
    keys_ = after.keys();
    return overlay;
  }
  /// Of the version after the batch, when it is finished.
  std::uint64_t total_keys() const { return keys_; }

 private:
  using Total = typename Steps::Total;
  using Slice = WindowSlice<K, V>;
  friend Steps;

  Slice make_slice() {
    auto keys = std::make_shared<SliceKeys<K>>();
    auto values = std::make_shared<SliceValues<V>>();
    keys->hashes = entering_.hashes();
    keys->keys.reserve(entering_.size());
    values->values.reserve(entering_.size());
    for (auto& [key, value] : entering_.entries()) {
      keys->keys.push_back(std::move(key));
      values->values.push_back(std::move(value));
    }
    entering_ = {};
    return {op_.steps_.position_of(batch_.time), std::move(keys), std::move(values)};
  }

  // What `advance` is given as the slices.
  std::vector<Slice> slices_at(std::int64_t position) const {
    std::vector<Slice> found;
    static_cast<const Table&>(*base_.table).slices().append_at(position, found);
    for (const auto* overlay : base_.overlays) {
      const auto& slice = static_cast<const Overlay*>(overlay)->slice();
      if (slice.position == position && !slice.keys->keys.empty()) found.push_back(slice);
    }
    const auto use_turned = [&](const Overlay& overlay) {
      for (const auto& turned : overlay.turned) {
        if (turned.position == position) found[turned.number].values = turned.values;
      }
    };
    if (found.empty()) return found;
    for (const auto* overlay : base_.overlays) use_turned(static_cast<const Overlay&>(*overlay));
    use_turned(*overlay_);
    return found;
  }
  void set_values(std::int64_t position, std::size_t number,
                  std::shared_ptr<const SliceValues<V>> values) {
    overlay_->turned.push_back({position, number, std::move(values)});
  }

  // Within each window's length the resting keys of every group are written once more, so that
  // older deltas need not be kept for their sake.
  void repeat_resting(const Version& after, std::int64_t from, std::int64_t to) {
    if constexpr (Total::kRests) {
      const auto length = static_cast<std::uint64_t>(op_.steps_.blocks().length);
      const KeyGroups& range = batch_.groups;
      for (std::int64_t at = std::max(from + 1, to - static_cast<std::int64_t>(length) + 1);
           at <= to; ++at) {
        const std::uint64_t turn = static_cast<std::uint64_t>(at) % length;
        const auto first_of = [&](std::uint64_t t) {
          const auto group = static_cast<std::uint32_t>((t * range.total + length - 1) / length);
          return std::clamp(group, range.begin, range.end);
        };
        if (first_of(turn) == first_of(turn + 1)) continue;
        for (auto cursor = after.cursor(first_of(turn), first_of(turn + 1)); cursor.next();) {
          if (cursor.state().slices != 0) continue;
          overlay_->resting.push_back({cursor.hash(), cursor.key(), cursor.state().total});
        }
      }
    }
  }

  const WindowOperator& op_;
  const StateView base_;
  const StateBatch batch_;
  AggregationTable<K, V> entering_;
  Overlay* overlay_ = nullptr;
  std::uint64_t keys_ = 0;
};

// The order in which keys came in is not that of a restored table, which knows no earlier slices
// than its window's; that of hashes is, and costs little within one group.
template <class K, class V, class Reduce, class Inverse, class Keep>
void WindowOperator<K, V, Reduce, Inverse, Keep>::append_results(const Version& version,
                                                                 std::int64_t at,
                                                                 std::vector<Out>& out) const {
  struct Ref {
    std::uint64_t hash;
    const K* key;
    const typename Steps::Total* total;
  };
  std::vector<Ref> group;
  const auto flush = [&] {
    std::sort(group.begin(), group.end(), [](const Ref& a, const Ref& b) {
      if (a.hash == b.hash) return encode(*a.key) < encode(*b.key);
      return std::less<>()(a.hash, b.hash);  // clang 14 takes "hash <" for a template
    });
    for (const Ref& ref : group) {
      auto value = ref.total->result(steps_.reduce(), steps_.blocks(), at);
      if (!value) continue;
      out.emplace_back(*ref.key, std::move(*value));
      if constexpr (!std::is_same_v<Keep, KeepAll>) {
        if (!steps_.keeps(out.back())) out.pop_back();
      }
    }
    group.clear();
  };
  out.reserve(out.size() + version.keys());
  std::uint32_t number = 0;
  for (auto cursor = version.cursor(); cursor.next();) {
    if (cursor.group() != number) flush();
    number = cursor.group();
    group.push_back({cursor.hash(), &cursor.key(), &cursor.state()});
  }
  flush();
}

template <class K, class V, class Reduce, class Inverse, class Keep>
StreamPtr<std::pair<K, V>> WindowOperator<K, V, Reduce, Inverse, Keep>::snapshot(
    const StateView& view) const {
  struct Stream final : ChunkStream<Out> {
    explicit Stream(std::vector<Out> results) : all(std::move(results)) {}
    ChunkRef<Out> next() override {
      const std::size_t size = std::min(kChunkElements, all.size() - at);
      return {all.data() + std::exchange(at, at + size), size, true};
    }
    std::vector<Out> all;
    std::size_t at = 0;
  };
  std::vector<Out> all;
  const Version version = records_of(view);
  if (const auto newest = newest_of(view)) append_results(version, *newest, all);
  return StreamPtr<Out>(new Stream(std::move(all)));
}

}  // namespace weir::internal
