// The files sink's commits: what is visible when, and what is left when a driver dies on the way.

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "weir/connectors/files/batch_folder_internal.h"
#include "weir/connectors/files/commit_text_internal.h"
#include "weir/connectors/files/sink.h"
#include "weir/core/archive.h"
#include "weir/core/error.h"

#include "process_tools.h"

namespace weir::files {
namespace {

namespace fs = std::filesystem;

using internal::BatchFolder;
using internal::FolderOps;
using internal::StagedFile;
using test::TempFolder;
using Words = std::vector<std::string>;
/// Paths below the directory with their contents, for the sink's readers only.
using Files = std::map<std::string, std::string>;

static_assert(weir::Sink<Sink, std::string>);
static_assert(weir::Sink<Sink, std::pair<std::string_view, int>>);
static_assert(RollbackSink<Sink>);

CommitId commit_of(std::uint64_t sequence, std::uint64_t epoch = 1, std::uint64_t intent = 7) {
  return {"app", "words", sequence, epoch, intent};
}

/// The code of what the call threw; kInternal if it was nothing.
template <class F>
ErrorCode code_of(F f, const std::string& said = "") {
  try {
    f();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(said), std::string::npos) << error.what();
    return error.code();
  }
  return ErrorCode::kInternal;
}

class FilesSink : public ::testing::Test {
 protected:
  std::string directory() const { return folder_.file("out"); }
  SinkOptions text() const { return {.directory = directory()}; }

  Sink opened(SinkOptions options, std::uint64_t epoch = 1) const {
    Sink sink(std::move(options));
    sink.open(commit_of(0, epoch));
    return sink;
  }

  /// A task's work, on a copy as a worker has it.
  template <class T>
  static StagedFile write(const Sink& sink, const CommitId& commit, std::uint32_t partition,
                          const std::vector<T>& elements, AttemptId attempt = 1) {
    const auto shipped = decode<Sink>(encode(sink));
    auto writer = shipped.begin(commit, partition, attempt);
    writer.write(std::span<const T>(elements));
    return writer.prepare();
  }

  static std::vector<StagedFile> write_all(const Sink& sink, const CommitId& commit,
                                           const std::vector<Words>& partitions,
                                           AttemptId attempt = 1) {
    std::vector<StagedFile> tokens;
    for (std::uint32_t p = 0; p < partitions.size(); ++p) {
      tokens.push_back(write(sink, commit, p, partitions[p], attempt));
    }
    return tokens;
  }

  Files visible() const {
    Files files;
    for (const auto& batch : fs::directory_iterator(directory())) {
      const std::string name = batch.path().filename();
      if (name.front() == '_') continue;
      for (const auto& file : fs::directory_iterator(batch)) {
        const std::string part = file.path().filename();
        if (part.front() != '_') files[name + "/" + part] = test::read_file(file.path());
      }
    }
    return files;
  }
  std::size_t staged() const {
    std::size_t count = 0;
    for (const auto& entry : fs::directory_iterator(internal::staging_of(directory()))) {
      count += entry.exists() ? 1U : 0U;
    }
    return count;
  }

