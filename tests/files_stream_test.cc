// The files sink and source with real tasks, over every kind of master.

#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "weir/connectors/files.h"
#include "weir/core/sink_action.h"

#include "process_tools.h"
#include "stream_masters.h"

namespace weir::testing {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

using Words = std::vector<std::string>;

class FilesStream : public OverMasters {
 protected:
  static Config config() { return OverMasters::config().set("log-level", "error"); }
  static CommitId commit_of(std::uint64_t sequence) { return {"app", "words", sequence, 1, 7}; }

  std::size_t staged() const {
    const fs::directory_iterator all(folder_.file("out") + "/_weir/staging");
    return static_cast<std::size_t>(std::distance(begin(all), end(all)));
  }

  const test::TempFolder folder_;
};
WEIR_OVER_MASTERS(FilesStream);

TEST_P(FilesStream, FilesAreReadOnceHoweverManyBatchesWait) {
  fs::create_directory(folder_.file("in"));
  test::write_file(folder_.file("in/first"), "a\nb\n");
  Context context(config());
  StreamingContext stream(context, 5ms);
  std::mutex mutex;
  Words seen;
  int batches = 0;
  stream.text_file_stream(folder_.file("in"), FileStreamOptions{.existing_files = true})
      .foreach_rdd([&](const Rdd<std::string>& rdd) {
        const std::scoped_lock lock(mutex);
        for (const std::string& line : rdd.collect()) seen.push_back(line);
        // Several grid points pass meanwhile: batches without input are cut.
        if (++batches <= 3) (void)test::eventually([] { return false; }, 40ms);
      });
  stream.start();
  EXPECT_TRUE(test::eventually([&] {
    const std::scoped_lock lock(mutex);
    return batches >= 8;
  }));
  test::write_file(folder_.file("in/second"), "c\n");
  EXPECT_TRUE(test::eventually([&] {
    const std::scoped_lock lock(mutex);
    return seen.size() >= 3;
  }));
  stream.stop();
  EXPECT_EQ(seen, (Words{"a", "b", "c"}));
}

TEST_P(FilesStream, ATaskThatFailsOnceLeavesItsElementsOnce) {
  Context context(config());
  files::Sink sink({.directory = folder_.file("out"), .format = files::Format::kJsonLines});
  sink.open(commit_of(0));
  const auto counts = context.parallelize({1, 2, 3, 4, 5}, 3).map([](int n) {
    if (n == 5 && TaskContext::current().attempt() == 1) throw std::runtime_error("once");
    return std::pair(std::to_string(n), n * n);
  });
  const auto tokens = prepare(counts, sink, commit_of(1)).tokens;
  EXPECT_EQ(staged(), 3u);  // the failed attempt's file is gone
  sink.commit(commit_of(1), tokens);
  const std::string batch = folder_.file("out") + "/batch-000000000001/";
  EXPECT_EQ(test::read_file(batch + "part-00000.jsonl"), "[\"1\",1]\n");
  EXPECT_EQ(test::read_file(batch + "part-00001.jsonl"), "[\"2\",4]\n[\"3\",9]\n");
  EXPECT_EQ(test::read_file(batch + "part-00002.jsonl"), "[\"4\",16]\n[\"5\",25]\n");
  EXPECT_EQ(staged(), 0u);
}

TEST_P(FilesStream, AnElementThatTheFormatCannotHoldFailsTheBatchAndNothingIsVisible) {
  Context context(config().set("task-max-failures", "1"));
  files::Sink sink({.directory = folder_.file("out")});
  sink.open(commit_of(0));
  const auto rdd = context.parallelize(Words{"fine", "two\nlines"}, 2);
  try {
    prepare(rdd, sink, commit_of(1));
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kJobFailed);
    EXPECT_NE(std::string(error.what()).find("line end"), std::string::npos) << error.what();
  }
  EXPECT_FALSE(fs::exists(folder_.file("out") + "/batch-000000000001"));
}

TEST_P(FilesStream, LinesOfFilesThatComeAreAStream) {
  fs::create_directories(folder_.file("in"));
  const auto put = [&](const std::string& name, const std::string& content) {
    std::ofstream(folder_.file("written")) << content;
    fs::rename(folder_.file("written"), folder_.file("in") + "/" + name);
  };
  put("a", "to be\nor not\n");
  Context context(config());
  const auto clock = std::make_shared<ManualClock>();
  StreamingContext stream(context, 1s, {.clock = clock});
  Batches<std::string> seen;
  stream.text_file_stream(folder_.file("in"), {.existing_files = true, .piece_bytes = 8})
      .flat_map([](const std::string& line) { return split(line, ' '); })
      .foreach_rdd([&](const auto& rdd) { seen.push_back(rdd.collect()); });
  stream.start();
  clock->advance_to(Time(1s));
  stream.await_batch(1);
  clock->advance_to(Time(2s));
  stream.await_batch(2);
  put("b", "to be\n");
  put("c", "");
  clock->advance_to(Time(3s));
  stream.await_batch(3);
  stream.stop({.graceful = false});
  EXPECT_EQ(seen, (Batches<std::string>{{"to", "be", "or", "not"}, {}, {"to", "be"}}));
}

TEST_P(FilesStream, RecordsOfFilesAreAStream) {
  fs::create_directories(folder_.file("in"));
  std::ofstream(folder_.file("in/a"), std::ios::binary) << std::string("ab\0d\n\xff", 6);
  Context context(config());
  const auto clock = std::make_shared<ManualClock>();
  StreamingContext stream(context, 1s, {.clock = clock});
  Batches<std::string> seen;
  stream.binary_records_stream(folder_.file("in"), 2, {.existing_files = true})
      .foreach_rdd([&](const auto& rdd) { seen.push_back(rdd.collect()); });
  stream.start();
  clock->advance_to(Time(1s));
  stream.await_batch(1);
  stream.stop({.graceful = false});
  EXPECT_EQ(seen, (Batches<std::string>{{"ab", std::string("\0d", 2), "\n\xff"}}));
  EXPECT_THROW((void)StreamingContext(context, 1s).binary_records_stream("in", 0), Error);
}

}  // namespace
}  // namespace weir::testing
