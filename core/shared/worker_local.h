#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "weir/core/archive.h"
#include "weir/core/function.h"
#include "weir/core/task_run.h"

namespace weir {

namespace internal {

/// The objects of one worker (of one context, where tasks run in the driver's process). Each is
/// made by the first who asks, while others who want the same one wait. Thread-safe.
class WorkerLocals {
 public:
  /// Which object: the type of its factory, and what the factory captured.
  using Key = std::pair<const void*, std::string>;
  using Make = std::shared_ptr<void> (*)(const void* factory);

  WorkerLocals() = default;
  WorkerLocals(const WorkerLocals&) = delete;
  WorkerLocals& operator=(const WorkerLocals&) = delete;
  ~WorkerLocals() { release(); }

  /// What `make` throws leaves nothing behind.
  void* get(Key key, Make make, const void* factory);
  /// Destroys them, the last made first. No task may use any.
  void release();

 private:
  struct Entry {
    std::mutex making;
    std::shared_ptr<void> object;  // guarded by making
  };

  std::mutex mutex_;  // guards what follows; not held while anything is made
  std::map<Key, std::shared_ptr<Entry>> entries_;
  std::vector<std::shared_ptr<void>> made_;
};

/// Its address tells the type. Not constant, lest linkers fold what is equal.
template <class Factory>
inline char factory_tag = 0;

}  // namespace internal

/// An object that each worker makes for itself, when a task first asks for it, and keeps for later
/// tasks: a database pool, a parsed dictionary. Made by `worker_local`; a cheap handle that gets
/// into tasks as a captured value. Handles with one type of factory and equal captured values mean
/// one object, so a handle may be made anew for each batch.
///
/// All slots of a worker use the same object, at once: it must be thread-safe.
template <class Factory>
class WorkerLocal {
 public:
  using value_type = std::decay_t<std::invoke_result_t<const Factory&>>;

  WorkerLocal() = default;
  explicit WorkerLocal(Factory factory) : factory_(std::move(factory)) {}

  /// In a task. What the factory throws fails the attempt; the next one calls it again.
  value_type& get() const {
    SlimWriter captured;
    internal::write_function(captured, factory_);
    const internal::WorkerLocals::Make make = [](const void* factory) -> std::shared_ptr<void> {
      return std::make_shared<value_type>((*static_cast<const Factory*>(factory))());
    };
    return *static_cast<value_type*>(internal::TaskRun::current().locals().get(
        {&internal::factory_tag<Factory>, std::string(captured.view())}, make, &factory_));
  }
  value_type& operator*() const { return get(); }
  value_type* operator->() const { return &get(); }

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    internal::serialize_function(ar, factory_);
  }

 private:
  Factory factory_{};
};

/// One object of `factory()` per worker process, see WorkerLocal; destroyed when the worker or,
/// where tasks run in the driver's process, the context ends (not if it is killed).
template <class Factory>
WorkerLocal<Factory> worker_local(Factory factory) {
  WEIR_REQUIRE_SHIPPABLE(Factory);
  return WorkerLocal<Factory>(std::move(factory));
}

}  // namespace weir
