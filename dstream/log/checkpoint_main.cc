// Shows and verifies what a stream keeps in its checkpoint directory. Changes nothing and takes no
// lock, so it may be used while the driver runs.

#include <filesystem>
#include <iostream>
#include <memory>
#include <string>

#include <CLI/CLI.hpp>

#include "weir/core/durable_store.h"
#include "weir/core/error.h"
#include "weir/dstream/log/batch_log.h"

namespace {

int run(int argc, char** argv) {
  CLI::App app("Shows and verifies the batch log in a checkpoint directory.");
  std::string directory;
  app.require_subcommand(1);
  CLI::App* const show = app.add_subcommand("show", "Print every group and record");
  CLI::App* const verify =
      app.add_subcommand("verify", "Exit with 0 if a driver could start from it, else with 1");
  for (CLI::App* const command : {show, verify}) {
    command->add_option("DIR", directory, "The checkpoint directory")->required();
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  // Opening a store would make a directory that is not there.
  if (!std::filesystem::is_directory(directory)) {
    throw weir::Error(weir::ErrorCode::kInvalidArgument, directory + " is not a directory");
  }
  const std::unique_ptr<weir::DurableStore> store = weir::open_directory_store(directory);
  const bool all = show->parsed();
  const bool good = weir::print_log(*store, [&](const std::string& line) {
    if (all || line.starts_with("note: ") || line.starts_with("bad: ")) std::cout << line << '\n';
  });
  if (!all) std::cout << (good ? "good" : "not good") << '\n';
  return good ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) { return weir::run_main(&run, argc, argv); }
