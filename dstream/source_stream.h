#pragma once

#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "weir/core/context.h"
#include "weir/core/crash_point.h"
#include "weir/core/source_rdd.h"
#include "weir/dstream/dstream.h"
#include "weir/dstream/source.h"
#include "weir/dstream/stream_input.h"

namespace weir::internal {

/// Cuts a replayable source into ranges: each batch owns [end of the last one, latest).
template <Source S>
class SourceInput final : public StreamInput {
 public:
  using Position = source_position_t<S>;
  using Partition = source_partition_t<S>;
  using T = typename ReaderDataset<SourceReader<S>, Partition>::T;

  SourceInput(const std::shared_ptr<StreamGraph>& graph, std::string name, S source)
      : node_(
            std::make_shared<InputStreamNode<T>>(graph, "source_stream", graph->batch_interval())),
        engine_(graph->context().engine()),
        name_(std::move(name)),
        interval_(graph->batch_interval()),
        source_(std::move(source)),
        reader_{as_shipped(source_)} {}

  const std::string& name() const override { return node_->uid().empty() ? name_ : node_->uid(); }
  std::shared_ptr<StreamNode> stream() const override { return node_; }
  DStream<T> dstream() const { return DStream<T>(node_); }

  void start(Time resumed_after) override {
    node_->resume_after(resumed_after);
    if (!resumed_) position_ = source_.initial();
  }

  std::string position() const override { return encode(position_); }
  AfterRestart after_restart() const override { return AfterRestart::kReadAgain; }
  void restore(const Batch& batch, const BatchInput& input) override {
    deliver(batch.time, read_position(input.from), read_position(input.end));
    resume(input.end);
  }
  void resume(const std::string& position) override {
    position_ = read_position(position);
    resumed_ = true;
  }

  BatchInput cut(const Batch& batch, const CutLimit& limit) override {
    Position end =
        source_.latest(position_, {.interval = interval_,
                                   .max_records_per_second = limit.max_records_per_second,
                                   .last_wait = limit.last_wait});
    BatchInput input{name(), encode(position_), encode(end), {}, limit.max_records_per_second};
    input.records = deliver(batch.time, position_, end);
    position_ = std::move(end);
    return input;
  }

  void skip(Time first, Time last) override { node_->skip(first, last); }

  void release(Time time) override {
    node_->release(time);
    const Time forgotten = time - node_->remembered();
    if (unreleased_.empty() || unreleased_.front().first > forgotten) return;
    Position end{};
    while (!unreleased_.empty() && unreleased_.front().first <= forgotten) {
      end = std::move(unreleased_.front().second);
      unreleased_.pop_front();
    }
    WEIR_CRASH_POINT("source.before-release");
    source_.released(end);
    WEIR_CRASH_POINT("source.after-release");
  }

  void stop() override {
    if constexpr (requires { source_.stop(); }) source_.stop();
  }

 private:
  /// What the batch at `time` reads; returns its number of elements if that is known.
  std::optional<std::uint64_t> deliver(Time time, const Position& from, const Position& end) {
    std::vector<Partition> partitions;
    if (encode(from) != encode(end)) {  // a position may say what the batch that ends there owns
      auto planned = source_.plan(from, end);
      partitions.assign(std::ranges::begin(planned), std::ranges::end(planned));
    }
    const auto records = count(partitions);
    node_->deliver(time, [engine = engine_, reader = reader_, partitions = std::move(partitions)] {
      return read_partitions(engine, reader, partitions, "source_stream");
    });
    unreleased_.emplace_back(time, end);
    return records;
  }

  Position read_position(const std::string& bytes) const {
    try {
      return decode<Position>(bytes);
    } catch (const Error& error) {
      throw Error(ErrorCode::kCorrupt, "the recorded position of " + name() +
                                           " cannot be read by the source that the program has "
                                           "under this name: " +
                                           error.what());
    }
  }

  static S as_shipped(const S& source) {
    SlimWriter written;
    write_function(written, source);
    SlimReader reader(written.view());
    return read_function<S>(reader);
  }

  std::optional<std::uint64_t> count(const std::vector<Partition>& partitions) const {
    if constexpr (requires(const Partition& partition) { source_.records(partition); }) {
      std::uint64_t total = 0;
      for (const Partition& partition : partitions) total += source_.records(partition);
      return total;
    } else {
      return std::nullopt;
    }
  }

  const std::shared_ptr<InputStreamNode<T>> node_;
  const std::shared_ptr<Engine> engine_;
  const std::string name_;
  const Duration interval_;
  S source_;
  // What workers are given: RDDs may outlive the stream, and with them must not the source's
  // connections.
  const SourceReader<S> reader_;
  Position position_{};                               // where the next batch begins
  bool resumed_ = false;                              // by an earlier driver's record
  std::deque<std::pair<Time, Position>> unreleased_;  // end of each batch that may be read again
};

}  // namespace weir::internal
