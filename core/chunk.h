#pragma once

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <memory>
#include <new>
#include <ranges>
#include <string>
#include <type_traits>
#include <utility>

namespace weir {

/// Elements move through a stage in runs of about this many, one virtual call per operator and run,
/// and of about this many bytes.
inline constexpr std::size_t kChunkElements = 1024;
inline constexpr std::size_t kChunkBytes = 1 << 20;

/// One run of elements handed from a producer to its consumer.
///
/// The elements, and whatever they point into (elements may be views), are valid until the producer
/// is asked for its next chunk. An `exclusive` run belongs to the consumer for that time: it may
/// move from the elements or reorder them. A shared run (a stored block, say) must only be read.
template <class T>
struct ChunkRef {
  T* data = nullptr;
  std::size_t size = 0;
  bool exclusive = false;

  const T* begin() const { return data; }
  const T* end() const { return data + size; }
  bool empty() const { return size == 0; }
};

namespace internal {

/// What every stream is, whatever its elements.
class ChunkStreamBase {
 public:
  ChunkStreamBase() = default;
  ChunkStreamBase(const ChunkStreamBase&) = delete;
  ChunkStreamBase& operator=(const ChunkStreamBase&) = delete;
  virtual ~ChunkStreamBase() = default;
};

}  // namespace internal

/// A producer of chunks: the running form of a dataset's partition. Used by one thread.
template <class T>
class ChunkStream : public internal::ChunkStreamBase {
 public:
  /// The next elements, in order; an empty chunk means the end (and stays so). Not asking again is
  /// how a consumer ends a producer early.
  virtual ChunkRef<T> next() = 0;
};

namespace internal {

/// Owns a stream. One std::unique_ptr serves all types of elements and of streams: a job has
/// hundreds, and a smart pointer of its own for each was a fifth of what it costs to compile.
template <class T>
class StreamPtr {
 public:
  StreamPtr() = default;
  StreamPtr(std::nullptr_t) {}  // NOLINT(google-explicit-constructor): as std::unique_ptr
  explicit StreamPtr(ChunkStream<T>* owned) : stream_(owned) {}

  ChunkStream<T>* operator->() const { return static_cast<ChunkStream<T>*>(stream_.get()); }
  ChunkStream<T>& operator*() const { return *operator->(); }
  bool operator==(std::nullptr_t) const { return stream_ == nullptr; }

 private:
  std::unique_ptr<ChunkStreamBase> stream_;
};

#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool kFreshChunks = true;
#else
inline constexpr bool kFreshChunks = false;
#endif

/// Whether elements own memory that can be told without a detour: strings, and pairs with one.
template <class T>
inline constexpr bool has_payload = std::is_same_v<T, std::string>;
template <class A, class B>
inline constexpr bool has_payload<std::pair<A, B>> = has_payload<A> || has_payload<B>;

inline std::size_t payload_bytes(const std::string& text) { return text.size(); }
template <class A, class B>
std::size_t payload_bytes(const std::pair<A, B>& pair) {
  std::size_t bytes = 0;
  if constexpr (has_payload<A>) bytes += payload_bytes(pair.first);
  if constexpr (has_payload<B>) bytes += payload_bytes(pair.second);
  return bytes;
}

}  // namespace internal

/// A reusable buffer that a producer fills and hands out as a `ChunkRef`. Unlike a `std::vector` it
/// holds `bool` as `bool`. Under the address sanitizer every `clear()` frees the memory, so that a
/// view that outlives its chunk is caught.
template <class T>
class ChunkBuffer {
 public:
  ChunkBuffer() = default;
  ChunkBuffer(const ChunkBuffer&) = delete;
  ChunkBuffer& operator=(const ChunkBuffer&) = delete;
  ~ChunkBuffer() { release(); }

  void clear() {
    if constexpr (internal::kFreshChunks) {
      release();
    } else {
      std::destroy_n(data_, size_);
      size_ = 0;
      payload_ = 0;
    }
  }

  template <class... Args>
  T& emplace_back(Args&&... args) {
    if (size_ == capacity_) reserve(1);
    T* slot = ::new (static_cast<void*>(data_ + size_)) T(std::forward<Args>(args)...);
    ++size_;
    if constexpr (internal::has_payload<T>) payload_ += internal::payload_bytes(*slot);
    return *slot;
  }

  /// Appends `make(i)` for i in [0, count). A plain loop over raw memory where T allows it, so that
  /// the compiler can vectorise it.
  template <class Make>
  void append(std::size_t count, const Make& make) {
    reserve(count);
    if constexpr (std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>) {
      T* __restrict to = data_ + size_;
      for (std::size_t i = 0; i < count; ++i) ::new (static_cast<void*>(to + i)) T(make(i));
      size_ += count;
    } else {
      for (std::size_t i = 0; i < count; ++i) {
        ::new (static_cast<void*>(data_ + size_)) T(make(i));
        ++size_;  // one at a time: make() may throw
      }
    }
  }

  std::size_t size() const { return size_; }
  /// A producer that can stop here should.
  bool full() const {
    return size_ >= kChunkElements || size_ * sizeof(T) + payload_ >= kChunkBytes;
  }
  T* data() { return data_; }
  ChunkRef<T> ref() { return {data_, size_, true}; }

 private:
  void reserve(std::size_t count) {
    if (capacity_ - size_ >= count) return;
    constexpr std::size_t kFirst =
        std::clamp<std::size_t>(kChunkBytes / sizeof(T), 1, kChunkElements);
    const std::size_t wanted = std::max({kFirst, capacity_ * 2, size_ + count});
    T* fresh = std::allocator<T>().allocate(wanted);
    std::uninitialized_move_n(data_, size_, fresh);
    const std::size_t kept = size_;
    const std::size_t payload = payload_;
    release();
    data_ = fresh;
    size_ = kept;
    payload_ = payload;
    capacity_ = wanted;
  }

  void release() {
    std::destroy_n(data_, size_);
    if (data_ != nullptr) std::allocator<T>().deallocate(data_, capacity_);
    data_ = nullptr;
    size_ = 0;
    payload_ = 0;
    capacity_ = 0;
  }

  T* data_ = nullptr;
  std::size_t size_ = 0;
  std::size_t payload_ = 0;  // bytes that the elements own, as far as is known
  std::size_t capacity_ = 0;
};

/// A single-pass input range over a chunk stream: what `map_partitions` functions are given. The
/// stream must outlive it; an element is valid until the iterator moves past its chunk.
template <class T>
class ElementRange : public std::ranges::view_base {
 public:
  class iterator {
   public:
    using value_type = T;
    using difference_type = std::ptrdiff_t;
    using iterator_concept = std::input_iterator_tag;

    iterator() = default;
    explicit iterator(ChunkStream<T>* stream) : stream_(stream) { refill(); }

    const T& operator*() const { return *at_; }
    const T* operator->() const { return at_; }
    iterator& operator++() {
      if (++at_ == end_) refill();
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const iterator& it, std::default_sentinel_t) {
      return it.at_ == it.end_;
    }

   private:
    void refill() {
      const ChunkRef<T> chunk = stream_->next();
      at_ = chunk.begin();
      end_ = chunk.end();
    }

    ChunkStream<T>* stream_ = nullptr;
    const T* at_ = nullptr;
    const T* end_ = nullptr;
  };

  explicit ElementRange(ChunkStream<T>& stream) : stream_(&stream) {}

  iterator begin() const { return iterator(stream_); }
  std::default_sentinel_t end() const { return {}; }

 private:
  ChunkStream<T>* stream_;
};

}  // namespace weir
