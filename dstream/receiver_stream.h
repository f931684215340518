#pragma once

#include <memory>
#include <string>
#include <utility>

#include "weir/core/actions.h"
#include "weir/core/received_dataset.h"
#include "weir/core/source_rdd.h"
#include "weir/dstream/dstream.h"
#include "weir/dstream/receiver.h"
#include "weir/dstream/receiver_tracker.h"
#include "weir/dstream/stream_input.h"

namespace weir::internal {

/// The task that runs the receiver whose fields these are.
template <class R>
JobPlan plan_receiver(const std::shared_ptr<Engine>& engine, const std::string& fields,
                      const ReceiverSettings& settings) {
  const auto served = read_partitions(engine, ReceiverRun<R>{fields},
                                      std::vector<ReceiverSettings>{settings}, "receiver");
  return plan_job(served.dataset(), ResultOutput<int, CountAction<int>>({}), true, {0});
}

/// Cuts what a receiver has stored.
template <AnyReceiver R>
class ReceiverInput final : public StreamInput {
 public:
  using T = typename R::element_type;

  ReceiverInput(const std::shared_ptr<StreamGraph>& graph, std::string name, const R& receiver,
                const ReceiverOptions& options)
      : node_(std::make_shared<InputStreamNode<T>>(graph, "receiver_stream",
                                                   graph->batch_interval())),
        engine_(graph->context().engine()),
        name_(std::move(name)) {
    const ReceiverPlan plan(engine_->config(), options, graph->batch_interval());
    has_log_ = plan.log;
    SlimWriter fields;
    write_function(fields, receiver);
    tracker_ = std::make_shared<ReceiverTracker>(
        engine_, plan,
        [engine = engine_, written = std::string(fields.view())](const ReceiverSettings& settings) {
          return plan_receiver<R>(engine, written, settings);
        });
  }

  const std::string& name() const override { return node_->uid().empty() ? name_ : node_->uid(); }
  std::shared_ptr<StreamNode> stream() const override { return node_; }
  DStream<T> dstream() const { return DStream<T>(node_); }

  void attach(const InputPlace& place) override {
    tracker_->attach(name(), place.checkpoint_directory, place.events);
  }
  AfterRestart after_restart() const override {
    return has_log_ ? AfterRestart::kReadAgain : AfterRestart::kLost;
  }
  void start(Time resumed_after) override {
    node_->resume_after(resumed_after);
    tracker_->start();
  }
  void restore(const Batch& batch, const BatchInput& input) override {
    deliver(batch.time, input.end.empty()
                            ? std::vector<ReceivedBlock>()
                            : tracker_->restored(batch, decode<ReceiverPosition>(input.end)));
  }
  void resume(const std::string& position) override {
    if (!position.empty()) tracker_->resume(decode<ReceiverPosition>(position));
  }
  std::string position() const override { return tracker_->position(); }

  BatchInput cut(const Batch& batch, const CutLimit& limit) override {
    ReceiverTracker::Cut cut = tracker_->cut(batch, limit);
    deliver(batch.time, std::move(cut.blocks));
    return {.name = name(),
            .from = {},
            .end = std::move(cut.position),
            .records = cut.records,
            .limit = limit.max_records_per_second};
  }
  void skip(Time first, Time last) override { node_->skip(first, last); }
  void done(Time time) override { tracker_->done(time); }
  void release(Time time) override {
    node_->release(time);
    tracker_->release(time - node_->remembered());
  }
  void stop() override { tracker_->stop(); }

 private:
  void deliver(Time time, std::vector<ReceivedBlock> blocks) {
    node_->deliver(time, [engine = engine_, blocks = std::move(blocks)] {
      return received_rdd<T>(engine, blocks);
    });
  }

  const std::shared_ptr<InputStreamNode<T>> node_;
  const std::shared_ptr<Engine> engine_;
  const std::string name_;
  bool has_log_ = false;
  std::shared_ptr<ReceiverTracker> tracker_;
};

}  // namespace weir::internal
