#include "weir/core/config.h"

#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "weir/core/error.h"

namespace weir {
namespace {

using namespace std::chrono_literals;
using Strings = std::vector<std::string>;

const ConfigKey<std::string> kText("test.text", "default text", "a text");
const ConfigKey<bool> kFlag("test.flag", false, "a flag");
const ConfigKey<std::int64_t> kCount("test.count", 3, "a count");
const ConfigKey<double> kRatio("test.ratio", 0.5, "a ratio");
const ConfigKey<Duration> kDelay("test.some-delay", 250ms, "a delay");

/// Sets environment variables and files for one test.
class ConfigLoading : public ::testing::Test {
 protected:
  ~ConfigLoading() override {
    for (const std::string& name : variables_) unsetenv(name.c_str());
    if (!path_.empty()) std::filesystem::remove(path_);
  }

  void environment(const std::string& name, const std::string& value) {
    setenv(name.c_str(), value.c_str(), 1);
    variables_.push_back(name);
  }
  /// A configuration file; returns its path.
  std::string file(const std::string& content) {
    std::string pattern = (std::filesystem::temp_directory_path() / "weir-conf-XXXXXX").string();
    const int handle = mkstemp(pattern.data());
    if (handle < 0) throw std::runtime_error("mkstemp failed");
    close(handle);
    std::ofstream(pattern) << content;
    path_ = pattern;
    return path_;
  }

  /// Loads into `config` as if the program had been started so; returns the arguments that are
  /// left.
  static Strings load(Config& config, Strings arguments) {
    arguments.insert(arguments.begin(), "program");
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    int argc = static_cast<int>(argv.size()) - 1;
    config.load(argc, argv.data());
    EXPECT_EQ(argv[static_cast<std::size_t>(argc)], nullptr);
    return Strings(argv.begin() + 1, argv.begin() + argc);
  }

  static std::string refusal(Strings arguments) {
    Config config;
    try {
      load(config, std::move(arguments));
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      return error.what();
    }
    ADD_FAILURE() << "nothing was thrown";
    return "";
  }

