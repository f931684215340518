#include "weir/dstream/json_progress.h"

#include <string>

#include <gtest/gtest.h>

#include "weir/core/error.h"

#include "process_tools.h"

namespace weir {
namespace {

BatchInfo some_batch() {
  BatchInfo batch{.sequence = 3, .batch_time = Time(Duration(3000))};
  batch.inputs = {{"source-0", "", "", 40, 50'000.0}, {"queue-1", "", "", {}}};
  batch.submission_time = Time(Duration(3010));
  batch.processing_start_time = Time(Duration(3020));
  batch.processing_end_time = Time(Duration(3920));
  batch.states = {{.uid = "counts", .keys = 8, .bytes = 1024}};
  batch.log = LogInfo{Duration(20), Duration(300), 4096};
  batch.checkpoint_time = Time(Duration(2000));
  return batch;
}

TEST(JsonProgress, HasWhatIsKnown) {
  EXPECT_EQ(to_json(some_batch()),
            R"({"batch":3,"time_us":3000,"records":40,"scheduling_delay_us":10,)"
            R"("processing_us":900,"total_us":910,)"
            R"("inputs":[{"name":"source-0","records":40,"limit":50000.0},{"name":"queue-1"}],)"
            R"("states":[{"uid":"counts","keys":8,"bytes":1024,"restored_partitions":0,)"
            R"("restored_bytes":0,"lost_partitions":0}],)"
            R"("log":{"append_us":20,"sync_us":300,"bytes":4096},"checkpoint_time_us":2000})");
}

TEST(JsonProgress, IsOneLineOfUtf8WhateverFailed) {
  BatchInfo batch{.sequence = 1};
  batch.failure = "two\nlines \xff";
  EXPECT_EQ(to_json(batch), R"({"batch":1,"time_us":0,"records":0,"failure":"two\nlines )"
                            "\xef\xbf\xbd"
                            R"(","inputs":[],"states":[]})");
}

TEST(JsonProgress, AppendsToItsFile) {
  const test::TempFolder folder;
  const std::string path = folder.file("progress");
  for (int life = 0; life < 2; ++life) JsonProgress(path).on_batch_completed(some_batch());
  const std::string line = to_json(some_batch()) + "\n";
  EXPECT_EQ(test::read_file(path), line + line);
  EXPECT_THROW(JsonProgress(folder.file("none/progress")), Error);
}

}  // namespace
}  // namespace weir
