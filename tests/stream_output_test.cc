// Output operations that leave files.

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "recovery_kit.h"

namespace weir::test {
namespace {

class StreamFiles : public Recovery {
 protected:
  std::map<std::string, std::string> files(const std::string& directory) const {
    std::map<std::string, std::string> all;
    for (const auto& entry : std::filesystem::directory_iterator(folder_.file(directory))) {
      all[entry.path().filename()] = read_file(entry.path());
    }
    return all;
  }
};

TEST_F(StreamFiles, EachBatchIsADirectory) {
  auto driver = start([&](StreamingContext& stream) {
    const auto all = counts(stream);
    all.save_as_text_files(folder_.file("text"), "txt");
    all.save_as_object_files(folder_.file("objects"));
  });
  driver->run(4, 4);
  EXPECT_EQ(files("text-1000.txt"),
            (std::map<std::string, std::string>{
                {"_SUCCESS", ""}, {"part-00000", "(a,1)\n"}, {"part-00001", "(b,2)\n"}}));
  EXPECT_EQ(files("text-4000.txt").at("part-00001"), "") << "a batch without elements";
  EXPECT_EQ(driver->context().object_file<Count>(folder_.file("objects-2000")).collect(),
            (Counts{{"a", 10}, {"c", 1}}));
  driver->stop();
}

TEST_F(StreamFiles, ABatchThatRunsAgainReplacesItsDirectory) {
  std::atomic<bool> throws{true};
  const auto setup = [&](StreamingContext& stream) {
    const auto all = counts(stream);
    all.save_as_text_files(folder_.file("text"));
    all.foreach_rdd([&](const auto&) {
      if (throws) throw std::runtime_error("later");
    });
  };
  auto driver = start(setup);
  driver->tick();
  (void)refusal([&] { driver->await(1); });
  driver.reset();
  const auto first = files("text-1000");
  EXPECT_EQ(first.size(), 3U);
  throws = false;
  driver = start(setup);
  driver->await(1);
  driver->stop();
  EXPECT_EQ(files("text-1000"), first);
}

}  // namespace
}  // namespace weir::test
