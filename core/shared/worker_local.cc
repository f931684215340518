#include "weir/core/shared/worker_local.h"

namespace weir::internal {

void* WorkerLocals::get(Key key, Make make, const void* factory) {
  std::shared_ptr<Entry> entry;
  {
    const std::scoped_lock lock(mutex_);
    std::shared_ptr<Entry>& known = entries_[std::move(key)];
    if (known == nullptr) known = std::make_shared<Entry>();
    entry = known;
  }
  const std::scoped_lock making(entry->making);
  if (entry->object == nullptr) {
    entry->object = make(factory);
    const std::scoped_lock lock(mutex_);
    made_.push_back(entry->object);
  }
  return entry->object.get();
}

void WorkerLocals::release() {
  std::vector<std::shared_ptr<void>> made;
  {
    const std::scoped_lock lock(mutex_);
    entries_.clear();
    made.swap(made_);
  }
  while (!made.empty()) made.pop_back();
}

}  // namespace weir::internal
