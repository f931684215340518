#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "weir/core/crash_point.h"

#include "log_records.h"
#include "process_tools.h"

namespace weir {
namespace {

using namespace test;

constexpr std::uint64_t kSeeds = 1000;

/// A driver that appends, waits and dies, and is started again; what it must find each time.
class Lives {
 public:
  explicit Lives(std::uint64_t seed) : random_(seed) {
    options_.durability = static_cast<Durability>(below(4) == 0 ? 1 + below(2) : 0);
    options_.sync_interval = std::chrono::milliseconds(1);
    options_.segment_bytes = below(2) == 0 ? 64u << 20 : 100 + below(2000);
  }

  void live() {
    if (below(4) != 0) disk_.stop_after(1 + below(60));
    try {
      const auto log = open_log(disk_.start(), options_);
      ASSERT_NO_FATAL_FAILURE(expect_what_was_kept(log->history()));
      EXPECT_GT(log->epoch(), epoch_);
      epoch_ = log->epoch();
      try {
        for (std::uint64_t left = below(80); left > 0; --left) act(*log);
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kUnreachable) << error.what();
        expect_says(error, "dead");
      }
      log->abandon();
    } catch (const Error& error) {  // died while opening
      EXPECT_EQ(error.code(), ErrorCode::kUnreachable) << error.what();
      expect_says(error, "dead");
    }
    if (below(3) == 0) {
      disk_.kill();
    } else {
      disk_.crash(random_);
      if (options_.durability != Durability::kBatch) safe_ = flushed_;
    }
  }

 private:
  std::uint64_t below(std::uint64_t limit) { return random_() % limit; }

  void append(BatchLog& log, LogRecord record) {
    // It may be written although this throws.
    records_.push_back(record);
    try {
      log.append(std::move(record));
    } catch (...) {
      records_.pop_back();
      throw;
    }
  }

  void act(BatchLog& log) {
    const std::string something(below(300), static_cast<char>(random_()));
    switch (below(8)) {
      case 0:
      case 1:
      case 2:
        append(log, intent(last_ + 1, something));
        open_.insert(++last_);
        break;
      case 3:
      case 4:
        if (open_.empty()) return;
        append(log, commit(*open_.begin()));
        open_.erase(open_.begin());
        break;
      case 5: {
        const std::uint64_t committed = open_.empty() ? last_ : *open_.begin() - 1;
        if (committed == 0 || committed < first_) return;
        append(log, checkpoint(committed, something));
        if (below(2) == 0) return;
        const std::uint64_t released = committed - below(2);
        log.release(released);
        releases_.insert(released);
        break;
      }
      case 6:
        // A COMMIT takes its time, which thousands of lives do not have.
        if (records_.empty() ||
            (records_.back().kind == LogRecord::Kind::kCommit && below(40) != 0)) {
          return;
        }
        log.await(records_.size() - begun_at_);
        safe_ = records_.size();
        return;
      default:
        if (below(4) != 0) return;
        log.flush();
        safe_ = flushed_ = records_.size();
    }
  }

  /// The history after the first `count` records and a release.
  LogHistory expected(std::size_t count, std::uint64_t released) const {
    LogHistory history;
    for (std::size_t i = 0; i < count; ++i) {
      const LogRecord& record = records_[i];
      if (record.kind == LogRecord::Kind::kCheckpoint) history.checkpoint = record;
      if (record.kind == LogRecord::Kind::kIntent) history.last_sequence = record.sequence;
      if (record.sequence <= released) continue;
      if (record.kind == LogRecord::Kind::kIntent) history.intents.push_back(record);
      if (record.kind == LogRecord::Kind::kCommit) history.commits.push_back(record);
    }
    return history;
  }

  static bool same(const LogHistory& a, const LogHistory& b) {
    return a.intents == b.intents && a.commits == b.commits && a.checkpoint == b.checkpoint &&
           a.last_sequence == b.last_sequence;
  }

