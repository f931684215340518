#pragma once

#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>
#include <ranges>
#include <utility>
#include <vector>

#include "weir/core/actions.h"

namespace weir {

/// The elements of a dataset in the driver, partition by partition: a single-pass range that runs a
/// job when the next partition is reached. It must outlive its iterators. Not thread-safe.
template <class T>
class LocalElements {
 public:
  using value_type = owned_t<T>;

  explicit LocalElements(internal::DatasetPtr<T> dataset) : dataset_(std::move(dataset)) {}

  class iterator {
   public:
    using value_type = owned_t<T>;
    using difference_type = std::ptrdiff_t;
    using iterator_concept = std::input_iterator_tag;

    iterator() = default;
    explicit iterator(LocalElements* elements) : elements_(elements) {}

    /// May be moved from.
    value_type& operator*() const { return elements_->partition_[elements_->at_]; }
    value_type* operator->() const { return &**this; }
    iterator& operator++() {
      ++elements_->at_;
      elements_->refill();
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const iterator& it, std::default_sentinel_t) {
      return it.elements_->is_at_end();
    }

   private:
    LocalElements* elements_ = nullptr;
  };

  /// Once. Throws what actions do, as incrementing does.
  iterator begin() {
    refill();
    return iterator(this);
  }
  std::default_sentinel_t end() const { return {}; }
  bool is_at_end() const { return at_ == partition_.size(); }

 private:
  void refill() {
    while (is_at_end() && next_ < dataset_->num_partitions()) {
      at_ = 0;
      partition_ =
          std::move(internal::run_action(dataset_, internal::CollectAction<T>{}, {next_}).front());
      ++next_;
    }
  }

  internal::DatasetPtr<T> dataset_;
  std::vector<owned_t<T>> partition_;
  std::size_t at_ = 0;
  std::uint32_t next_ = 0;
};

}  // namespace weir
