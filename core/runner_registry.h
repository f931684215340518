#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "weir/core/config.h"
#include "weir/core/task.h"

/// Where layers above core plug in: how a master string becomes a `TaskRunner`, and what a process
/// that was launched as a worker does instead of running the user's program.
namespace weir::internal {

using RunnerFactory =
    std::function<std::unique_ptr<TaskRunner>(const std::string& master, const Config& config)>;

/// Masters that read `name` or `name[...]` are made by `factory`. Returns true, for static objects.
bool register_runner(const std::string& name, RunnerFactory factory);
/// Throws Error(kInvalidArgument) that lists the known masters.
std::unique_ptr<TaskRunner> make_runner(const std::string& master, const Config& config);

/// `serve` returns only if this process is not a worker (it looks at the environment).
bool register_worker_role(std::function<void()> serve);
/// Called first by `Context` and `testing::init`.
void serve_if_worker();

/// "2,1" of "local-cluster[2,1]" as positive numbers; throws Error(kInvalidArgument) that shows
/// `form` unless there are exactly `count` of them.
std::vector<int> parse_master_numbers(const std::string& master, std::size_t count,
                                      const std::string& form);

}  // namespace weir::internal
