#include "weir/dstream/log/batch_log.h"

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "log_records.h"
#include "protocol_world.h"

namespace weir {
namespace {

using namespace test;

TEST(BatchLog, AnEmptyStoreIsGivenTheFreshIdentityForEver) {
  MemoryDisk disk;
  {
    const auto log = open_log(disk.start());
    EXPECT_EQ(log->identity().application, "word-count-7");
    EXPECT_EQ(log->epoch(), 1U);
    EXPECT_EQ(log->history().last_sequence, 0U);
  }
  const auto log = BatchLog::open(disk.start(), {"another", 1, 64}, {});
  EXPECT_EQ(log->identity().application, "word-count-7");
  EXPECT_EQ(log->identity().hash_seed, 42U);
  EXPECT_EQ(log->identity().key_groups, 512U);
  EXPECT_EQ(log->epoch(), 2U);
}

TEST(BatchLog, WhatWasAppendedIsReadBack) {
  MemoryDisk disk;
  {
    const auto log = open_log(disk.start());
    write(*log, intent(1));
    log->append(commit(1));
    write(*log, intent(2, std::string(100'000, 'x')));
    write(*log, checkpoint(1));
    log->append(intent(3));
    log->append(commit(2));
  }  // writes what is left
  const auto log = open_log(disk.start());
  const LogHistory& history = log->history();
  EXPECT_EQ(history.intents,
            (std::vector{intent(1), intent(2, std::string(100'000, 'x')), intent(3)}));
  EXPECT_EQ(history.commits, (std::vector{commit(1), commit(2)}));
  EXPECT_EQ(history.checkpoint, checkpoint(1));
  EXPECT_EQ(history.last_sequence, 3U);
  EXPECT_EQ(history.notes, std::vector<std::string>());
  EXPECT_EQ(history.checkpoint->find("state")->bytes, "pieces");
  EXPECT_EQ(history.checkpoint->find("sinks"), nullptr);
}

TEST(BatchLog, EpochsContinueOneAnother) {
  MemoryDisk disk;
  for (std::uint64_t n = 1; n <= 5; ++n) {
    const auto log = open_log(disk.start());
    EXPECT_EQ(log->epoch(), n);
    EXPECT_EQ(log->history().last_sequence, n - 1);
    if (n > 1) log->append(commit(n - 1));
    write(*log, intent(n));
  }
  const auto log = open_log(disk.start());
  EXPECT_EQ(sequences(log->history().intents), (Sequences{1, 2, 3, 4, 5}));
  EXPECT_EQ(sequences(log->history().commits), (Sequences{1, 2, 3, 4}));
}

TEST(BatchLog, NumberingMayBeginAnywhere) {
  MemoryDisk disk;
  {
    const auto log = open_log(disk.start());
    write(*log, intent(17));
    write(*log, intent(18));
  }
  EXPECT_EQ(sequences(open_log(disk.start())->history().intents), (Sequences{17, 18}));
}

TEST(BatchLog, RecordsThatBreakTheRulesAreRefused) {
  MemoryDisk disk;
  const auto log = open_log(disk.start());
  const auto refuses = [&](const LogRecord& record, const std::string& words) {
    const Error error = error_of([&] { log->append(record); });
    EXPECT_EQ(error.code(), ErrorCode::kInternal);
    expect_says(error, words);
  };
  refuses(intent(0), "INTENT(0)");
  write(*log, intent(1));
  refuses(intent(3), "INTENT(3) does not follow INTENT(1)");
  refuses(intent(1), "INTENT(1) does not follow INTENT(1)");
  refuses(commit(2), "no INTENT");
  refuses(checkpoint(1), "batch 1 is not committed");
  log->append(commit(1));
  refuses(commit(1), "one already");
  refuses(checkpoint(2), "CHECKPOINT(2)");
  write(*log, intent(2));
  EXPECT_EQ(error_of([&] { log->release(2); }).code(), ErrorCode::kInternal);
  write(*log, checkpoint(1));
  log->append(commit(2));
  write(*log, checkpoint(2));
  refuses(checkpoint(1), "behind");
  EXPECT_EQ(error_of([&] { log->await(100); }).code(), ErrorCode::kInternal);
}

TEST(BatchLog, CommitsMayOvertakeOneAnother) {
  MemoryDisk disk;
  {
    const auto log = open_log(disk.start());
    for (std::uint64_t n = 1; n <= 3; ++n) write(*log, intent(n));
    log->append(commit(3));
    log->append(commit(1));
  }
  EXPECT_EQ(sequences(open_log(disk.start())->history().commits), (Sequences{1, 3}));
}

TEST(BatchLog, ACommitIsWrittenThoughNothingFollows) {
  MemoryDisk disk;
  const auto log = open_log(disk.start());
  write(*log, intent(1));
  write(*log, commit(1));
  EXPECT_EQ(log->timings().groups, 2U);
}

TEST(BatchLog, ACommitGoesWithTheNextIntent) {
  MemoryDisk disk;
  const auto log = open_log(disk.start());
  const std::uint64_t before = disk.counts().syncs;
  for (std::uint64_t n = 1; n <= 100; ++n) {
    write(*log, intent(n));
    log->append(commit(n));
  }
  // More only if this thread was held up for longer than a COMMIT waits.
  EXPECT_LE(disk.counts().syncs - before, 150U);
}

TEST(BatchLog, WhatWasReleasedIsNotReadBack) {
  MemoryDisk disk;
  {
    const auto log = open_log(disk.start());
    for (std::uint64_t n = 1; n <= 4; ++n) {
      write(*log, intent(n));
      log->append(commit(n));
    }
    write(*log, checkpoint(3));
    log->release(2);
    log->release(1);  // was already
  }
  const auto log = open_log(disk.start());
  EXPECT_EQ(sequences(log->history().intents), (Sequences{3, 4}));
  EXPECT_EQ(sequences(log->history().commits), (Sequences{3, 4}));
  EXPECT_EQ(log->history().checkpoint->sequence, 3U);
  EXPECT_EQ(log->history().last_sequence, 4U);
}

TEST(BatchLog, AbandoningLosesOnlyWhatWasNotAwaited) {
  MemoryDisk disk;
  const auto log = open_log(disk.start());
  write(*log, intent(1));
  log->append(commit(1));
  log->abandon();
  EXPECT_EQ(error_of([&] { log->append(intent(2)); }).code(), ErrorCode::kCancelled);
  EXPECT_EQ(error_of([&] { log->await(1); }).code(), ErrorCode::kCancelled);
  EXPECT_EQ(sequences(open_log(disk.start())->history().intents), (Sequences{1}));
}

TEST(BatchLog, TheStoreIsTakenByOneAtATime) {
  MemoryDisk disk;
  const auto log = open_log(disk.start());
  EXPECT_EQ(error_of([&] { open_log(disk.start()); }).code(), ErrorCode::kNotAllowed);
  log->abandon();
  EXPECT_EQ(open_log(disk.start())->epoch(), 2U);
}

TEST(BatchLog, AnOlderEpochIsFencedAtItsNextGroup) {
  MemoryDisk disk;
  disk.ignore_locks();
  const auto older = open_log(disk.start());
  write(*older, intent(1, "old"));
  const auto newer = open_log(disk.start());
  const Error error = error_of([&] { write(*older, intent(2, "old")); });
  EXPECT_EQ(error.code(), ErrorCode::kNotAllowed);
  expect_says(error, "taken over by epoch 2");
  EXPECT_EQ(error_of([&] { older->append(intent(3)); }).code(), ErrorCode::kNotAllowed);
  write(*newer, intent(2, "new"));
}

// Where locks do not hold, an older and a newer driver may be anywhere in their steps.

TEST(BatchLog, AnOlderEpochAcknowledgesNothingThatTheNewerOneHasNotRead) {
  MemoryDisk disk;
  disk.ignore_locks();
  std::function<void()> interruption = [] {};
  const auto older = open_log(std::make_shared<protocol::WatchedStore>(
      disk.start(), protocol::WatchedStore::Options{
                        .before_call = [&] { std::exchange(interruption, [] {})(); }}));
  write(*older, intent(1));
  std::unique_ptr<BatchLog> newer;
  interruption = [&] { newer = open_log(disk.start()); };  // before the group is appended
  EXPECT_EQ(error_of([&] { write(*older, intent(2)); }).code(), ErrorCode::kNotAllowed);
  EXPECT_EQ(newer->history().last_sequence, 1U);
}

TEST(BatchLog, AnEpochDoesNotBeginBehindRecordsThatItHasNotRead) {
  MemoryDisk disk;
  disk.ignore_locks();
  const auto older = open_log(disk.start());
  write(*older, intent(1));
  std::function<void()> interruption = [&] { write(*older, intent(2)); };
  const auto store = std::make_shared<protocol::WatchedStore>(
      disk.start(), protocol::WatchedStore::Options{
                        .before_call = [&] { std::exchange(interruption, [] {})(); }});
  const Error error = error_of([&] { open_log(store); });
  EXPECT_EQ(error.code(), ErrorCode::kNotAllowed);
  expect_says(error, "was written to while it was read");
  EXPECT_EQ(error_of([&] { write(*older, intent(3)); }).code(), ErrorCode::kNotAllowed);
  // What was not acknowledged is there all the same: no epoch began before it.
  EXPECT_EQ(open_log(disk.start())->history().last_sequence, 3U);
}

// --- durability ---

TEST(BatchLogDurability, BatchSyncsEveryGroup) {
  MemoryDisk disk;
  const auto log = open_log(disk.start());
  const std::uint64_t before = disk.counts().syncs;
  for (std::uint64_t n = 1; n <= 5; ++n) write(*log, intent(n));
  EXPECT_EQ(disk.counts().syncs - before, 5U);
}

TEST(BatchLogDurability, NoneSyncsCheckpointsAndFlushesOnly) {
  MemoryDisk disk;
  const auto log = open_log(disk.start(), {.durability = Durability::kNone});
  const std::uint64_t before = disk.counts().syncs;
  for (std::uint64_t n = 1; n <= 5; ++n) write(*log, intent(n));
  log->append(commit(1));
  EXPECT_EQ(disk.counts().syncs - before, 0U);
  write(*log, checkpoint(1));
  EXPECT_EQ(disk.counts().syncs - before, 1U);
  write(*log, intent(6));
  log->flush();
  EXPECT_EQ(disk.counts().syncs - before, 2U);
  log->flush();  // nothing is left to sync
  EXPECT_EQ(disk.counts().syncs - before, 2U);
}

TEST(BatchLogDurability, IntervalSyncsFewGroups) {
  MemoryDisk disk;
  std::mt19937_64 random(1);
  const auto log = open_log(disk.start(), {.durability = Durability::kInterval,
                                           .sync_interval = std::chrono::milliseconds(1)});
  const std::uint64_t before = disk.counts().syncs;
  std::uint64_t n = 0;
  while (disk.counts().syncs - before < 3) write(*log, intent(++n));
  log->flush();
  log->abandon();
  disk.crash(random);
  EXPECT_EQ(open_log(disk.start())->history().last_sequence, n);
}

// --- faults ---

TEST(BatchLogFaults, AFullDiskEndsTheLogAndKeepsWhatWasAwaited) {
  MemoryDisk disk;
  const auto log = open_log(disk.start());
  write(*log, intent(1));
  disk.fill_after(50);
  const std::uint64_t position = log->append(intent(2, std::string(1000, 'x')));
  const Error error = error_of([&] { log->await(position); });
  EXPECT_EQ(error.code(), ErrorCode::kUnreachable);
  expect_says(error, "log/00000001-000001.log");
  expect_says(error, "No space left");
  expect_says(error, "start again");
  EXPECT_STREQ(error_of([&] { log->append(intent(3)); }).what(), error.what());
  EXPECT_STREQ(error_of([&] { log->flush(); }).what(), error.what());
  log->abandon();
  disk.make_room();
  const auto again = open_log(disk.start());
  EXPECT_EQ(sequences(again->history().intents), (Sequences{1}));
  ASSERT_EQ(again->history().notes.size(), 1U);
  write(*again, intent(2));
}

TEST(BatchLogFaults, AFailedSyncIsNotTriedAgain) {
  MemoryDisk disk;
  const auto log = open_log(disk.start());
  write(*log, intent(1));
  disk.fail_sync(1);
  const Error error = error_of([&] { write(*log, intent(2)); });
  EXPECT_EQ(error.code(), ErrorCode::kUnreachable);
  expect_says(error, "cannot sync");
  const std::uint64_t operations = disk.counts().operations;
  EXPECT_STREQ(error_of([&] { log->append(intent(3)); }).what(), error.what());
  log->abandon();
  EXPECT_EQ(disk.counts().operations, operations);
  EXPECT_EQ(sequences(open_log(disk.start())->history().intents), (Sequences{1}));
}

}  // namespace
}  // namespace weir
