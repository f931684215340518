#include "weir/dstream/receiver_core.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <thread>

#include "weir/core/crash_point.h"
#include "weir/core/error.h"
#include "weir/core/hash.h"
#include "weir/core/log.h"
#include "weir/core/task_run.h"
#include "weir/dstream/receiver_log.h"

namespace weir::internal {

using namespace std::chrono_literals;

namespace {

/// The thread that serves looks around this often at least: for cancellation, which wakes nobody.
constexpr Duration kLook = 20ms;
/// What the driver has not acknowledged, and a sign of life that it answers with its orders, is
/// sent again this often.
constexpr Duration kRepeat = 200ms;
/// While it ends, a receiver that finds no other worker makes no copies after so long.
constexpr Duration kLastCopyWait = 2s;
/// Reports are frames with a limit.
constexpr std::size_t kMostReported = 1024;

SteadyTime now() { return Clock::system().steady_now(); }

}  // namespace

// --- ReceiverCore ---

void ReceiverCore::refill(SteadyTime now) {
  if (orders_.max_rate <= 0) return;
  const std::chrono::duration<double> passed = now - refilled_;
  const std::chrono::duration<double> burst = settings_.block_interval;
  tokens_ = std::min(tokens_ + orders_.max_rate * passed.count(),
                     std::max(1.0, orders_.max_rate * burst.count()));
  refilled_ = now;
}

/// False when nothing is taken any more.
bool ReceiverCore::await_room(std::unique_lock<std::mutex>& lock, std::uint64_t records) {
  while (!is_closed()) {
    if (uncut_bytes_ != 0 && uncut_bytes_ + filling_.size() >= settings_.buffer_bytes) {
      changed_.wait(lock);
      continue;
    }
    if (orders_.max_rate <= 0) return true;
    refill(now());
    if (tokens_ >= 1) {  // a block may be more than that: the next one waits for it
      tokens_ -= static_cast<double>(records);
      return true;
    }
    changed_.wait_for(lock, std::chrono::duration<double>((1 - tokens_) / orders_.max_rate));
  }
  return false;
}

std::uint32_t ReceiverCore::add(Bytes bytes, std::uint64_t records) {
  const std::uint32_t number = next_number_++;
  uncut_.emplace_back(number, bytes.size());
  uncut_bytes_ += bytes.size();
  sealed_.push_back({number, std::move(bytes), records});
  news_ = true;
  work_.notify_all();
  return number;
}

void ReceiverCore::seal() {
  if (filling_records_ == 0) return;
  add(filling_.take(), std::exchange(filling_records_, 0));
}

bool ReceiverCore::put(Bytes block, std::uint64_t records) {
  std::unique_lock lock(mutex_);
  if (!await_room(lock, records)) return false;
  seal();  // what was stored before comes before
  const std::uint32_t number = add(std::move(block), records);
  return changed_.wait_for(lock, settings_.store_timeout, [&] {
    return orders_.acknowledged_below > number || closed_;
  }) && orders_.acknowledged_below > number;
}

void ReceiverCore::enter(End end) {
  if (end_ == End::kNone) end_ = end;
  news_ = true;
  work_.notify_all();
  changed_.notify_all();
}

void ReceiverCore::finish() {
  const std::scoped_lock lock(mutex_);
  enter(End::kFinished);
}

void ReceiverCore::fail(const std::string& why) {
  const std::scoped_lock lock(mutex_);
  if (is_closed()) return;
  failure_ = why;
  enter(End::kFailed);
}

void ReceiverCore::report_error(const std::string& what) {
  const std::scoped_lock lock(mutex_);
  ++errors_;
  error_ = what;
  news_ = true;
  work_.notify_all();
}

bool ReceiverCore::is_stopping() const {
  const std::scoped_lock lock(mutex_);
  return is_closed();
}

void ReceiverCore::wait_until(SteadyTime due) {
  std::unique_lock lock(mutex_);
  work_.wait_until(lock, due, [&] { return news_; });
  news_ = false;
}

void ReceiverCore::seal_filling() {
  const std::scoped_lock lock(mutex_);
  seal();
}

std::vector<ReceiverCore::Block> ReceiverCore::take_sealed() {
  const std::scoped_lock lock(mutex_);
  return std::exchange(sealed_, {});
}

ReceiverOrders ReceiverCore::orders() const {
  const std::scoped_lock lock(mutex_);
  return orders_;
}

void ReceiverCore::take(const ReceiverOrders& orders) {
  const std::scoped_lock lock(mutex_);
  if (orders.version <= orders_.version) return;
  refill(now());  // at the rate so far
  if (orders_.max_rate <= 0) refilled_ = now();
  orders_ = orders;
  while (!uncut_.empty() && uncut_.front().first < orders.cut_below) {
    uncut_bytes_ -= uncut_.front().second;
    uncut_.pop_front();
  }
  if (orders.stop) enter(End::kTold);
  news_ = true;
  work_.notify_all();
  changed_.notify_all();
}

ReceiverCore::End ReceiverCore::end() const {
  const std::scoped_lock lock(mutex_);
  return end_;
}

std::string ReceiverCore::failure() const {
  const std::scoped_lock lock(mutex_);
  return failure_;
}

std::pair<std::uint64_t, std::string> ReceiverCore::errors() const {
  const std::scoped_lock lock(mutex_);
  return {errors_, error_};
}

void ReceiverCore::close() {
  const std::scoped_lock lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

// --- serving ---

namespace {

class ReceiverServer {
 public:
  using OnStart = std::function<void(const std::shared_ptr<ReceiverCore>&)>;

  ReceiverServer(const ReceiverSettings& settings, TaskRun& run)
      : settings_(settings),
        run_(run),
        host_(run.host()),
        core_(std::make_shared<ReceiverCore>(settings)) {
    if (!settings.log_directory.empty()) {
      log_.emplace(settings.log_directory, settings.log_folder, settings.run);
    }
    host_.listen(
        [core = core_](const Bytes& orders) { core->take(decode<ReceiverOrders>(orders.view())); });
  }
  ~ReceiverServer() { host_.listen({}); }

  void serve(const OnStart& on_start, const std::function<void()>& on_stop) {
    std::jthread receiver([&] {
      try {
        on_start(core_);
      } catch (...) {
        core_->fail(describe_current_exception());
      }
    });
    std::jthread stopping;
    std::atomic<bool> stopped{false};
    const auto stop = [&] {
      stopping = std::jthread([&] {
        end_receiver(on_stop, receiver);
        stopped = true;
      });
    };
    std::exception_ptr broken;
    try {
      report();  // a sign of life
      while (core_->end() == ReceiverCore::End::kNone) work();
      stop();
      while (!stopped) work();  // its threads may wait for a block to be safe
    } catch (...) {
      broken = std::current_exception();
      core_->close();
      if (!stopping.joinable()) stop();
    }
    stopping.join();
    if (broken) std::rethrow_exception(broken);
    core_->seal_filling();
    core_->close();
    const SteadyTime give_up = now() + settings_.store_timeout;
    if (keep_sealed()) report();
    while (!unacknowledged_.empty() && now() < give_up) work();
    if (core_->end() == ReceiverCore::End::kFailed) {
      throw Error(ErrorCode::kJobFailed, core_->failure());
    }
  }

 private:
  /// User code must not keep the worker from going on: what it throws when it is to end is logged.
  static void end_receiver(const std::function<void()>& on_stop, std::jthread& receiver) {
    try {
      on_stop();
    } catch (...) {
      log_warning("a receiver's on_stop failed: " + describe_current_exception());
    }
    receiver.join();
  }

  void work() {
    core_->wait_until(std::min({next_block_, next_report_, now() + kLook}));
    run_.step();  // ends a run that is cancelled
    if (now() >= next_block_) {
      core_->seal_filling();
      next_block_ = now() + settings_.block_interval;
    }
    const bool kept = keep_sealed();
    follow_orders();
    if (kept || now() >= next_report_ || core_->errors().first != errors_reported_) report();
  }

  /// Whether there were any.
  bool keep_sealed() {
    const auto blocks = core_->take_sealed();
    if (blocks.empty()) return false;
    std::vector<BlockReport> kept;
    for (const ReceiverCore::Block& block : blocks) {
      WEIR_CRASH_POINT("receiver.before-keeping");
      run_.blocks().put_map_output(settings_.receiver, block.number, {block.bytes}, never_);
      kept.push_back({block.number,
                      block.records,
                      block.bytes.size(),
                      hash_bytes(block.bytes.view()),
                      copy(block),
                      {},
                      0});
      if (log_) {
        const ReceiverLog::Place place = log_->append(block.number, block.records, block.bytes);
        kept.back().log = place.file;
        kept.back().offset = place.offset;
      }
    }
    if (log_) {
      WEIR_CRASH_POINT("receiver.before-sync");
      log_->sync();
    }
    WEIR_CRASH_POINT("receiver.before-report");
    unacknowledged_.insert(unacknowledged_.end(), kept.begin(), kept.end());
    return true;
  }

  /// Waits until another worker has it.
  std::optional<WorkerId> copy(const ReceiverCore::Block& block) {
    if (!settings_.copies) return std::nullopt;
    std::optional<SteadyTime> ending_since;
    while (true) {
      const auto holder =
          host_.copy(settings_.receiver, block.number, block.bytes, released_below_);
      if (holder) return holder;
      run_.step();
      const bool ending = core_->end() != ReceiverCore::End::kNone;
      if (ending && !ending_since) ending_since = now();
      if (ending && now() - *ending_since > kLastCopyWait) {
        log_warning("a receiver ends and no other worker takes a copy of its last blocks");
        return std::nullopt;
      }
      if (now() >= next_report_) report();  // the answer says who there is
      core_->wait_until(now() + kLook);
    }
  }

  void follow_orders() {
    const ReceiverOrders orders = core_->orders();
    const auto known = [&](const BlockReport& block) {
      return block.number < orders.acknowledged_below;
    };
    std::erase_if(unacknowledged_, known);
    if (orders.released_below <= released_below_) return;
    released_below_ = orders.released_below;
    run_.blocks().release_outputs_before(settings_.receiver, released_below_);
  }

  void report() {
    ReceiverReport report;
    const std::size_t count = std::min(kMostReported, unacknowledged_.size());
    report.blocks.assign(unacknowledged_.begin(),
                         unacknowledged_.begin() + static_cast<std::ptrdiff_t>(count));
    std::tie(report.errors, report.error) = core_->errors();
    errors_reported_ = report.errors;
    host_.report(encode_bytes(report));
    next_report_ = now() + kRepeat;
  }

  const ReceiverSettings& settings_;
  TaskRun& run_;
  ResidentHost& host_;
  const std::shared_ptr<ReceiverCore> core_;
  const std::atomic<bool> never_{false};
  std::optional<ReceiverLog> log_;
  std::vector<BlockReport> unacknowledged_;
  std::uint32_t released_below_ = 0;
  std::uint64_t errors_reported_ = 0;
  SteadyTime next_block_ = now() + settings_.block_interval;
  SteadyTime next_report_ = now();
};

}  // namespace

void serve_receiver(const ReceiverSettings& settings, const ReceiverServer::OnStart& on_start,
                    const std::function<void()>& on_stop) {
  ReceiverServer(settings, TaskRun::current()).serve(on_start, on_stop);
}

}  // namespace weir::internal
