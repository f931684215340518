#include "weir/dstream/log/batch_log.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <limits>
#include <mutex>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "weir/core/error.h"
#include "weir/core/log.h"
#include "weir/dstream/log/log_reader_internal.h"
#include "weir/dstream/log/log_writer_internal.h"

namespace weir {
namespace {

using namespace std::chrono_literals;
using internal::LogWriter;
using internal::RecordRules;

/// How long a COMMIT waits for company.
constexpr Duration kCommitDelay = 20ms;
constexpr std::uint64_t kMostRecordBytes = 1u << 30;
constexpr std::uint64_t kMostGroupBytes = 64u << 20;  // but for a larger record

std::uint64_t size_of(const LogRecord& record) {
  std::uint64_t sum = 64;
  for (const LogSection& section : record.sections) {
    sum += 12 + section.name.size() + section.bytes.size();
  }
  return sum;
}

Duration since(SteadyTime begin) { return Clock::system().steady_now() - begin; }

/// The log's face and its writer thread. What a group consists of is decided here, what its bytes
/// are and where they go in LogWriter.
class StoredBatchLog final : public BatchLog {
 public:
  StoredBatchLog(std::shared_ptr<DurableStore> store, std::unique_ptr<StoreLock> lock,
                 const LogIdentity& fresh, Options options, internal::RecoveredLog recovered)
      : store_(store),
        options_(options),
        history_(std::move(recovered.history)),
        lock_(std::move(lock)),
        writer_(store, fresh, recovered, options.segment_bytes),
        rules_(std::move(recovered.rules)),
        bytes_(writer_.bytes()),
        last_sync_(Clock::system().steady_now()) {
    rules_.begin_epoch();
    if (!options_.on_callers_thread) thread_ = std::thread([this] { run(); });
  }

  ~StoredBatchLog() override { end(Ending::kFinish); }
  void abandon() override { end(Ending::kAbandon); }

  const LogIdentity& identity() const override { return writer_.identity(); }
  std::uint64_t epoch() const override { return epoch_; }
  const LogHistory& history() const override { return history_; }

  std::uint64_t append(LogRecord record) override {
    const std::uint64_t bytes = size_of(record);
    if (bytes > kMostRecordBytes) {
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("a record of the batch log has {} bytes, at most {} are possible: "
                              "use fewer partitions or shorter intervals",
                              bytes, kMostRecordBytes));
    }
    const std::lock_guard lock(mutex_);
    expect_usable();
    const std::string wrong = rules_.accept(record.kind, record.sequence);
    if (!wrong.empty()) throw Error(ErrorCode::kInternal, "batch log: " + wrong);
    ask_for_group(record.kind != LogRecord::Kind::kCommit);
    queue_.push_back(std::move(record));
    return ++appended_;
  }

  void await(std::uint64_t position) override {
    std::unique_lock lock(mutex_);
    if (position > appended_) {
      throw Error(ErrorCode::kInternal,
                  fmt::format("batch log: position {} was never appended", position));
    }
    wait_until(lock, [&] { return written_ >= position; });
  }

  void flush() override {
    std::unique_lock lock(mutex_);
    expect_usable();
    const std::uint64_t position = appended_;
    flush_to_ = std::max(flush_to_, position);
    work_changed_.notify_one();
    wait_until(lock, [&] { return synced_ >= position; });
  }

  void release(std::uint64_t sequence) override {
    const std::lock_guard lock(mutex_);
    expect_usable();
    if (sequence <= rules_.released()) return;
    const std::string wrong = rules_.accept_release(sequence);
    if (!wrong.empty()) throw Error(ErrorCode::kInternal, "batch log: " + wrong);
    ask_for_group(false);
  }

  void expect_newest_epoch() const override { internal::expect_newest_epoch(*store_, epoch_); }

  Timings timings() const override {
    const std::lock_guard lock(mutex_);
    return {last_append_, last_sync_duration_, bytes_, groups_};
  }

 private:
  enum class Ending : std::uint8_t { kNone, kFinish, kAbandon };

  // --- with mutex_ held ---

