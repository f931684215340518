// Which files a batch of the files source owns, and that it reads the same again.

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "weir/connectors/files/arrivals_internal.h"
#include "weir/connectors/files/sink.h"
#include "weir/connectors/files/source.h"
#include "weir/core/archive.h"
#include "weir/core/error.h"

#include "process_tools.h"

namespace weir::files {
namespace {

namespace fs = std::filesystem;

using internal::Arrival;
using internal::Arrivals;
using Words = std::vector<std::string>;

static_assert(weir::Source<Source>);

// --- what is new ---

constexpr std::int64_t kSecond = 1'000'000'000;

Arrival file(const std::string& name, std::int64_t ctime, std::uint64_t inode = 1,
             std::int64_t mtime = 3) {
  return {{ctime, name, inode, 10, mtime}, {{name, 10, inode, mtime}}};
}

Words names_of(const Position& position) {
  Words names;
  for (const FileInfo& info : position.files) names.push_back(info.name);
  return names;
}

/// What a listing of these files gives behind a position.
Position listed(const Position& from, const std::vector<Arrival>& all, std::uint32_t max = 0) {
  Arrivals arrivals;
  arrivals.restart(from);
  for (const Arrival& arrival : all) arrivals.on_listed(arrival);
  return arrivals.take(max);
}

TEST(FileArrivals, AreTakenByChangeTimeAndName) {
  const auto end = listed({}, {file("b", 20), file("c", 10), file("a", 20)});
  EXPECT_EQ(names_of(end), (Words{"c", "a", "b"}));
}

TEST(FileArrivals, WhatABatchOwnsIsNotListedAgain) {
  const std::vector<Arrival> all = {file("a", 5 * kSecond), file("b", 9 * kSecond)};
  const auto first = listed({}, all);
  EXPECT_EQ(names_of(listed(first, all)), Words{});
  EXPECT_EQ(names_of(listed(first, {all[0], all[1], file("c", 10 * kSecond)})), Words{"c"});
}

TEST(FileArrivals, APositionKeepsTheNamesOfTheNewestOnly) {
  const auto end = listed({}, {file("a", 5 * kSecond), file("b", 9 * kSecond)});
  EXPECT_EQ(end.watermark, 9 * kSecond - Arrivals::kOverlap);
  ASSERT_EQ(end.owned.size(), 1u);
  EXPECT_EQ(end.owned[0].name, "b");
}

TEST(FileArrivals, OfManyFilesAtOnceFewNamesAreKept) {
  std::vector<Arrival> all;
  for (int i = 0; i < 1000; ++i) all.push_back(file("f" + std::to_string(i), i / 10));
  const auto end = listed({}, all);
  EXPECT_EQ(end.files.size(), 1000u);
  EXPECT_EQ(end.owned.size(), 260u);  // the change time of the 256th newest has ten
  EXPECT_EQ(end.watermark, 74);
  all.push_back(file("new", 74));
  EXPECT_EQ(names_of(listed(end, all)), Words{"new"});
}

TEST(FileArrivals, TiesAndLateOnesWithinTheOverlapAreNew) {
  const auto first = listed({}, {file("b", 9 * kSecond)});
  EXPECT_EQ(names_of(listed(first, {file("b", 9 * kSecond), file("a", 9 * kSecond)})), Words{"a"});
  EXPECT_EQ(names_of(listed(first, {file("late", 8 * kSecond)})), Words{"late"});
  EXPECT_EQ(names_of(listed(first, {file("old", 7 * kSecond - 1)})), Words{});
}

TEST(FileArrivals, AReplacedFileIsNewAndATouchedOneIsNot) {
  const auto first = listed({}, {file("a", 9 * kSecond, 1)});
  EXPECT_EQ(names_of(listed(first, {file("a", 10 * kSecond, 2)})), Words{"a"});
  EXPECT_EQ(names_of(listed(first, {file("a", 10 * kSecond, 1, 4)})), Words{"a"});
  EXPECT_EQ(names_of(listed(first, {file("a", 10 * kSecond, 1)})), Words{});
}

TEST(FileArrivals, EventsCountWhateverTheClockSays) {
  Arrivals arrivals;
  arrivals.restart(listed({}, {file("a", 9 * kSecond, 1)}));
  arrivals.on_event(file("set-back", 1 * kSecond, 2));
  arrivals.on_event(file("a", 9 * kSecond, 1));  // reported and listed
  EXPECT_EQ(names_of(arrivals.take(0)), Words{"set-back"});
}

TEST(FileArrivals, ReportsOfWhatWasJustTakenAreNotNewHoweverMuchThatWas) {
  std::vector<Arrival> all;
  for (int i = 0; i < 1000; ++i) all.push_back(file("f" + std::to_string(i), i * kSecond));
  Arrivals arrivals;
  arrivals.restart({});
  for (const Arrival& arrival : all) arrivals.on_listed(arrival);
  EXPECT_EQ(arrivals.take(0).files.size(), 1000u);
  for (const Arrival& arrival : all) arrivals.on_event(arrival);
  arrivals.on_event(file("f0", 0, 2));  // replaced since
  arrivals.on_event(file("set-back", 0));
  EXPECT_EQ(names_of(arrivals.take(0)), (Words{"f0", "set-back"}));
}

TEST(FileArrivals, ReportsOfWhatWaitsAreOfTheSame) {
  const std::vector<Arrival> all = {file("a", 1), file("b", 2), file("c", 3)};
  Arrivals arrivals;
  arrivals.restart({});
  for (const Arrival& arrival : all) arrivals.on_listed(arrival);
  EXPECT_EQ(names_of(arrivals.take(1)), Words{"a"});
  for (const Arrival& arrival : all) arrivals.on_event(arrival);
  EXPECT_EQ(names_of(arrivals.take(1)), Words{"b"});
  EXPECT_EQ(names_of(arrivals.take(0)), Words{"c"});
}

TEST(FileArrivals, ABatchThatIsCutAgainForgetsWhatItTook) {
  Arrivals arrivals;
  arrivals.restart({});
  arrivals.on_event(file("a", 1));
  EXPECT_EQ(names_of(arrivals.take(0)), Words{"a"});
  arrivals.restart({});
  arrivals.on_event(file("a", 1));
  EXPECT_EQ(names_of(arrivals.take(0)), Words{"a"});
}

TEST(FileArrivals, ALimitLeavesTheRestForLaterBatches) {
  Arrivals arrivals;
  arrivals.restart({});
  for (const char* name : {"a", "b", "c"}) arrivals.on_event(file(name, 10));
  const auto first = arrivals.take(2);
  EXPECT_EQ(names_of(first), (Words{"a", "b"}));
  EXPECT_EQ(names_of(arrivals.take(2)), Words{"c"});
  // A driver that goes on from the first finds the rest by listing.
  EXPECT_EQ(names_of(listed(first, {file("a", 10), file("b", 10), file("c", 10)}, 2)), Words{"c"});
}

TEST(FileArrivals, ADirectoryIsTakenWhole) {
  Arrival batch{{10, "batch-1", 5, 0, 1}, {{"batch-1/p0", 1, 1, 1}, {"batch-1/p1", 1, 2, 1}}};
  EXPECT_EQ(names_of(listed({}, {batch, file("z", 20)}, 1)), (Words{"batch-1/p0", "batch-1/p1"}));
  EXPECT_EQ(names_of(listed({}, {file("a", 5), batch}, 2)), Words{"a"});
}

TEST(FileArrivals, WhatVanishedOrWasReplacedWhileItWaitedIsNotTaken) {
  Arrivals arrivals;
  arrivals.restart({});
  arrivals.on_event(file("a", 10, 1));
  arrivals.on_event(file("b", 10, 2));
  arrivals.on_event(file("b", 20, 3));
  arrivals.on_gone("a");
  const auto end = arrivals.take(0);
  EXPECT_EQ(names_of(end), Words{"b"});
  EXPECT_EQ(end.files[0].inode, 3u);
}

TEST(FileArrivals, PositionsTravel) {
  const auto end = listed({}, {file("a", 5), file("b", 9)});
  EXPECT_EQ(decode<Position>(encode(end)), end);
}

// --- over a real directory ---

class FilesSource : public ::testing::Test {
 protected:
  FilesSource() { fs::create_directories(directory()); }

