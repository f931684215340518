#include "weir/core/memory_store.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "weir/core/error.h"
#include "weir/core/store_path_internal.h"

namespace weir {
namespace {

using internal::check_store_directory;
using internal::check_store_path;
using internal::parent_of;

/// A file's bytes: those that were synced, and each append since.
struct Content {
  std::string synced;
  std::vector<std::string> unsynced;
  std::uint64_t failed_syncs = 0;  ///< each is reported to everyone who has the file open

  std::size_t read(std::uint64_t offset, std::span<char> to) const {
    std::size_t begin = 0;  // of the piece
    std::size_t filled = 0;
    const auto take = [&](const std::string& piece) {
      const std::uint64_t at = offset + filled - begin;
      begin += piece.size();
      if (at >= piece.size()) return;
      filled += piece.copy(to.data() + filled, to.size() - filled, at);
    };
    take(synced);
    for (const std::string& piece : unsynced) {
      if (filled == to.size()) break;
      take(piece);
    }
    return filled;
  }
  std::size_t size() const {
    std::size_t sum = synced.size();
    for (const std::string& piece : unsynced) sum += piece.size();
    return sum;
  }
  void sync() {
    for (const std::string& piece : unsynced) synced += piece;
    unsynced.clear();
  }

  void crash(std::mt19937_64& random) {
    std::string kept = synced;
    std::size_t end = kept.size();  // behind the last byte that made it
    for (const std::string& piece : unsynced) {
      const std::size_t begin = kept.size();
      kept.append(piece.size(), '\0');
      switch (random() % 5) {
        case 0:
          kept.replace(begin, piece.size(), piece);
          end = kept.size();
          break;
        case 1: {
          const std::size_t part = random() % (piece.size() + 1);
          kept.replace(begin, part, piece, 0, part);
          if (part != 0) end = begin + part;
          break;
        }
        case 2:
          for (std::size_t i = begin; i < kept.size(); ++i) kept[i] = static_cast<char>(random());
          end = kept.size();
          break;
        case 3: end = kept.size(); break;
        default: break;  // a hole, if anything behind it survives
      }
    }
    synced = kept.substr(0, end);
    unsynced.clear();
  }
};

using Names = std::map<std::string, std::shared_ptr<Content>>;

}  // namespace

/// All members are used by one thread at a time, which holds the mutex.
class MemoryDisk::State {
 public:
  std::mutex mutex;
  Names names;                        ///< as processes see them
  Names durable_names;                ///< as they are if the machine dies now
  std::uint64_t start = 1;            ///< processes of earlier ones are dead
  std::optional<std::uint64_t> lock;  ///< the start that holds it
  bool ignores_locks = false;
  std::optional<std::uint64_t> stop_in;
  std::optional<std::uint64_t> room;
  std::optional<std::uint64_t> fail_sync_in;
  Counts counts;

  void expect_alive(std::uint64_t of) const {
    if (of != start) throw Error(ErrorCode::kUnreachable, "this process of the simulation is dead");
  }

  void end_processes() {
    ++start;
    lock.reset();
    stop_in.reset();
  }

  /// Does a change, and lets the process die behind it if this is the call to die in.
  template <class Change>
  void change(std::uint64_t by, bool is_sync, Change&& apply) {
    expect_alive(by);
    ++counts.operations;
    const bool last = stop_in && --*stop_in == 0;
    if (!last || !is_sync) apply();
    if (!last) return;
    end_processes();
    expect_alive(by);
  }

  std::shared_ptr<Content> find(const std::string& path) const {
    const auto found = names.find(path);
    return found == names.end() ? nullptr : found->second;
  }

  void append(Content& content, std::string_view bytes, const std::string& path) {
    ++counts.appends;
    const bool fits = !room || bytes.size() <= *room;
    const std::string_view written = fits ? bytes : bytes.substr(0, *room);
    if (room) *room -= written.size();
    content.unsynced.emplace_back(written);
    if (fits) return;
    throw Error(
        ErrorCode::kUnreachable,
        fmt::format("cannot write {} bytes to {}: No space left on device", bytes.size(), path));
  }

  /// `seen`: failures from before the file was opened.
  void sync(Content& content, const std::string& path, std::uint64_t seen) {
    ++counts.syncs;
    const bool fails = fail_sync_in && --*fail_sync_in == 0;
    if (fails) {
      fail_sync_in.reset();
      content.unsynced.clear();
      ++content.failed_syncs;
    }
    if (content.failed_syncs != seen) {
      throw Error(ErrorCode::kUnreachable, fmt::format("cannot sync {}: Input/output error", path));
    }
    content.sync();
  }

