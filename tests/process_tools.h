#pragma once

#include <sys/types.h>

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <vector>

#include <gtest/gtest.h>

#include "weir/core/context.h"

/// What the tests with real processes share: files that tasks and test meet in, waiting for a
/// condition, and a record of events.
namespace weir::test {

/// A folder that goes with the test. Tasks in other processes meet the test through its files.
class TempFolder {
 public:
  TempFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "weir-test-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    path_ = pattern;
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  std::string file(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

/// Written whole or not at all.
inline void write_file(const std::string& path, const std::string& content) {
  std::ofstream(path + ".tmp") << content;
  std::filesystem::rename(path + ".tmp", path);
}

inline std::string read_file(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// Whether the process is there and has not ended.
inline bool is_alive(pid_t pid) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/stat");
  std::string status;
  std::getline(in, status);  // nothing, if it ends in between
  const std::size_t state = status.rfind(") ");
  return state != std::string::npos && status[state + 2] != 'Z';
}

/// The living processes that `driver` started from its own program: its workers.
inline std::vector<pid_t> workers_of(pid_t driver) {
  const auto program = [](pid_t pid) {
    std::error_code gone;
    return std::filesystem::read_symlink("/proc/" + std::to_string(pid) + "/exe", gone);
  };
  std::vector<pid_t> workers;
  std::error_code gone;
  const std::string threads = "/proc/" + std::to_string(driver) + "/task";
  for (const auto& thread : std::filesystem::directory_iterator(threads, gone)) {
    std::ifstream children(thread.path() / "children");
    for (pid_t child = 0; children >> child;) {
      if (is_alive(child) && program(child) == program(driver)) workers.push_back(child);
    }
  }
  return workers;
}

/// Polls until `holds()`; false after `limit`.
inline bool eventually(const std::function<bool()>& holds,
                       std::chrono::milliseconds limit = std::chrono::seconds(20)) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  std::mutex mutex;
  std::unique_lock lock(mutex);
  std::condition_variable never;
  while (!holds()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    never.wait_for(lock, std::chrono::milliseconds(2));
  }
  return true;
}

/// For functions that run in workers: blocks until the file is there, or for 60 s.
inline void await_file(const std::string& path) {
  (void)eventually([&] { return std::filesystem::exists(path); }, std::chrono::seconds(60));
}

class EventRecord final : public Listener {
 public:
  void on_worker_added(const WorkerAdded& event) override { add(added_, event); }
  void on_worker_lost(const WorkerLost& event) override { add(lost_, event); }
  void on_result_refused(const ResultRefused& event) override { add(refused_, event); }
  void on_stage_submitted(const StageSubmitted& event) override { add(stages_, event); }
  void on_task_ended(const TaskEnded& event) override { add(tasks_, event); }

  std::vector<WorkerAdded> added() const { return copy(added_); }
  std::vector<WorkerLost> lost() const { return copy(lost_); }
  std::vector<ResultRefused> refused() const { return copy(refused_); }
  std::vector<StageSubmitted> stages() const { return copy(stages_); }
  std::vector<TaskEnded> tasks() const { return copy(tasks_); }

 private:
  template <class Event>
  void add(std::vector<Event>& events, const Event& event) {
    const std::scoped_lock lock(mutex_);
    events.push_back(event);
  }
  template <class Event>
  std::vector<Event> copy(const std::vector<Event>& events) const {
    const std::scoped_lock lock(mutex_);
    return events;
  }

  mutable std::mutex mutex_;
  std::vector<WorkerAdded> added_;
  std::vector<WorkerLost> lost_;
  std::vector<ResultRefused> refused_;
  std::vector<StageSubmitted> stages_;
  std::vector<TaskEnded> tasks_;
};

}  // namespace weir::test
