#pragma once

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "weir/dstream/receiver.h"

namespace weir::test {

/// A receiver whose world is a folder: stores the numbers from what the file "next" says, 0 at
/// first, to before what "limit" says.
struct NumberReceiver : Receiver<int> {
  std::string folder = {};
  bool in_blocks = false;  ///< of 10, each of which, once stored, moves "next" on

  void on_start(ReceiverStore<int>& store) const {
    if (std::filesystem::remove(folder + "/fail")) throw std::runtime_error("told to fail");
    write("pid", getpid());
    int next = number_in("next");
    while (!store.is_stopping()) {
      if (std::filesystem::remove(folder + "/restart")) return store.restart("told to");
      const int limit = number_in("limit");
      if (next >= limit) {
        if (std::filesystem::exists(folder + "/finish")) return store.stop();
        look_again_soon();
      } else if (in_blocks) {
        std::vector<int> block(static_cast<std::size_t>(std::min(10, limit - next)));
        std::iota(block.begin(), block.end(), next);
        if (!store.store(block)) return;
        next += static_cast<int>(block.size());
        write("next", next);
      } else {
        if (!store.store(next)) return;
        ++next;
      }
    }
  }
  void on_stop() const {}

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & folder & in_blocks;
  }

 private:
  static void look_again_soon() {
    std::mutex mutex;
    std::unique_lock lock(mutex);
    std::condition_variable().wait_for(lock, std::chrono::milliseconds(1));
  }
  int number_in(const std::string& file) const {
    std::ifstream in(folder + "/" + file);
    int number = 0;
    in >> number;
    return number;
  }
  /// Whole or not at all.
  void write(const std::string& file, int number) const {
    const std::string path = folder + "/" + file;
    std::ofstream(path + ".new") << number;
    std::filesystem::rename(path + ".new", path);
  }
};

}  // namespace weir::test
