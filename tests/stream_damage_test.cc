// A checkpoint directory with a byte gone or changed, at every place in turn: the stream goes on
// exactly, or says which file is bad; it never gives a wrong result.

#include <fstream>
#include <optional>
#include <set>

#include "weir/core/memory_store.h"
#include "weir/dstream/log/batch_log.h"

#include "recovery_kit.h"

namespace weir::test {
namespace {

/// Every file of a folder, by its path below it.
using Files = std::map<std::string, std::string>;

Files files_of(const std::filesystem::path& folder) {
  Files files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    files[std::filesystem::relative(entry.path(), folder).string()] = read_file(entry.path());
  }
  return files;
}

void write_files(const std::filesystem::path& folder, const Files& files) {
  std::filesystem::remove_all(folder);
  for (const auto& [name, bytes] : files) {
    std::filesystem::create_directories((folder / name).parent_path());
    std::ofstream(folder / name) << bytes;
  }
}

/// What a driver is told by the log of a directory with these files. Where the state's files are
/// good, it does the same after equal ones.
std::string told_by(const Files& files) {
  MemoryDisk disk;
  for (const auto& [name, bytes] : files) disk.put(name, bytes);
  const auto log = BatchLog::open(disk.start(), {"none", 1, 512}, {});
  SlimWriter out;
  const auto put = [&](const LogRecord& record) {
    out & record.kind & record.sequence & record.time;
    for (const LogSection& section : record.sections) {
      out & section.name & section.version & section.bytes;
    }
  };
  const LogHistory& history = log->history();
  if (history.checkpoint) put(*history.checkpoint);
  for (const LogRecord& record : history.intents) put(record);
  for (const LogRecord& record : history.commits) put(record);
  out & history.last_sequence & log->identity().application & log->identity().hash_seed;
  return std::string(out.view());
}

class StreamDamage : public Recovery {
 protected:
  static constexpr std::size_t kDone = 4;  // batches before the damage
  static constexpr std::size_t kMore = 2;

  StreamDamage() {
    for (int i = 0; i < 8; ++i) small_->push({{"a", 1 << i}, {"b", 3 + i}});
    for (std::size_t i = 0; i < small_->size(); ++i) all_.push_back(small_->batch(i));
  }

  /// With one partition of all, for the bytes are few.
  std::unique_ptr<Driver> start_small(const std::shared_ptr<MemoryOutput<Total>>& output,
                                      const std::shared_ptr<ManualClock>& clock) {
    return std::make_unique<Driver>(
        directory(), clock,
        [&](StreamingContext& stream) {
          stream.source_stream(MemorySource<Count>(small_))
              .update_state_by_key(fn<&add_up>, {.partitions = 1})
              .write_to(MemorySink<Total>(output), {.uid = "s"});
        },
        DriverOptions{.master = "local[1]", .durability = LogDurability::kNone});
  }

  /// Killed after its batches; with a CHECKPOINT behind the second one or without.
  void make(bool with_checkpoint) {
    auto driver = start_small(output_, clock_);
    if (with_checkpoint) {
      driver->run(2, 2);
      driver->stop();
      driver.reset();
      driver = start_small(output_, clock_);
    }
    const int left = with_checkpoint ? 2 : 4;
    driver->run(left, kDone);
    driver->kill();
    driver.reset();
    files_ = files_of(directory());
    ASSERT_EQ(sorted(output_->batches()), running_totals(all_, kDone));
  }

  /// What the sink holds before each restart.
  std::shared_ptr<MemoryOutput<Total>> copied_output() const {
    const auto copy = std::make_shared<MemoryOutput<Total>>();
    const auto commits = output_->commits();
    const auto batches = output_->batches();
    copy->open({commits[0].application, commits[0].sink, 0, 1, 0});
    for (std::size_t i = 0; i < commits.size(); ++i) {
      CommitId commit = commits[i];
      commit.epoch = 1;
      copy->commit(commit, {batches[i]});
    }
    return copy;
  }

