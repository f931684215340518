#include "weir/core/log.h"

#include <memory>

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include "weir/core/error.h"

namespace weir {
namespace {

spdlog::logger& logger() {
  static const auto instance = [] {
    auto made = std::make_shared<spdlog::logger>(
        "weir", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
    made->set_pattern("%Y-%m-%d %H:%M:%S.%e %^%l%$ %v");
    made->set_level(spdlog::level::warn);
    made->flush_on(spdlog::level::debug);
    return made;
  }();
  return *instance;
}

}  // namespace

void log_debug(const std::string& message) { logger().debug(message); }
void log_info(const std::string& message) { logger().info(message); }
void log_warning(const std::string& message) { logger().warn(message); }
void log_error(const std::string& message) { logger().error(message); }

void set_log_level(const std::string& name) {
  if (name != "debug" && name != "info" && name != "warning" && name != "error" && name != "off") {
    throw Error(ErrorCode::kInvalidArgument,
                "weir.log-level: '" + name + "' is not debug, info, warning, error or off");
  }
  logger().set_level(spdlog::level::from_str(name));
}

void set_log_process(const std::string& name) {
  logger().set_pattern("%Y-%m-%d %H:%M:%S.%e %^%l%$ [" + name + "] %v");
}

}  // namespace weir
