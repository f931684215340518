// Programs that were changed before they are started again, and worlds that were: what goes on, and
// what is refused with advice.

#include <unistd.h>

#include <fstream>

#include "recovery_kit.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

class StreamEdits : public Recovery {
 protected:
  Driver::Setup totals() {
    return [this](StreamingContext& stream) {
      counts(stream).update_state_by_key(fn<&add_up>).write_to(sink(), {.uid = "totals"});
    };
  }
  /// Runs that many batches up to the number `last` and ends with a CHECKPOINT.
  void run(const Driver::Setup& setup, int batches, std::uint64_t last,
           const DriverOptions& options = {}) {
    const auto driver = start(setup, options);
    driver->run(batches, last);
    driver->stop();
  }
  Error refused(const Driver::Setup& setup, const DriverOptions& options = {}) {
    return refusal([&] { (void)start(setup, options); });
  }
  /// As if the log's last groups had never become durable.
  void lose_log_from_third_intent() {
    const std::string log = directory() + "/log/00000001-000001.log";
    const std::string bytes = read_file(log);
    std::size_t group = 0;  // where the stream begins, INTENT(1), INTENT(2), INTENT(3)
    for (int number = 0; number < 4; ++number) group = bytes.find("WGRP", group + 1);
    ASSERT_NE(group, std::string::npos);
    std::filesystem::resize_file(log, group);
  }
};

// --- the program ---

TEST_F(StreamEdits, AFilterBeforeTheStateKeepsIt) {
  run(totals(), 3, 3);
  run(
      [this](StreamingContext& stream) {
        counts(stream)
            .filter([](const Count& count) { return count.first != "c"; })
            .map_values([](int value) { return 2 * value; })
            .update_state_by_key(fn<&add_up>)
            .write_to(sink(), {.uid = "totals"});
      },
      3, 6);
  EXPECT_EQ(sorted(output_->batches()).back(),
            (Totals{{"a", 11 + 200}, {"b", 22}, {"c", 1}, {"d", 6}}));
}

TEST_F(StreamEdits, AnotherTypeOfStateIsRefused) {
  run(totals(), 2, 2);
  const Error error = refused([this](StreamingContext& stream) {
    counts(stream)
        .update_state_by_key([](const std::vector<int>& values,
                                std::optional<double> total) -> std::optional<double> {
          return total.value_or(0) + static_cast<double>(values.size());
        })
        .foreach_rdd([](const auto&) {});
  });
  expect_refused(error, ErrorCode::kDataLoss,
                 {"update_state_by_key-0", "int64", "float64", "another .uid"});
  EXPECT_EQ(exit_code(error.code()), 6);
  run(totals(), 1, 3);  // nothing has happened to it
  EXPECT_EQ(sorted(output_->batches()), running_totals(batches_, 3));
}

/// What the state of `totals` becomes in a later version of the program.
struct SumAndCount {
  std::int64_t sum = 0;
  std::int64_t count = 0;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & sum & count;
  }
};

std::optional<SumAndCount> add_and_count(const std::vector<int>& values,
                                         std::optional<SumAndCount> state) {
  SumAndCount next = state.value_or(SumAndCount{});
  for (const int value : values) next = {next.sum + value, next.count + 1};
  return next;
}

class StateMigrationsOfStreams : public StreamEdits {
 protected:
  using Migrations = StateMigrations<std::string, SumAndCount>;

  Driver::Setup new_totals(Migrations migrations) {
    return [this, migrations = std::move(migrations)](StreamingContext& stream) {
      counts(stream)
          .update_state_by_key(fn<&add_and_count>, {.partitions = 3, .migrations = migrations})
          .map_values([](const SumAndCount& state) { return state.sum; })
          .write_to(sink(), {.uid = "totals"});
    };
  }
  static Migrations from_sums() {
    return Migrations()
        .from([](const double&) {
          return SumAndCount{-1, -1};
        })
        .from([](const std::int64_t& sum) {
          return SumAndCount{sum, 1};
        });
  }
};

