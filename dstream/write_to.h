#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "weir/core/crash_point.h"
#include "weir/core/rdd.h"
#include "weir/core/sink_action.h"
#include "weir/core/task_run.h"
#include "weir/dstream/stream_sink.h"

/// Sinks (core/sink.h) as output operations.
namespace weir {

struct WriteOptions {
  /// What the sink's data is found again by after a restart: 1 to 64 letters, digits, '-' or '_',
  /// unique among the sinks. Empty: "sink-0", by order.
  std::string uid = {};
  /// How many tasks write a batch; 0: one per partition of the stream. Another number shuffles.
  std::uint32_t partitions = 0;
};

namespace internal {

/// Elements dealt to `n` partitions by their place: a function of the input alone.
template <class T>
Rdd<owned_t<T>> dealt(const Rdd<T>& rdd, std::uint32_t n) {
  using Pair = std::pair<std::uint32_t, owned_t<T>>;
  return rdd
      .map_partitions(bind(n,
                           [](std::uint32_t partitions, auto elements) {
                             std::vector<Pair> pairs;
                             std::uint32_t at = TaskContext::current().partition();
                             for (const T& element : elements) {
                               pairs.emplace_back(at++ % partitions, to_owned(element));
                             }
                             return pairs;
                           }))
      .group_by_key(n)
      .flat_map([](const std::pair<std::uint32_t, std::vector<owned_t<T>>>& group) {
        return group.second;
      });
}

/// One sink of one stream.
template <class T, class S>
class TypedSink final : public StreamSink {
 public:
  TypedSink(std::string uid, S sink, std::uint32_t partitions)
      : uid_(std::move(uid)), sink_(std::move(sink)), partitions_(partitions) {}

  const std::string& uid() const override { return uid_; }
  void open(const CommitId& driver) override {
    sink_.open(driver);
    remember_last();
  }
  std::optional<CommitId> last_committed() override { return last_; }
  void take_back(std::uint64_t sequence) override {
    if constexpr (RollbackSink<S>) {
      if (sink_.mode() == SinkMode::kTruncate) {
        sink_.rollback_to(sequence);
        remember_last();
      }
    }
  }
  void begin_batch(const CommitId& id) override { id_ = id; }

  void run(const Rdd<T>& rdd) {
    if (partitions_ != 0 && partitions_ != rdd.num_partitions()) {
      write(dealt(rdd, partitions_));
    } else {
      write(rdd);
    }
    remember_last();
  }

 private:
  template <class U>
  void write(const Rdd<U>& rdd) {
    const auto tokens = prepare(rdd, sink_, id_);
    WEIR_CRASH_POINT("sink.before-commit");
    sink_.commit(id_, tokens);
    WEIR_CRASH_POINT("sink.after-commit");
  }
  void remember_last() { last_ = sink_.last_committed(0); }

  const std::string uid_;
  S sink_;
  const std::uint32_t partitions_;
  std::optional<CommitId> last_;
  CommitId id_;
};

}  // namespace internal
}  // namespace weir
