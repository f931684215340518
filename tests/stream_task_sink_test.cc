// Sinks whose tasks commit for themselves: what was written of a batch stays what it was.

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "recovery_kit.h"

namespace weir::test {
namespace {

/// A database with a transaction per partition. Its rows say which batch they are of.
class Database {
 public:
  using Rows = std::multiset<std::pair<std::uint64_t, Count>>;

  void open(const CommitId& driver) {
    const std::scoped_lock lock(mutex_);
    owner_ = fenced(owner_, driver, "the database");
  }
  std::optional<CommitId> last_committed(std::uint32_t partition) {
    const std::scoped_lock lock(mutex_);
    const auto found = last_.find(partition);
    return found == last_.end() ? std::nullopt : std::optional(found->second);
  }
  /// The transaction of a task; does nothing for one that is there.
  void commit(const CommitId& commit, std::uint32_t partition, const Counts& counts) {
    {
      const std::scoped_lock lock(mutex_);
      std::optional<CommitId> stored;
      const auto last = last_.find(partition);
      if (last != last_.end() && last->second.sequence == commit.sequence) stored = last->second;
      if (!must_publish(commit, owner_.value(), stored, "the database")) {
        ++skipped_;
        return;
      }
    }
    if (std::ranges::count(counts, poison, &Count::first) != 0) {
      (void)eventually([&] { return transactions() == partitions_before_poison; });
      throw std::runtime_error("the connection was lost");
    }
    const std::scoped_lock lock(mutex_);
    ++transactions_;
    if (counts.empty()) return;
    last_[partition] = commit;
    for (const Count& count : counts) rows_.emplace(commit.sequence, count);
  }
  Rows rows() const {
    const std::scoped_lock lock(mutex_);
    return rows_;
  }
  std::size_t transactions() const {
    const std::scoped_lock lock(mutex_);
    return transactions_;
  }
  std::size_t skipped() const {
    const std::scoped_lock lock(mutex_);
    return skipped_;
  }
  /// An older copy was brought back.
  void lose_batch(std::uint64_t sequence) {
    const std::scoped_lock lock(mutex_);
    std::erase_if(last_, [&](const auto& last) { return last.second.sequence == sequence; });
    std::erase_if(rows_, [&](const auto& row) { return row.first == sequence; });
  }

  /// The transaction that has this key fails, when as many others are through.
  std::string poison;
  std::size_t partitions_before_poison = 0;

 private:
  mutable std::mutex mutex_;
  std::optional<SinkOwner> owner_;
  std::map<std::uint32_t, CommitId> last_;  // by partition
  Rows rows_;
  std::size_t transactions_ = 0;
  std::size_t skipped_ = 0;
};

Database* g_database = nullptr;

struct DatabaseSink {
  struct Writer {
    CommitId commit;
    std::uint32_t partition;
    Counts counts;
    void write(std::span<const Count> more) {
      counts.insert(counts.end(), more.begin(), more.end());
    }
    int prepare() {
      g_database->commit(commit, partition, counts);
      return 0;
    }
  };
  static constexpr CommitPoint commit_point() { return CommitPoint::kTask; }
  static constexpr SinkGuarantee guarantee() { return SinkGuarantee::kExactlyOnce; }
  SinkMode mode() const { return SinkMode::kAppend; }
  void open(const CommitId& driver) { g_database->open(driver); }
  std::optional<CommitId> last_committed(std::uint32_t partition) {
    return g_database->last_committed(partition);
  }
  void commit(const CommitId&, const std::vector<int>&) {}
  void abort(const std::vector<int>&) {}
  Writer begin(const CommitId& commit, std::uint32_t partition, AttemptId) const {
    return {commit, partition, {}};
  }
};

class TaskSinks : public Recovery {
 protected:
  TaskSinks() { g_database = &database_; }

