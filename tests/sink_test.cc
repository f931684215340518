// What every sink decides about a commit, and the sink that keeps batches in memory.

#include "weir/core/sink.h"

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "weir/core/error.h"
#include "weir/core/memory_sink.h"

namespace weir {
namespace {

using Words = std::vector<std::string>;

static_assert(Sink<MemorySink<std::string>, std::string>);
static_assert(Sink<MemorySink<std::string>, std::string_view>);
static_assert(RollbackSink<MemorySink<std::string>>);

CommitId commit_of(std::uint64_t sequence, std::uint64_t epoch = 1, std::uint64_t intent = 7) {
  return {"app", "words", sequence, epoch, intent};
}

/// The code of what the call threw; kInternal if it was nothing.
template <class F>
ErrorCode code_of(F f, const std::string& said = "") {
  try {
    f();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(said), std::string::npos) << error.what();
    return error.code();
  }
  return ErrorCode::kInternal;
}

TEST(SinkRules, TheFirstDriverOwnsASinkAndLaterEpochsTakeItOver) {
  const SinkOwner first = fenced(std::nullopt, commit_of(0, 3), "it");
  EXPECT_EQ(first, (SinkOwner{"app", "words", 3}));
  EXPECT_EQ(fenced(first, commit_of(0, 3), "it").epoch, 3u);
  EXPECT_EQ(fenced(first, commit_of(0, 8), "it").epoch, 8u);
}

TEST(SinkRules, ALowerEpochIsRefused) {
  const SinkOwner owner{"app", "words", 3};
  EXPECT_EQ(code_of([&] { fenced(owner, commit_of(0, 2), "it"); }, "epoch 3"),
            ErrorCode::kNotAllowed);
  EXPECT_EQ(code_of([&] { must_publish(commit_of(1, 2), owner, std::nullopt, "it"); }, "epoch 2"),
            ErrorCode::kNotAllowed);
}

TEST(SinkRules, OtherApplicationsAndOtherSinksAreRefused) {
  const SinkOwner owner{"app", "words", 3};
  EXPECT_EQ(code_of(
                [&] {
                  fenced(owner, {"other", "words", 0, 9, 0}, "the place");
                },
                "the place"),
            ErrorCode::kDataLoss);
  EXPECT_EQ(code_of(
                [&] {
                  fenced(owner, {"app", "letters", 0, 9, 0}, "it");
                },
                "letters"),
            ErrorCode::kDataLoss);
  EXPECT_EQ(code_of([&] {
              must_publish({"other", "words", 1, 3, 0}, owner, std::nullopt, "it");
            }),
            ErrorCode::kDataLoss);
}

TEST(SinkRules, ABatchIsPublishedOnceWhateverTheEpoch) {
  const SinkOwner owner{"app", "words", 4};
  EXPECT_TRUE(must_publish(commit_of(5, 4), owner, std::nullopt, "it"));
  EXPECT_FALSE(must_publish(commit_of(5, 4), owner, commit_of(5, 4), "it"));
  EXPECT_FALSE(must_publish(commit_of(5, 4), owner, commit_of(5, 2), "it"));
}

TEST(SinkRules, TheSameBatchOfOtherInputIsNeverSkipped) {
  const SinkOwner owner{"app", "words", 4};
  EXPECT_EQ(code_of([&] { must_publish(commit_of(5, 4, 0xab), owner, commit_of(5, 3, 7), "it"); },
                    "00000000000000ab"),
            ErrorCode::kDataLoss);
}

TEST(MemorySinks, KeepBatchesInOrderAndSkipEqualOnes) {
  const auto output = std::make_shared<MemoryOutput<std::string>>();
  MemorySink<std::string> sink(output);
  sink.open(commit_of(0));
  EXPECT_EQ(sink.last_committed(0), std::nullopt);
  sink.commit(commit_of(1), {{"a", "b"}, {"c"}});
  sink.commit(commit_of(2), {});
  sink.commit(commit_of(1), {{"twice"}});
  EXPECT_EQ(output->batches(), (std::vector<Words>{{"a", "b", "c"}, {}}));
  EXPECT_EQ(output->skipped(), 1u);
  EXPECT_EQ(sink.last_committed(0), commit_of(2));
}

TEST(MemorySinks, AreFencedAndOutliveTheirDrivers) {
  const auto output = std::make_shared<MemoryOutput<std::string>>();
  MemorySink<std::string> old(output);
  old.open(commit_of(0, 1));
  old.commit(commit_of(1, 1), {{"a"}});
  MemorySink<std::string> next(output);
  next.open(commit_of(0, 2));
  EXPECT_EQ(code_of([&] { old.commit(commit_of(2, 1), {{"late"}}); }), ErrorCode::kNotAllowed);
  EXPECT_EQ(code_of([&] { next.commit(commit_of(1, 2, 8), {{"b"}}); }), ErrorCode::kDataLoss);
  next.commit(commit_of(1, 2), {{"a"}});
  next.commit(commit_of(2, 2), {{"b"}});
  EXPECT_EQ(output->batches(), (std::vector<Words>{{"a"}, {"b"}}));
  EXPECT_EQ(output->commits()[0].epoch, 1u);
}

TEST(MemorySinks, TakeBatchesBack) {
  const auto output = std::make_shared<MemoryOutput<std::string>>();
  MemorySink<std::string> sink(output, SinkMode::kTruncate);
  sink.open(commit_of(0));
  for (std::uint64_t n = 1; n <= 3; ++n) sink.commit(commit_of(n), {{std::to_string(n)}});
  sink.rollback_to(1);
  EXPECT_EQ(output->batches(), (std::vector<Words>{{"1"}}));
}

TEST(MemorySinks, RefuseWhatTheyCannotDo) {
  const auto output = std::make_shared<MemoryOutput<int>>();
  EXPECT_EQ(code_of([&] { MemorySink<int>(output, SinkMode::kUpsert); }),
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of([&] { MemorySink<int>(nullptr); }), ErrorCode::kInvalidArgument);
  MemorySink<int> closed(output);
  EXPECT_EQ(code_of([&] { closed.commit(commit_of(1), {}); }), ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace weir