  void sync_names(const std::string& directory) {
    ++counts.directory_syncs;
    std::erase_if(durable_names,
                  [&](const auto& entry) { return parent_of(entry.first) == directory; });
    for (const auto& entry : names) {
      if (parent_of(entry.first) == directory) durable_names.insert(entry);
    }
  }

  void crash_names(std::mt19937_64& random) {
    std::set<std::string> all;
    for (const auto& entry : names) all.insert(entry.first);
    for (const auto& entry : durable_names) all.insert(entry.first);
    for (const std::string& path : all) {
      const auto now = names.find(path);
      const auto before = durable_names.find(path);
      const bool same =
          now != names.end() && before != durable_names.end() && now->second == before->second;
      if (same || random() % 2 == 0) continue;  // as it is now
      if (before == durable_names.end()) {
        names.erase(path);
      } else {
        names[path] = before->second;
      }
    }
    durable_names = names;
  }
};

class MemoryDisk::File final : public DurableFile {
 public:
  File(std::shared_ptr<State> state, std::uint64_t start, std::string path,
       std::shared_ptr<Content> content)
      : state_(std::move(state)),
        start_(start),
        path_(std::move(path)),
        content_(std::move(content)),
        seen_(content_->failed_syncs) {}

  void append(std::string_view bytes) override {
    const std::lock_guard lock(state_->mutex);
    expect_usable();
    poisoned_ = true;
    state_->change(start_, false, [&] { state_->append(*content_, bytes, path_); });
    size_ += bytes.size();
    poisoned_ = false;
  }

  void sync() override {
    const std::lock_guard lock(state_->mutex);
    expect_usable();
    poisoned_ = true;
    state_->change(start_, true, [&] { state_->sync(*content_, path_, seen_); });
    poisoned_ = false;
  }

  std::uint64_t size() const override { return size_; }

  bool is_removed() const override {
    const std::lock_guard lock(state_->mutex);
    state_->expect_alive(start_);
    return state_->find(path_) != content_;
  }

 private:
  void expect_usable() const {
    if (poisoned_) {
      throw Error(ErrorCode::kUnreachable, path_ + " is not written any more: that failed before");
    }
  }

  const std::shared_ptr<State> state_;
  const std::uint64_t start_;
  const std::string path_;
  const std::shared_ptr<Content> content_;
  const std::uint64_t seen_;
  std::uint64_t size_ = 0;
  bool poisoned_ = false;
};

class MemoryDisk::Reader final : public DurableReader {
 public:
  Reader(std::shared_ptr<State> state, std::uint64_t start, std::shared_ptr<Content> content)
      : state_(std::move(state)), start_(start), content_(std::move(content)) {}

  std::uint64_t size() const override {
    const std::lock_guard lock(state_->mutex);
    state_->expect_alive(start_);
    return content_->size();
  }

  std::size_t read(std::uint64_t offset, std::span<char> to) override {
    const std::lock_guard lock(state_->mutex);
    state_->expect_alive(start_);
    return content_->read(offset, to);
  }

 private:
  const std::shared_ptr<State> state_;
  const std::uint64_t start_;
  const std::shared_ptr<Content> content_;
};

class MemoryDisk::Lock final : public StoreLock {
 public:
  Lock(std::shared_ptr<State> state, std::uint64_t start)
      : state_(std::move(state)), start_(start) {}
  ~Lock() override {
    const std::lock_guard lock(state_->mutex);
    if (state_->lock == start_) state_->lock.reset();
  }

 private:
  const std::shared_ptr<State> state_;
  const std::uint64_t start_;
};

class MemoryDisk::Process final : public DurableStore {
 public:
  Process(std::shared_ptr<State> state, std::uint64_t start)
      : state_(std::move(state)), start_(start) {}

  std::string name() const override { return "memory"; }

  std::unique_ptr<DurableFile> create(const std::string& path) override {
    check_store_path(path);
    const std::lock_guard lock(state_->mutex);
    state_->expect_alive(start_);
    if (state_->find(path)) return nullptr;
    const auto content = std::make_shared<Content>();
    state_->change(start_, false, [&] { state_->names[path] = content; });
    return std::make_unique<File>(state_, start_, path, content);
  }

  std::unique_ptr<DurableReader> open(const std::string& path) override {
    check_store_path(path);
    const std::lock_guard lock(state_->mutex);
    state_->expect_alive(start_);
    auto content = state_->find(path);
    if (content == nullptr) return nullptr;
    return std::make_unique<Reader>(state_, start_, std::move(content));
  }

  std::int64_t size(const std::string& path) override {
    check_store_path(path);
    const std::lock_guard lock(state_->mutex);
    state_->expect_alive(start_);
    const auto content = state_->find(path);
    return content ? static_cast<std::int64_t>(content->size()) : -1;
  }

