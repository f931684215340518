#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "weir/core/archive.h"
#include "weir/core/chunk.h"
#include "weir/core/footprint.h"
#include "weir/core/owned.h"
#include "weir/core/storage/block_store.h"

namespace weir::internal {

/// Adds a chunk's elements in their owning form; returns the bytes of memory that they take.
template <class T>
std::size_t append_owned(std::vector<owned_t<T>>& elements, ChunkRef<T> chunk) {
  const std::size_t before = elements.size();
  for (std::size_t i = 0; i < chunk.size; ++i) {
    if (chunk.exclusive) {
      elements.push_back(to_owned(std::move(chunk.data[i])));
    } else {
      elements.push_back(to_owned(std::as_const(chunk.data[i])));
    }
  }
  std::size_t bytes = chunk.size * sizeof(owned_t<T>);
  if constexpr (!owns_nothing<owned_t<T>>) {
    for (std::size_t i = before; i < elements.size(); ++i) bytes += footprint(elements[i]);
  }
  return bytes;
}

/// All elements of a stream, in their owning form.
template <class T>
std::vector<owned_t<T>> drain(ChunkStream<T>& stream) {
  std::vector<owned_t<T>> elements;
  for (ChunkRef<T> chunk = stream.next(); !chunk.empty(); chunk = stream.next()) {
    append_owned(elements, chunk);
  }
  return elements;
}

/// Elements one after another, in parts of about so many bytes, each of whole elements.
class ElementEncoder {
 public:
  explicit ElementEncoder(std::size_t part_bytes = kChunkBytes) : part_bytes_(part_bytes) {}

  /// An element, or the fields that it consists of.
  template <class... Fields>
  void add(const Fields&... fields) {
    (write_owned(writer_, fields), ...);
    if (writer_.size() >= part_bytes_) parts_.push_back(writer_.take());
  }
  /// How many parts are full.
  std::size_t full_parts() const { return parts_.size(); }
  std::vector<Bytes> take_full() { return std::exchange(parts_, {}); }
  std::vector<Bytes> take() {
    if (writer_.size() != 0) parts_.push_back(writer_.take());
    return take_full();
  }

 private:
  const std::size_t part_bytes_;
  SlimWriter writer_;
  std::vector<Bytes> parts_;
};

/// Reads what an `ElementEncoder` wrote, part by part.
template <class T>
class EncodedStream final : public ChunkStream<T> {
 public:
  using Stored = owned_t<T>;

  explicit EncodedStream(std::vector<HeldBytes> parts) : parts_(std::move(parts)) {}

  ChunkRef<T> next() override {
    out_.clear();
    stored_.clear();
    while (!out_.full()) {
      if (!reader_ || reader_->at_end()) {
        if (out_.size() != 0) break;  // elements may be views into the part
        reader_.reset();
        if (at_ == parts_.size()) break;
        part_ = std::exchange(parts_[at_++], {}).get();
        reader_.emplace(part_.view());
        continue;
      }
      if constexpr (std::is_same_v<T, Stored>) {
        Stored element{};
        *reader_& element;
        out_.emplace_back(std::move(element));
      } else {
        Stored& element = stored_.emplace_back();
        *reader_& element;
        out_.emplace_back(std::as_const(element));
      }
    }
    return out_.ref();
  }

 private:
  std::vector<HeldBytes> parts_;
  std::size_t at_ = 0;
  Bytes part_;
  std::optional<SlimReader> reader_;
  std::deque<Stored> stored_;  // what the chunk's elements are views of
  ChunkBuffer<T> out_;
};

/// A partition's elements in memory.
template <class T>
class MemoryBlock final : public Block {
 public:
  static_assert(is_owned<T>, "blocks keep elements, so they hold owning types");

  explicit MemoryBlock(std::vector<T> elements)
      : elements_(std::move(elements)), size_(elements_.size() * sizeof(T)) {
    require_storable<T>();
    if constexpr (!owns_nothing<T>) {
      for (const T& element : elements_) size_ += footprint(element);
    }
  }

  const std::vector<T>& elements() const { return elements_; }
  std::uint64_t size_bytes() const override { return size_; }
  Bytes encode() const override { return encode_bytes(elements_); }
  std::vector<Bytes> encode_elements() const override {
    ElementEncoder encoder;
    for (const T& element : elements_) encoder.add(element);
    return encoder.take();
  }

 private:
  const std::vector<T> elements_;
  std::uint64_t size_;
};

template <class T>
std::shared_ptr<const Block> make_block(std::vector<T> elements) {
  return std::shared_ptr<const Block>(
      static_cast<const Block*>(new MemoryBlock<T>(std::move(elements))));
}

/// Reads a vector's elements in place where they have the stream's type, else converts chunk by
/// chunk (stored strings read as string_view, vector<bool>).
template <class T, class Stored>
class VectorStream final : public ChunkStream<T> {
 public:
  VectorStream(const std::vector<Stored>& elements, std::shared_ptr<const Block> owner)
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
  const std::shared_ptr<const Block> owner_;
  std::size_t at_ = 0;
  ChunkBuffer<T> buffer_;
};

/// Elements that were taken from a stream, then what is left of it.
template <class T>
class ContinuedStream final : public ChunkStream<T> {
 public:
  ContinuedStream(std::vector<owned_t<T>> first, StreamPtr<T> rest)
      : elements_(std::move(first)), first_(elements_, nullptr), rest_(std::move(rest)) {}

  ChunkRef<T> next() override {
    const ChunkRef<T> chunk = first_.next();
    return chunk.empty() ? rest_->next() : chunk;
  }

 private:
  const std::vector<owned_t<T>> elements_;
  VectorStream<T, owned_t<T>> first_;
  const StreamPtr<T> rest_;
};

/// Whether elements can be kept and read back from their owning form.
template <class T>
inline constexpr bool is_persistable =
    Serializable<owned_t<T>>&& std::is_constructible_v<T, const owned_t<T>&>;

/// A block as a stream. T is the stored type or constructible from it.
template <class T>
StreamPtr<T> open_block(std::shared_ptr<const Block> block) {
  using Stored = owned_t<T>;
  const auto* typed = dynamic_cast<const MemoryBlock<Stored>*>(block.get());
  if (typed == nullptr)
    throw Error(ErrorCode::kInternal, "a stored block has another element type");
  return StreamPtr<T>(new VectorStream<T, Stored>(typed->elements(), std::move(block)));
}

/// The same of what the store keeps.
template <class T>
StreamPtr<T> open_stored(StoredElements stored) {
  if (stored.block != nullptr) return open_block<T>(std::move(stored.block));
  return StreamPtr(new EncodedStream<T>(std::move(stored.parts)));
}

}  // namespace weir::internal