TEST_F(StateMigrationsOfStreams, BecomeWhatTheProgramHasNow) {
  run(totals(), 2, 2);
  run(new_totals(from_sums()), 1, 3);
  run(new_totals({}), 1, 4);  // once is enough
  {
    const auto killed = start(new_totals(from_sums()));
    killed->run(1, 5);
    killed->kill();
  }
  run(new_totals({}), 1, 6, {.master = "local-cluster[2,1]"});
  EXPECT_EQ(sorted(output_->batches()), running_totals(batches_, 6));
  expect_refused(refused(totals()), ErrorCode::kDataLoss,
                 {"struct{int64,int64}", "StateSpec::migrate"});
}

TEST_F(StateMigrationsOfStreams, RunInWorkersWithTheKey) {
  run(totals(), 3, 3, {.master = "local-cluster[2,1]"});
  const auto by_key = Migrations().from(bind(
      std::int64_t{1000}, [](std::int64_t more, const std::string& key, const std::int64_t& sum) {
        return SumAndCount{key == "a" ? sum + more : sum, 0};
      }));
  run(new_totals(by_key), 1, 4, {.master = "local-cluster[2,1]"});
  EXPECT_EQ(sorted(output_->batches()).back(), (Totals{{"a", 1011}, {"b", 22}, {"c", 1}}));
}

TEST_F(StateMigrationsOfStreams, ThatFailChangeNothing) {
  run(totals(), 2, 2);
  const auto failing = Migrations().from([](const std::int64_t& sum) -> SumAndCount {
    if (sum == 2) throw std::runtime_error("two");
    return {sum, 1};
  });
  const DriverOptions quiet{.config = {{"log-level", "off"}}};
  expect_refused(refused(new_totals(failing), quiet), ErrorCode::kJobFailed,
                 {"migrating", "update_state_by_key-0", "int64", "two"});
  run(totals(), 1, 3);
  run(new_totals(from_sums()), 1, 4);
  EXPECT_EQ(sorted(output_->batches()), running_totals(batches_, 4));
}

TEST_F(StateMigrationsOfStreams, NeedAGracefulStop) {
  {
    const auto killed = start(totals());
    killed->run(2, 2);
    killed->kill();
  }
  expect_refused(refused(new_totals(from_sums())), ErrorCode::kDataLoss,
                 {"update_state_by_key-0", "did not stop gracefully", "start that once"});
  run(totals(), 1, 3);
  run(new_totals(from_sums()), 1, 4);
  EXPECT_EQ(sorted(output_->batches()), running_totals(batches_, 4));
}

/// The last value of each key, "-1" when it timed out.
template <class S, class Write, class Read>
auto last_within_2s(Write, Read) {
  return StateSpec([](const std::string& key, std::optional<int> value, State<S>& last) -> Total {
           if (last.is_timing_out()) return {key, -1 - Read()(last.get())};
           if (value) last.update(Write()(*value));
           return {key, Read()(last.get())};
         })
      .timeout(2s);
}

TEST_F(StateMigrationsOfStreams, KeysTimeOutWhenTheyWouldHave) {
  const auto setup = [this](auto spec) {
    return [this, spec](StreamingContext& stream) {
      counts(stream).map_with_state(spec).write_to(sink(), {.uid = "totals"});
    };
  };
  const auto number = last_within_2s<std::int64_t>([](int value) { return std::int64_t{value}; },
                                                   [](std::int64_t value) { return value; });
  auto text = last_within_2s<std::string>(
      [](int value) { return std::to_string(value); },
      [](const std::string& value) -> std::int64_t { return std::stoll(value); });
  text.migrate([](const std::int64_t& value) { return std::to_string(value); });
  run(setup(number), 2, 2);
  run(setup(text), 4, 6);
  const std::vector<Totals> expected = {{{"a", 1}, {"b", 2}},
                                        {{"a", 10}, {"c", 1}},
                                        {{"b", 20}},
                                        {{"a", -11}, {"c", -2}},
                                        {{"b", -21}, {"c", 5}, {"d", 3}},
                                        {{"a", 100}}};
  EXPECT_EQ(sorted(output_->batches()), expected);
}