  const TempFolder folder_;
};

TEST_F(FilesSink, ABatchAppearsWholeWhenItIsCommitted) {
  Sink sink = opened(text());
  const auto tokens = write_all(sink, commit_of(12), {{"to", "be"}, {}, {"or"}});
  EXPECT_EQ(visible(), Files{});
  EXPECT_EQ(staged(), 2u);
  sink.commit(commit_of(12), tokens);
  EXPECT_EQ(visible(), (Files{{"batch-000000000012/part-00000.txt", "to\nbe\n"},
                              {"batch-000000000012/part-00002.txt", "or\n"}}));
  EXPECT_EQ(staged(), 0u);
  EXPECT_EQ(test::read_file(directory() + "/batch-000000000012/_COMMIT"),
            "weir files sink 1\napplication app\nsink words\nsequence 12\nepoch 1\n"
            "intent 0000000000000007\nend\n");
}

TEST_F(FilesSink, LastCommittedIsKnownToTheNextDriver) {
  Sink sink = opened(text());
  EXPECT_EQ(sink.last_committed(0), std::nullopt);
  sink.commit(commit_of(1), write_all(sink, commit_of(1), {{"a"}}));
  EXPECT_EQ(sink.last_committed(0), commit_of(1));
  EXPECT_EQ(opened(text(), 2).last_committed(0), commit_of(1));
}

TEST_F(FilesSink, ABatchWithoutElementsIsNotTheLastCommittedOne) {
  Sink sink = opened(text());
  sink.commit(commit_of(1), {});
  EXPECT_EQ(sink.last_committed(0), std::nullopt);
  sink.commit(commit_of(2), write_all(sink, commit_of(2), {{"b"}}));
  sink.commit(commit_of(3), write_all(sink, commit_of(3), {{}, {}}));
  sink.commit(commit_of(4), {});
  EXPECT_EQ(sink.last_committed(0), commit_of(2));
  EXPECT_EQ(visible(), (Files{{"batch-000000000002/part-00000.txt", "b\n"}}));
  EXPECT_EQ(opened(text(), 2).last_committed(0), commit_of(2));
  sink = opened(text(), 3);
  for (std::uint64_t n : {1, 3, 4}) sink.commit(commit_of(n, 3), {});  // again
  EXPECT_EQ(sink.last_committed(0), commit_of(2));
  sink.commit(commit_of(5, 3), write_all(sink, commit_of(5, 3), {{"e"}}));
  EXPECT_EQ(opened(text(), 4).last_committed(0), commit_of(5, 3));
}

/// What the machine's death undoes is what was not synced; an empty batch syncs nothing.
TEST_F(FilesSink, WhatIsToldAsTheLastBatchOutlivesTheMachine) {
  Sink sink = opened(text());
  sink.commit(commit_of(1), write_all(sink, commit_of(1), {{"a"}}));
  fs::copy(directory(), folder_.file("durable"), fs::copy_options::recursive);
  sink.commit(commit_of(2), {});
  const auto told = sink.last_committed(0);
  EXPECT_EQ(opened({.directory = folder_.file("durable")}, 2).last_committed(0), told);
}

TEST_F(FilesSink, AnEqualCommitIsSkippedWhateverItsEpochAndTokens) {
  Sink sink = opened(text());
  sink.commit(commit_of(1), write_all(sink, commit_of(1), {{"a"}}));
  sink.commit(commit_of(2), write_all(sink, commit_of(2), {{"b"}}));
  sink = opened(text(), 5);
  sink.commit(commit_of(2, 5), write_all(sink, commit_of(2, 5), {{"b"}}));
  sink.commit(commit_of(1, 5), write_all(sink, commit_of(1, 5), {{"a"}}));
  EXPECT_EQ(visible(), (Files{{"batch-000000000001/part-00000.txt", "a\n"},
                              {"batch-000000000002/part-00000.txt", "b\n"}}));
  EXPECT_EQ(staged(), 0u);
  EXPECT_EQ(sink.last_committed(0), commit_of(2));
}

TEST_F(FilesSink, TheSameBatchOfOtherInputIsRefused) {
  Sink sink = opened(text());
  sink.commit(commit_of(1), write_all(sink, commit_of(1), {{"a"}}));
  const auto other = commit_of(1, 1, 8);
  EXPECT_EQ(code_of([&] { sink.commit(other, write_all(sink, other, {{"b"}})); }, "other input"),
            ErrorCode::kDataLoss);
  EXPECT_EQ(code_of([&] { sink.commit(other, {}); }), ErrorCode::kDataLoss);
  EXPECT_EQ(visible(), (Files{{"batch-000000000001/part-00000.txt", "a\n"}}));
}

TEST_F(FilesSink, ABatchThatWasDeletedIsNotMadeAgain) {
  Sink sink = opened(text());
  sink.commit(commit_of(1), write_all(sink, commit_of(1), {{"a"}}));
  sink.commit(commit_of(2), write_all(sink, commit_of(2), {{"b"}}));
  fs::remove_all(directory() + "/batch-000000000001");
  EXPECT_EQ(code_of([&] { sink.commit(commit_of(1), write_all(sink, commit_of(1), {{"a"}})); }),
            ErrorCode::kDataLoss);
}

TEST_F(FilesSink, ADriverThatWasReplacedIsRefused) {
  Sink old = opened(text(), 1);
  const auto tokens = write_all(old, commit_of(1, 1), {{"late"}});
  Sink next = opened(text(), 2);
  EXPECT_EQ(code_of([&] { old.commit(commit_of(1, 1), tokens); }, "epoch 2"),
            ErrorCode::kNotAllowed);
  EXPECT_EQ(code_of([&] { opened(text(), 1); }), ErrorCode::kNotAllowed);
  next.commit(commit_of(1, 2), write_all(next, commit_of(1, 2), {{"a"}}));
  EXPECT_EQ(visible(), (Files{{"batch-000000000001/part-00000.txt", "a\n"}}));
}

TEST_F(FilesSink, OtherApplicationsAndForeignFilesAreRefused) {
  Sink sink = opened(text());
  Sink other(text());
  EXPECT_EQ(code_of(
                [&] {
                  other.open({"other", "words", 0, 9, 0});
                },
                "application other"),
            ErrorCode::kDataLoss);
  fs::create_directories(folder_.file("full"));
  test::write_file(folder_.file("full") + "/data.csv", "mine");
  Sink foreign({.directory = folder_.file("full")});
  EXPECT_EQ(code_of([&] { foreign.open(commit_of(0)); }, "data.csv"), ErrorCode::kDataLoss);
  EXPECT_FALSE(fs::exists(folder_.file("full") + "/_weir"));
}

TEST_F(FilesSink, ABatchDirectoryThatIsNotOursIsNotReplaced) {
  Sink sink = opened(text());
  fs::create_directories(directory() + "/batch-000000000001");
  test::write_file(directory() + "/batch-000000000001/mine", "x");
  EXPECT_EQ(code_of([&] { sink.commit(commit_of(1), write_all(sink, commit_of(1), {{"a"}})); },
                    "_COMMIT is missing"),
            ErrorCode::kCorrupt);
  EXPECT_EQ(test::read_file(directory() + "/batch-000000000001/mine"), "x");
}

TEST_F(FilesSink, ADamagedFenceOrCommitStopsTheDriver) {
  Sink sink = opened(text());
  sink.commit(commit_of(1), write_all(sink, commit_of(1), {{"a"}}));
  fs::resize_file(directory() + "/batch-000000000001/_COMMIT", 40);
  EXPECT_EQ(code_of([&] { opened(text(), 2); }, "_COMMIT is damaged"), ErrorCode::kCorrupt);
  fs::resize_file(directory() + "/_weir/fence", 40);
  EXPECT_EQ(code_of([&] { opened(text(), 3); }, "fence is damaged"), ErrorCode::kCorrupt);
}

TEST_F(FilesSink, OnlyAcceptedAttemptsAreCommittedAndTheOthersRemoved) {
  Sink sink = opened(text());
  const auto commit = commit_of(1);
  write(sink, commit, 0, Words{"duplicate"}, 1);
  const auto accepted = write(sink, commit, 0, Words{"accepted"}, 2);
  write(sink, commit_of(2), 0, Words{"next batch"}, 3);
  {
    auto failed = sink.begin(commit, 1, 4);
    failed.write(Words{std::string(1 << 20, 'x')});
    EXPECT_EQ(staged(), 4u);
  }
  EXPECT_EQ(staged(), 3u);
  sink.commit(commit, {accepted});
  EXPECT_EQ(visible(), (Files{{"batch-000000000001/part-00000.txt", "accepted\n"}}));
  EXPECT_EQ(staged(), 1u);
}

TEST_F(FilesSink, AbortedAndAbandonedAttemptsAreRemoved) {
  Sink sink = opened(text());
  sink.abort(write_all(sink, commit_of(1), {{"a"}, {}, {"c"}}));
  EXPECT_EQ(staged(), 0u);
  write_all(sink, commit_of(1), {{"a"}, {"b"}});
  EXPECT_EQ(staged(), 2u);
  sink = opened(text(), 2);
  EXPECT_EQ(staged(), 0u);
}

TEST_F(FilesSink, AWorkerWithoutTheDirectorySaysSo) {
  Sink sink(text());
  EXPECT_EQ(code_of([&] { write(sink, commit_of(1), 0, Words{"a"}); }, "driver and workers"),
            ErrorCode::kUnreachable);
}

TEST_F(FilesSink, BatchesAreTakenBackNewestFirst) {
  auto options = text();
  options.mode = SinkMode::kTruncate;
  Sink sink = opened(options);
  for (std::uint64_t n = 1; n <= 3; ++n) {
    sink.commit(commit_of(n), write_all(sink, commit_of(n), {{std::to_string(n)}}));
  }
  sink.commit(commit_of(4), {});
  sink = opened(options, 2);
  sink.rollback_to(1);
  EXPECT_EQ(visible(), (Files{{"batch-000000000001/part-00000.txt", "1\n"}}));
  EXPECT_EQ(sink.last_committed(0), commit_of(1));
  const auto again = commit_of(2, 2, 8);
  sink.commit(again, write_all(sink, again, {{"other"}}));
  EXPECT_EQ(opened(options, 3).last_committed(0), again);
  EXPECT_EQ(code_of([&] { sink.rollback_to(1); }), ErrorCode::kNotAllowed);
  Sink appending = opened(text(), 4);
  EXPECT_EQ(code_of([&] { appending.rollback_to(1); }), ErrorCode::kInvalidArgument);
}

TEST_F(FilesSink, FormatsGiveTheirOwnFiles) {
  const std::vector<std::pair<std::string, int>> counts = {{"to", 2}, {"a,b", 1}};
  auto delimited = opened({.directory = folder_.file("csv"),
                           .format = Format::kDelimited,
                           .fields = {"word", "count"},
                           .header = true});
  delimited.commit(commit_of(1), {write(delimited, commit_of(1), 0, counts),
                                  write(delimited, commit_of(1), 1, decltype(counts){})});
  EXPECT_EQ(test::read_file(folder_.file("csv") + "/batch-000000000001/part-00000.csv"),
            "word,count\nto,2\n\"a,b\",1\n");
  EXPECT_FALSE(fs::exists(folder_.file("csv") + "/batch-000000000001/part-00001.csv"));
  auto lines = opened({.directory = folder_.file("json"), .format = Format::kJsonLines});
  lines.commit(commit_of(1), {write(lines, commit_of(1), 0, counts)});
  EXPECT_EQ(test::read_file(folder_.file("json") + "/batch-000000000001/part-00000.jsonl"),
            "[\"to\",2]\n[\"a,b\",1]\n");
  auto printed = opened({.directory = folder_.file("text")});
  printed.commit(commit_of(1), {write(printed, commit_of(1), 0, counts)});
  EXPECT_EQ(test::read_file(folder_.file("text") + "/batch-000000000001/part-00000.txt"),
            "(to,2)\n(a,b,1)\n");
}

TEST_F(FilesSink, LargePartitionsAreWrittenWhole) {
  Sink sink = opened(text());
  Words words;
  std::string wanted;
  for (int i = 0; i < 100'000; ++i) wanted += words.emplace_back(std::to_string(i)) + "\n";
  auto writer = sink.begin(commit_of(1), 0, 1);
  for (std::size_t i = 0; i < words.size(); i += 1000) {
    writer.write(std::span<const std::string>(words).subspan(i, 1000));
  }
  sink.commit(commit_of(1), {writer.prepare()});
  EXPECT_EQ(test::read_file(directory() + "/batch-000000000001/part-00000.txt"), wanted);
}

TEST_F(FilesSink, OptionsThatMakeNoSenseAreRefused) {
  EXPECT_EQ(code_of([] { Sink(SinkOptions{}); }, ".directory"), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of([&] { Sink({.directory = directory(), .mode = SinkMode::kUpsert}); }),
            ErrorCode::kInvalidArgument);
  Sink sink(text());
  EXPECT_EQ(code_of(
                [&] {
                  sink.open({"app", "two\nlines", 0, 1, 0});
                },
                "line end"),
            ErrorCode::kInvalidArgument);
}

/// The process dies before its n-th change of the file system.
struct Death {};

class MortalOps final : public FolderOps {
 public:
  explicit MortalOps(int changes) : left_(changes) {}

  void make_directories(const std::string& path) override {
    live();
    real_->make_directories(path);
  }
  void write_file(const std::string& path, std::string_view content) override {
    if (--left_ < 0) {  // half of it is there
      real_->write_file(path, content.substr(0, content.size() / 2));
      throw Death{};
    }
    note("write and sync", path);
    real_->write_file(path, content);
  }
  bool rename(const std::string& from, const std::string& to) override {
    live();
    note("rename to", to);
    return real_->rename(from, to);
  }
  void sync_directory(const std::string& path) override {
    live();
    note("sync", path);
    real_->sync_directory(path);
  }
  void remove_all(const std::string& path) override {
    live();
    real_->remove_all(path);
  }

  std::vector<std::string> notes;

 private:
  void live() {
    if (--left_ < 0) throw Death{};
  }
  void note(const char* what, const std::string& path) {
    notes.push_back(std::string(what) + " " + fs::path(path).filename().string());
  }

  int left_;
  const std::shared_ptr<FolderOps> real_ = FolderOps::system();
};

TEST_F(FilesSink, WhereverADriverDiesTheNextOneMakesTheBatchOnce) {
  int deaths = 0;
  for (bool died = true; died; ++deaths) {
    fs::remove_all(directory());
    const Sink sink(text());
    {
      const auto ops = std::make_shared<MortalOps>(deaths);
      BatchFolder first(directory(), "txt", ops);
      died = false;
      try {
        first.open(commit_of(0, 1));
        first.commit(commit_of(1, 1), write_all(sink, commit_of(1, 1), {{"a"}, {"b"}}));
        first.commit(commit_of(2, 1), {});
        first.commit(commit_of(3, 1), write_all(sink, commit_of(3, 1), {{"c"}}));
      } catch (const Death&) {
        died = true;
      }
    }
    SCOPED_TRACE("died before change " + std::to_string(deaths));
    BatchFolder next(directory(), "txt");
    next.open(commit_of(0, 2));
    EXPECT_EQ(staged(), 0u);
    const auto last = next.last_committed();
    for (std::uint64_t n = 1; n <= 3; ++n) {  // a driver that knows of no COMMIT does them all
      const Words words = n == 1 ? Words{"a"} : n == 2 ? Words{} : Words{"c"};
      std::vector<Words> partitions = {words};
      if (n == 1) partitions.push_back({"b"});
      next.commit(commit_of(n, 2), write_all(sink, commit_of(n, 2), partitions));
      if (last && n <= last->sequence) {
        EXPECT_EQ(next.last_committed(), last);
      }
    }
    EXPECT_EQ(visible(), (Files{{"batch-000000000001/part-00000.txt", "a\n"},
                                {"batch-000000000001/part-00001.txt", "b\n"},
                                {"batch-000000000003/part-00000.txt", "c\n"}}));
    EXPECT_EQ(staged(), 0u);
    EXPECT_EQ(next.last_committed()->sequence, 3u);
  }
  EXPECT_GT(deaths, 15);
}

TEST_F(FilesSink, ACommitThatFailedMayBeRepeatedWithTheSameTokens) {
  const Sink sink(text());
  for (int changes = 0; changes < 7; ++changes) {
    fs::remove_all(directory());
    BatchFolder(directory(), "txt").open(commit_of(0));
    const auto tokens = write_all(sink, commit_of(1), {{"a"}, {"b"}});
    BatchFolder failing(directory(), "txt", std::make_shared<MortalOps>(changes));
    EXPECT_THROW(failing.commit(commit_of(1), tokens), Death) << changes;
    const auto ops = std::make_shared<MortalOps>(1000);
    BatchFolder again(directory(), "txt", ops);
    again.commit(commit_of(1), tokens);
    EXPECT_EQ(ops->notes.back(), "sync out") << changes;
    EXPECT_EQ(again.last_committed(), commit_of(1));
    EXPECT_EQ(visible(), (Files{{"batch-000000000001/part-00000.txt", "a\n"},
                                {"batch-000000000001/part-00001.txt", "b\n"}}))
        << changes;
  }
}

TEST_F(FilesSink, WhatARenameShowsWasSyncedBefore) {
  const Sink sink(text());
  const auto ops = std::make_shared<MortalOps>(1000);
  fs::create_directories(folder_.file("a"));
  BatchFolder nested(folder_.file("a") + "/b/out", "txt", ops);
  nested.open(commit_of(0));
  EXPECT_EQ(ops->notes, (Words{"sync b", "sync a", "write and sync fence.tmp", "rename to fence",
                               "sync ", "sync out"}));
  BatchFolder folder(directory(), "txt", ops);
  folder.open(commit_of(0));
  ops->notes.clear();
  folder.commit(commit_of(1), write_all(sink, commit_of(1), {{"a"}}));
  EXPECT_EQ(ops->notes, (Words{"rename to part-00000.txt", "write and sync _COMMIT",
                               "sync 000000000001-0000000000000007-assembled-1",
                               "rename to batch-000000000001", "sync out"}));
  ops->notes.clear();
  folder.commit(commit_of(2), {});
  EXPECT_EQ(ops->notes, Words{});
}

TEST(CommitText, OnlyTheWholeTextIsRead) {
  const std::string text = internal::to_text({"an app", "a sink", 12, 3, 0xabc});
  EXPECT_EQ(internal::parse_commit(text), (CommitId{"an app", "a sink", 12, 3, 0xabc}));
  for (std::size_t size = 0; size < text.size(); ++size) {
    EXPECT_EQ(internal::parse_commit(text.substr(0, size)), std::nullopt) << size;
  }
  EXPECT_EQ(internal::parse_commit(text + "more"), std::nullopt);
}

}  // namespace
}  // namespace weir::files