  bool unusable() const { return dead_.has_value() || ending_ == Ending::kAbandon; }
  void expect_usable() const {
    if (dead_) throw Error(*dead_);
    if (ending_ == Ending::kAbandon) {
      throw Error(ErrorCode::kCancelled, "the batch log was closed without finishing");
    }
  }

  template <class Done>
  void wait_until(std::unique_lock<std::mutex>& lock, const Done& done) {
    while (options_.on_callers_thread && !done() && !unusable()) write_once(lock);
    done_changed_.wait(lock, [&] { return done() || unusable(); });
    expect_usable();
  }

  void ask_for_group(bool at_once) {
    if (at_once) {
      asked_ = true;
      work_changed_.notify_one();
    } else if (!group_due_) {
      group_due_ = Clock::system().steady_now() + kCommitDelay;
      work_changed_.notify_one();
    }
  }

  bool has_unwritten() const { return !queue_.empty() || rules_.released() > release_written_; }
  bool flush_wanted() const { return flush_to_ > synced_; }
  bool sync_is_timed() const { return options_.durability == Durability::kInterval; }

  /// When there is something to do for the writer; the past if there is now.
  std::optional<SteadyTime> due() const {
    if (asked_ || flush_wanted() || ending_ != Ending::kNone) return SteadyTime{};
    std::optional<SteadyTime> earliest = group_due_;
    if (sync_is_timed() && synced_ < written_) {
      const SteadyTime sync_due = last_sync_ + options_.sync_interval;
      if (!earliest || sync_due < *earliest) earliest = sync_due;
    }
    return earliest;
  }

  void wait_for_work(std::unique_lock<std::mutex>& lock) {
    while (true) {
      const auto at = due();
      if (!at) {
        work_changed_.wait(lock);
      } else if (*at <= Clock::system().steady_now()) {
        return;
      } else {
        work_changed_.wait_until(lock, *at);
      }
    }
  }

  /// What the next group consists of, in order.
  std::vector<LogRecord> take_group() {
    std::size_t count = 0;
    for (std::uint64_t bytes = 0; count < queue_.size(); ++count) {
      bytes += size_of(queue_[count]);
      if (count != 0 && bytes > kMostGroupBytes) break;
    }
    const auto end = queue_.begin() + static_cast<std::ptrdiff_t>(count);
    std::vector<LogRecord> group(std::make_move_iterator(queue_.begin()),
                                 std::make_move_iterator(end));
    queue_.erase(queue_.begin(), end);
    if (queue_.empty()) {
      asked_ = false;
      group_due_.reset();
    }
    return group;
  }

  // --- the writer thread ---

  void run() {
    std::unique_lock lock(mutex_);
    while (true) {
      wait_for_work(lock);
      if (ending_ == Ending::kAbandon || !write_once(lock)) return;
    }
  }

  /// A group, its sync, and what may be removed then. Returns whether there can be more to do.
  bool write_once(std::unique_lock<std::mutex>& lock) {
    try {
      if (has_unwritten()) write_group(lock);
      done_changed_.notify_all();
      if (synced_ < written_ && sync_is_due()) sync(lock);
      done_changed_.notify_all();
      const bool finished = ending_ == Ending::kFinish && !has_unwritten();
      lock.unlock();
      writer_.remove_released();
      lock.lock();
      bytes_ = writer_.bytes();
      return !finished;
    } catch (const Error& error) {
      die(lock, error);
    } catch (const std::exception& error) {
      die(lock, Error(ErrorCode::kInternal, error.what()));
    }
    return false;
  }

  /// Writes what is there, and syncs it if it may not be called written before.
  void write_group(std::unique_lock<std::mutex>& lock) {
    std::vector<LogRecord> group = take_group();
    const std::uint64_t end = written_ + group.size();
    // Of batches whose records may still wait in the queue: then it has to wait as well.
    const std::uint64_t release = queue_.empty() ? rules_.released() : release_written_;
    const bool has_checkpoint = std::any_of(
        group.begin(), group.end(),
        [](const LogRecord& record) { return record.kind == LogRecord::Kind::kCheckpoint; });
    lock.unlock();
    const SteadyTime begin = Clock::system().steady_now();
    writer_.write(std::move(group), release);
    const Duration took = since(begin);
    lock.lock();
    last_append_ = took;
    ++groups_;
    release_written_ = std::max(release_written_, release);
    if (options_.durability == Durability::kBatch || has_checkpoint) sync_to(lock, end);
    lock.unlock();
    writer_.expect_newest_epoch();
    lock.lock();
    written_ = end;
    bytes_ = writer_.bytes();
  }

