// The `weir` command.
//
//     weir bench interval [--workload word-count|stateful] [--rate N] [--master M] [-o table|json]
//     weir checkpoint ls|verify DIR [-o table|json], weir checkpoint show DIR
//     weir version

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "weir/core/error.h"
#include "weir/testing.h"

#include "checkpoint_command.h"
#include "interval_search.h"
#include "interval_trial.h"

namespace weir::tools {
namespace {

struct BenchOptions {
  TrialOptions trial;
  std::string output = "table";
  std::string one_interval = {};  ///< only this one is tried; empty: a search
};

void print_header() {
  std::printf("%10s %10s %8s %8s %10s | %9s %9s | %9s %9s %9s %9s\n", "interval", "sustained",
              "batches", "missed", "lines/s", "proc p50", "p99", "lat p50", "p95", "p99", "max ms");
}

void print_row(const TrialResult& result) {
  if (!result.failure.empty()) {
    std::printf("%10s %10s %s\n", to_string(result.interval).c_str(), "no", result.failure.c_str());
  } else {
    std::printf("%10s %10s %8llu %7.1f%% %10.0f | %9.2f %9.2f | %9.2f %9.2f %9.2f %9.2f\n",
                to_string(result.interval).c_str(), result.sustained ? "yes" : "no",
                static_cast<unsigned long long>(result.batches), 100 * result.missed,
                result.records_per_second, result.processing_p50, result.processing_p99,
                result.latency_p50, result.latency_p95, result.latency_p99, result.latency_max);
  }
  std::fflush(stdout);
}

nlohmann::json to_json(const TrialResult& result) {
  return {{"interval_ms", std::chrono::duration<double, std::milli>(result.interval).count()},
          {"sustained", result.sustained},
          {"batches", result.batches},
          {"missed_share", result.missed},
          {"records_per_second", result.records_per_second},
          {"processing_ms", {{"p50", result.processing_p50}, {"p99", result.processing_p99}}},
          {"latency_ms",
           {{"p50", result.latency_p50},
            {"p95", result.latency_p95},
            {"p99", result.latency_p99},
            {"max", result.latency_max}}},
          {"failure", result.failure}};
}

/// 0 when an interval was found.
int bench_interval(const BenchOptions& options) {
  const bool as_table = options.output == "table";
  IntervalSearch search(options.one_interval.empty()
                            ? IntervalSearch::default_ladder()
                            : std::vector{parse_duration(options.one_interval, "--interval")});
  std::vector<TrialResult> trials;
  if (as_table) print_header();
  while (const auto interval = search.next()) {
    trials.push_back(run_trial(options.trial, *interval));
    search.tried(trials.back().sustained);
    if (as_table) print_row(trials.back());
  }
  const std::optional<Duration> found = search.found();
  if (as_table) {
    std::printf("shortest sustainable interval at %.0f lines/s on %s: %s\n", options.trial.rate,
                options.trial.master.c_str(), found ? to_string(*found).c_str() : "none");
  } else {
    nlohmann::json all = {{"rate", options.trial.rate},
                          {"master", options.trial.master},
                          {"durability", options.trial.durability},
                          {"trials", nlohmann::json::array()}};
    if (found) {
      all["shortest_sustainable_interval_ms"] =
          std::chrono::duration<double, std::milli>(*found).count();
    }
    for (const TrialResult& trial : trials) all["trials"].push_back(to_json(trial));
    std::cout << all.dump(2) << '\n';
  }
  return found ? 0 : 1;
}

int run(int argc, char** argv) {
  testing::init(&argc, argv);  // serves as a worker, when started as one
  CLI::App app("Weir: distributed stream processing by micro-batches");
  app.require_subcommand(1);
  CLI::App* const version = app.add_subcommand("version", "Print the version");
  CLI::App* const bench = app.add_subcommand("bench", "Measure this machine");
  bench->require_subcommand(1);
  CLI::App* const interval =
      bench->add_subcommand("interval", "Find the shortest batch interval that can be sustained");
  BenchOptions options;
  const std::map<std::string, Workload> workloads{{"word-count", Workload::kWordCount},
                                                  {"stateful", Workload::kStateful}};
  interval->add_option("--workload", options.trial.workload, "word-count or stateful")
      ->transform(CLI::CheckedTransformer(workloads, CLI::ignore_case))
      ->default_str("word-count");
  interval->add_option("--rate", options.trial.rate, "lines of 5 words per second")
      ->check(CLI::Range(1.0, 1e9))
      ->capture_default_str();
  interval->add_option("--keys", options.trial.keys, "different words")
      ->check(CLI::Range(1, 1'000'000'000))
      ->capture_default_str();
  interval->add_option("--master", options.trial.master, "where tasks run")->capture_default_str();
  interval->add_option("--durability", options.trial.durability, "batch, interval or none")
      ->check(CLI::IsMember({"batch", "interval", "none"}))
      ->capture_default_str();
  interval->add_option("--interval", options.one_interval, "try only this one (\"10ms\")");
  CLI::App* const checkpoint =
      app.add_subcommand("checkpoint", "Look at a checkpoint directory, also while a driver runs");
  checkpoint->require_subcommand(1);
  CLI::App* const ls = checkpoint->add_subcommand("ls", "Print what it holds, at a glance");
  CLI::App* const show =
      checkpoint->add_subcommand("show", "Print every group and record of its log");
  CLI::App* const verify = checkpoint->add_subcommand(
      "verify", "Exit with 0 if a driver could start from it with all its state, else with 6");
  std::string directory;
  for (CLI::App* const command : {ls, show, verify}) {
    command->add_option("DIR", directory, "The checkpoint directory")->required();
  }
  for (CLI::App* const command : {interval, ls, verify}) {
    command->add_option("-o,--output", options.output, "table or json")
        ->check(CLI::IsMember({"table", "json"}))
        ->capture_default_str();
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (version->parsed()) {
    std::puts(WEIR_VERSION);
    return 0;
  }
  if (ls->parsed()) return list_checkpoint(directory, options.output);
  if (show->parsed()) return show_checkpoint(directory);
  if (verify->parsed()) return verify_checkpoint(directory, options.output);
  return bench_interval(options);
}

}  // namespace
}  // namespace weir::tools

int main(int argc, char** argv) { return weir::run_main(&weir::tools::run, argc, argv); }
