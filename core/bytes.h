#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace weir {

/// Immutable bytes shared by reference: results, map outputs, serialized stages. Copying is a
/// reference count; the view stays valid as long as any copy lives. Thread-safe.
class Bytes {
 public:
  Bytes() = default;
  explicit Bytes(std::string content) {
    auto owner = std::make_shared<const std::string>(std::move(content));
    view_ = *owner;
    owner_ = std::move(owner);
  }
  /// Bytes inside a larger thing (a received frame, a mapped file) that `owner` keeps alive.
  Bytes(std::string_view view, std::shared_ptr<const void> owner)
      : view_(view), owner_(std::move(owner)) {}

  std::string_view view() const { return view_; }
  const char* data() const { return view_.data(); }
  std::size_t size() const { return view_.size(); }
  bool empty() const { return view_.empty(); }

 private:
  std::string_view view_;
  std::shared_ptr<const void> owner_;
};

}  // namespace weir
