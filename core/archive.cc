#include "weir/core/archive.h"

#include <algorithm>
#include <new>

#include <fmt/format.h>

namespace weir {

void SlimWriter::reserve(std::size_t size) {
  const std::size_t wanted = size_ + size;
  if (wanted <= capacity_) return;
  const std::size_t capacity = std::max<std::size_t>({wanted, capacity_ * 2, 128});
  char* grown = static_cast<char*>(std::realloc(buffer_.get(), capacity));
  if (grown == nullptr) throw std::bad_alloc();
  (void)buffer_.release();
  buffer_.reset(grown);
  capacity_ = capacity;
}

Bytes SlimWriter::take() {
  const std::string_view written = view();
  std::shared_ptr<const char> owner = std::move(buffer_);
  size_ = 0;
  capacity_ = 0;
  return Bytes(written, std::move(owner));
}

}  // namespace weir

namespace weir::internal {

void throw_truncated(std::size_t wanted, std::size_t left) {
  throw Error(ErrorCode::kCorrupt,
              fmt::format("truncated data: {} more bytes wanted, {} left", wanted, left));
}

void throw_bad_value(const char* what, std::uint64_t value) {
  throw Error(ErrorCode::kCorrupt, fmt::format("malformed data: {} is not a {}", value, what));
}

void throw_too_long(std::size_t size) {
  throw Error(
      ErrorCode::kInvalidArgument,
      fmt::format("a string or container of {} elements is too long to serialize: the limit "
                  "is 4294967295",
                  size));
}

void throw_left_over(std::size_t left) {
  throw Error(ErrorCode::kCorrupt, fmt::format("malformed data: {} bytes left over", left));
}

void throw_empty_elements() {
  throw Error(
      ErrorCode::kInvalidArgument,
      "elements that serialize to no bytes cannot be stored in a container; give the type a "
      "field");
}

// The x87 format: 80 of the type's 128 bits; the others hold anything.
void put_without_padding(SlimWriter& writer, long double value) {
  constexpr std::size_t kUsed = std::numeric_limits<long double>::digits == 64 ? 10 : sizeof value;
  char bytes[sizeof value] = {};
  std::memcpy(bytes, &value, kUsed);
  writer.put_bytes(bytes, sizeof bytes);
}

}  // namespace weir::internal
