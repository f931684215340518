#include "weir/dstream/json_progress.h"

#include <nlohmann/json.hpp>

#include <cerrno>
#include <cstring>

#include "weir/core/error.h"
#include "weir/core/log.h"

namespace weir {
namespace {

using Json = nlohmann::ordered_json;

std::int64_t microseconds(Time time) { return time.time_since_epoch().count(); }

template <class T>
void put(Json& json, const char* name, const std::optional<T>& value) {
  if (value) json[name] = value->count();
}

Json json_of(const BatchInput& input) {
  Json json{{"name", input.name}};
  if (input.records) json["records"] = *input.records;
  if (input.limit) json["limit"] = *input.limit;
  return json;
}

Json json_of(const StateInfo& state) {
  return {{"uid", state.uid},
          {"keys", state.keys},
          {"bytes", state.bytes},
          {"restored_partitions", state.restored_partitions},
          {"restored_bytes", state.restored_bytes},
          {"lost_partitions", state.lost_partitions}};
}

template <class Items>
Json array_of(const Items& items) {
  Json array = Json::array();
  for (const auto& item : items) array.push_back(json_of(item));
  return array;
}

}  // namespace

std::string to_json(const BatchInfo& batch) {
  Json json{{"batch", batch.sequence},
            {"time_us", microseconds(batch.batch_time)},
            {"records", batch.num_records()}};
  put(json, "scheduling_delay_us", batch.scheduling_delay());
  put(json, "processing_us", batch.processing_time());
  put(json, "total_us", batch.total_delay());
  if (!batch.failure.empty()) json["failure"] = batch.failure;
  json["inputs"] = array_of(batch.inputs);
  json["states"] = array_of(batch.states);
  if (batch.log) {
    json["log"] = {{"append_us", batch.log->append_time.count()},
                   {"sync_us", batch.log->sync_time.count()},
                   {"bytes", batch.log->bytes}};
  }
  if (batch.checkpoint_time) json["checkpoint_time_us"] = microseconds(*batch.checkpoint_time);
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

JsonProgress::JsonProgress(const std::string& path)
    : path_(path), file_(std::fopen(path.c_str(), "ae")) {
  if (file_ != nullptr) return;
  throw Error(ErrorCode::kInvalidArgument,
              "the progress file " + path + " cannot be opened: " + std::strerror(errno));
}

void JsonProgress::on_batch_completed(const BatchInfo& batch) {
  const std::string line = to_json(batch) + "\n";
  const bool written = std::fwrite(line.data(), 1, line.size(), file_.get()) == line.size() &&
                       std::fflush(file_.get()) == 0;
  if (!written && !failed_) {
    failed_ = true;
    log_warning("the progress file " + path_ + " cannot be written: " + std::strerror(errno));
  }
}

}  // namespace weir
