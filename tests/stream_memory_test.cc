// The source and the sink that keep their batches in memory, as the ends of a stream.

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "weir/core/memory_sink.h"
#include "weir/core/sink_action.h"
#include "weir/dstream/memory_source.h"

#include "stream_masters.h"

namespace weir::testing {
namespace {

using namespace std::chrono_literals;

using Words = std::vector<std::string>;

static_assert(Source<MemorySource<std::string>>);

class MemoryEnds : public OverMasters {
 protected:
  /// A driver's life from batch `from` on: reads the input up to `ticks` batches further and
  /// commits each under its sequence number.
  void run(std::uint64_t from, int ticks) {
    Context context(config());
    StreamingContext stream(context, 1s, {.clock = clock_});
    MemorySink<std::string> sink(output_);
    const std::uint64_t epoch = ++epoch_;
    sink.open({"app", "words", 0, epoch, 0});
    std::uint64_t sequence = from;
    MemorySource<std::string> source(input_, 2);
    stream.source_stream(source)
        .map([](const std::string& word) { return word + "!"; })
        .foreach_rdd([&](const auto& rdd) {
          const CommitId commit{"app", "words", ++sequence, epoch, sequence};
          sink.commit(commit, prepare(rdd, sink, commit).tokens);
        });
    stream.start();
    const Time start = clock_->now();
    clock_->advance_to(start + ticks * 1s);
    stream.await_batch(static_cast<std::uint64_t>(ticks));
    stream.stop({.graceful = false});
  }

  const std::shared_ptr<ManualClock> clock_ = std::make_shared<ManualClock>();
  const std::shared_ptr<MemoryInput<std::string>> input_ =
      std::make_shared<MemoryInput<std::string>>();
  const std::shared_ptr<MemoryOutput<std::string>> output_ =
      std::make_shared<MemoryOutput<std::string>>();
  std::uint64_t epoch_ = 0;
};
WEIR_OVER_MASTERS(MemoryEnds);

TEST_P(MemoryEnds, EachBatchOwnsTheNextOneAndThenNothing) {
  input_->push({"to", "be", "or"});
  input_->push({});
  input_->push({"not"});
  run(0, 4);
  EXPECT_EQ(output_->batches(), (Batches<std::string>{{"to!", "be!", "or!"}, {}, {"not!"}, {}}));
}

TEST_P(MemoryEnds, WhatAnotherDriverCommittedBeforeIsSkipped) {
  input_->push({"to"});
  input_->push({"be"});
  run(0, 1);
  run(0, 2);  // knows of nothing
  EXPECT_EQ(output_->batches(), (Batches<std::string>{{"to!"}, {"be!"}}));
  EXPECT_EQ(output_->skipped(), 1u);
  EXPECT_EQ(output_->commits()[1].epoch, 2u);
}

TEST(MemorySources, CutBatchesAsParallelizeDoes) {
  const auto input = std::make_shared<MemoryInput<int>>(std::vector<std::vector<int>>{{1, 2, 3}});
  MemorySource<int> source(input, 2);
  EXPECT_EQ(source.latest(0, {}), 1u);
  EXPECT_EQ(source.latest(1, {}), 1u);
  EXPECT_EQ(source.plan(0, 1), (std::vector<std::vector<int>>{{1}, {2, 3}}));
  EXPECT_EQ(source.plan(1, 1), (std::vector<std::vector<int>>{{}, {}}));
  input->push({4});
  EXPECT_EQ(source.latest(1, {}), 2u);
  source.released(1);
  EXPECT_EQ(input->released(), 1u);
}

TEST(MemorySources, RefuseAnInputThatHasShrunk) {
  MemorySource<int> source(std::make_shared<MemoryInput<int>>());
  EXPECT_THROW(source.latest(1, {}), Error);
  EXPECT_THROW(MemorySource<int>(nullptr), Error);
  EXPECT_THROW(MemorySource<int>(std::make_shared<MemoryInput<int>>(), 0), Error);
}

}  // namespace
}  // namespace weir::testing
