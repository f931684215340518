// Datasets as directories of files and back, over every kind of master.

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "weir/core/split.h"

#include "rdd_pairs_fixture.h"

namespace weir::test {
namespace {

class SavedFiles : public RddPairsTest {
 protected:
  std::map<std::string, std::string> files() const {
    std::map<std::string, std::string> all;
    for (const auto& entry : std::filesystem::directory_iterator(directory())) {
      all[entry.path().filename()] = read_file(entry.path());
    }
    return all;
  }
  std::string directory() const { return folder_.file("out"); }
  std::string message_of_reading_names() {
    return error_of([&] { (void)context_.object_file<Name>(directory()).collect(); }).what();
  }

  const TempFolder folder_;
};
WEIR_TEST_OVER_MASTERS(SavedFiles);

TEST_P(SavedFiles, TextHasAFileForEachPartitionAndSaysThatAllAreThere) {
  names({{1, "a"}, {2, "b"}, {3, "c"}}).save_as_text_file(directory());
  EXPECT_EQ(files(),
            (std::map<std::string, std::string>{
                {"_SUCCESS", ""}, {"part-00000", "(1,a)\n"}, {"part-00001", "(2,b)\n(3,c)\n"}}));
  EXPECT_EQ(context_.text_file(directory()).collect(), (Words{"(1,a)", "(2,b)", "(3,c)"}));
}

TEST_P(SavedFiles, ViewsAreWrittenAsText) {
  context_.parallelize(Words{"a b", "c"}, 2)
      .flat_map([](const std::string& s) { return split(s, ' '); })
      .save_as_text_file(directory());
  EXPECT_EQ(context_.text_file(directory(), 1).collect(), (Words{"a", "b", "c"}));
}

TEST_P(SavedFiles, ADirectoryIsNotOverwrittenUnlessTold) {
  numbers({{1, 1}, {2, 2}, {3, 3}}).save_as_text_file(directory());
  const Error error = error_of([&] { names({{1, "a"}}).save_as_text_file(directory()); });
  EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
  EXPECT_NE(std::string(error.what()).find(directory() + " exists"), std::string::npos);
  EXPECT_EQ(files().size(), 4U);
  names({{7, "a"}}).save_as_text_file(directory(), {.replace = true});
  EXPECT_EQ(files(), (std::map<std::string, std::string>{
                         {"_SUCCESS", ""}, {"part-00000", ""}, {"part-00001", "(7,a)\n"}}));
}

TEST_P(SavedFiles, AFailedSaveLeavesNoSuccessAndNothingUnfinished) {
  const auto failing = names({{1, "a"}, {2, "b"}}).map([](const Name& name) {
    if (name.first == 2) throw std::runtime_error("no");
    return name;
  });
  EXPECT_EQ(error_of([&] { failing.save_as_text_file(directory()); }).code(),
            ErrorCode::kJobFailed);
  // A task that was cancelled takes its file along.
  EXPECT_TRUE(eventually([&] {
    return std::ranges::all_of(files(), [](const auto& f) { return f.first == "part-00000"; });
  }));
}

TEST_P(SavedFiles, ObjectsComeBackAsTheyWere) {
  Names many;
  for (int i = 0; i < 3000; ++i)
    many.emplace_back(i, std::string(static_cast<std::size_t>(i % 7), 'x'));
  names(many).save_as_object_file(directory());
  EXPECT_EQ(context_.object_file<Name>(directory()).collect(), many);
  EXPECT_EQ(context_.object_file<Name>(directory() + "/part-00001").count(), 1500);
}

TEST_P(SavedFiles, ObjectsOfAnotherTypeAreRefused) {
  numbers({{1, 1}}).save_as_object_file(directory());
  const std::string message = message_of_reading_names();
  EXPECT_NE(message.find("holds elements written as pair<int32,int32>, not as pair<int32,string>"),
            std::string::npos)
      << message;
}

TEST_P(SavedFiles, DamagedObjectFilesAreRefusedWithTheirName) {
  names({{1, "a"}, {2, "b"}}).save_as_object_file(directory());
  const std::string path = directory() + "/part-00001";
  const std::string whole = read_file(path);
  const auto expect_refused = [&](const std::string& bytes) {
    std::ofstream(path) << bytes;
    const std::string message = message_of_reading_names();
    EXPECT_NE(message.find(path), std::string::npos) << message;
  };
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const std::size_t header = whole.find("string>") + 7;
    if (size != header) expect_refused(whole.substr(0, size));  // a partition without elements
  }
  for (std::size_t at = 0; at < whole.size(); ++at) {
    std::string flipped = whole;
    flipped[at] = static_cast<char>(flipped[at] ^ 1);
    expect_refused(flipped);
  }
}

TEST_P(SavedFiles, ReadingWhatIsNotThereIsRefused) {
  EXPECT_EQ(error_of([&] { (void)context_.object_file<int>(folder_.file("none")); }).code(),
            ErrorCode::kInvalidArgument);
}

using Longs = std::vector<std::int64_t>;

TEST_P(SavedFiles, RangesAreCutEvenlyAndDoNotOverflow) {
  EXPECT_EQ(context_.range(0, 5).collect(), (Longs{0, 1, 2, 3, 4}));
  EXPECT_EQ(context_.range(0, 10, 3, 2).glom().collect(), (std::vector<Longs>{{0, 3}, {6, 9}}));
  EXPECT_EQ(context_.range(5, 0, -2, 3).collect(), (Longs{5, 3, 1}));
  EXPECT_TRUE(context_.range(5, 5).collect().empty());
  EXPECT_TRUE(context_.range(0, 5, -1).collect().empty());
  EXPECT_EQ(context_.range(0, 3000, 1, 2).count(), 3000);
  constexpr auto kLeast = std::numeric_limits<std::int64_t>::min();
  constexpr auto kMost = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ(context_.range(kLeast, kMost, kMost, 2).collect(), (Longs{kLeast, -1, kMost - 1}));
  EXPECT_EQ(error_of([&] { (void)context_.range(0, 1, 0); }).code(), ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace weir::test
