#include "weir/core/runner_registry.h"

#include <charconv>
#include <map>
#include <utility>

#include "weir/core/error.h"
#include "weir/core/local_runner.h"

namespace weir::internal {
namespace {

struct Registry {
  std::map<std::string, RunnerFactory> runners;
  std::function<void()> worker_role;

  static Registry& instance() {
    static Registry registry;
    return registry;
  }
};

}  // namespace

bool register_runner(const std::string& name, RunnerFactory factory) {
  Registry::instance().runners[name] = std::move(factory);
  return true;
}

std::unique_ptr<TaskRunner> make_runner(const std::string& master, const Config& config) {
  register_local_runner();
  const auto& runners = Registry::instance().runners;
  const auto found = runners.find(master.substr(0, master.find('[')));
  if (found != runners.end()) return found->second(master, config);
  std::string known;
  for (const auto& [name, factory] : runners) known += (known.empty() ? "" : ", ") + name + "[...]";
  throw Error(ErrorCode::kInvalidArgument,
              "weir.master: '" + master + "' is not known; this program has " + known +
                  (runners.count("local-cluster") == 0
                       ? " (include <weir/weir.h> and link weir::weir for local-cluster[W,S])"
                       : ""));
}

bool register_worker_role(std::function<void()> serve) {
  Registry::instance().worker_role = std::move(serve);
  return true;
}

void serve_if_worker() {
  if (Registry::instance().worker_role) Registry::instance().worker_role();
}

std::vector<int> parse_master_numbers(const std::string& master, std::size_t count,
                                      const std::string& form) {
  std::vector<int> numbers;
  const std::size_t open = master.find('[');
  bool good = open != std::string::npos && master.back() == ']';
  const char* at = master.data() + open + 1;
  const char* end = master.data() + master.size() - 1;
  while (good && at <= end) {
    int number = 0;
    const auto [rest, error] = std::from_chars(at, end, number);
    good = error == std::errc{} && number > 0 && number <= 4096 && (rest == end || *rest == ',');
    numbers.push_back(number);
    at = rest + 1;
  }
  if (!good || numbers.size() != count) {
    throw Error(ErrorCode::kInvalidArgument,
                "weir.master: '" + master + "' should read " + form + ", each 1 to 4096");
  }
  return numbers;
}

}  // namespace weir::internal
