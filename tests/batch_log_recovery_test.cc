#include <array>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "weir/core/hash.h"
#include "weir/dstream/log/segment_format_internal.h"

#include "log_records.h"

namespace weir {
namespace {

using namespace test;
using internal::SegmentId;

using Files = std::map<std::string, std::string>;

Files files_of(DurableStore& store) {
  Files files{{"application", store.read("application", 0, 1 << 20)}};
  for (const std::string& name : store.list("log")) {
    files["log/" + name] = store.read("log/" + name, 0, 1 << 20);
  }
  return files;
}

/// A disk with these files on it.
std::unique_ptr<MemoryDisk> disk_with(const Files& files) {
  auto disk = std::make_unique<MemoryDisk>();
  for (const auto& [path, content] : files) disk->put(path, content);
  return disk;
}

/// What a history must be when the log holds these records.
LogHistory history_of(const std::vector<LogRecord>& records, std::size_t count) {
  LogHistory history;
  for (std::size_t i = 0; i < count; ++i) {
    const LogRecord& record = records[i];
    if (record.kind == LogRecord::Kind::kIntent) history.last_sequence = record.sequence;
    if (record.kind == LogRecord::Kind::kIntent) history.intents.push_back(record);
    if (record.kind == LogRecord::Kind::kCommit) history.commits.push_back(record);
    if (record.kind == LogRecord::Kind::kCheckpoint) history.checkpoint = record;
  }
  return history;
}

bool same_records(const LogHistory& a, const LogHistory& b) {
  return a.intents == b.intents && a.commits == b.commits && a.checkpoint == b.checkpoint &&
         a.last_sequence == b.last_sequence;
}

/// How many of the records a log holds, which must be the first ones; nothing if it is not so.
std::optional<std::size_t> prefix_length(const std::vector<LogRecord>& records,
                                         const LogHistory& history) {
  for (std::size_t count = 0; count <= records.size(); ++count) {
    if (same_records(history_of(records, count), history)) return count;
  }
  return std::nullopt;
}

struct SmallLog {
  std::vector<LogRecord> records;
  Files files;
};

/// Two epochs, several groups in each, some of several records.
SmallLog small_log() {
  SmallLog log{{intent(1), commit(1), intent(2), checkpoint(1), commit(2), intent(3), commit(3)},
               {}};
  MemoryDisk disk;
  for (const std::size_t begin : {0, 4}) {
    const auto opened = open_log(disk.start());
    for (std::size_t i = begin; i < begin + 4 && i < log.records.size(); ++i) {
      const std::uint64_t position = opened->append(log.records[i]);
      if (log.records[i].kind != LogRecord::Kind::kCommit) opened->await(position);
    }
  }
  log.files = files_of(*disk.start());
  return log;
}

/// Opens a damaged log: a prefix, or an error that says where.
void expect_prefix_or_error(const SmallLog& log, const Files& damaged, const std::string& path) {
  const auto disk = disk_with(damaged);
  try {
    const auto opened = open_log(disk->start());
    const auto kept = prefix_length(log.records, opened->history());
    ASSERT_TRUE(kept.has_value());
    if (*kept < log.records.size()) {
      ASSERT_EQ(opened->history().notes.size(), 1U);
      EXPECT_NE(opened->history().notes[0].find(path), std::string::npos);
      EXPECT_NE(opened->history().notes[0].find("offset"), std::string::npos);
    }
  } catch (const Error& error) {
    EXPECT_TRUE(error.code() == ErrorCode::kCorrupt) << error.what();
    expect_says(error, path + ", offset ");
  }
}

TEST(BatchLogRecovery, ATruncatedNewestSegmentLosesItsLastRecordsOnly) {
  const SmallLog log = small_log();
  const std::string path = "log/00000002-000001.log";
  const std::string& content = log.files.at(path);
  std::size_t most = 0;
  for (std::size_t length = 0; length <= content.size(); ++length) {
    SCOPED_TRACE(length);
    Files damaged = log.files;
    damaged[path] = content.substr(0, length);
    const auto disk = disk_with(damaged);
    const auto opened = open_log(disk->start());
    const auto kept = prefix_length(log.records, opened->history());
    ASSERT_TRUE(kept.has_value());
    EXPECT_GE(*kept, most);  // no shorter for a longer file
    EXPECT_GE(*kept, 4U);    // the first epoch's
    EXPECT_LE(opened->history().notes.size(), 1U);
    most = *kept;
  }
  EXPECT_EQ(most, log.records.size());
}

TEST(BatchLogRecovery, ATruncatedOlderSegmentIsRefused) {
  const SmallLog log = small_log();
  const std::string path = "log/00000001-000001.log";
  for (std::size_t length = 0; length < log.files.at(path).size(); ++length) {
    SCOPED_TRACE(length);
    Files damaged = log.files;
    damaged[path].resize(length);
    const auto disk = disk_with(damaged);
    const Error error = error_of([&] { open_log(disk->start()); });
    EXPECT_EQ(error.code(), ErrorCode::kCorrupt);
    expect_says(error, path + ", offset ");
  }
}

TEST(BatchLogRecovery, AFlippedBitLosesLastRecordsOrIsRefused) {
  const SmallLog log = small_log();
  for (const auto& [path, content] : log.files) {
    for (std::size_t at = 0; at < content.size(); ++at) {
      for (const int bit : {0, 3, 7}) {
        SCOPED_TRACE(fmt::format("{}, byte {}, bit {}", path, at, bit));
        Files damaged = log.files;
        damaged[path][at] = static_cast<char>(damaged[path][at] ^ (1 << bit));
        expect_prefix_or_error(log, damaged, path);
      }
    }
  }
}

TEST(BatchLogRecovery, BadBytesBeforeTheLastDurableOffsetAreRefused) {
  MemoryDisk disk;
  {
    const auto log = open_log(disk.start());
    for (std::uint64_t n = 1; n <= 3; ++n) write(*log, intent(n, "here" + std::to_string(n)));
  }
  const std::string path = "log/00000001-000001.log";
  Files files = files_of(*disk.start());
  for (const std::uint64_t n : {1, 2}) {
    Files damaged = files;
    damaged[path][damaged[path].find("here" + std::to_string(n))] = 'T';
    const auto other = disk_with(damaged);
    const Error error = error_of([&] { open_log(other->start()); });
    EXPECT_EQ(error.code(), ErrorCode::kCorrupt);
    expect_says(error, "were durable");
  }
  files[path][files[path].find("here3")] = 'T';
  const auto other = disk_with(files);
  const auto log = open_log(other->start());
  EXPECT_EQ(sequences(log->history().intents), (Sequences{1, 2}));
  ASSERT_EQ(log->history().notes.size(), 1U);
}

TEST(BatchLogRecovery, WhatWasDroppedStaysDropped) {
  const SmallLog log = small_log();
  Files damaged = log.files;
  const std::string path = "log/00000002-000001.log";
  damaged[path].resize(damaged[path].size() - 1);
  const auto disk = disk_with(damaged);
  std::size_t kept = 0;
  {
    const auto opened = open_log(disk->start());
    EXPECT_EQ(opened->history().notes.size(), 1U);
    kept = *prefix_length(log.records, opened->history());
  }
  disk->put(path, log.files.at(path));  // as if it had been written later
  const auto opened = open_log(disk->start());
  EXPECT_EQ(opened->history().notes.size(), 0U);
  EXPECT_EQ(prefix_length(log.records, opened->history()), kept);
}

// Numbers of batches that sinks hold are not given again, though the log lost them.
TEST(BatchLogRecovery, AnEpochsFirstIntentMayLeaveOutNumbers) {
  MemoryDisk disk;
  {
    const auto log = open_log(disk.start());
    for (std::uint64_t n = 1; n <= 2; ++n) {
      write(*log, intent(n));
      write(*log, commit(n));
    }
  }
  {
    const auto log = open_log(disk.start());
    expect_says(error_of([&] { log->append(intent(2)); }), "INTENT(2) does not follow INTENT(2)");
    write(*log, intent(5));
    expect_says(error_of([&] { log->append(intent(7)); }), "INTENT(7) does not follow INTENT(5)");
    write(*log, commit(5));
    write(*log, checkpoint(5));
    log->release(4);
  }
  const auto log = open_log(disk.start());
  EXPECT_EQ(sequences(log->history().intents), Sequences{5});
  EXPECT_EQ(log->history().last_sequence, 5U);
  EXPECT_EQ(log->history().checkpoint->sequence, 5U);
}

TEST(BatchLogRecovery, WhatAFencedDriverAppendedIsIgnored) {
  MemoryDisk disk;
  {
    const auto log = open_log(disk.start());
    write(*log, intent(1, "old"));
  }
  {
    const auto log = open_log(disk.start());
    write(*log, intent(2, "new"));
  }
  const SegmentId older{1, 1};
  const std::string path = path_of(older);
  std::string bytes = disk.start()->read(path, 0, 1 << 20);
  bytes += encode_group(older, bytes.size(), bytes.size(), {intent(2, "old")});
  disk.put(path, bytes + "half a gro");
  disk.put(path_of(SegmentId{1, 2}), "a segment that was begun too late");
  for (int i = 0; i < 2; ++i) {
    const auto log = open_log(disk.start());
    EXPECT_EQ(log->history().intents, (std::vector{intent(1, "old"), intent(2, "new")}));
    EXPECT_EQ(log->history().notes.size(), 0U);
  }
}

TEST(BatchLogRecovery, AnEpochThatNeverBeganIsPassedOver) {
  const SmallLog log = small_log();
  for (const std::string torn :
       {"", "WLOG", "garbage that is longer than a header's first bytes"}) {
    Files files = log.files;
    files["log/00000003-000001.log"] = torn;
    files["log/00000007-000001.log"] = torn;
    const auto disk = disk_with(files);
    const auto opened = open_log(disk->start());
    EXPECT_EQ(opened->epoch(), 8U);
    EXPECT_EQ(prefix_length(log.records, opened->history()), log.records.size());
    EXPECT_EQ(opened->history().notes.size(), 2U);
  }
}

// --- segments ---

TEST(BatchLogSegments, ANewOneBeginsWhenOneIsFull) {
  MemoryDisk disk;
  std::vector<LogRecord> records;
  {
    const auto log = open_log(disk.start(), {.segment_bytes = 1000});
    for (std::uint64_t n = 1; n <= 50; ++n) {
      records.push_back(intent(n, std::string(100, 'x')));
      write(*log, records.back());
    }
  }
  EXPECT_GT(disk.start()->list("log").size(), 5U);
  EXPECT_EQ(disk.start()->list("log").front(), "00000001-000001.log");
  EXPECT_EQ(open_log(disk.start())->history().intents, records);
}

TEST(BatchLogSegments, AMissingOneIsRefusedUnlessItIsTheNewestOfAll) {
  MemoryDisk disk;
  {
    const auto log = open_log(disk.start(), {.segment_bytes = 1});
    for (std::uint64_t n = 1; n <= 4; ++n) write(*log, intent(n));
  }
  open_log(disk.start())->abandon();
  const Files files = files_of(*disk.start());
  for (const auto& [path, content] : files) {
    if (path == "application" || path.starts_with("log/00000002")) continue;
    SCOPED_TRACE(path);
    Files damaged = files;
    damaged.erase(path);
    const auto other = disk_with(damaged);
    const Error error = error_of([&] { open_log(other->start()); });
    EXPECT_EQ(error.code(), ErrorCode::kDataLoss);
    expect_says(error, path + " is missing");
  }
}

TEST(BatchLogSegments, ReleasedOnesAreRemovedAndMayBeMissing) {
  MemoryDisk disk;
  {
    const auto log = open_log(disk.start(), {.segment_bytes = 1});
    for (std::uint64_t n = 1; n <= 5; ++n) {
      log->append(intent(n));
      log->flush();
      log->append(commit(n));
      log->flush();
    }
    write(*log, checkpoint(3));
    log->release(3);
    write(*log, intent(6));
    // A CHECKPOINT keeps the segments behind it, but nothing keeps those of batches 1 to 3.
    log->flush();
  }
  const auto names = disk.start()->list("log");
  ASSERT_EQ(names.front(), "00000001-000008.log") << "with INTENT 4";
  {
    const auto log = open_log(disk.start());
    EXPECT_EQ(sequences(log->history().intents), (Sequences{4, 5, 6}));
    EXPECT_EQ(log->history().checkpoint->sequence, 3U);
    EXPECT_EQ(log->history().last_sequence, 6U);
  }
  disk.erase("log/00000001-000008.log");
  const Error error = error_of([&] { open_log(disk.start()); });
  EXPECT_EQ(error.code(), ErrorCode::kDataLoss);
  expect_says(error, "log/00000001-000008.log is missing");
}

TEST(BatchLogSegments, ALongRunStaysSmallOnDisk) {
  MemoryDisk disk;
  const auto log = open_log(disk.start());
  std::uint64_t most = 0;
  for (std::uint64_t n = 1; n <= 2000; ++n) {
    write(*log, intent(n, std::string(10'000, 'x')));
    log->append(commit(n));
    if (n % 50 == 0) {
      write(*log, checkpoint(n));
      log->release(n);
    }
    most = std::max(most, log->timings().bytes);
  }
  EXPECT_LT(most, 5'000'000U);  // of 20 MB
  log->abandon();
  EXPECT_EQ(open_log(disk.start())->history().last_sequence, 2000U);
}

// --- what is missing or of another version ---

TEST(BatchLogIdentity, OneOfIdentityAndRecordsWithoutTheOtherIsRefused) {
  const SmallLog log = small_log();
  Files without = log.files;
  without.erase("application");
  Error error = error_of([&] { open_log(disk_with(without)->start()); });
  EXPECT_EQ(error.code(), ErrorCode::kDataLoss);
  expect_says(error, "application is missing");
  expect_says(error, "restore");

  const Files only{{"application", log.files.at("application")}};
  error = error_of([&] { open_log(disk_with(only)->start()); });
  EXPECT_EQ(error.code(), ErrorCode::kDataLoss);
  expect_says(error, "no log");
}

TEST(BatchLogIdentity, ALogThatNeverBeganMayLackIt) {
  MemoryDisk disk;
  open_log(disk.start())->abandon();
  disk.erase("application");
  const auto log = BatchLog::open(disk.start(), {"another", 1, 64}, {});
  EXPECT_EQ(log->identity().application, "another");
  EXPECT_EQ(log->epoch(), 2U);
}

TEST(BatchLogIdentity, FilesOfTwoLogsAreNotMixed) {
  const SmallLog log = small_log();
  MemoryDisk other;
  BatchLog::open(other.start(), {"another", 1, 64}, {})->abandon();
  Files mixed = log.files;
  mixed["application"] = files_of(*other.start())["application"];
  const Error error = error_of([&] { open_log(disk_with(mixed)->start()); });
  EXPECT_EQ(error.code(), ErrorCode::kDataLoss);
  expect_says(error, "application word-count-7");
}

TEST(BatchLogIdentity, ANewerFormatIsRefusedWithBothNumbers) {
  const SmallLog log = small_log();
  Files files = log.files;
  const std::string rest = "text of a later version";
  files["application"] = fmt::format("weir-log 2 {:016x}\n{}", hash_bytes(rest, 2), rest);
  Error error = error_of([&] { open_log(disk_with(files)->start()); });
  EXPECT_EQ(error.code(), ErrorCode::kDataLoss);
  expect_says(error, "format 2");
  expect_says(error, "up to 1");

  files = log.files;
  std::string header = "WLOG";
  const auto put = [&](auto number) {
    header.append(reinterpret_cast<const char*>(&number), sizeof number);
  };
  const std::array<std::uint64_t, 5> place{3, 1, 0, 2, rest.size()};
  put(std::uint32_t{2});
  put(static_cast<std::uint32_t>(rest.size()));
  put(hash_bytes(rest, hash_bytes({reinterpret_cast<const char*>(place.data()), sizeof place})));
  files["log/00000003-000001.log"] = header + rest + "and groups";
  error = error_of([&] { open_log(disk_with(files)->start()); });
  EXPECT_EQ(error.code(), ErrorCode::kDataLoss);
  expect_says(error, "format 2");
  expect_says(error, "up to 1");
}

// --- printing ---

TEST(PrintLog, ShowsWhereEverythingStands) {
  const SmallLog log = small_log();
  const auto disk = disk_with(log.files);
  std::string text;
  EXPECT_TRUE(print_log(*disk->start(), [&](const std::string& line) { text += line + '\n'; }));
  for (const std::string words :
       {"application: application word-count-7, hash seed 42, 512 key groups",
        "log/00000001-000001.log: epoch 1, segment 1",
        "log/00000002-000001.log: epoch 2, segment 1",
        "continues log/00000001-000001.log at offset", "    INTENT 3 at 3.000s",
        "      input/lines version 1: 3 bytes", "    COMMIT 3 at 3.000s",
        "    CHECKPOINT 1 at 1.000s", "      state version 2: 6 bytes"}) {
    EXPECT_NE(text.find(words), std::string::npos) << words << " is not in\n" << text;
  }
}

TEST(PrintLog, GoesOnBehindBadBytes) {
  const SmallLog log = small_log();
  Files damaged = log.files;
  std::string& content = damaged["log/00000001-000001.log"];
  content[content.find("input/lines")] = 'I';
  const auto disk = disk_with(damaged);
  std::string text;
  EXPECT_FALSE(print_log(*disk->start(), [&](const std::string& line) { text += line + '\n'; }));
  EXPECT_NE(text.find("bad bytes"), std::string::npos);
  EXPECT_NE(text.find("    INTENT 2"), std::string::npos);
  EXPECT_NE(text.find("    INTENT 3"), std::string::npos);
  EXPECT_NE(text.find("bad: memory/log/00000001-000001.log, offset"), std::string::npos) << text;
}

TEST(PrintLog, ATailThatWillBeDroppedIsNotBad) {
  const SmallLog log = small_log();
  Files damaged = log.files;
  damaged["log/00000002-000001.log"] += "WGRP";
  const auto disk = disk_with(damaged);
  std::string text;
  EXPECT_TRUE(print_log(*disk->start(), [&](const std::string& line) { text += line + '\n'; }));
  EXPECT_NE(text.find("note: "), std::string::npos);
}

}  // namespace
}  // namespace weir
