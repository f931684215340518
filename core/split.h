#pragma once

#include <cstring>
#include <iterator>
#include <ranges>
#include <string_view>

namespace weir {

/// The pieces of a text between separators, as views into it: lazy, without allocation. Empty
/// pieces are left out, so "a  b" has two words. The text must outlive the range.
class SplitRange : public std::ranges::view_interface<SplitRange> {
 public:
  class iterator {
   public:
    using value_type = std::string_view;
    using difference_type = std::ptrdiff_t;
    using iterator_concept = std::forward_iterator_tag;

    iterator() = default;
    iterator(const char* at, const char* end, char separator)
        : end_(end), separator_(separator), next_(at) {
      ++*this;
    }

    std::string_view operator*() const { return piece_; }
    iterator& operator++() {
      while (next_ != end_ && *next_ == separator_) ++next_;
      const char* begin = next_;
      while (next_ != end_ && *next_ != separator_) ++next_;
      piece_ = {begin, static_cast<std::size_t>(next_ - begin)};
      return *this;
    }
    iterator operator++(int) {
      iterator before = *this;
      ++*this;
      return before;
    }
    friend bool operator==(const iterator& a, const iterator& b) {
      return a.piece_.data() == b.piece_.data() && a.piece_.size() == b.piece_.size();
    }
    friend bool operator==(const iterator& it, std::default_sentinel_t) {
      return it.piece_.empty();
    }

   private:
    const char* end_ = nullptr;
    char separator_ = ' ';
    const char* next_ = nullptr;
    std::string_view piece_;
  };

  SplitRange() = default;
  SplitRange(std::string_view text, char separator) : text_(text), separator_(separator) {}

  iterator begin() const { return {text_.data(), text_.data() + text_.size(), separator_}; }
  std::default_sentinel_t end() const { return {}; }

 private:
  std::string_view text_;
  char separator_ = ' ';
};

/// The words of a text: `split(line, ' ')`.
inline SplitRange split(std::string_view text, char separator) { return {text, separator}; }

}  // namespace weir

template <>
inline constexpr bool std::ranges::enable_borrowed_range<weir::SplitRange> = true;