  std::string directory() const { return folder_.file("in"); }
  std::string in(const std::string& name) const { return directory() + "/" + name; }

  /// Comes by rename.
  void put(const std::string& name, const std::string& content) const {
    std::ofstream(folder_.file("written")) << content;
    fs::rename(folder_.file("written"), in(name));
  }

  Source source(FileStreamOptions options = {}) const { return {directory(), options}; }

  static Words lines_of(const Source& source, const Position& end) {
    const auto shipped = decode<Source>(encode(source));
    Words lines;
    for (const FilePiece& piece : source.plan({}, end)) {
      const auto stream = shipped.read(decode<FilePiece>(encode(piece)));
      for (auto chunk = stream->next(); !chunk.empty(); chunk = stream->next()) {
        lines.insert(lines.end(), chunk.begin(), chunk.end());
      }
    }
    return lines;
  }

  static constexpr SourceLimit kLimit = {.interval = std::chrono::seconds(1)};
  const test::TempFolder folder_;
};

TEST_F(FilesSource, FilesThatAreRenamedInBelongToTheNextBatch) {
  put("old", "no\n");
  Source files = source();
  const auto start = files.initial();
  const auto nothing = files.latest(start, kLimit);
  EXPECT_EQ(names_of(nothing), Words{});
  put("a", "one\ntwo\n");
  put("b", "three");
  const auto first = files.latest(nothing, kLimit);
  EXPECT_EQ(lines_of(files, first), (Words{"one", "two", "three"}));
  put("c", "four\n");
  const auto second = files.latest(first, kLimit);
  EXPECT_EQ(names_of(second), Words{"c"});
  EXPECT_EQ(lines_of(files, first), (Words{"one", "two", "three"}));  // again
  EXPECT_EQ(names_of(files.latest(second, kLimit)), Words{});
}

TEST_F(FilesSource, RecordsAreWholeInEveryPiece) {
  std::string bytes;
  Words records;
  for (int i = 0; i < 3000; ++i) {
    records.push_back(std::string(1, static_cast<char>('a' + i % 26)) + "\n" +
                      std::to_string(i % 10));
    bytes += records.back();
  }
  put("a", bytes);
  for (const std::uint64_t piece_bytes : {1, 3, 4, 1000, 100'000}) {
    Source files(directory(), {.existing_files = true, .piece_bytes = piece_bytes}, 3);
    EXPECT_EQ(lines_of(files, files.latest(files.initial(), kLimit)), records) << piece_bytes;
  }
}

TEST_F(FilesSource, AFileThatIsNotMadeOfRecordsIsRefusedWithItsName) {
  put("a", "12345");
  Source files(directory(), {.existing_files = true}, 3);
  const auto end = files.latest(files.initial(), kLimit);
  try {
    (void)files.plan({}, end);
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_NE(std::string(error.what()).find(directory() + "/a has 5 bytes"), std::string::npos)
        << error.what();
  }
}

TEST_F(FilesSource, ANewStreamMayBeginWithWhatIsThere) {
  put("old", "yes\n");
  Source files = source({.existing_files = true});
  const auto start = files.initial();
  EXPECT_EQ(names_of(start), Words{});
  put("new", "and this\n");
  EXPECT_EQ(lines_of(files, files.latest(start, kLimit)), (Words{"yes", "and this"}));
}

TEST_F(FilesSource, WhatAListingTookIsNotTakenAgainWhenItIsReported) {
  Source files = source();
  files.initial();  // from now on all is reported
  for (int i = 0; i < 1000; ++i) put("f" + std::to_string(i), "old\n");
  auto position = files.initial();  // which finds them before it sees a report
  put("new", "one\n");
  position = files.latest(position, kLimit);
  EXPECT_EQ(names_of(position), Words{"new"});
  EXPECT_EQ(names_of(files.latest(position, kLimit)), Words{});
}

TEST_F(FilesSource, ARestartedStreamGoesOnFromItsPosition) {
  Position end;
  {
    Source files = source({.existing_files = true});
    put("a", "1\n");
    end = files.latest(files.initial(), kLimit);
    put("b", "2\n");
    end = files.latest(end, kLimit);
    EXPECT_EQ(names_of(end), Words{"b"});
  }
  put("c", "3\n");
  const auto kept = decode<Position>(encode(end));
  Source files = source({.existing_files = true});
  EXPECT_EQ(lines_of(files, kept), Words{"2"});  // an open batch is read again
  EXPECT_EQ(names_of(files.latest(kept, kLimit)), Words{"c"});
}

TEST_F(FilesSource, ABatchThatWasNotKeptIsCutAgain) {
  Source files = source();
  const auto start = files.initial();
  put("a", "1\n");
  EXPECT_EQ(names_of(files.latest(start, kLimit)), Words{"a"});
  put("b", "2\n");
  EXPECT_EQ(names_of(files.latest(start, kLimit)), (Words{"a", "b"}));
}

TEST_F(FilesSource, NamesOfThingsUnderWayAreIgnored) {
  Source files = source({.existing_files = true});
  const auto start = files.initial();
  put(".hidden", "no\n");
  put("_temporary", "no\n");
  fs::create_directory(in("folder"));
  put("folder/a", "no\n");
  fs::create_symlink(in(".hidden"), in("link"));
  EXPECT_EQ(names_of(files.latest(start, kLimit)), Words{});
  fs::rename(in("_temporary"), in("done"));
  Source again = source({.existing_files = true});
  EXPECT_EQ(names_of(again.latest(again.initial(), kLimit)), Words{"done"});
}

TEST_F(FilesSource, AFileCreatedInPlaceCountsWhenItIsClosed) {
  Source files = source();
  auto position = files.initial();
  std::ofstream writing(in("a"));
  writing << "one\n" << std::flush;
  position = files.latest(position, kLimit);
  EXPECT_EQ(names_of(position), Words{});
  writing << "two\n";
  writing.close();
  position = files.latest(position, kLimit);
  EXPECT_EQ(lines_of(files, position), (Words{"one", "two"}));
  std::ofstream(in("a"), std::ios::app) << "three\n";
  EXPECT_EQ(names_of(files.latest(position, kLimit)), Words{});  // with a warning
}

TEST_F(FilesSource, ANameMayBeUsedAgain) {
  Source files = source();
  auto position = files.initial();
  for (const char* content : {"one", "three", "fourteen"}) {
    put("a", content);
    position = files.latest(position, kLimit);
    EXPECT_EQ(lines_of(files, position), Words{content});
    fs::remove(in("a"));  // the next one may get its inode
  }
}

TEST_F(FilesSource, AHardLinkCounts) {
  Source files = source();
  const auto start = files.initial();
  std::ofstream(folder_.file("elsewhere")) << "one\n";
  fs::create_hard_link(folder_.file("elsewhere"), in("a"));
  EXPECT_EQ(lines_of(files, files.latest(start, kLimit)), Words{"one"});
}

TEST_F(FilesSource, WhatWasRemovedBeforeABatchTookItIsNoLoss) {
  Source files = source({.max_files_per_batch = 1});
  auto position = files.initial();
  put("a", "1\n");
  put("b", "2\n");
  put("c", "3\n");
  fs::remove(in("b"));
  position = files.latest(position, kLimit);
  EXPECT_EQ(names_of(position), Words{"a"});
  fs::remove(in("c"));
  put("d", "4\n");
  position = files.latest(position, kLimit);
  EXPECT_EQ(names_of(position), Words{"d"});
}

TEST_F(FilesSource, AFileThatABatchOwnsMustStayAsItIs) {
  const auto loss = [&](const std::string& said, const auto& change) {
    put("a", "one\ntwo\n");
    Source files = source({.existing_files = true});
    const auto end = files.latest(files.initial(), kLimit);
    change();
    try {
      lines_of(files, end);
      ADD_FAILURE() << "nothing was thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kDataLoss);
      EXPECT_NE(std::string(error.what()).find(in("a") + " " + said), std::string::npos)
          << error.what();
    }
  };
  loss("is gone", [&] { fs::remove(in("a")); });
  loss("was replaced", [&] { put("a", "one\ntwo\n"); });
  loss("was changed (it has 14 bytes, the batch owns 8)",
       [&] { std::ofstream(in("a"), std::ios::app) << "three\n"; });
}

TEST_F(FilesSource, AFileThatChangesWhileItIsReadIsNoticed) {
  put("a", std::string(1 << 20, 'x') + "\nend\n");
  Source files = source({.existing_files = true});
  const auto end = files.latest(files.initial(), kLimit);
  const auto stream = files.read(files.plan({}, end).at(0));
  EXPECT_FALSE(stream->next().empty());
  fs::resize_file(in("a"), 10);
  EXPECT_THROW(while (!stream->next().empty()){}, Error);
}

TEST_F(FilesSource, LargeFilesAreReadInPieces) {
  put("a", "1\n22\n333\n4444\n55555\n");
  put("empty", "");
  Source files = source({.existing_files = true, .piece_bytes = 5});
  const auto end = files.latest(files.initial(), kLimit);
  EXPECT_EQ(files.plan({}, end).size(), 4u);
  EXPECT_EQ(lines_of(files, end), (Words{"1", "22", "333", "4444", "55555"}));
}

TEST_F(FilesSource, BatchesOfTheFilesSinkAreReadWhole) {
  Sink sink({.directory = directory()});
  sink.open({"app", "s", 0, 1, 0});
  Source files = source();
  auto position = files.initial();
  const auto commit = [&](std::uint64_t sequence, const std::vector<Words>& partitions) {
    const CommitId id{"app", "s", sequence, 1, 7};
    std::vector<Sink::Token> tokens;
    for (std::uint32_t p = 0; p < partitions.size(); ++p) {
      auto writer = sink.begin(id, p, 1);
      writer.write(partitions[p]);
      tokens.push_back(writer.prepare());
    }
    sink.commit(id, tokens);
  };
  commit(1, {{"a"}, {"b"}});
  position = files.latest(position, kLimit);
  EXPECT_EQ(names_of(position),
            (Words{"batch-000000000001/part-00000.txt", "batch-000000000001/part-00001.txt"}));
  EXPECT_EQ(lines_of(files, position), (Words{"a", "b"}));
  commit(2, {{}, {"c"}});
  Source restarted = source();
  EXPECT_EQ(lines_of(restarted, restarted.latest(position, kLimit)), Words{"c"});
}

TEST_F(FilesSource, WhenTheKernelDropsReportsTheDirectoryIsListed) {
  const int queue = std::stoi(test::read_file("/proc/sys/fs/inotify/max_queued_events"));
  if (queue > 200'000) GTEST_SKIP() << "its queue is too long: " << queue;
  Source files = source();
  put("old", "no\n");
  auto position = files.initial();
  put("here", "");
  for (int i = 0; i <= queue; ++i) {
    const bool there = i % 2 == 1;
    fs::rename(in(there ? "there" : "here"), in(there ? "here" : "there"));
  }
  put("a", "one\n");
  position = files.latest(position, kLimit);
  EXPECT_EQ(lines_of(files, position), Words{"one"});
  put("b", "two\n");
  EXPECT_EQ(names_of(files.latest(position, kLimit)), Words{"b"});
}

TEST_F(FilesSource, ADirectoryOfAnotherMachineIsListedEverySoOften) {
  Source files = source({.relist_interval = std::chrono::microseconds(1)});
  auto position = files.initial();
  put("a", "one\n");
  position = files.latest(position, kLimit);
  EXPECT_EQ(names_of(position), Words{"a"});
  EXPECT_EQ(names_of(files.latest(position, kLimit)), Words{});
}

TEST_F(FilesSource, DirectoriesThatAreNotThereAreNamed) {
  const auto code_of = [&](const auto& call) {
    try {
      call();
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(directory()), std::string::npos) << error.what();
      return error.code();
    }
    return ErrorCode::kInternal;
  };
  Source files = source();
  const auto start = files.initial();
  fs::remove_all(directory());
  EXPECT_EQ(code_of([&] { files.latest(start, kLimit); }), ErrorCode::kUnreachable);
  Source missing = source();
  EXPECT_EQ(code_of([&] { missing.initial(); }), ErrorCode::kInvalidArgument);
}

TEST_F(FilesSource, OptionsThatMakeNoSenseAreRefused) {
  EXPECT_THROW(Source("", {}), Error);
  EXPECT_THROW(source({.piece_bytes = 0}), Error);
  EXPECT_THROW(source({.relist_interval = std::chrono::seconds(-1)}), Error);
}

}  // namespace
}  // namespace weir::files
