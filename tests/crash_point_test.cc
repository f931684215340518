#include "weir/core/crash_point.h"

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "weir/core/error.h"
#include "weir/core/state/changelog.h"

#include "process_tools.h"

namespace weir {
namespace {

int pass(int times) {
  int passed = 0;
  for (; passed < times; ++passed) WEIR_CRASH_POINT("test.passed");
  return passed;
}

ErrorCode code_of(void (*call)(const std::string&), const std::string& argument) {
  try {
    call(argument);
  } catch (const Error& error) {
    return error.code();
  }
  return ErrorCode::kInternal;
}

TEST(CrashPoint, AllAreKnownBeforeOneIsPassed) {
  const std::vector<std::string> names = crash_points();
  for (const std::string name :
       {"state.delta-torn", "store.replace-before-rename", "test.passed"}) {
    EXPECT_EQ(std::count(names.begin(), names.end(), name), 1) << name;
  }
  EXPECT_TRUE(std::is_sorted(names.begin(), names.end()));
}

TEST(CrashPoint, NotArmedItDoesNothing) { EXPECT_EQ(pass(1000), 1000); }

TEST(CrashPointDeathTest, KillsAtTheNamedPassing) {
  const auto passes = [](const std::string& armed, int times) {
    arm_crash_point(armed);
    pass(times);
    _exit(7);
  };
  EXPECT_EXIT(passes("test.passed", 1), ::testing::KilledBySignal(SIGKILL), "");
  EXPECT_EXIT(passes("test.passed:3", 2), ::testing::ExitedWithCode(7), "");
  EXPECT_EXIT(passes("test.passed:3", 3), ::testing::KilledBySignal(SIGKILL), "");
  EXPECT_EXIT(passes("state.delta-torn", 3), ::testing::ExitedWithCode(7), "");
  EXPECT_EXIT(passes("", 3), ::testing::ExitedWithCode(7), "");
}

TEST(CrashPointDeathTest, ATornWriteLeavesHalf) {
  const test::TempFolder folder;
  const auto append = [&] {
    arm_crash_point("state.delta-torn");
    internal::Changelog(internal::StateFiles::of_the_system())
        .append(folder.file(""), "0123456789");
  };
  EXPECT_EXIT(append(), ::testing::KilledBySignal(SIGKILL), "");
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder.file(""))) {
    files.push_back(test::read_file(entry.path()));
  }
  ASSERT_EQ(files.size(), 1U);
  EXPECT_TRUE(files[0].ends_with("01234")) << files[0];
}

TEST(CrashPointDeathTest, OfThoseThatShareAMarkOneDies) {
  const test::TempFolder folder;
  const std::string mark = folder.file("mark");
  const auto pass_with_mark = [&] {
    setenv("WEIR_CRASH_ONCE", mark.c_str(), 1);
    arm_crash_point("test.passed");
    pass(1);
    _exit(7);
  };
  EXPECT_EXIT(pass_with_mark(), ::testing::KilledBySignal(SIGKILL), "");
  EXPECT_GT(std::stoi(test::read_file(mark)), 0);
  EXPECT_EXIT(pass_with_mark(), ::testing::ExitedWithCode(7), "");
}

TEST(CrashPoint, AMisspeltNameIsRefused) {
  EXPECT_EQ(code_of(&arm_crash_point, "test.pased"), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of(&arm_crash_point, "test.passed:0"), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of(&arm_crash_point, "test.passed:x"), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of(&arm_crash_point, "test.passed:"), ErrorCode::kInvalidArgument);
  const auto open_with = [](const std::string& name) {
    setenv("WEIR_CRASH_AT", name.c_str(), 1);
    check_crash_environment();
  };
  EXPECT_EQ(code_of(open_with, "no.such"), ErrorCode::kInvalidArgument);
  unsetenv("WEIR_CRASH_AT");
  check_crash_environment();
}

}  // namespace
}  // namespace weir
