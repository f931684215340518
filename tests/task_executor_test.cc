// Attempts run by hand: outcomes that do not depend on a runner.

#include "weir/core/task_executor.h"

#include <variant>
#include <vector>

#include <gtest/gtest.h>

#include "weir/core/context.h"
#include "weir/core/loader.h"

namespace weir::test {
namespace {

template <class T>
TaskSpec task_of(const Rdd<T>& rdd, std::uint32_t partition) {
  const internal::JobPlan plan = internal::plan_job(
      rdd.dataset(), internal::ResultOutput<T, internal::CollectAction<T>>({}), false, {partition});
  const internal::StagePlan& stage = plan.stages.back();
  TaskSpec task;
  task.program = stage.program;
  task.partition = partition;
  for (const auto& need : stage.needs[0]) task.inputs.push_back(need.input);
  return task;
}

TEST(TaskExecutor, ASignalThatUserCodeSwallowsStillEndsTheAttempt) {
  Context context(Config().set("master", "local[1]"));
  const auto some = context.parallelize({1, 2}, 1);
  const auto all = context.union_of({some, some}).map_partitions([](auto elements) {
    std::vector<int> seen;
    try {
      for (const int element : elements) seen.push_back(element);
    } catch (...) {  // the user means well
    }
    return seen;
  });
  TaskSpec task = task_of(all, 0);
  TaskExecutor executor({}, nullptr);
  TaskExecutor::Progress progress;
  EXPECT_TRUE(std::holds_alternative<Done>(executor.run(task, progress).value()));
  task.inputs.clear();
  task.inputs_withheld = true;
  EXPECT_TRUE(std::holds_alternative<NeedInputs>(executor.run(task, progress).value()));
  progress.cancelled = true;
  EXPECT_TRUE(std::holds_alternative<Cancelled>(executor.run(task_of(all, 0), progress).value()));
}

TEST(TaskExecutor, AStageIsRunByItsNameAsLongAsItIsLoaded) {
  Context context(Config().set("master", "local[1]"));
  TaskSpec task = task_of(context.parallelize({1, 2}, 1), 0);
  TaskSpec named = task;
  named.program = std::make_shared<const StageProgram>(StageProgram{task.program->hash, {}});
  TaskExecutor executor({}, nullptr);
  TaskExecutor::Progress progress;
  EXPECT_FALSE(executor.run(named, progress).has_value());
  EXPECT_TRUE(std::holds_alternative<Done>(executor.run(task, progress).value()));
  EXPECT_TRUE(std::holds_alternative<Done>(executor.run(named, progress).value()));
}

TEST(TaskExecutor, ManySmallStagesDoNotStayLoaded) {
  Context context(Config().set("master", "local[1]"));
  TaskExecutor executor({.self = {}, .stage_cache_bytes = 1u << 20}, nullptr);
  TaskExecutor::Progress progress;
  const auto numbers = context.parallelize({1, 2}, 1);
  const auto task_with = [&](int bound) {  // a stage of its own for each
    return task_of(numbers.map(bind(bound, [](int add, int x) { return x + add; })), 0);
  };
  const StageHash first = task_with(0).program->hash;
  for (int i = 0; i < 100; ++i) (void)executor.run(task_with(i), progress);
  EXPECT_FALSE(executor.knows_stage(first));
  EXPECT_TRUE(executor.knows_stage(task_with(99).program->hash));
}

TEST(Loaders, OnlyRegisteredCodeIsFound) {
  Context context(Config().set("master", "local[1]"));
  const CodeId known = context.parallelize({1}, 1).dataset()->code();
  EXPECT_NO_THROW((void)internal::find_loader(known));
  ASSERT_FALSE(loaded_modules().empty());
  EXPECT_THROW((void)internal::find_loader({known.module, known.offset + 1}), Error);
  EXPECT_THROW((void)internal::find_loader({known.module, 0x1000}), Error);
  EXPECT_THROW((void)internal::find_loader({known.module + 1, known.offset}), Error);
}

}  // namespace
}  // namespace weir::test
