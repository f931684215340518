#include "open_loop_source.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace weir::tools {
namespace {

using namespace std::chrono_literals;

TEST(Schedule, CountsWhatIsThere) {
  const Schedule schedule{.start = Time(100s), .rates = {{0, 10}, {2, 100}, {3, 0}}};
  EXPECT_EQ(schedule.records_at(Time(100s)), 0);
  EXPECT_EQ(schedule.records_at(Time(101s)), 10);
  EXPECT_EQ(schedule.records_at(Time(102s)), 20);
  EXPECT_EQ(schedule.records_at(Time(102s + 500ms)), 70);
  EXPECT_EQ(schedule.records_at(Time(110s)), 120);
  EXPECT_EQ(schedule.records_at(Time(90s)), 0);
}

TEST(Schedule, KnowsWhenARecordIsThere) {
  const Schedule schedule{.start = Time(100s), .rates = {{0, 10}, {2, 100}}};
  EXPECT_EQ(schedule.time_of(0), Time(100s));
  EXPECT_EQ(schedule.time_of(15), Time(101s + 500ms));
  EXPECT_EQ(schedule.time_of(70), Time(102s + 500ms));
  for (const double record : {1.0, 19.0, 21.0, 500.0}) {
    EXPECT_NEAR(schedule.records_at(schedule.time_of(record)), record, 0.01);
  }
}

TEST(OpenLoopSource, GivesTheSameLinesHoweverTheyAreCut) {
  const OpenLoopSource source(Schedule{}, 7, 3);
  std::vector<std::string> whole = source.read({10, 20});
  EXPECT_EQ(whole.size(), 10u);
  std::vector<std::string> parts;
  for (const auto& range : source.plan(10, 20)) {
    for (std::string& line : source.read(range)) parts.push_back(std::move(line));
  }
  EXPECT_EQ(parts, whole);
  EXPECT_EQ(std::count(whole[0].begin(), whole[0].end(), ' '), OpenLoopSource::kWordsPerLine - 1);
}

}  // namespace
}  // namespace weir::tools