  std::vector<std::string> list(const std::string& directory) override {
    check_store_directory(directory);
    const std::lock_guard lock(state_->mutex);
    state_->expect_alive(start_);
    std::vector<std::string> found;
    for (const auto& [path, content] : state_->names) {
      if (parent_of(path) != directory) continue;
      found.push_back(directory.empty() ? path : path.substr(directory.size() + 1));
    }
    return found;
  }

  void remove(const std::string& path) override {
    check_store_path(path);
    const std::lock_guard lock(state_->mutex);
    state_->change(start_, false, [&] { state_->names.erase(path); });
  }

  void replace(const std::string& path, std::string_view content) override {
    check_store_path(path);
    const std::lock_guard lock(state_->mutex);
    const std::string unfinished = path + ".tmp";
    const auto made = std::make_shared<Content>();
    state_->change(start_, false, [&] { state_->names[unfinished] = made; });
    state_->change(start_, false, [&] { state_->append(*made, content, unfinished); });
    state_->change(start_, true, [&] { state_->sync(*made, unfinished, 0); });
    state_->change(start_, false, [&] {
      state_->names[path] = made;
      state_->names.erase(unfinished);
    });
    state_->change(start_, true, [&] { state_->sync_names(parent_of(path)); });
  }

  void sync_file(const std::string& path) override {
    check_store_path(path);
    const std::lock_guard lock(state_->mutex);
    state_->expect_alive(start_);
    const auto content = state_->find(path);
    if (!content) throw Error(ErrorCode::kUnreachable, path + " does not exist");
    state_->change(start_, true, [&] { state_->sync(*content, path, content->failed_syncs); });
  }

  void sync_directory(const std::string& directory) override {
    check_store_directory(directory);
    const std::lock_guard lock(state_->mutex);
    state_->change(start_, true, [&] { state_->sync_names(directory); });
  }

  std::unique_ptr<StoreLock> lock() override {
    const std::lock_guard lock(state_->mutex);
    state_->expect_alive(start_);
    if (state_->lock && !state_->ignores_locks) {
      throw Error(ErrorCode::kNotAllowed, "memory is in use by another log of this process");
    }
    state_->lock = start_;
    return std::make_unique<Lock>(state_, start_);
  }

 private:
  const std::shared_ptr<State> state_;
  const std::uint64_t start_;
};

MemoryDisk::MemoryDisk() : state_(std::make_shared<State>()) {}
MemoryDisk::~MemoryDisk() = default;

std::shared_ptr<DurableStore> MemoryDisk::start() {
  const std::lock_guard lock(state_->mutex);
  return std::make_shared<Process>(state_, state_->start);
}

void MemoryDisk::kill() {
  const std::lock_guard lock(state_->mutex);
  state_->end_processes();
}

void MemoryDisk::crash(std::mt19937_64& random) {
  const std::lock_guard lock(state_->mutex);
  state_->end_processes();
  state_->crash_names(random);
  for (const auto& [path, content] : state_->names) content->crash(random);
}

std::unique_ptr<MemoryDisk> MemoryDisk::without_unsynced() const {
  auto disk = std::make_unique<MemoryDisk>();
  const std::lock_guard lock(state_->mutex);
  for (const auto& [path, content] : state_->durable_names) {
    disk->put(path, content->synced);
  }
  return disk;
}

void MemoryDisk::stop_after(std::uint64_t operations) {
  const std::lock_guard lock(state_->mutex);
  state_->stop_in = operations;
}

void MemoryDisk::fill_after(std::uint64_t bytes) {
  const std::lock_guard lock(state_->mutex);
  state_->room = bytes;
}

void MemoryDisk::make_room() {
  const std::lock_guard lock(state_->mutex);
  state_->room.reset();
}

void MemoryDisk::fail_sync(std::uint64_t syncs) {
  const std::lock_guard lock(state_->mutex);
  state_->fail_sync_in = syncs;
}

void MemoryDisk::ignore_locks() {
  const std::lock_guard lock(state_->mutex);
  state_->ignores_locks = true;
}

MemoryDisk::Counts MemoryDisk::counts() const {
  const std::lock_guard lock(state_->mutex);
  return state_->counts;
}

void MemoryDisk::put(const std::string& path, const std::string& content) {
  check_store_path(path);
  const std::lock_guard lock(state_->mutex);
  state_->names[path] = state_->durable_names[path] =
      std::make_shared<Content>(Content{content, {}});
}

void MemoryDisk::erase(const std::string& path) {
  const std::lock_guard lock(state_->mutex);
  state_->names.erase(path);
  state_->durable_names.erase(path);
}

}  // namespace weir
