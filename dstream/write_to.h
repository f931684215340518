#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "weir/core/crash_point.h"
#include "weir/core/rdd.h"
#include "weir/core/redistribute.h"
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
  /// Sinks whose tasks commit always shuffle, by content; 0: to the context's default parallelism.
  std::uint32_t partitions = 0;
};

namespace internal {

/// One sink of one stream.
///
/// Where tasks commit, a batch that was written by halves is known by partition: by what was
/// partition 3 when it was written. So its elements are dealt by their content, to as many
/// partitions as its INTENT says, and the other half is what it would have been, whatever has
/// become of the program's parallelism since.
template <class T, class S>
class TypedSink final : public StreamSink {
 public:
  /// `partitions` of a batch; 0: as the stream has, or `parallelism` where tasks commit.
  TypedSink(std::string uid, S sink, std::uint32_t partitions, std::uint32_t parallelism)
      : uid_(std::move(uid)),
        sink_(std::move(sink)),
        partitions_(partitions != 0 || !kTasksCommit ? partitions : parallelism) {
    if (partitions_ != 0) require_partitions("write_to", partitions_);
  }

  const std::string& uid() const override { return uid_; }
  SinkGuarantee guarantee() const override { return S::guarantee(); }
  std::uint32_t partitions() const override { return kTasksCommit ? partitions_ : 0; }

  void open(const CommitId& driver, std::uint32_t most_partitions) override {
    sink_.open(driver);
    most_partitions_ = std::max(most_partitions, partitions());
    ask_for_last();
  }
  std::optional<CommitId> last_committed() override { return last_; }
  void take_back(std::uint64_t sequence) override {
    if constexpr (RollbackSink<S>) {
      if (sink_.mode() == SinkMode::kTruncate) {
        sink_.rollback_to(sequence);
        ask_for_last();
      }
    }
  }
  void begin_batch(const CommitId& id, std::uint32_t partitions) override {
    id_ = id;
    batch_partitions_ = partitions != 0 ? partitions : partitions_;
  }

  void run(const Rdd<T>& rdd) {
    if constexpr (kTasksCommit) {
      using Deal = DealByContent<T>;
      write(Rdd<owned_t<T>>(new DealtDataset<Deal>(rdd.dataset(), "write_to",
                                                   Deal{batch_partitions_}, std::nullopt)));
    } else if (partitions_ != 0 && partitions_ != rdd.num_partitions()) {
      write(rdd.repartition(partitions_));
    } else {
      write(rdd);
    }
  }

 private:
  static constexpr bool kTasksCommit = S::commit_point() == CommitPoint::kTask;

  template <class U>
  void write(const Rdd<U>& rdd) {
    const auto prepared = prepare(rdd, sink_, id_);
    WEIR_CRASH_POINT("sink.before-commit");
    sink_.commit(id_, prepared.tokens);
    WEIR_CRASH_POINT("sink.after-commit");
    if constexpr (!kTasksCommit) {
      last_ = sink_.last_committed(0);
    } else if (prepared.elements != 0) {
      last_ = id_;
    }
  }

  /// The newest of all partitions: each may have been given nothing for a while.
  void ask_for_last() {
    last_ = sink_.last_committed(0);
    for (std::uint32_t p = 1; p < most_partitions_; ++p) {
      auto of_partition = sink_.last_committed(p);
      if (of_partition && (!last_ || last_->sequence < of_partition->sequence)) {
        last_ = std::move(of_partition);
      }
    }
  }

  const std::string uid_;
  S sink_;
  const std::uint32_t partitions_;
  std::uint32_t most_partitions_ = 0;
  std::uint32_t batch_partitions_ = 0;
  std::optional<CommitId> last_;
  CommitId id_;
};

}  // namespace internal
}  // namespace weir