auto last_values() {
  return StateSpec(
      [](const std::string& key, std::optional<int> value, State<std::int64_t>& last) -> Total {
        if (value) last.update(*value);
        return {key, last.get_optional().value_or(0)};
      });
}

TEST_F(StreamEdits, OperatorsWithoutUidsMustNotChangePlaces) {
  const auto setup = [this](bool swapped, bool named) {
    return [=, this](StreamingContext& stream) {
      const auto in = counts(stream);
      const auto sums = [&] {
        auto all = in.update_state_by_key(fn<&add_up>);
        if (named) all = all.uid("sums");
        all.write_to(sink(), {.uid = "totals"});
      };
      const auto lasts = [&] {
        auto mapped = in.map_with_state(last_values());
        if (named) mapped = mapped.uid("lasts");
        mapped.state_snapshots().foreach_rdd([](const auto&) {});
      };
      if (!swapped) sums();
      lasts();
      if (swapped) sums();
    };
  };
  run(setup(false, false), 2, 2);
  expect_refused(refused(setup(true, false)), ErrorCode::kDataLoss,
                 {"in the checkpoint: update_state_by_key-0", "in the program: map_with_state-0"});
  expect_refused(refused(setup(false, true)), ErrorCode::kDataLoss, {"without .uid"});
  run(setup(false, false), 1, 3);
  EXPECT_EQ(sorted(output_->batches()), running_totals(batches_, 3));
}

TEST_F(StreamEdits, OperatorsWithUidsMayChangePlaces) {
  const auto lasts = std::make_shared<MemoryOutput<Total>>();
  const auto setup = [this, lasts](bool swapped) {
    return [=, this](StreamingContext& stream) {
      const auto in = counts(stream);
      if (swapped) {
        in.map_with_state(last_values())
            .uid("lasts")
            .state_snapshots()
            .write_to(MemorySink<Total>(lasts), {.uid = "lasts"});
      }
      in.update_state_by_key(fn<&add_up>).uid("sums").write_to(sink(), {.uid = "totals"});
      if (!swapped) {
        in.map_with_state(last_values())
            .uid("lasts")
            .state_snapshots()
            .write_to(MemorySink<Total>(lasts), {.uid = "lasts"});
      }
    };
  };
  run(setup(false), 2, 2);
  run(setup(true), 2, 4);
  run(setup(false), 2, 6);
  EXPECT_EQ(sorted(output_->batches()), running_totals(batches_, 6));
  EXPECT_EQ(sorted(lasts->batches()).back(), (Totals{{"a", 100}, {"b", 20}, {"c", 5}, {"d", 3}}));
}

TEST_F(StreamEdits, AnOperatorThatIsGoneIsDroppedOnlyWhenToldTo) {
  const auto both = [this](StreamingContext& stream) {
    const auto in = counts(stream);
    in.update_state_by_key(fn<&add_up>).uid("sums").write_to(sink(), {.uid = "totals"});
    in.map_with_state(last_values()).uid("lasts").foreach_rdd([](const auto&) {});
  };
  const auto one = [this](StreamingContext& stream) {
    counts(stream).update_state_by_key(fn<&add_up>).uid("sums").write_to(sink(), {.uid = "totals"});
  };
  run(both, 2, 2);
  expect_refused(refused(one), ErrorCode::kDataLoss, {"lasts", "--weir.drop-state=lasts"});
  run(one, 1, 3, {.config = {{"drop-state", "other,lasts"}}});
  run(one, 1, 4);  // once is enough
  run(both, 1, 5);
  EXPECT_EQ(sorted(output_->batches()), running_totals(batches_, 5));
}

