#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string_view>
#include <utility>

#include "weir/core/archive.h"
#include "weir/core/dataset.h"
#include "weir/core/error.h"
#include "weir/core/task_run.h"

namespace weir {

namespace internal {

/// A broadcast's bytes. They travel as a shuffle's do: the driver sends each chunk to one worker,
/// as the input of a map task that keeps it, and tasks whose stage refers to the broadcast fetch
/// from there what their worker has not. A lost worker's chunks are sent again. Thread-safe.
class BroadcastData {
 public:
  BroadcastData(const std::shared_ptr<Engine>& engine, std::string_view bytes);

  /// What stages refer to now.
  std::shared_ptr<DatasetBase> dataset() const;
  /// Stages to come refer to another one; what workers have goes when no job reads it any more.
  void renew();

 private:
  const std::shared_ptr<DatasetBase> chunks_;
  mutable std::mutex mutex_;
  std::shared_ptr<DatasetBase> dataset_;  // guarded by mutex_
};

}  // namespace internal

/// A value that tasks read: sent to each worker once, in chunks and from worker to worker, when a
/// task there first needs it, and decoded there once. Made by `Context::broadcast`; a cheap handle
/// that gets into tasks as a captured value:
///
///     const auto stop_words = context.broadcast(std::set<std::string>{"a", "the"});
///     words.filter(weir::bind(stop_words, [](const auto& stop, const std::string& word) {
///       return !stop.value().contains(word);
///     }));
///
/// Freed on the workers when the last handle and dataset that refers to it are gone.
template <class T>
class Broadcast {
 public:
  using value_type = T;

  /// As read from a stage; else of no use.
  Broadcast() = default;
  Broadcast(std::shared_ptr<const T> value, std::shared_ptr<internal::BroadcastData> data)
      : value_(std::move(value)), data_(std::move(data)) {}

  /// In a task, on its thread, the worker's copy, which all of its tasks share; in the driver the
  /// value itself. Valid as long as the task runs, or the handle exists.
  const T& value() const {
    if (value_ != nullptr) return *value_;
    return *static_cast<const T*>(
        internal::TaskRun::current().broadcast(index_, [](std::string_view bytes) {
          return std::shared_ptr<const void>(std::make_shared<const T>(decode<T>(bytes)));
        }));
  }
  const T& operator*() const { return value(); }
  const T* operator->() const { return &value(); }

  /// Frees the workers' copies. They are sent again when a task needs them. In the driver.
  void unpersist() const {
    if (data_ != nullptr) data_->renew();
  }

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    if constexpr (Archive::is_saving::value) {
      std::uint32_t index =
          internal::refer_to_broadcast(data_ == nullptr ? nullptr : data_->dataset());
      ar & index;
    } else {
      ar & index_;
    }
  }

 private:
  std::shared_ptr<const T> value_;                 // in the driver only
  std::shared_ptr<internal::BroadcastData> data_;  // in the driver only
  std::uint32_t index_ = 0;  // among the broadcasts of the stage that it was read from
};

}  // namespace weir
