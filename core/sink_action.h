#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "weir/core/actions.h"
#include "weir/core/rdd.h"
#include "weir/core/sink.h"

namespace weir {

namespace internal {

/// Writes a partition to a sink. The CommitId, which is another one for each batch, is the job's
/// input, so that the stage stays byte-identical.
template <class T, class S>
class SinkOutput final : public StageOutput {
 public:
  explicit SinkOutput(const S& sink) : sink_(sink) {}
  explicit SinkOutput(StageReader& in)
      : parent_(in.parent<T>()), sink_(read_function<S>(in.bytes())) {}

  static std::unique_ptr<StageNode> load(StageReader& in) {
    return std::unique_ptr<StageNode>(new SinkOutput(in));
  }
  CodeId code() const override {
    (void)Registered<SinkOutput>::value;
    return code_id(&SinkOutput::load);
  }
  void write(SlimWriter& out) const override { write_function(out, sink_); }

  Done run(TaskRun& run, std::uint32_t partition) const override {
    const auto commit = decode<CommitId>(run.task().job_bytes.view());
    const auto input = parent_->open(run, partition);
    auto writer = sink_.begin(commit, partition, run.task().attempt);
    std::uint64_t elements = 0;
    for (auto chunk = input->next(); !chunk.empty(); chunk = input->next()) {
      writer.write(std::span<const T>(chunk.data, chunk.size));
      elements += chunk.size;
    }
    run.step();  // a cancelled attempt prepares nothing
    Done done;
    done.result = encode_bytes(std::pair(elements, writer.prepare()));
    return done;
  }

 private:
  const Dataset<T>* const parent_ = nullptr;  // loaded stages only
  const S sink_;
};

}  // namespace internal

/// What the tasks of one batch's output made.
template <class Token>
struct Prepared {
  std::vector<Token> tokens;   ///< in partition order, for `sink.commit`
  std::uint64_t elements = 0;  ///< that were written
};

/// The worker side of one batch's output: a job in which each task writes its partition to the sink
/// and prepares it. Blocks the calling thread and throws as actions do; then nothing of the batch
/// is visible, unless the sink commits in tasks.
///
/// Only tasks that commit have effects as the scheduler sees it: what others prepared is given up
/// and prepared again when their input turns out to have changed.
template <class S, class T>
requires Sink<S, T>
auto prepare(const Rdd<T>& rdd, const S& sink, const CommitId& commit)
    -> Prepared<internal::sink_token_t<S>> {
  using Token = internal::sink_token_t<S>;
  const auto& dataset = rdd.dataset();
  Prepared<Token> prepared;
  for (const Bytes& bytes : internal::run_output(
           dataset, internal::SinkOutput<T, S>(sink), S::commit_point() == CommitPoint::kTask,
           internal::all_partitions(*dataset), encode_bytes(commit))) {
    auto [elements, token] = decode<std::pair<std::uint64_t, Token>>(bytes.view());
    prepared.elements += elements;
    prepared.tokens.push_back(std::move(token));
  }
  return prepared;
}

}  // namespace weir
