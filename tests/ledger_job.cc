// The job of the ledger test and of scripts/soak: counts numbered lines from Kafka per key in every
// way in which Weir keeps something, so that what comes out can be compared with what was written.
//
//     ledger_job --brokers B --topic T --checkpoint DIR --out DIR [--weir.*]
//
// OUT/counts is a files sink of each batch's "key,count,time". OUT/totals, OUT/running and
// OUT/window are replaced with every batch: the batch's time, then "key count" of
// update_state_by_key, of map_with_state and of a window of 20 s. Times are microseconds.
//
// The numbers that a receiver stores (number_receiver.h, its folder is OUT/receiver, which exists)
// go to the files sink OUT/numbers as "key,number" and, counted per key, to OUT/received. Ends on
// SIGTERM.

#include <cinttypes>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

#include <weir/connectors/files.h>
#include <weir/connectors/kafka.h>
#include <weir/weir.h>

#include "number_receiver.h"

namespace {

using namespace std::chrono_literals;
using Count = std::pair<std::string, std::int64_t>;

/// Keeps a worker busy for some milliseconds per partition, so that batches take a good part of
/// their interval as those of real jobs do.
Count key_of(const weir::kafka::Record& record) {
  if (record.offset % 100 == 0) {
    const auto until = std::chrono::steady_clock::now() + 10ms;
    while (std::chrono::steady_clock::now() < until) {
    }
  }
  return {std::string(record.value.substr(0, record.value.find(' '))), 1};
}

std::int64_t plus(std::int64_t a, std::int64_t b) { return a + b; }
std::int64_t minus(std::int64_t a, std::int64_t b) { return a - b; }

std::optional<std::int64_t> add_up(const std::vector<std::int64_t>& values,
                                   std::optional<std::int64_t> total) {
  std::int64_t sum = total.value_or(0);
  for (const std::int64_t value : values) sum += value;
  return sum;
}

/// A number of the receiver's.
Count keyed(int number) { return {"number" + std::to_string(number % 100), number}; }

/// With the batch's time.
auto timed(const weir::Rdd<Count>& counts, weir::Time time) {
  const std::int64_t ticks = time.time_since_epoch().count();
  return counts.map(weir::bind(ticks, [](std::int64_t at, const Count& count) {
    return std::tuple(count.first, count.second, at);
  }));
}

/// Replaces the file, so that a reader sees one batch's content, whole.
auto replace_file(std::string path) {
  return [path = std::move(path)](const weir::Rdd<Count>& rdd, weir::Time time) {
    const auto content = rdd.collect();
    const std::string next = path + ".next";
    {
      std::ofstream out(next);
      out << time.time_since_epoch().count() << '\n';
      for (const auto& [key, count] : content) out << key << ' ' << count << '\n';
    }
    std::filesystem::rename(next, path);
  };
}

int run(int argc, char** argv) {
  weir::Context context(argc, argv);
  std::string brokers, topic, checkpoint, out;
  CLI::App app("The ledger test's job");
  app.add_option("--brokers", brokers)->required();
  app.add_option("--topic", topic)->required();
  app.add_option("--checkpoint", checkpoint)->required();
  app.add_option("--out", out)->required();
  CLI11_PARSE(app, argc, argv);

  weir::test::NumberReceiver receiver;
  receiver.folder = out + "/receiver";
  receiver.in_blocks = true;
  auto setup = [&](weir::StreamingContext& stream) {
    const auto numbers =
        stream.receiver_stream(receiver, {.log = true}).uid("numbers").map(weir::fn<&keyed>);
    numbers.write_to(weir::files::Sink({.directory = out + "/numbers",
                                        .format = weir::files::Format::kDelimited}),
                     {.uid = "numbers-sink"});
    numbers.map_values([](std::int64_t) { return std::int64_t{1}; })
        .update_state_by_key(weir::fn<&add_up>)
        .uid("received")
        .foreach_rdd(replace_file(out + "/received"));
    const auto counts =
        weir::kafka::direct_stream(stream, {.brokers = brokers,
                                            .topics = {topic},
                                            .starting = weir::kafka::StartingPosition::earliest()})
            .map(weir::fn<&key_of>)
            .reduce_by_key(weir::fn<&plus>);
    counts.transform(&timed).write_to(
        weir::files::Sink(
            {.directory = out + "/counts", .format = weir::files::Format::kDelimited}),
        {.uid = "counts"});
    counts.update_state_by_key(weir::fn<&add_up>).foreach_rdd(replace_file(out + "/totals"));
    counts
        .map_with_state(weir::StateSpec([](const std::string&, std::optional<std::int64_t> value,
                                           weir::State<std::int64_t>& state) {
          state.update(state.get_optional().value_or(0) + value.value_or(0));
          return state.get();
        }))
        .state_snapshots()
        .foreach_rdd(replace_file(out + "/running"));
    counts
        .reduce_by_key_and_window(weir::fn<&plus>, weir::fn<&minus>,
                                  {.length = 20s,
                                   .slide = 100ms,
                                   .keep = [](const Count& count) { return count.second != 0; }})
        .foreach_rdd(replace_file(out + "/window"));
  };
  auto stream = weir::StreamingContext::get_or_create(context, checkpoint, 100ms, setup,
                                                      {.checkpoint_interval = 3s});
  stream.start();
  stream.await_termination();
  return 0;
}

}  // namespace

int main(int argc, char** argv) { return weir::run_main(run, argc, argv); }