TEST_F(StreamEdits, ANewOperatorBeginsEmpty) {
  run(
      [this](StreamingContext& stream) {
        counts(stream).update_state_by_key(fn<&add_up>).write_to(sink(), {.uid = "totals"});
      },
      2, 2);
  const auto fresh = std::make_shared<MemoryOutput<Total>>();
  const auto with_new = [this, fresh](StreamingContext& stream) {
    const auto in = counts(stream);
    in.update_state_by_key(fn<&add_up>)
        .uid("new")
        .write_to(MemorySink<Total>(fresh), {.uid = "new"});
    in.update_state_by_key(fn<&add_up>).write_to(sink(), {.uid = "totals"});
  };
  run(with_new, 1, 3);
  {
    const auto killed = start(with_new);
    killed->run(2, 5);
    killed->kill();
  }
  run(with_new, 1, 6);
  EXPECT_EQ(sorted(output_->batches()), running_totals(batches_, 6));
  EXPECT_EQ(sorted(fresh->batches()).back(), (Totals{{"a", 100}, {"b", 20}, {"c", 5}, {"d", 3}}));
}

TEST_F(StreamEdits, ANewOperatorOfACrashedProgramBeginsEmptyAfterTheReplay) {
  {
    const auto killed = start(totals());
    killed->run(3, 3);
    killed->kill();
  }
  ASSERT_GT(remove_state_files(".chg"), 0U);
  const auto fresh = std::make_shared<MemoryOutput<Total>>();
  run(
      [this, fresh](StreamingContext& stream) {
        const auto in = counts(stream);
        in.update_state_by_key(fn<&add_up>)
            .uid("new")
            .write_to(MemorySink<Total>(fresh), {.uid = "new"});
        in.update_state_by_key(fn<&add_up>).write_to(sink(), {.uid = "totals"});
      },
      2, 5);
  EXPECT_EQ(sorted(output_->batches()), running_totals(batches_, 5));
}

TEST_F(StreamEdits, AnInputThatIsGoneIsRefusedOnlyWithAnOpenBatch) {
  bool throws = true;
  const auto other = std::make_shared<MemoryInput<Count>>(batches_);
  const auto two = [&](StreamingContext& stream) {
    const auto in = counts(stream).uid("first");
    const auto more = stream.source_stream(MemorySource<Count>(other, 2)).uid("second");
    in.union_with(more).update_state_by_key(fn<&add_up>).foreach_rdd([&](const auto&, Time time) {
      if (throws && time == Time(2s)) throw std::runtime_error("no");
    });
  };
  const auto one = [&](StreamingContext& stream) {
    counts(stream)
        .uid("first")
        .update_state_by_key(fn<&add_up>)
        .write_to(sink(), {.uid = "totals"});
  };
  {
    const auto failing = start(two);
    failing->tick(2);
    (void)refusal([&] { failing->await(2); });
  }
  expect_refused(refused(one), ErrorCode::kDataLoss,
                 {"batch 2", "input second", "would be lost", "stop it gracefully"});
  throws = false;
  run(two, 1, 3);
  run(one, 1, 4);
  EXPECT_EQ(sorted(output_->batches()), (std::vector<Totals>{{{"a", 22}, {"b", 44}, {"c", 2}}}));
}

// --- the directory ---

TEST_F(StreamEdits, AFileInPlaceOfTheDirectoryIsRefused) {
  std::ofstream(directory()) << "a file";
  expect_refused(refused(totals()), ErrorCode::kInvalidArgument, {directory()});
}

TEST_F(StreamEdits, ADirectoryThatCannotBeWrittenIsRefused) {
  if (geteuid() == 0) GTEST_SKIP() << "nothing is refused to root";
  std::filesystem::create_directory(directory());
  std::filesystem::permissions(directory(), std::filesystem::perms{0500});
  expect_refused(refused(totals()), ErrorCode::kInvalidArgument,
                 {directory(), "Permission denied"});
}

