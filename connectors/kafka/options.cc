#include "weir/connectors/kafka/options.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <string_view>
#include <tuple>

#include "weir/connectors/kafka/client_internal.h"
#include "weir/core/error.h"

namespace weir::kafka {
namespace {

struct Refused {
  std::string_view name;
  std::string_view instead;
};

constexpr std::string_view kPositions = "positions are kept by the stream, not in a group";
constexpr std::string_view kExact = "exact ranges hang on it";
constexpr std::array kRefused = {
    Refused{"bootstrap.servers", "give .brokers"},
    Refused{"metadata.broker.list", "give .brokers"},
    Refused{"group.id", kPositions},
    Refused{"group.instance.id", kPositions},
    Refused{"group.protocol.type", kPositions},
    Refused{"partition.assignment.strategy", kPositions},
    Refused{"enable.auto.commit", kPositions},
    Refused{"auto.commit.enable", kPositions},
    Refused{"auto.commit.interval.ms", kPositions},
    Refused{"enable.auto.offset.store", kPositions},
    Refused{"offset.store.method", kPositions},
    Refused{"auto.offset.reset",
            "a new stream begins at .starting; records that are gone are an error"},
    Refused{"enable.partition.eof", kExact},
    Refused{"allow.auto.create.topics", "a missing topic is an error"},
    Refused{"queued.max.messages.kbytes", "give .prefetch_bytes"},
};

[[noreturn]] void refuse(const std::string& message) {
  throw Error(ErrorCode::kInvalidArgument, "kafka::Options: " + message);
}

void require_positive(Duration value, const char* name) {
  if (value <= Duration::zero()) {
    refuse(std::string(name) + " is " + to_string(value) + "; it must be above 0");
  }
}

void validate_topics(const Options& options) {
  if (options.topics.empty()) refuse("no topics; give .topics = {\"name\", ...}");
  std::set<std::string> seen;
  for (const std::string& topic : options.topics) {
    if (topic.empty()) refuse("a topic name is empty");
    if (topic.front() == '^') refuse("topic \"" + topic + "\": patterns are not supported");
    if (!seen.insert(topic).second) refuse("topic \"" + topic + "\" is given twice");
  }
}

void validate_starting(const Options& options) {
  std::set<std::pair<std::string, std::int32_t>> seen;
  for (const PartitionOffset& at : options.starting.offsets()) {
    const std::string name = at.topic + "[" + std::to_string(at.partition) + "]";
    if (std::find(options.topics.begin(), options.topics.end(), at.topic) == options.topics.end()) {
      refuse(".starting names " + name + ", whose topic is not in .topics");
    }
    if (at.partition < 0 || at.offset < 0) {
      refuse(".starting: " + name + " at offset " + std::to_string(at.offset) +
             ": partition and offset must be 0 or above");
    }
    if (!seen.emplace(at.topic, at.partition).second) refuse(".starting names " + name + " twice");
  }
}

}  // namespace

void validate(const Options& options) {
  if (options.brokers.empty()) refuse("no brokers; give .brokers = \"host:port,...\"");
  validate_topics(options);
  validate_starting(options);
  if (!std::isfinite(options.max_rate_per_partition) || options.max_rate_per_partition < 0) {
    refuse("max_rate_per_partition is " + std::to_string(options.max_rate_per_partition) +
           " records/s; it must be 0 (no limit) or above");
  }
  require_positive(options.connect_timeout, "connect_timeout");
  require_positive(options.latest_timeout, "latest_timeout");
  require_positive(options.read_timeout, "read_timeout");
  require_positive(options.metadata_refresh, "metadata_refresh");
  if (options.prefetch_bytes < 1024 || options.prefetch_bytes > (std::int64_t{1} << 30)) {
    refuse("prefetch_bytes is " + std::to_string(options.prefetch_bytes) +
           "; it must be between 1 KiB and 1 GiB");
  }
  for (const auto& [name, value] : options.properties) {
    for (const Refused& refused : kRefused) {
      if (name == refused.name) {
        refuse("property " + name + " cannot be set: " + std::string(refused.instead));
      }
    }
  }
  internal::make_conf(internal::client_properties(options));
}

}  // namespace weir::kafka
