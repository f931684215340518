// The worker side of sinks: tasks write and prepare, over every kind of master.

#include "weir/core/sink_action.h"

#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "weir/core/memory_sink.h"
#include "weir/weir.h"

#include "masters.h"
#include "process_tools.h"

namespace weir::test {
namespace {

using Words = std::vector<std::string>;

CommitId commit_of(std::uint64_t sequence) { return {"app", "words", sequence, 1, 7}; }

class SinkAction : public ::testing::TestWithParam<const char*> {
 protected:
  SinkAction()
      : context_(Config().set("master", GetParam()).set("log-level", "error")),
        output_(std::make_shared<MemoryOutput<std::string>>()),
        sink_(output_) {
    sink_.open(commit_of(0));
  }

  Context context_;
  const std::shared_ptr<MemoryOutput<std::string>> output_;
  MemorySink<std::string> sink_;
};
WEIR_TEST_OVER_MASTERS(SinkAction);

TEST_P(SinkAction, TokensComeInPartitionOrder) {
  const auto rdd = context_.parallelize(Words{"a", "b", "c", "d", "e"}, 3);
  const auto tokens = prepare(rdd, sink_, commit_of(1)).tokens;
  EXPECT_EQ(tokens, (std::vector<Words>{{"a"}, {"b", "c"}, {"d", "e"}}));
  EXPECT_TRUE(output_->batches().empty());
  sink_.commit(commit_of(1), tokens);
  EXPECT_EQ(output_->batches(), (std::vector<Words>{{"a", "b", "c", "d", "e"}}));
}

TEST_P(SinkAction, ElementsMayBeViews) {
  const auto views = context_.parallelize(Words{"a b", "c"}, 2).flat_map([](const std::string& s) {
    return split(s, ' ');
  });
  EXPECT_EQ(prepare(views, sink_, commit_of(1)).tokens, (std::vector<Words>{{"a", "b"}, {"c"}}));
}

TEST_P(SinkAction, ATaskThatFailsOnceIsPreparedOnce) {
  const auto rdd = context_.parallelize(Words{"a", "b", "c", "d"}, 2).map([](const std::string& s) {
    if (s == "d" && TaskContext::current().attempt() == 1) throw std::runtime_error("once");
    return s;
  });
  sink_.commit(commit_of(1), prepare(rdd, sink_, commit_of(1)).tokens);
  EXPECT_EQ(output_->batches(), (std::vector<Words>{{"a", "b", "c", "d"}}));
}

/// Tells what tasks were given.
struct Telling {
  struct Writer {
    std::string told;
    void write(std::span<const int>) {}
    std::string prepare() { return told; }
  };
  static constexpr CommitPoint commit_point() { return CommitPoint::kTask; }
  static constexpr SinkGuarantee guarantee() { return SinkGuarantee::kAtLeastOnce; }
  SinkMode mode() const { return SinkMode::kAppend; }
  void open(const CommitId&) {}
  std::optional<CommitId> last_committed(std::uint32_t) { return std::nullopt; }
  void commit(const CommitId&, const std::vector<std::string>&) {}
  void abort(const std::vector<std::string>&) {}
  Writer begin(const CommitId& commit, std::uint32_t partition, AttemptId attempt) const {
    return {std::to_string(commit.sequence) + " " + std::to_string(partition) + " " +
            (attempt != 0 ? "attempt" : "none")};
  }
};
static_assert(Sink<Telling, int>);
static_assert(!RollbackSink<Telling>);

TEST_P(SinkAction, TasksKnowTheirBatchPartitionAndAttempt) {
  const auto rdd = context_.parallelize({1, 2}, 2);
  EXPECT_EQ(prepare(rdd, Telling{}, commit_of(1)).tokens, (Words{"1 0 attempt", "1 1 attempt"}));
  EXPECT_EQ(prepare(rdd, Telling{}, commit_of(2)).tokens, (Words{"2 0 attempt", "2 1 attempt"}));
}

}  // namespace
}  // namespace weir::test
