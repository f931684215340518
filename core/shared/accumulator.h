#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "weir/core/archive.h"
#include "weir/core/error.h"
#include "weir/core/function.h"
#include "weir/core/print_value.h"
#include "weir/core/task_run.h"

namespace weir {

namespace internal {

/// What an accumulator adds with unless told otherwise.
struct AddTo {
  template <class T>
  void operator()(T& sum, const T& more) const {
    static_assert(
        requires { sum += more; },
        "accumulator: give the type an operator+=, or a third argument: "
        "[](T& sum, const T& more) { ... }");
    sum += more;
  }
};

/// The driver's side of an accumulator: what has been counted. Thread-safe.
class AccumulatedBase {
 public:
  AccumulatedBase(AccumulatorId id, std::string name) : id_(id), name_(std::move(name)) {}
  virtual ~AccumulatedBase() = default;

  AccumulatorId id() const { return id_; }
  const std::string& name() const { return name_; }
  /// Adds what a task's attempt added, as it encoded it. What the user's function throws is thrown
  /// by the next `value`.
  virtual void merge(const Bytes& added) = 0;
  /// The sum as `print_value` shows it, or why there is none; empty if it cannot.
  virtual std::string text() const = 0;

 private:
  const AccumulatorId id_;
  const std::string name_;
};

template <class T, class Merge>
class Accumulated final : public AccumulatedBase {
 public:
  Accumulated(AccumulatorId id, std::string name, T zero)
      : AccumulatedBase(id, std::move(name)), zero_(zero), sum_(std::move(zero)) {}

  void merge(const Bytes& added) override {
    try {
      add(decode<T>(added.view()));
    } catch (...) {
      const std::scoped_lock lock(mutex_);
      failure_ = describe_current_exception();
    }
  }
  std::string text() const override {
    const std::scoped_lock lock(mutex_);
    if (!failure_.empty()) return "failed: " + failure_;
    if constexpr (is_printable<T>()) return printed(sum_);
    return {};
  }
  void add(const T& more) {
    const std::scoped_lock lock(mutex_);
    Merge()(sum_, more);
  }
  T value() const {
    const std::scoped_lock lock(mutex_);
    if (!failure_.empty()) {
      throw Error(ErrorCode::kJobFailed,
                  "accumulator " + name() + ": adding what a task had added failed: " + failure_);
    }
    return sum_;
  }
  void reset() {
    const std::scoped_lock lock(mutex_);
    sum_ = zero_;
    failure_.clear();
  }

 private:
  const T zero_;
  mutable std::mutex mutex_;
  T sum_;                // guarded by mutex_
  std::string failure_;  // guarded by mutex_
};

template <class T, class Merge>
class TaskSum final : public TaskSumBase {
 public:
  using TaskSumBase::TaskSumBase;

  void add(const T& more) {
    if (sum_) {
      Merge()(*sum_, more);
    } else {
      sum_ = more;
    }
  }
  Bytes encode() const override { return encode_bytes(sum_.value()); }

 private:
  std::optional<T> sum_;  // set by the first `add`, which follows at once
};

}  // namespace internal

/// A sum that tasks add to and the driver reads; made by `Context::accumulator`. A cheap handle; it
/// gets into tasks as a captured value:
///
///     const auto bad = context.accumulator("bad lines", std::int64_t{0});
///     lines.foreach(weir::bind(bad, [](const auto& bad, const std::string& line) {
///       if (line.empty()) bad.add(1);
///     }));
///     bad.value();
///
/// What an attempt adds is counted when the driver accepts the attempt: once for each task of an
/// action, whatever is retried, and once for each map task whose output is made, also if it is lost
/// and made anew. A transformation that several jobs compute is counted by each of them. Sums come
/// in any order, so the operation should be associative and commutative.
template <class T, class Merge = internal::AddTo>
class Accumulator {
 public:
  using value_type = T;

  /// As read from a stage; else of no use.
  Accumulator() = default;
  explicit Accumulator(std::shared_ptr<internal::Accumulated<T, Merge>> driver)
      : id_(driver->id()), driver_(std::move(driver)) {}

  /// In a task, on its thread, or in the driver.
  void add(const T& more) const {
    if (driver_ != nullptr) {
      driver_->add(more);
    } else {
      internal::TaskRun::current().template sum<internal::TaskSum<T, Merge>>(id_).add(more);
    }
  }
  const Accumulator& operator+=(const T& more) const {
    add(more);
    return *this;
  }

  /// The zero and all that was counted so far, in the driver: complete for every job that has
  /// ended. Throws Error(kInvalidArgument) in tasks, Error(kJobFailed) with what `Merge` threw in
  /// the driver.
  T value() const { return driver().value(); }
  /// Back to the zero. In the driver.
  void reset() const { driver().reset(); }
  /// In the driver.
  const std::string& name() const { return driver().name(); }
  /// Unique within the context; what events call it.
  AccumulatorId id() const { return id_; }

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & id_;
  }

 private:
  internal::Accumulated<T, Merge>& driver() const {
    if (driver_ == nullptr) {
      throw Error(ErrorCode::kInvalidArgument,
                  "an accumulator's value is known in the driver only; tasks add to it");
    }
    return *driver_;
  }

  AccumulatorId id_ = 0;
  std::shared_ptr<internal::Accumulated<T, Merge>> driver_;  // in the driver only
};

}  // namespace weir
