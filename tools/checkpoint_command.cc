#include "checkpoint_command.h"

#include <nlohmann/json.hpp>

#include <cstdio>
#include <filesystem>
#include <iostream>
#include <memory>

#include "weir/core/durable_store.h"
#include "weir/core/error.h"
#include "weir/dstream/checkpoint_summary.h"
#include "weir/dstream/log/batch_log.h"

namespace weir::tools {
namespace {

nlohmann::json to_json(const Batch& batch) {
  return {{"sequence", batch.sequence},
          {"time_us", static_cast<std::int64_t>(batch.time.time_since_epoch().count())}};
}

nlohmann::json to_json(const CheckpointSummary& summary) {
  nlohmann::json all = {{"application", summary.application},
                        {"epoch", summary.epoch},
                        {"checkpointed", to_json(summary.checkpointed)},
                        {"committed", summary.committed},
                        {"last", to_json(summary.last)},
                        {"log_bytes", summary.log_bytes},
                        {"states", nlohmann::json::array()},
                        {"receivers", nlohmann::json::array()},
                        {"notes", summary.notes},
                        {"problems", summary.problems}};
  for (const auto& state : summary.states) {
    all["states"].push_back({{"uid", state.uid},
                             {"partitions", state.partitions},
                             {"pieces", state.pieces},
                             {"bytes", state.bytes}});
  }
  for (const auto& log : summary.receivers) {
    all["receivers"].push_back({{"folder", log.folder},
                                {"files", log.files},
                                {"blocks", log.blocks},
                                {"records", log.records},
                                {"bytes", log.bytes}});
  }
  return all;
}

void print(const CheckpointSummary& summary) {
  const auto number = [](std::uint64_t value) { return static_cast<unsigned long long>(value); };
  std::printf("application   %s\n", summary.application.c_str());
  std::printf("drivers       %llu\n", number(summary.epoch));
  std::printf("checkpointed  batch %llu\n", number(summary.checkpointed.sequence));
  std::printf("committed     batch %llu\n", number(summary.committed));
  std::printf("begun         batch %llu of %s\n", number(summary.last.sequence),
              to_string(summary.last.time).c_str());
  std::printf("log           %llu bytes\n", number(summary.log_bytes));
  for (const auto& state : summary.states) {
    std::printf("state         %s: %u partitions, %llu pieces, %llu bytes\n", state.uid.c_str(),
                state.partitions, number(state.pieces), number(state.bytes));
  }
  for (const auto& log : summary.receivers) {
    std::printf("received      %s: %llu files, %llu blocks, %llu elements, %llu bytes\n",
                log.folder.c_str(), number(log.files), number(log.blocks), number(log.records),
                number(log.bytes));
  }
}

int report(const CheckpointSummary& summary, const std::string& output, bool all) {
  if (output == "json") {
    std::cout << to_json(summary).dump(2) << '\n';
  } else {
    if (all) print(summary);
    for (const std::string& note : summary.notes) std::printf("note: %s\n", note.c_str());
    for (const std::string& problem : summary.problems) std::printf("bad: %s\n", problem.c_str());
    if (!all) std::puts(summary.problems.empty() ? "good" : "not good");
  }
  return summary.problems.empty() ? 0 : exit_code(ErrorCode::kDataLoss);
}

}  // namespace

int list_checkpoint(const std::string& directory, const std::string& output) {
  return report(summarize_checkpoint(directory, false), output, true);
}

int show_checkpoint(const std::string& directory) {
  if (!std::filesystem::is_directory(directory)) {
    throw Error(ErrorCode::kUnreachable, directory + " is not a directory");
  }
  const std::unique_ptr<DurableStore> store = directory_store_at(directory);
  const bool good =
      print_log(*store, [](const std::string& line) { std::printf("%s\n", line.c_str()); });
  return good ? 0 : exit_code(ErrorCode::kDataLoss);
}

int verify_checkpoint(const std::string& directory, const std::string& output) {
  return report(summarize_checkpoint(directory, true), output, false);
}

}  // namespace weir::tools