 private:
  Strings variables_;
  std::string path_;
};

#define EXPECT_CONTAINS(text, part)                          \
  EXPECT_NE(std::string(text).find(part), std::string::npos) \
      << "in: " << (text) << "\nwanted: " << (part)

TEST_F(ConfigLoading, DefaultsHoldWhereNothingIsSet) {
  Config config;
  EXPECT_EQ(load(config, {}), Strings{});
  EXPECT_EQ(config.get(kText), "default text");
  EXPECT_EQ(config.get(kFlag), false);
  EXPECT_EQ(config.get(kCount), 3);
  EXPECT_EQ(config.get(kRatio), 0.5);
  EXPECT_EQ(config.get(kDelay), 250ms);
}

TEST_F(ConfigLoading, ValuesOutOfRangeAreRefusedWithTheRange) {
  Config config;
  load(config, {"--weir.test.count=7", "--weir.test.some-delay=2s"});
  EXPECT_EQ(config.get(kCount, 7, 9), 7);
  try {
    (void)config.get(kCount, 8, 9);
    FAIL() << "7 was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_STREQ(error.what(), "weir.test.count is 7; it must be 8 to 9");
  }
  EXPECT_THROW((void)config.get(kDelay, 1ms, 1s), Error);
}

TEST_F(ConfigLoading, EveryTypeIsReadFromTheCommandLine) {
  Config config;
  load(config, {"--weir.test.text=a=b c", "--weir.test.flag=true", "--weir.test.count=-12",
                "--weir.test.ratio=1e-3", "--weir.test.some-delay=5min"});
  EXPECT_EQ(config.get(kText), "a=b c");
  EXPECT_EQ(config.get(kFlag), true);
  EXPECT_EQ(config.get(kCount), -12);
  EXPECT_EQ(config.get(kRatio), 0.001);
  EXPECT_EQ(config.get(kDelay), 5min);
}

TEST_F(ConfigLoading, CommandLineBeatsEnvironmentBeatsFileBeatsCode) {
  Config config;
  config.set("test.text", "code");
  EXPECT_EQ(config.get(kText), "code");

  const std::string conf = "--weir.conf=" + file("[test]\ntext = \"file\"\n");
  load(config, {conf});
  EXPECT_EQ(config.get(kText), "file");

  environment("WEIR_TEST_TEXT", "environment");
  load(config, {conf});
  EXPECT_EQ(config.get(kText), "environment");

  load(config, {"--weir.test.text=command line", conf});
  EXPECT_EQ(config.get(kText), "command line");
}

TEST_F(ConfigLoading, TheLastOfEqualArgumentsWins) {
  Config config;
  load(config, {"--weir.test.count=1", "--weir.test.count=2"});
  EXPECT_EQ(config.get(kCount), 2);
}

TEST_F(ConfigLoading, FilesHoldEveryType) {
  Config config;
  load(config, {"--weir.conf=" + file("[test]\n"
                                      "text = 'text'\n"
                                      "flag = true\n"
                                      "count = 7\n"
                                      "ratio = 0.25\n"
                                      "some-delay = \"10ms\"\n")});
  EXPECT_EQ(config.get(kText), "text");
  EXPECT_EQ(config.get(kFlag), true);
  EXPECT_EQ(config.get(kCount), 7);
  EXPECT_EQ(config.get(kRatio), 0.25);
  EXPECT_EQ(config.get(kDelay), 10ms);
}

TEST_F(ConfigLoading, TheFileMayBeNamedByTheEnvironment) {
  environment("WEIR_CONF", file("[test]\ncount = 9\n"));
  Config config;
  load(config, {});
  EXPECT_EQ(config.get(kCount), 9);
}

TEST_F(ConfigLoading, EnvironmentNamesHaveUnderscores) {
  environment("WEIR_TEST_SOME_DELAY", "2s");
  Config config;
  load(config, {});
  EXPECT_EQ(config.get(kDelay), 2s);
}

TEST_F(ConfigLoading, WhatIsNotOursIsLeftInArgv) {
  Config config;
  EXPECT_EQ(load(config, {"--name", "x", "--weir.test.count=1", "--weirdly", "-w", "--",
                          "--weir.test.flag=true", "last"}),
            (Strings{"--name", "x", "--weirdly", "-w", "--", "last"}));
}

TEST_F(ConfigLoading, UnknownSettingsAreRefusedWithTheirPlace) {
  EXPECT_CONTAINS(refusal({"--weir.test.cuont=1"}), "weir.test.cuont");
  EXPECT_CONTAINS(refusal({"--weir.test.cuont=1"}), "--weir.help");
  const std::string path = file("[test]\ncount = 1\ncuont = 2\n");
  EXPECT_CONTAINS(refusal({"--weir.conf=" + path}), path + ":3");
  EXPECT_CONTAINS(refusal({"--weir.conf=" + path}), "weir.test.cuont");
  EXPECT_THROW(Config().set("test.cuont", "1"), Error);
}

TEST_F(ConfigLoading, AFlagsNameAloneMeansTrue) {
  Config config;
  load(config, {"--weir.test.flag"});
  EXPECT_TRUE(config.get(kFlag));
}

TEST_F(ConfigLoading, MalformedValuesAreRefusedWithNameAndValue) {
  for (const char* argument :
       {"--weir.test.count=1x", "--weir.test.count=", "--weir.test.count=99999999999999999999",
        "--weir.test.flag=yes", "--weir.test.ratio=half", "--weir.test.some-delay=10",
        "--weir.test.some-delay=10 ms", "--weir.test.some-delay=9999999999999999h"}) {
    const std::string message = refusal({argument});
    const std::string text(argument);
    EXPECT_CONTAINS(message, text.substr(0, text.find('=')));
    EXPECT_CONTAINS(message, "'" + text.substr(text.find('=') + 1) + "'");
  }
  EXPECT_CONTAINS(refusal({"--weir.test.count"}), "--weir.test.count=value");
  EXPECT_THROW(Config().set("test.count", "many"), Error);
}

TEST_F(ConfigLoading, MalformedEnvironmentIsRefusedByItsName) {
  environment("WEIR_TEST_COUNT", "many");
  EXPECT_CONTAINS(refusal({}), "WEIR_TEST_COUNT");
}

TEST_F(ConfigLoading, MalformedFilesAreRefusedWithFileAndLine) {
  const std::string bad_value = file("\n[test]\ncount = \"many\"\n");
  EXPECT_CONTAINS(refusal({"--weir.conf=" + bad_value}), bad_value + ":3");
  EXPECT_CONTAINS(refusal({"--weir.conf=" + bad_value}), "many");
  std::filesystem::remove(bad_value);
  const std::string bad_syntax = file("[test]\ncount = 1\nratio = = 2\n");
  EXPECT_CONTAINS(refusal({"--weir.conf=" + bad_syntax}), bad_syntax + ":3");
  std::filesystem::remove(bad_syntax);
  const std::string bad_type = file("[test]\ncount = [1, 2]\n");
  EXPECT_CONTAINS(refusal({"--weir.conf=" + bad_type}), bad_type + ":2");
}

TEST_F(ConfigLoading, AMissingFileIsNamed) {
  EXPECT_CONTAINS(refusal({"--weir.conf=/no/such/file.toml"}), "/no/such/file.toml");
}

TEST_F(ConfigLoading, HelpEndsTheProgramWell) {
  Config config;
  EXPECT_EXIT(load(config, {"--weir.help"}), ::testing::ExitedWithCode(0), "");
}

TEST(Durations, AreReadAndWrittenInTheShortestForm) {
  EXPECT_EQ(parse_duration("250us", "x"), 250us);
  EXPECT_EQ(parse_duration("10ms", "x"), 10ms);
  EXPECT_EQ(parse_duration("2s", "x"), 2s);
  EXPECT_EQ(parse_duration("5min", "x"), 5min);
  EXPECT_EQ(parse_duration("1h", "x"), 1h);
  EXPECT_EQ(parse_duration("-3ms", "x"), -3ms);
  EXPECT_EQ(parse_duration("0s", "x"), 0s);
  EXPECT_EQ(to_string(Duration(1500ms)), "1500ms");
  EXPECT_EQ(to_string(Duration(2s)), "2s");
  EXPECT_EQ(to_string(Duration(250us)), "250us");
  EXPECT_EQ(to_string(Time(1700000000250ms)), "1700000000.250s");
  for (const char* bad : {"", "ms", "1", "1.5s", "1 s", "1day"}) {
    EXPECT_THROW((void)parse_duration(bad, "x"), Error) << bad;
  }
}

}  // namespace
}  // namespace weir
