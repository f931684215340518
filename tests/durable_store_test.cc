#include "weir/core/durable_store.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <functional>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "weir/core/error.h"
#include "weir/core/memory_store.h"

#include "process_tools.h"

namespace weir {
namespace {

using test::TempFolder;
using Names = std::vector<std::string>;

template <class F>
std::string expect_error(ErrorCode code, F f) {
  try {
    f();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

unsigned mode_of(const std::string& path) {
  struct stat info {};
  EXPECT_EQ(stat(path.c_str(), &info), 0) << path;
  return info.st_mode & 07777U;
}

/// What every store does, on a directory and in memory.
class DurableStoreTest : public ::testing::TestWithParam<bool> {
 protected:
  DurableStoreTest() {
    if (GetParam()) {
      store_ = open_directory_store(folder_.file("store"));
    } else {
      store_ = disk_.start();
    }
  }

  TempFolder folder_;
  MemoryDisk disk_;
  std::shared_ptr<DurableStore> store_;
};

INSTANTIATE_TEST_SUITE_P(Stores, DurableStoreTest, ::testing::Values(true, false),
                         [](const auto& kind) { return kind.param ? "Directory" : "Memory"; });

TEST_P(DurableStoreTest, AppendsAreReadBackWholeAndInPart) {
  const auto file = store_->create("a/b/c.log");
  ASSERT_NE(file, nullptr);
  file->append("hello ");
  file->append("world");
  file->sync();
  store_->sync_directory("a/b");
  EXPECT_EQ(file->size(), 11U);
  EXPECT_EQ(store_->size("a/b/c.log"), 11);
  EXPECT_EQ(store_->read("a/b/c.log", 0, 1000), "hello world");
  EXPECT_EQ(store_->read("a/b/c.log", 3, 4), "lo w");
  EXPECT_EQ(store_->read("a/b/c.log", 11, 4), "");
  EXPECT_EQ(store_->read("a/b/c.log", 100, 4), "");
  store_->sync_file("a/b/c.log");
}

TEST_P(DurableStoreTest, AFileIsCreatedOnce) {
  store_->create("x")->append("first");
  EXPECT_EQ(store_->create("x"), nullptr);
  EXPECT_EQ(store_->read("x", 0, 100), "first");
}

TEST_P(DurableStoreTest, AReaderSeesWhatIsAppendedAndOutlivesTheName) {
  EXPECT_EQ(store_->open("x"), nullptr);
  const auto file = store_->create("x");
  file->append("one");
  const auto reader = store_->open("x");
  ASSERT_NE(reader, nullptr);
  EXPECT_EQ(reader->size(), 3U);
  file->sync();
  file->append("two");
  file->append("three");
  EXPECT_EQ(reader->size(), 11U);
  EXPECT_FALSE(file->is_removed());
  store_->remove("x");
  EXPECT_TRUE(file->is_removed());
  EXPECT_EQ(store_->open("x"), nullptr);
  const auto piece = [&](std::uint64_t offset, std::size_t size) {
    std::string bytes(size, '?');
    bytes.resize(reader->read(offset, bytes));
    return bytes;
  };
  EXPECT_EQ(piece(0, 11), "onetwothree");
  EXPECT_EQ(piece(1, 6), "netwot");
  EXPECT_EQ(piece(4, 2), "wo");
  EXPECT_EQ(piece(8, 9), "ree");
  EXPECT_EQ(piece(11, 1), "");
  EXPECT_EQ(piece(50, 1), "");
}

TEST_P(DurableStoreTest, AFileOfTheSameNameIsAnother) {
  const auto first = store_->create("x");
  store_->remove("x");
  const auto second = store_->create("x");
  EXPECT_TRUE(first->is_removed());
  EXPECT_FALSE(second->is_removed());
}

TEST_P(DurableStoreTest, ListsFilesSorted) {
  for (const std::string path : {"log/b", "log/a", "log/deeper/c", "top"}) store_->create(path);
  EXPECT_EQ(store_->list("log"), (Names{"a", "b"}));
  EXPECT_EQ(store_->list(""), (Names{"top"}));
  EXPECT_EQ(store_->list("nowhere"), (Names{}));
}

TEST_P(DurableStoreTest, RemovesAndMissesWhatIsNotThere) {
  store_->create("x");
  store_->remove("x");
  store_->remove("x");
  store_->remove("no/such");
  EXPECT_EQ(store_->size("x"), -1);
  EXPECT_EQ(store_->size("no/such"), -1);
  expect_error(ErrorCode::kCorrupt, [&] { store_->read("x", 0, 1); });
  expect_error(ErrorCode::kUnreachable, [&] { store_->sync_file("x"); });
}

TEST_P(DurableStoreTest, ReplacesAFileAndLeavesNothingElse) {
  store_->replace("d/application", "one");
  store_->replace("d/application", "another");
  EXPECT_EQ(store_->read("d/application", 0, 100), "another");
  EXPECT_EQ(store_->list("d"), (Names{"application"}));
}

TEST_P(DurableStoreTest, PathsStayInside) {
  for (const std::string path :
       {"", "/etc/passwd", "..", "a/../b", "a//b", "a/", ".", "a b", "ä"}) {
    SCOPED_TRACE(path);
    expect_error(ErrorCode::kInvalidArgument, [&] { store_->create(path); });
    expect_error(ErrorCode::kInvalidArgument, [&] { store_->read(path, 0, 1); });
    expect_error(ErrorCode::kInvalidArgument, [&] { store_->size(path); });
    expect_error(ErrorCode::kInvalidArgument, [&] { store_->remove(path); });
    expect_error(ErrorCode::kInvalidArgument, [&] { store_->replace(path, ""); });
    expect_error(ErrorCode::kInvalidArgument, [&] { store_->sync_file(path); });
    if (path.empty()) continue;  // the store's own directory
    expect_error(ErrorCode::kInvalidArgument, [&] { store_->list(path); });
    expect_error(ErrorCode::kInvalidArgument, [&] { store_->sync_directory(path); });
  }
}

TEST_P(DurableStoreTest, OneHoldsTheLock) {
  auto lock = store_->lock();
  expect_error(ErrorCode::kNotAllowed, [&] { store_->lock(); });
  lock.reset();
  EXPECT_NE(store_->lock(), nullptr);
}

// --- a directory ---

TEST(DirectoryStore, OfOthersIsMadeByTheFirstFileInADirectoryThatIsThere) {
  const TempFolder folder;
  const auto store = directory_store_at(folder.file("state"));
  EXPECT_FALSE(std::filesystem::exists(folder.file("state")));
  EXPECT_EQ(store->open("x"), nullptr);
  store->create("x")->append("1");
  EXPECT_EQ(mode_of(folder.file("state")), 0700U);
  EXPECT_EQ(store->read("x", 0, 10), "1");
  const auto nowhere = directory_store_at(folder.file("not/mounted"));
  EXPECT_EQ(nowhere->open("x"), nullptr);
  const std::string message = expect_error(ErrorCode::kUnreachable, [&] { nowhere->create("x"); });
  EXPECT_NE(message.find(folder.file("not/mounted")), std::string::npos) << message;
  EXPECT_FALSE(std::filesystem::exists(folder.file("not")));
}

TEST(DirectoryStore, IsForItsUserOnly) {
  const TempFolder folder;
  const auto store = open_directory_store(folder.file("new/store"));
  store->create("log/x");
  store->replace("application", "text");
  const auto lock = store->lock();
  EXPECT_EQ(store->name(), folder.file("new/store"));
  EXPECT_EQ(mode_of(folder.file("new")), 0700U);
  EXPECT_EQ(mode_of(folder.file("new/store/log")), 0700U);
  for (const std::string name : {"log/x", "application", "LOCK"}) {
    EXPECT_EQ(mode_of(folder.file("new/store/" + name)), 0600U) << name;
  }
}

TEST(DirectoryStore, TheSecondIsToldWhoHasIt) {
  const TempFolder folder;
  const auto store = open_directory_store(folder.file("store"));
  const auto lock = store->lock();
  const auto other = open_directory_store(folder.file("store"));
  const std::string said = expect_error(ErrorCode::kNotAllowed, [&] { other->lock(); });
  EXPECT_NE(said.find("process " + std::to_string(getpid()) + " "), std::string::npos) << said;
  EXPECT_NE(said.find(" since "), std::string::npos) << said;
}

TEST(DirectoryStore, AChildDoesNotKeepTheLock) {
  const TempFolder folder;
  const auto store = open_directory_store(folder.file("store"));
  auto lock = store->lock();
  const pid_t child = fork();
  if (child == 0) {
    execlp("sleep", "sleep", "60", nullptr);
    _exit(1);
  }
  lock.reset();
  EXPECT_NE(store->lock(), nullptr);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
}

TEST(DirectoryStore, ADirectoryThatCannotBeOneIsRefused) {
  const TempFolder folder;
  test::write_file(folder.file("file"), "");
  const std::string said = expect_error(ErrorCode::kInvalidArgument,
                                        [&] { open_directory_store(folder.file("file/store")); });
  EXPECT_NE(said.find(folder.file("file")), std::string::npos) << said;
  expect_error(ErrorCode::kInvalidArgument, [&] { open_directory_store(folder.file("file")); });
  expect_error(ErrorCode::kInvalidArgument, [&] { open_directory_store(""); });
}

TEST(DirectoryStore, AFileIsNotWrittenAfterAFailure) {
  const TempFolder folder;
  const auto store = open_directory_store(folder.file("store"));
  const auto file = store->create("x");
  file->append("good");
  // A limit on the size of files fails writes half done, as a full disk does.
  const auto ignored = std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit small{10, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  const std::string said =
      expect_error(ErrorCode::kUnreachable, [&] { file->append(std::string(100, 'x')); });
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, ignored);
  EXPECT_NE(said.find(folder.file("store/x")), std::string::npos) << said;
  EXPECT_EQ(store->size("x"), 10);
  expect_error(ErrorCode::kUnreachable, [&] { file->append("more"); });
  expect_error(ErrorCode::kUnreachable, [&] { file->sync(); });
}

// --- the disk in memory ---

/// What is on a file after a crash, over many seeds.
std::set<std::string> after_crashes(const std::function<void(DurableStore&)>& work,
                                    const std::string& path) {
  std::set<std::string> seen;
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    std::mt19937_64 random(seed);
    MemoryDisk disk;
    work(*disk.start());
    disk.crash(random);
    const auto store = disk.start();
    seen.insert(store->size(path) < 0 ? "none" : store->read(path, 0, 1000));
  }
  return seen;
}

TEST(MemoryDisk, ACrashKeepsWhatWasSynced) {
  const auto seen = after_crashes(
      [](DurableStore& store) {
        const auto file = store.create("log/x");
        file->append("one");
        file->sync();
        store.sync_directory("log");
      },
      "log/x");
  EXPECT_EQ(seen, (std::set<std::string>{"one"}));
}

TEST(MemoryDisk, ACrashDoesAnythingToWhatWasNotSynced) {
  using namespace std::string_literals;
  const auto seen = after_crashes(
      [](DurableStore& store) {
        const auto file = store.create("x");
        store.sync_directory("");
        file->append("ab");
        file->append("cd");
      },
      "x");
  for (const std::string& possible :
       {""s, "a"s, "ab"s, "abc"s, "abcd"s, "ab\0\0"s, "\0\0cd"s, "a\0cd"s, "\0\0\0\0"s}) {
    EXPECT_EQ(seen.count(possible), 1U) << ::testing::PrintToString(possible);
  }
  EXPECT_EQ(seen.count("none"), 0U);
  for (const std::string& bytes : seen) EXPECT_LE(bytes.size(), 4U);
}

TEST(MemoryDisk, ACrashMayTakeNamesBackUntilTheirDirectoryIsSynced) {
  EXPECT_EQ(after_crashes(
                [](DurableStore& store) {
                  const auto file = store.create("log/x");
                  file->append("one");
                  file->sync();
                },
                "log/x"),
            (std::set<std::string>{"none", "one"}));
  EXPECT_EQ(after_crashes(
                [](DurableStore& store) {
                  store.replace("x", "one");
                  store.replace("x", "two");
                },
                "x"),
            (std::set<std::string>{"two"}));
  EXPECT_EQ(after_crashes(
                [](DurableStore& store) {
                  store.replace("x", "one");
                  store.remove("x");
                },
                "x"),
            (std::set<std::string>{"none", "one"}));
}

TEST(MemoryDisk, AKilledProcessLosesNothingItWrote) {
  MemoryDisk disk;
  const auto store = disk.start();
  const auto file = store->create("x");
  const auto lock = store->lock();
  file->append("one");
  disk.kill();
  expect_error(ErrorCode::kUnreachable, [&] { file->append("two"); });
  expect_error(ErrorCode::kUnreachable, [&] { store->list(""); });
  const auto next = disk.start();
  EXPECT_EQ(next->read("x", 0, 10), "one");
  EXPECT_NE(next->lock(), nullptr);
}

TEST(MemoryDisk, AProcessDiesInTheCallThatWasNamed) {
  for (std::uint64_t calls = 1; calls <= 5; ++calls) {
    MemoryDisk disk;
    const auto store = disk.start();
    store->replace("x", "one");
    disk.stop_after(calls);
    expect_error(ErrorCode::kUnreachable, [&] { store->replace("x", "two"); });
    EXPECT_EQ(disk.start()->read("x", 0, 10), calls < 4 ? "one" : "two") << calls;
  }
}

TEST(MemoryDisk, FillsUpAndFailsToSync) {
  MemoryDisk disk;
  const auto store = disk.start();
  const auto file = store->create("x");
  disk.fill_after(5);
  file->append("one");
  expect_error(ErrorCode::kUnreachable, [&] { file->append("two"); });
  EXPECT_EQ(store->read("x", 0, 10), "onetw");
  expect_error(ErrorCode::kUnreachable, [&] { file->sync(); });

  disk.make_room();
  const auto other = store->create("y");
  other->append("one");
  disk.fail_sync(2);
  other->sync();
  other->append("two");
  expect_error(ErrorCode::kUnreachable, [&] { other->sync(); });
  expect_error(ErrorCode::kUnreachable, [&] { other->append("three"); });
  EXPECT_EQ(store->read("y", 0, 10), "one");
  EXPECT_EQ(disk.counts().syncs, 2U);
}

}  // namespace
}  // namespace weir