TEST_F(StreamEdits, ASecondDriverIsToldWhoHasTheDirectory) {
  const auto first = start(totals());
  first->run(1, 1);
  const Error error = refused(totals());
  expect_refused(error, ErrorCode::kNotAllowed,
                 {directory(), "in use by process " + std::to_string(getpid()), "stop that one"});
  EXPECT_EQ(exit_code(error.code()), 5);
  first->run(1, 2);
  first->stop();
  EXPECT_EQ(sorted(output_->batches()), running_totals(batches_, 2));
}

// --- sinks that do not belong to it ---

TEST_F(StreamEdits, AnEmptyDirectoryWithAFullSinkIsRefused) {
  run(totals(), 2, 2);
  std::filesystem::remove_all(directory());
  expect_refused(refused(totals()), ErrorCode::kDataLoss,
                 {"holds the output of application", "use another place, or remove what is there"});
}

TEST_F(StreamEdits, ASinkThatLostItsDataIsRefused) {
  run(totals(), 3, 3);
  const auto kept = output_->batches();
  output_->rollback_to(1);
  const Error error = refused(totals());
  expect_refused(error, ErrorCode::kDataLoss,
                 {"sink totals", "up to 1", "up to 3 were committed", "bring its data back"});
  EXPECT_EQ(exit_code(error.code()), 6);
  output_->rollback_to(0);
  expect_refused(refused(totals()), ErrorCode::kDataLoss, {"sink totals", "up to 0"});
}

TEST_F(StreamEdits, ASinkThatLostItsDataIsRefusedAfterAKillToo) {
  {
    const auto killed = start(totals());
    killed->run(3, 3);
    killed->kill();
  }
  output_->rollback_to(1);  // of 3, COMMIT(2) is surely there
  expect_refused(refused(totals()), ErrorCode::kDataLoss, {"sink totals", "bring its data back"});
}

TEST_F(StreamEdits, ASinkWithABatchOfOtherInputIsRefused) {
  {
    const auto killed = start(totals());
    killed->run(3, 3);
    killed->kill();
  }
  const std::vector<CommitId> commits = output_->commits();
  output_->rollback_to(2);
  CommitId other = commits[2];
  ++other.intent;
  output_->commit(other, {{{"x", 1}}});
  expect_refused(refused(totals()), ErrorCode::kDataLoss,
                 {"sink totals", "batch 3", "of other input", "bring both to the same point"});
}

// A kill leaves a group that was never synced; here one that was is taken away.
TEST_F(StreamEdits, ALogThatLostItsEndGoesOnAfterTheSink) {
  {
    const auto killed = start(totals());
    killed->run(4, 4);
    killed->kill();
  }
  lose_log_from_third_intent();
  ::testing::internal::CaptureStderr();
  run(totals(), 2, 6);
  const std::string said = ::testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("the sink totals holds batches up to 4, the log ends with 2"),
            std::string::npos)
      << said;
  auto expected = running_totals(batches_, 4);
  expected.push_back(expected[2]);
  expected.push_back(expected[3]);
  EXPECT_EQ(sorted(output_->batches()), expected) << "the lost tail is written again";
}

TEST_F(StreamEdits, ASinkThatCanTakesBackWhatTheLogLost) {
  const auto setup = [this](StreamingContext& stream) {
    counts(stream)
        .update_state_by_key(fn<&add_up>)
        .write_to(MemorySink<Total>(output_, SinkMode::kTruncate), {.uid = "totals"});
  };
  {
    const auto killed = start(setup);
    killed->run(4, 4);
    killed->kill();
  }
  lose_log_from_third_intent();
  run(setup, 2, 4);
  EXPECT_EQ(sorted(output_->batches()), running_totals(batches_, 4));
}

}  // namespace
}  // namespace weir::test