  /// Partitions of what is written: as many as the program has cores.
  static void write(const DStream<Count>& counts) {
    counts.reduce_by_key([](int a, int b) { return a + b; })
        .write_to(DatabaseSink{}, {.uid = "rows"});
  }
  std::unique_ptr<Driver> start_with(int cores) {
    return start(
        [this](StreamingContext& stream) { write(keyed(stream)); },
        {.master = "local[" + std::to_string(cores) + "]", .config = {{"task-max-failures", "1"}}});
  }
  DStream<Count> keyed(StreamingContext& stream) const {
    return stream.source_stream(MemorySource<Count>(keys_, 3));
  }
  /// Batch n has the keys k0 to k39, each with the value n.
  static Counts batch(int n) {
    Counts counts;
    for (int i = 0; i < 40; ++i) counts.emplace_back("k" + std::to_string(i), n);
    return counts;
  }
  static Database::Rows rows_of(std::initializer_list<int> batches) {
    Database::Rows rows;
    for (const int n : batches) {
      for (const Count& count : batch(n)) rows.emplace(n, count);
    }
    return rows;
  }

  Database database_;
  const std::shared_ptr<MemoryInput<Count>> keys_ =
      std::make_shared<MemoryInput<Count>>(std::vector<Counts>{batch(1), batch(2), {}, batch(4)});
};

TEST_F(TaskSinks, ABatchThatWasWrittenByHalvesIsCompletedWithOtherParallelism) {
  auto driver = start_with(4);
  driver->run(1, 1);
  database_.poison = "k7";
  database_.partitions_before_poison = database_.transactions() + 3;
  driver->tick();
  expect_refused(refusal([&] { driver->await(2); }), ErrorCode::kJobFailed,
                 {"batch 2", "write_to", "the connection was lost"});
  driver.reset();
  const auto half = database_.rows();
  EXPECT_GT(half.size(), rows_of({1}).size());
  EXPECT_LT(half.size(), rows_of({1, 2}).size());

  database_.poison.clear();
  driver = start_with(1);
  driver->await(2);
  EXPECT_EQ(database_.rows(), rows_of({1, 2}));
  EXPECT_EQ(database_.skipped(), 3U);
  driver->run(2, 4);
  driver->stop();
  EXPECT_EQ(database_.rows(), rows_of({1, 2, 4}));
  // Four partitions of each of the first two batches, one of each that was cut afterwards.
  EXPECT_EQ(database_.transactions(), 4U + 4 + 1 + 1);
}

TEST_F(TaskSinks, WhatTheyHoldIsAskedOfAllPartitionsThatThereWere) {
  auto driver = start_with(4);
  driver->run(3, 3);  // the last one has no elements
  driver->stop();
  driver.reset();
  driver = start_with(1);
  driver->run(1, 4);
  driver->stop();
  EXPECT_EQ(database_.rows(), rows_of({1, 2, 4}));
}

TEST_F(TaskSinks, ThatWereSetBackAreRefused) {
  auto driver = start_with(4);
  driver->run(2, 2);
  driver->stop();
  driver.reset();
  database_.lose_batch(2);
  expect_refused(refusal([&] { driver = start_with(1); }), ErrorCode::kDataLoss,
                 {"the sink rows", "up to 0", "up to 2"});
}

struct Guarantees final : StreamingListener {
  void on_output_operation_completed(const OutputOperationInfo& output) override {
    said.emplace_back(output.name, output.sink, output.guarantee);
  }
  std::vector<std::tuple<std::string, std::string, SinkGuarantee>> said;
};

TEST_F(TaskSinks, ListenersLearnWhatOutputsGuarantee) {
  const auto listener = std::make_shared<Guarantees>();
  auto driver = start([&](StreamingContext& stream) {
    write(keyed(stream));
    counts(stream).foreach_rdd([](const auto&) {});
    stream.add_listener(listener);
  });
  driver->run(1, 1);
  driver->stop();
  driver.reset();
  using Said = decltype(listener->said);
  EXPECT_EQ(listener->said, (Said{{"write_to", "rows", SinkGuarantee::kExactlyOnce},
                                  {"foreach_rdd", "", SinkGuarantee::kAtLeastOnce}}));
}

}  // namespace
}  // namespace weir::test