  bool sync_is_due() const {
    if (flush_wanted()) return true;
    if (options_.durability == Durability::kNone) return false;
    return ending_ == Ending::kFinish ||
           Clock::system().steady_now() >= last_sync_ + options_.sync_interval;
  }

  void sync(std::unique_lock<std::mutex>& lock) { sync_to(lock, written_); }

  void sync_to(std::unique_lock<std::mutex>& lock, std::uint64_t position) {
    lock.unlock();
    const SteadyTime begin = Clock::system().steady_now();
    writer_.sync();
    const Duration took = since(begin);
    lock.lock();
    last_sync_duration_ = took;
    last_sync_ = Clock::system().steady_now();
    synced_ = position;
  }

  void die(std::unique_lock<std::mutex>& lock, const Error& why) {
    if (!lock.owns_lock()) lock.lock();
    if (why.code() == ErrorCode::kNotAllowed) {
      dead_ = why;
    } else {
      dead_ = Error(why.code(),
                    fmt::format("the batch log in {} cannot be written any more: {}. When that is "
                                "mended, start again: what was acknowledged is kept",
                                store_->name(), why.what()));
    }
    if (ending_ == Ending::kFinish && has_unwritten()) log_error(dead_->what());
    done_changed_.notify_all();
  }

  void end(Ending how) {
    {
      const std::lock_guard lock(mutex_);
      if (ending_ == Ending::kNone) ending_ = how;
      work_changed_.notify_one();
      done_changed_.notify_all();
    }
    if (thread_.joinable()) thread_.join();
    if (options_.on_callers_thread) finish_here();
    lock_.reset();
  }

  void finish_here() {
    std::unique_lock lock(mutex_);
    while (ending_ == Ending::kFinish && !dead_ && write_once(lock)) {
    }
    ending_ = Ending::kAbandon;  // nothing more is to be done
  }

  const std::shared_ptr<DurableStore> store_;
  const Options options_;
  const LogHistory history_;
  std::unique_ptr<StoreLock> lock_;
  LogWriter writer_;  ///< the writer thread's
  const std::uint64_t epoch_ = writer_.epoch();

  mutable std::mutex mutex_;
  std::condition_variable work_changed_;
  std::condition_variable done_changed_;
  // guarded by mutex_
  RecordRules rules_;  ///< of all that was appended
  std::vector<LogRecord> queue_;
  bool asked_ = false;                   ///< a group at once
  std::optional<SteadyTime> group_due_;  ///< or at this time
  std::uint64_t flush_to_ = 0;
  std::uint64_t appended_ = 0;  ///< positions are counted from 1
  std::uint64_t written_ = 0;   ///< as safe as the option says
  std::uint64_t synced_ = 0;
  std::uint64_t release_written_ = rules_.released();
  Ending ending_ = Ending::kNone;
  std::optional<Error> dead_;
  Duration last_append_{};
  Duration last_sync_duration_{};
  std::uint64_t bytes_;
  std::uint64_t groups_ = 0;
  SteadyTime last_sync_;

  std::thread thread_;  // last: it uses all of the above
};

}  // namespace

const LogSection* LogRecord::find(std::string_view name) const {
  for (const LogSection& section : sections) {
    if (section.name == name) return &section;
  }
  return nullptr;
}

std::unique_ptr<BatchLog> BatchLog::open(std::shared_ptr<DurableStore> store,
                                         const LogIdentity& fresh, Options options) {
  std::unique_ptr<StoreLock> lock = store->lock();
  internal::RecoveredLog recovered = internal::read_log(*store);
  return std::make_unique<StoredBatchLog>(std::move(store), std::move(lock), fresh, options,
                                          std::move(recovered));
}

}  // namespace weir
