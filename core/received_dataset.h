#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "weir/core/archive.h"
#include "weir/core/dataset.h"
#include "weir/core/engine.h"
#include "weir/core/rdd.h"
#include "weir/core/sources.h"

namespace weir {

/// A run of elements that a receiver kept as one, as the slim archive writes them one after the
/// other. Where it is: in workers, as ReceivedBlocks knows, and in the receiver's log, if that is
/// kept.
struct ReceivedBlock {
  ShuffleId receiver = 0;  ///< 0: of an earlier driver; only the log has it
  std::uint32_t number = 0;
  std::uint64_t records = 0;
  std::uint64_t size = 0;  ///< bytes
  std::uint64_t hash = 0;  ///< XXH3 of the bytes
  std::string log = {};    ///< absolute path of the file that has the bytes; empty: none does
  std::uint64_t offset = 0;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & receiver & number & records & size & hash & log & offset;
  }
};

namespace internal {

/// The block's bytes from the receiver's log. Throws Error(kDataLoss) with file and offset if they
/// are not there any more, whole and unchanged.
Bytes read_from_log(const ReceivedBlock& block);

/// What receivers received, a partition for each block. A block that neither a worker nor a log has
/// any more gives no elements: whoever keeps account of blocks has said so
/// (ReceivedBlocks::OnLost).
template <class T>
class ReceivedDataset final : public Dataset<T> {
 public:
  ReceivedDataset(const std::shared_ptr<Engine>& engine, std::vector<ReceivedBlock> blocks)
      : Dataset<T>(engine, "receiver_stream", static_cast<std::uint32_t>(blocks.size()), {}, {}),
        blocks_(std::move(blocks)) {}
  explicit ReceivedDataset(StageReader&) {}

  static std::unique_ptr<StageNode> load(StageReader& in) {
    return std::unique_ptr<StageNode>(new ReceivedDataset(in));
  }
  CodeId code() const override {
    (void)Registered<ReceivedDataset>::value;
    return code_id(&ReceivedDataset::load);
  }
  void write(SlimWriter&) const override {}
  bool is_source() const override { return true; }
  void describe_input(std::uint32_t p, LeafInput& input) const override {
    const ReceivedBlock& block = blocks_[p];
    input.bytes = encode_bytes(block);
    input.shuffle = block.receiver;
    input.segments = {{block.number, {}, block.size, block.hash, {}}};
  }

  StreamPtr<T> open(TaskRun& run, std::uint32_t partition) const override {
    const LeafInput& input = run.input(this->node_index(), partition);
    std::optional<Bytes> bytes;
    if (input.shuffle != 0) bytes = run.read_received(input);
    if (!bytes) {
      const auto block = decode<ReceivedBlock>(input.bytes.view());
      bytes = block.log.empty() ? Bytes() : read_from_log(block);
    }
    return StreamPtr(new CountedStream<T>(StreamPtr(new Stream(*std::move(bytes))), run));
  }

 private:
  class Stream final : public ChunkStream<T> {
   public:
    explicit Stream(Bytes bytes) : bytes_(std::move(bytes)), reader_(bytes_.view()) {}
    ChunkRef<T> next() override {
      out_.clear();
      while (!out_.full() && !reader_.at_end()) {
        T element{};
        reader_& element;
        out_.emplace_back(std::move(element));
      }
      return out_.ref();
    }

   private:
    const Bytes bytes_;
    SlimReader reader_;
    ChunkBuffer<T> out_;
  };

  const std::vector<ReceivedBlock> blocks_;  // in the driver only
};

}  // namespace internal

template <class T>
Rdd<T> received_rdd(const std::shared_ptr<Engine>& engine, std::vector<ReceivedBlock> blocks) {
  return Rdd<T>(new internal::ReceivedDataset<T>(engine, std::move(blocks)));
}

}  // namespace weir