  void expect_what_was_kept(const LogHistory& history) {
    std::optional<std::size_t> kept;
    std::uint64_t released = 0;
    for (std::size_t count = records_.size() + 1; count-- > safe_ && !kept;) {
      for (const std::uint64_t release : releases_) {
        if (kept || !same(expected(count, release), history)) continue;
        kept = count;
        released = release;  // the lowest: others are of batches that are not there
      }
    }
    ASSERT_TRUE(kept.has_value()) << "not a prefix of the " << records_.size()
                                  << " records with at least the " << safe_ << " safe ones";
    // What was accepted is durable, but for what was only just written.
    records_.resize(*kept);
    safe_ = flushed_ = *kept;
    begun_at_ = *kept;
    releases_ = {released};
    last_ = history.last_sequence;
    open_.clear();
    for (const LogRecord& record : history.intents) open_.insert(record.sequence);
    for (const LogRecord& record : history.commits) open_.erase(record.sequence);
  }

  std::mt19937_64 random_;
  MemoryDisk disk_;
  BatchLog::Options options_;
  std::uint64_t epoch_ = 0;
  std::vector<LogRecord> records_;  ///< all that may be in the log, in order
  std::size_t begun_at_ = 0;        ///< records before this epoch
  std::size_t safe_ = 0;            ///< of those, how many must be there
  std::size_t flushed_ = 0;         ///< and after the machine's death, under every option
  std::set<std::uint64_t> releases_{0};
  std::uint64_t last_ = 0;
  std::uint64_t first_ = 1;
  std::set<std::uint64_t> open_;
};

TEST(BatchLogCrashes, WhatWasAwaitedIsThereAndNothingElseThanAPrefix) {
  const char* const one = std::getenv("WEIR_TEST_SEED");
  const std::uint64_t begin = one != nullptr ? std::strtoull(one, nullptr, 10) : 1;
  const std::uint64_t end = one != nullptr ? begin : kSeeds;
  for (std::uint64_t seed = begin; seed <= end && !::testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE("WEIR_TEST_SEED=" + std::to_string(seed));
    Lives lives(seed);
    for (int life = 0; life < 6; ++life) ASSERT_NO_FATAL_FAILURE(lives.live());
  }
}

// --- killed at every point, on a real directory ---

constexpr std::uint64_t kBatches = 4;

/// Opens the log twice and writes in small segments, so that every point is passed. Says in a file
/// which INTENT it awaited last.
void write_some(const std::string& directory, const std::string& awaited) {
  for (std::uint64_t half : {0, 1}) {
    const auto log = open_log(open_directory_store(directory), {.segment_bytes = 1});
    const std::uint64_t begin = half * kBatches / 2;
    for (std::uint64_t n = begin + 1; n <= begin + kBatches / 2; ++n) {
      write(*log, intent(n));
      write_file(awaited, std::to_string(n));
      log->append(commit(n));
      write(*log, checkpoint(n));
      log->release(n - 1);
    }
  }
}

void expect_continues(const std::string& directory, std::uint64_t awaited) {
  std::uint64_t found = 0;
  {
    const auto log = open_log(open_directory_store(directory), {.segment_bytes = 1});
    const LogHistory& history = log->history();
    found = history.last_sequence;
    EXPECT_GE(found, awaited);
    EXPECT_LE(found, awaited + 1);
    if (found > 0) {
      ASSERT_FALSE(history.intents.empty());
      EXPECT_EQ(history.intents.back(), intent(found));
    }
    if (found > 1) {
      EXPECT_GE(history.checkpoint->sequence, found - 1);
    }
    const bool is_open = history.commits.empty() || history.commits.back().sequence < found;
    if (found > 0 && is_open) log->append(commit(found));
    write(*log, intent(found + 1));
  }
  EXPECT_EQ(open_log(open_directory_store(directory))->history().last_sequence, found + 1);
}

/// A driver that is killed, one that dies while it takes over, and then the machine's death: what
/// the second one has found may have been in the page cache only.
TEST(BatchLogCrashes, WhatATakeoverHasFoundIsThereAsLongAsTheTakeover) {
  constexpr BatchLog::Options kOneGroupEach{.segment_bytes = 1, .on_callers_thread = true};
  constexpr std::uint64_t kCalls = 30;  // of the first one, more than it makes
  std::uint64_t takeovers = 0;
  for (std::uint64_t killed_in = 1; killed_in <= kCalls; ++killed_in) {
    for (std::uint64_t dies_in = 1; dies_in <= 10; ++dies_in) {
      for (std::uint64_t seed = 0; seed < 20; ++seed) {
        MemoryDisk disk;
        std::uint64_t safe = 0;
        disk.stop_after(killed_in);
        try {
          const auto log = open_log(disk.start(), kOneGroupEach);
          for (std::uint64_t n = 1; n <= 3; ++n) {
            log->await(log->append(intent(n)));
            safe = n;
          }
          log->abandon();
        } catch (const Error& error) {
          expect_says(error, "dead");
        }
        disk.kill();
        disk.stop_after(dies_in);
        try {
          open_log(disk.start(), kOneGroupEach)->abandon();
        } catch (const Error& error) {
          expect_says(error, "dead");
          ++takeovers;
        }
        std::mt19937_64 random(seed);
        disk.crash(random);
        SCOPED_TRACE(std::to_string(killed_in) + ", " + std::to_string(dies_in) + ", seed " +
                     std::to_string(seed));
        std::uint64_t found = 0;
        ASSERT_NO_THROW(found = open_log(disk.start(), kOneGroupEach)->history().last_sequence);
        EXPECT_GE(found, safe);
      }
    }
  }
  EXPECT_GT(takeovers, 1000U);
}

TEST(BatchLogCrashes, AProcessThatDiesAtAnyPointIsContinued) {
  int kills = 0;
  for (const std::string& point : crash_points()) {
    if (!point.starts_with("log.") && !point.starts_with("store.")) continue;
    bool killed = true;
    for (const int passing : {1, 2, 5}) {
      if (!killed) break;
      SCOPED_TRACE(point + ":" + std::to_string(passing));
      const TempFolder folder;
      const pid_t child = fork();
      if (child == 0) {
        arm_crash_point(point + ":" + std::to_string(passing));
        write_some(folder.file("store"), folder.file("awaited"));
        _exit(0);
      }
      int status = 0;
      ASSERT_EQ(waitpid(child, &status, 0), child);
      killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
      EXPECT_TRUE(killed || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
      EXPECT_TRUE(killed || passing > 1) << "never passed";
      kills += killed ? 1 : 0;
      const std::string awaited = read_file(folder.file("awaited"));
      expect_continues(folder.file("store"), awaited.empty() ? 0 : std::stoull(awaited));
      if (::testing::Test::HasFailure()) return;
    }
  }
  EXPECT_GT(kills, 30);
}

// --- the command ---

int run(const std::string& command) {
  return WEXITSTATUS(std::system((WEIR_COMMAND " checkpoint " + command).c_str()));
}

TEST(CheckpointCommand, ShowsALog) {
  const TempFolder folder;
  const std::string store = folder.file("store");
  write_some(store, folder.file("awaited"));
  const std::string output = folder.file("output");
  EXPECT_EQ(run("show " + store + " >" + output), 0);
  EXPECT_NE(read_file(output).find("    CHECKPOINT 4 at 4.000s"), std::string::npos);
  std::filesystem::remove(store + "/application");
  EXPECT_EQ(run("show " + store + " >" + output), 6) << "data would be lost";
  EXPECT_NE(read_file(output).find("application is missing"), std::string::npos);
  EXPECT_EQ(run("show " + folder.file("nothing") + " 2>" + output), 3);
  EXPECT_FALSE(std::filesystem::exists(folder.file("nothing")));
}

}  // namespace
}  // namespace weir
