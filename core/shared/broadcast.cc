#include "weir/core/shared/broadcast.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "weir/core/engine.h"
#include "weir/core/hash.h"
#include "weir/core/sources.h"

namespace weir::internal {
namespace {

constexpr std::size_t kBroadcastChunk = std::size_t{1} << 20;

/// Keeps a chunk on the worker for all who fetch it. Never inline: it would travel with every task.
class BroadcastChunkOutput final : public StageOutput {
 public:
  BroadcastChunkOutput() = default;
  explicit BroadcastChunkOutput(StageReader& in) : parent_(in.parent<std::string>()) {}

  static std::unique_ptr<StageNode> load(StageReader& in) {
    return std::make_unique<BroadcastChunkOutput>(in);
  }
  CodeId code() const override {
    (void)Registered<BroadcastChunkOutput>::value;
    return code_id(&BroadcastChunkOutput::load);
  }
  void write(SlimWriter&) const override {}

  Done run(TaskRun& run, std::uint32_t partition) const override {
    const auto input = parent_->open(run, partition);
    const auto elements = input->next();
    Bytes chunk(elements.empty() ? std::string() : std::string(*elements.begin()));
    Done done;
    MapOutput& output = done.output.emplace();
    output.worker = run.options().self;
    output.segments.push_back(
        {partition, output.worker, chunk.size(), hash_bytes(chunk.view()), std::nullopt});
    if (!chunk.empty()) run.keep_map_output(partition, {HeldBytes(std::move(chunk))});
    return done;
  }

 private:
  const Dataset<std::string>* const parent_ = nullptr;  // loaded stages only
};

/// What stages refer to; no stage computes it.
class BroadcastDataset final : public Dataset<std::string>, public ShuffleSource {
 public:
  explicit BroadcastDataset(const std::shared_ptr<DatasetBase>& chunks)
      : Dataset<std::string>(chunks->engine(), "broadcast", 1, {}, {}),
        ShuffleSource(*this, chunks) {}

  CodeId code() const override { return {}; }
  void write(SlimWriter&) const override {}
  const ShuffleSource* shuffle() const override { return this; }
  std::unique_ptr<const StageNode> map_output_node() const override {
    return std::make_unique<BroadcastChunkOutput>();
  }

  StreamPtr<std::string> open(TaskRun&, std::uint32_t) const override {
    throw Error(ErrorCode::kInternal, "a broadcast is part of no stage");
  }
};

std::shared_ptr<DatasetBase> cut(const std::shared_ptr<Engine>& engine, std::string_view bytes) {
  std::vector<std::shared_ptr<const Block>> chunks;
  do {
    const std::string_view chunk = bytes.substr(0, kBroadcastChunk);
    bytes.remove_prefix(chunk.size());
    chunks.push_back(make_block(std::vector{std::string(chunk)}));
  } while (!bytes.empty());
  return std::make_shared<ParallelizedDataset<std::string>>(engine, std::move(chunks));
}

}  // namespace

BroadcastData::BroadcastData(const std::shared_ptr<Engine>& engine, std::string_view bytes)
    : chunks_(cut(engine, bytes)), dataset_(std::make_shared<BroadcastDataset>(chunks_)) {}

std::shared_ptr<DatasetBase> BroadcastData::dataset() const {
  const std::scoped_lock lock(mutex_);
  return dataset_;
}

void BroadcastData::renew() {
  if (chunks_->engine() == nullptr) return;
  std::shared_ptr<DatasetBase> other = std::make_shared<BroadcastDataset>(chunks_);
  const std::scoped_lock lock(mutex_);
  dataset_.swap(other);
}

}  // namespace weir::internal
