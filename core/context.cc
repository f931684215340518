#include "weir/core/context.h"

#include <utility>

#include "weir/core/error.h"
#include "weir/core/number_range.h"
#include "weir/core/runner_registry.h"
#include "weir/core/source_rdd.h"
#include "weir/core/text_file.h"

namespace weir {
namespace {

Config loaded(int& argc, char** argv, Config config) {
  internal::serve_if_worker();
  exit_on_uncaught_errors();
  config.load(argc, argv);
  return config;
}

Config as_is(Config config) {
  internal::serve_if_worker();
  return config;
}

}  // namespace

Context::Context(int& argc, char** argv, Config config)
    : engine_(std::make_shared<Engine>(loaded(argc, argv, std::move(config)))) {}

Context::Context(Config config) : engine_(std::make_shared<Engine>(as_is(std::move(config)))) {}

Context::~Context() { engine_->stop(); }

Rdd<std::string> Context::text_file(const std::string& path, std::uint32_t min_partitions) {
  const std::uint32_t wanted = min_partitions == 0 ? default_parallelism() : min_partitions;
  return read_partitions(engine_, fn<&internal::read_lines>, internal::plan_text_file(path, wanted),
                         "text_file");
}

Rdd<std::int64_t> Context::range(std::int64_t begin, std::int64_t end, std::int64_t step,
                                 std::uint32_t partitions) {
  return read_partitions(
      engine_, fn<&internal::read_range>,
      internal::plan_range(begin, end, step, partitions == 0 ? default_parallelism() : partitions),
      "range");
}

}  // namespace weir