  /// Starts a driver over the files, of which `name` is damaged as `how` says.
  void restart(const Files& files, const std::string& name, const std::string& how) {
    const auto output = copied_output();
    std::optional<Error> error;
    ::testing::internal::CaptureStderr();
    try {
      if (!name.starts_with("state/") && !told_.insert(told_by(files)).second) {
        ++known_;
        (void)::testing::internal::GetCapturedStderr();
        return;
      }
      write_files(directory(), files);
      const auto clock = std::make_shared<ManualClock>(clock_->now());
      const auto driver = start_small(output, clock);
      driver->run(kMore, kDone + kMore);
      driver->kill();
    } catch (const Error& caught) {
      error = caught;
    }
    const std::string said = ::testing::internal::GetCapturedStderr();
    const std::string what = name + ", " + how;

    const auto expected = running_totals(all_, kDone + kMore);
    const auto got = sorted(output->batches());
    ASSERT_GE(got.size(), kDone) << what;
    for (std::size_t i = 0; i < kDone; ++i) ASSERT_EQ(got[i], expected[i]) << what;
    if (error) {
      ++refused_;
      ASSERT_NE(error->code(), ErrorCode::kInternal) << what << ": " << error->what();
      ASSERT_NE(std::string(error->what()).find(name), std::string::npos)
          << what << ": " << error->what();
      ASSERT_EQ(got.size(), kDone) << what << ": " << error->what();
      return;
    }
    // Goes on with the next input, or as the log of a shorter time, which is then reported.
    ASSERT_EQ(got.size(), kDone + kMore) << what;
    const auto next = std::ranges::find(expected, got[kDone]);
    const auto at = static_cast<std::size_t>(next - expected.begin());
    ASSERT_LE(at, kDone) << what << ": batch " << kDone + 1 << " is wrong\n" << said;
    for (std::size_t i = 0; i < kMore; ++i) {
      ASSERT_EQ(got[kDone + i], expected[at + i]) << what << "\n" << said;
    }
    if (at == kDone) {
      ++exact_;
    } else {
      ++reported_;
      ASSERT_NE(said.find("the log lost its end"), std::string::npos) << what << "\n" << said;
    }
  }

  void truncate_everywhere(const std::string& name) {
    for (std::size_t size = 0; size < files_.at(name).size(); ++size) {
      Files damaged = files_;
      damaged[name].resize(size);
      restart(damaged, name, "cut to " + std::to_string(size) + " bytes");
      if (HasFatalFailure()) return;
    }
  }
  void flip_everywhere() {
    for (const auto& [name, bytes] : files_) {
      for (std::size_t at = 0; at < bytes.size(); ++at) {
        Files damaged = files_;
        damaged[name][at] = static_cast<char>(bytes[at] ^ (1 << at % 8));
        restart(damaged, name, "a bit of byte " + std::to_string(at) + " changed");
        if (HasFatalFailure()) return;
      }
    }
  }
  void remove_each() {
    for (const auto& [name, bytes] : files_) {
      Files damaged = files_;
      damaged.erase(name);
      restart(damaged, name, "removed");
      if (HasFatalFailure()) return;
    }
  }
  /// The last of the folder's files.
  std::string newest(const std::string& folder) const {
    return std::prev(files_.lower_bound(folder + "0"))->first;  // '0' comes after '/'
  }
  void TearDown() override {
    std::cout << exact_ << " exact, " << reported_ << " went on after a lost end, " << refused_
              << " refused, " << known_ << " as one before\n";
  }

  const std::shared_ptr<MemoryInput<Count>> small_ = std::make_shared<MemoryInput<Count>>();
  std::vector<Counts> all_;
  Files files_;
  std::set<std::string> told_;
  int known_ = 0;
  int exact_ = 0;
  int reported_ = 0;
  int refused_ = 0;
};

TEST_F(StreamDamage, UndamagedItIsExact) {
  make(true);
  restart(files_, "nothing", "undamaged");
  EXPECT_EQ(exact_, 1);
}

TEST_F(StreamDamage, ATruncatedLog) {
  make(false);
  truncate_everywhere(newest("log"));
  EXPECT_GT(reported_, 0);
  EXPECT_GT(refused_, 0);
}

TEST_F(StreamDamage, ATruncatedLogBehindACheckpoint) {
  make(true);
  truncate_everywhere(newest("log"));
  EXPECT_GT(reported_, 0);
}

TEST_F(StreamDamage, TruncatedState) {
  make(false);
  truncate_everywhere(newest("state"));
  EXPECT_EQ(reported_ + refused_, 0) << "it is made again from the input";
}

TEST_F(StreamDamage, TruncatedStateBehindACheckpoint) {
  make(true);
  for (const auto& [name, bytes] : files_) {
    if (name.starts_with("state/")) truncate_everywhere(name);
  }
  EXPECT_GT(refused_, 0);
  EXPECT_GT(exact_, 0);
}

TEST_F(StreamDamage, AFlippedBit) {
  make(false);
  flip_everywhere();
}

TEST_F(StreamDamage, AFlippedBitBehindACheckpoint) {
  make(true);
  flip_everywhere();
}

TEST_F(StreamDamage, AMissingFile) {
  make(true);
  remove_each();
}

}  // namespace
}  // namespace weir::test
