#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "weir/core/archive.h"
#include "weir/core/bytes.h"
#include "weir/core/task.h"
#include "weir/core/time.h"

/// A receiver's side of the conversation with the driver's ReceiverTracker, on a worker.
namespace weir::internal {

/// What one run of a receiver is told at its start.
struct ReceiverSettings {
  ShuffleId receiver = 0;          ///< of this run: its blocks are kept under this id
  std::string run = {};            ///< the same over all drivers: names the run's log files
  bool copies = false;             ///< whether each block is kept by a second worker
  std::string log_directory = {};  ///< absolute; empty: there is no log
  std::string log_folder = {};     ///< inside it
  Duration block_interval{};
  Duration store_timeout{};
  std::uint64_t buffer_bytes = 0;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & receiver & run & copies & log_directory & log_folder & block_interval & store_timeout;
    ar & buffer_bytes;
  }
};

/// A block that is as safe as it gets without the driver's knowing of it.
struct BlockReport {
  std::uint32_t number = 0;  ///< dense, from 0 in each run
  std::uint64_t records = 0;
  std::uint64_t size = 0;
  std::uint64_t hash = 0;
  std::optional<WorkerId> copy = {};
  std::string log = {};  ///< relative to the log directory
  std::uint64_t offset = 0;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & number & records & size & hash & copy & log & offset;
  }
};

/// Receiver to driver: all blocks that the driver has not acknowledged, again and again until it
/// does.
struct ReceiverReport {
  std::vector<BlockReport> blocks;  ///< in the order of their numbers
  std::uint64_t errors = 0;         ///< reported so far
  std::string error = {};           ///< the last of them

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & blocks & errors & error;
  }
};

/// Driver to receiver: how things stand. Numbers only grow.
struct ReceiverOrders {
  std::uint64_t version = 0;             ///< counts up
  std::uint32_t acknowledged_below = 0;  ///< the driver knows of blocks before this one
  std::uint32_t cut_below = 0;           ///< those before this one belong to batches
  std::uint32_t released_below = 0;      ///< nobody needs those before this one
  double max_rate = 0;                   ///< elements per second; 0: no limit
  bool stop = false;                     ///< end, with all that was received

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & version & acknowledged_below & cut_below & released_below & max_rate & stop;
  }
};

/// What a receiver's threads and the thread that serves it have in common. Thread-safe.
///
///     store(element) -> filling -- block interval, or full --> sealed
///     store(vector) -----------------------------------------> sealed
///     sealed -- kept, copied, logged --> reported -- the driver's orders --> acknowledged
class ReceiverCore {
 public:
  struct Block {
    std::uint32_t number = 0;
    Bytes bytes;
    std::uint64_t records = 0;
  };
  enum class End {
    kNone,
    kFinished,  ///< the receiver says so
    kFailed,    ///< as `failure` says
    kTold,      ///< the driver says so
  };

  explicit ReceiverCore(const ReceiverSettings& settings) : settings_(settings) {}

  // --- the receiver's threads; see ReceiverStore ---

  template <class Write>
  bool append(Write write) {
    std::unique_lock lock(mutex_);
    if (!await_room(lock, 1)) return false;
    write(filling_);
    ++filling_records_;
    if (filling_.size() >= kFullBytes) seal();
    return true;
  }
  bool put(Bytes block, std::uint64_t records);
  void finish();
  void fail(const std::string& why);
  void report_error(const std::string& what);
  bool is_stopping() const;

  // --- the thread that serves ---

  /// Waits until `due` at the longest; ends early when there are sealed blocks, orders or an end.
  void wait_until(SteadyTime due);
  /// Makes a block of what single elements there are.
  void seal_filling();
  std::vector<Block> take_sealed();
  ReceiverOrders orders() const;
  /// Later orders replace earlier ones, whatever order they come in.
  void take(const ReceiverOrders& orders);
  End end() const;
  std::string failure() const;
  /// How many errors were reported, and the last.
  std::pair<std::uint64_t, std::string> errors() const;
  /// Nothing more is taken in: the receiver's threads return.
  void close();

 private:
  static constexpr std::size_t kFullBytes = 1 << 20;

  // With the lock held.
  bool await_room(std::unique_lock<std::mutex>& lock, std::uint64_t records);
  void seal();
  std::uint32_t add(Bytes bytes, std::uint64_t records);
  void enter(End end);
  bool is_closed() const { return closed_ || end_ != End::kNone; }
  void refill(SteadyTime now);

  const ReceiverSettings settings_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;  // for the receiver's threads
  std::condition_variable work_;     // for the thread that serves

  // Guarded by mutex_.
  SlimWriter filling_;
  std::uint64_t filling_records_ = 0;
  std::vector<Block> sealed_;
  std::uint32_t next_number_ = 0;
  std::deque<std::pair<std::uint32_t, std::uint64_t>> uncut_;  // numbers and sizes
  std::uint64_t uncut_bytes_ = 0;
  ReceiverOrders orders_;
  bool news_ = false;  // for the thread that serves
  bool closed_ = false;
  End end_ = End::kNone;
  std::string failure_;
  std::uint64_t errors_ = 0;
  std::string error_;
  double tokens_ = 1;  // elements that may be stored now
  SteadyTime refilled_{};
};

/// Runs a receiver to its end, on the calling task's thread: keeps its blocks in this worker's
/// store, copies and logs them, reports them to the driver and follows its orders. Throws what ends
/// the run for another one.
void serve_receiver(const ReceiverSettings& settings,
                    const std::function<void(const std::shared_ptr<ReceiverCore>&)>& on_start,
                    const std::function<void()>& on_stop);

}  // namespace weir::internal
