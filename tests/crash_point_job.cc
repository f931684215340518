// The job of the crash points' test: counts the lines of a folder per key in every way in which
// Weir keeps something, one file per batch, and ends when it has all of them.
//
//     crash_point_job --in DIR --lines N --numbers N --checkpoint DIR --out DIR [--weir.*]
//     crash_point_job --list-crash-points
//
// OUT/counts is a files sink of each batch's counts. OUT/totals, OUT/running and OUT/window are
// replaced: "key count" lines of update_state_by_key, of map_with_state and of a window that is
// longer than the test. OUT/received grows: the numbers that a receiver was told are safe, each at
// least once (number_receiver.h). Exit code 3: the lines were not all counted in time.
//
// edited_job is the same program with a filter in front of all that is kept (crash_point_edit.cc).

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <numeric>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

#include <weir/connectors/files.h>
#include <weir/core/crash_point.h>
#include <weir/weir.h>

#include "number_receiver.h"

/// The edit, or none.
weir::DStream<std::pair<std::string, std::int64_t>> edited(
    const weir::DStream<std::pair<std::string, std::int64_t>>& counts);

namespace {

using namespace std::chrono_literals;
using Count = std::pair<std::string, std::int64_t>;
/// The state of one key is so large that a worker writes a snapshot every few batches.
using Padded = std::pair<std::int64_t, std::string>;
constexpr const char* kPaddedKey = "key0";
constexpr std::size_t kPadding = 384 * 1024;
constexpr auto kInterval = 20ms;
constexpr auto kPatience = 20s;

std::int64_t plus(std::int64_t a, std::int64_t b) { return a + b; }
std::int64_t minus(std::int64_t a, std::int64_t b) { return a - b; }

std::optional<std::int64_t> total(const std::vector<std::int64_t>& values,
                                  std::optional<std::int64_t> before) {
  return std::accumulate(values.begin(), values.end(), before.value_or(0));
}

std::int64_t running(const std::string& key, std::optional<std::int64_t> value,
                     weir::State<Padded>& state) {
  Padded next = state.get_optional().value_or(Padded{});
  next.first += value.value_or(0);
  if (key == kPaddedKey) next.second.resize(kPadding, '.');
  state.update(next);
  return next.first;
}

/// How far one way of counting has come. Kept by the functions of output operations, which run in
/// the driver.
struct Progress {
  std::atomic<std::int64_t> totals{0};
  std::atomic<std::int64_t> running{0};
  std::atomic<std::int64_t> window{0};
  std::atomic<std::size_t> received{0};  ///< different numbers

  bool reached(std::int64_t lines, std::size_t numbers) const {
    return totals >= lines && running >= lines && window >= lines && received >= numbers;
  }
};

/// Appends the numbers to a file, which earlier drivers may have begun.
auto append_numbers(const std::string& path, std::shared_ptr<Progress> progress) {
  std::set<int> known;
  std::ifstream in(path);
  for (int number = 0; in >> number;) known.insert(number);
  progress->received = known.size();
  return [path, progress = std::move(progress), known](const weir::Rdd<int>& rdd) mutable {
    std::string lines;
    for (const int number : rdd.collect()) {
      lines += std::to_string(number) + "\n";
      known.insert(number);
    }
    std::ofstream(path, std::ios::app) << lines;
    progress->received = known.size();
  };
}

/// Replaces the file, so that a reader sees one batch's content, whole.
auto replace_file(std::string path, std::shared_ptr<Progress> progress,
                  std::atomic<std::int64_t> Progress::*counted) {
  return [path = std::move(path), progress = std::move(progress),
          counted](const weir::Rdd<Count>& rdd) {
    std::int64_t sum = 0;
    const std::string next = path + ".next";
    {
      std::ofstream out(next);
      for (const auto& [key, count] : rdd.collect()) {
        out << key << ' ' << count << '\n';
        sum += count;
      }
    }
    std::filesystem::rename(next, path);
    (*progress).*counted = sum;
  };
}

int run(int argc, char** argv) {
  weir::Context context(argc, argv);
  std::string in, checkpoint, out;
  std::int64_t lines = 0;
  std::size_t numbers = 0;
  CLI::App app("The crash points' job");
  app.add_option("--in", in)->required();
  app.add_option("--lines", lines)->required();
  app.add_option("--numbers", numbers)->required();
  app.add_option("--checkpoint", checkpoint)->required();
  app.add_option("--out", out)->required();
  CLI11_PARSE(app, argc, argv);

  const auto progress = std::make_shared<Progress>();
  weir::test::NumberReceiver receiver;
  receiver.folder = out + "/receiver";
  receiver.in_blocks = true;
  std::filesystem::create_directory(receiver.folder);
  std::ofstream(receiver.folder + "/limit") << numbers;
  auto setup = [&](weir::StreamingContext& stream) {
    const auto counts = edited(
        weir::files::text_stream(stream, in, {.existing_files = true, .max_files_per_batch = 1})
            .map([](const std::string& line) { return Count(line.substr(0, line.find(' ')), 1); })
            .reduce_by_key(weir::fn<&plus>));
    counts.write_to(weir::files::Sink(
                        {.directory = out + "/counts", .format = weir::files::Format::kDelimited}),
                    {.uid = "counts"});
    counts.update_state_by_key(weir::fn<&total>)
        .foreach_rdd(replace_file(out + "/totals", progress, &Progress::totals));
    counts.map_with_state(weir::StateSpec(weir::fn<&running>))
        .state_snapshots()
        .map([](const std::pair<std::string, Padded>& each) {
          return Count(each.first, each.second.first);
        })
        .foreach_rdd(replace_file(out + "/running", progress, &Progress::running));
    counts
        .reduce_by_key_and_window(weir::fn<&plus>, weir::fn<&minus>,
                                  {.length = 1h, .slide = 2 * kInterval})
        .foreach_rdd(replace_file(out + "/window", progress, &Progress::window));
    stream.receiver_stream(receiver, {.log = true})
        .uid("numbers")
        .foreach_rdd(append_numbers(out + "/received", progress));
  };
  auto stream = weir::StreamingContext::get_or_create(context, checkpoint, kInterval, setup,
                                                      {.checkpoint_interval = 100ms});
  stream.start();
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!stream.await_termination_for(2ms)) {
    const bool late = std::chrono::steady_clock::now() > deadline;
    if (late || progress->reached(lines, numbers)) {
      stream.stop();
      if (!late) break;
      std::fprintf(stderr,
                   "%lld lines were not counted in time: %lld, %lld and %lld were; of %zu numbers "
                   "%zu came\n",
                   static_cast<long long>(lines), static_cast<long long>(progress->totals),
                   static_cast<long long>(progress->running),
                   static_cast<long long>(progress->window), numbers, progress->received.load());
      return 3;
    }
  }
  stream.await_termination();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::string(argv[1]) == "--list-crash-points") {
    for (const std::string& name : weir::crash_points()) std::puts(name.c_str());
    return 0;
  }
  return weir::run_main(run, argc, argv);
}
