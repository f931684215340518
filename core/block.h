#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "weir/core/archive.h"
#include "weir/core/block_store.h"
#include "weir/core/chunk.h"
#include "weir/core/owned.h"

namespace weir::internal {

/// All elements of a stream, in their owning form.
template <class T>
std::vector<owned_t<T>> drain(ChunkStream<T>& stream) {
  std::vector<owned_t<T>> elements;
  for (ChunkRef<T> chunk = stream.next(); !chunk.empty(); chunk = stream.next()) {
    for (std::size_t i = 0; i < chunk.size; ++i) {
      if (chunk.exclusive) {
        elements.push_back(to_owned(std::move(chunk.data[i])));
      } else {
        elements.push_back(to_owned(std::as_const(chunk.data[i])));
      }
    }
  }
  return elements;
}

/// A partition's elements in memory.
template <class T>
class MemoryBlock final : public Block {
 public:
  static_assert(is_owned<T>, "blocks keep elements, so they hold owning types");

  explicit MemoryBlock(std::vector<T> elements) : elements_(std::move(elements)) {
    require_storable<T>();
  }

  const std::vector<T>& elements() const { return elements_; }
  std::uint64_t size_bytes() const override { return elements_.size() * sizeof(T); }
  Bytes encode() const override { return encode_bytes(elements_); }

 private:
  const std::vector<T> elements_;
};

/// Reads a vector's elements in place where they have the stream's type, else converts chunk by
/// chunk (stored strings read as string_view, vector<bool>).
template <class T, class Stored>
class VectorStream final : public ChunkStream<T> {
 public:
  VectorStream(const std::vector<Stored>& elements, std::shared_ptr<const void> owner)
      : elements_(elements), owner_(std::move(owner)) {}

  ChunkRef<T> next() override {
    const std::size_t size = std::min(kChunkElements, elements_.size() - at_);
    const std::size_t from = std::exchange(at_, at_ + size);
    if constexpr (std::is_same_v<T, Stored> && !std::is_same_v<T, bool>) {
      return {const_cast<T*>(elements_.data()) + from, size, false};
    } else {
      buffer_.clear();
      for (std::size_t i = from; i < at_; ++i) buffer_.emplace_back(elements_[i]);
      return buffer_.ref();
    }
  }

 private:
  const std::vector<Stored>& elements_;
  const std::shared_ptr<const void> owner_;
  std::size_t at_ = 0;
  ChunkBuffer<T> buffer_;
};

/// Whether elements can be kept and read back from their owning form.
template <class T>
inline constexpr bool is_persistable =
    Serializable<owned_t<T>>&& std::is_constructible_v<T, const owned_t<T>&>;

/// A stored block as a stream. T is the stored type or constructible from it.
template <class T>
std::unique_ptr<ChunkStream<T>> open_block(std::shared_ptr<const Block> block) {
  using Stored = owned_t<T>;
  const auto typed = std::dynamic_pointer_cast<const MemoryBlock<Stored>>(std::move(block));
  if (typed == nullptr)
    throw Error(ErrorCode::kInternal, "a stored block has another element type");
  return std::make_unique<VectorStream<T, Stored>>(typed->elements(), typed);
}

}  // namespace weir::internal
