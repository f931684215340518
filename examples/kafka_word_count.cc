// Counts the words of lines in a Kafka topic, per batch, over a sliding window and since the
// beginning, and shows the most frequent ones:
//
//     kafka_word_count --brokers localhost:9092 --topic lines --weir.master=local-cluster[2,1]
//
// With --checkpoint DIR it goes on, when it is started again, where it ended or was killed, and
// counts every line once. With --out DIR each batch's counts are files of lines "word,count".
//
// Ends on Ctrl-C, or by itself after --seconds, with a summary of its batches.

#include <algorithm>
#include <array>
#include <cinttypes>
#include <cmath>
#include <cstdio>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

#include <weir/connectors/files.h>
#include <weir/connectors/kafka.h>
#include <weir/weir.h>

namespace {

using Counts = std::vector<std::pair<std::string, std::int64_t>>;

struct Arguments {
  std::string brokers = "localhost:9092";
  std::string topic = "lines";
  std::string interval = "100ms";
  std::string window = "10s";
  std::string slide = "1s";
  std::string from = "latest";
  std::string checkpoint;
  std::string out;
  std::int64_t seconds = 0;
  std::size_t top = 10;
};

/// Durations, counted in buckets that grow by a twentieth: percentiles are exact to 5 % and a
/// stream that runs for months needs no more memory than one of a minute.
class Durations {
 public:
  void add(weir::Duration duration) {
    const double buckets =
        std::log(std::max<double>(1, static_cast<double>(duration.count()))) / kStep;
    ++counts_[std::min(static_cast<std::size_t>(buckets), counts_.size() - 1)];
    ++total_;
  }

  std::uint64_t size() const { return total_; }

  /// In milliseconds; there must be some.
  double percentile(double share) const {
    auto left = static_cast<std::uint64_t>(share * static_cast<double>(total_ - 1));
    std::size_t bucket = 0;
    while (left >= counts_[bucket]) left -= counts_[bucket++];
    return std::exp((static_cast<double>(bucket) + 0.5) * kStep) / 1000;
  }

 private:
  static constexpr double kStep = 0.0488;  // log(1.05)

  std::array<std::uint64_t, 512> counts_{};  // from 1 us to a day
  std::uint64_t total_ = 0;
};

/// What all batches took, for the summary at the end.
class Summary final : public weir::StreamingListener {
 public:
  void on_batch_completed(const weir::BatchInfo& batch) override {
    if (!batch.failure.empty() || !batch.processing_time()) return;
    const std::scoped_lock lock(mutex_);
    records_ += batch.num_records();
    processing_.add(*batch.processing_time());
    delay_.add(*batch.scheduling_delay());
  }

  void print() {
    const std::scoped_lock lock(mutex_);
    std::printf("\nbatches            %" PRIu64 "\n", processing_.size());
    std::printf("records            %" PRIu64 "\n", records_);
    if (processing_.size() == 0) return;
    std::printf("processing time    p50 %.2f ms, p99 %.2f ms\n", processing_.percentile(0.50),
                processing_.percentile(0.99));
    std::printf("scheduling delay   p50 %.2f ms, p99 %.2f ms\n", delay_.percentile(0.50),
                delay_.percentile(0.99));
  }

 private:
  std::mutex mutex_;
  std::uint64_t records_ = 0;
  Durations processing_;
  Durations delay_;
};

/// The most frequent words, ties by name.
void show(const char* what, weir::Time time, Counts counts, std::size_t top) {
  std::int64_t words = 0;
  for (const auto& [word, count] : counts) words += count;
  const auto shown = std::min(top, counts.size());
  std::partial_sort(counts.begin(), counts.begin() + static_cast<std::ptrdiff_t>(shown),
                    counts.end(), [](const auto& a, const auto& b) {
                      return std::pair(-a.second, a.first) < std::pair(-b.second, b.first);
                    });
  std::printf("%s  %-11s %9" PRId64 " words  %7zu distinct ", weir::to_string(time).c_str(), what,
              words, counts.size());
  for (std::size_t i = 0; i < shown; ++i) {
    std::printf(" %s %" PRId64, counts[i].first.c_str(), counts[i].second);
  }
  std::printf("\n");
  std::fflush(stdout);
}

Arguments parse(int argc, char** argv) {
  Arguments arguments;
  CLI::App app("Counts words from Kafka. Weir's own settings: --weir.help");
  app.add_option("--brokers", arguments.brokers, "bootstrap servers")->capture_default_str();
  app.add_option("--topic", arguments.topic, "topic of text lines")->capture_default_str();
  app.add_option("--interval", arguments.interval, "batch interval")->capture_default_str();
  app.add_option("--window", arguments.window, "window length")->capture_default_str();
  app.add_option("--slide", arguments.slide, "time between windows")->capture_default_str();
  app.add_option("--from", arguments.from, "where to start: latest or earliest")
      ->check(CLI::IsMember({"latest", "earliest"}))
      ->capture_default_str();
  app.add_option("--checkpoint", arguments.checkpoint,
                 "directory that a restart goes on from; default: none, it starts afresh");
  app.add_option("--out", arguments.out, "directory for each batch's counts; default: none");
  app.add_option("--seconds", arguments.seconds, "end after this time; 0: run until stopped")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--top", arguments.top, "how many words to show")->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error) == 0 ? 0 : 2);
  }
  return arguments;
}

std::int64_t plus(std::int64_t a, std::int64_t b) { return a + b; }
std::int64_t minus(std::int64_t a, std::int64_t b) { return a - b; }

/// Builds the streams: called at every start, whether there is a checkpoint or not.
void set_up(const weir::StreamingContext& stream, const Arguments& arguments) {
  const weir::Duration slide = weir::parse_duration(arguments.slide, "--slide");
  const weir::Duration length = weir::parse_duration(arguments.window, "--window");
  weir::kafka::Options options{.brokers = arguments.brokers, .topics = {arguments.topic}};
  if (arguments.from == "earliest") options.starting = weir::kafka::StartingPosition::earliest();

  const auto counts =
      weir::kafka::direct_stream(stream, options)
          .flat_map(
              [](const weir::kafka::Record& record) { return weir::split(record.value, ' '); })
          .map([](std::string_view word) { return std::pair(word, std::int64_t{1}); })
          .reduce_by_key(weir::fn<&plus>);

  // Every batch is counted, one per slide is shown.
  const auto show_each_slide = [&](const char* what, const auto& stream_of_counts) {
    stream_of_counts.foreach_rdd([what, slide, top = arguments.top, shown = weir::Time{}](
                                     const auto& rdd, weir::Time time) mutable {
      if (time < shown + slide) return;
      shown = time;
      show(what, time, rdd.collect(), top);
    });
  };
  show_each_slide("batch", counts);
  show_each_slide(
      "since start", counts.update_state_by_key([](const std::vector<std::int64_t>& values,
                                                   std::optional<std::int64_t> total) {
        return std::optional(std::accumulate(values.begin(), values.end(), total.value_or(0)));
      }));
  counts
      .reduce_by_key_and_window(
          weir::fn<&plus>, weir::fn<&minus>,
          {.length = length,
           .slide = slide,
           .keep =
               [](const std::pair<std::string, std::int64_t>& count) { return count.second != 0; }})
      .foreach_rdd([&arguments](const auto& rdd, weir::Time time) {
        show(("last " + arguments.window).c_str(), time, rdd.collect(), arguments.top);
      });
  if (!arguments.out.empty()) {
    counts.write_to(
        weir::files::Sink({.directory = arguments.out, .format = weir::files::Format::kDelimited}),
        {.uid = "counts"});
  }
}

int count_words(int argc, char** argv) {
  weir::Context context(argc, argv);  // serves tasks from here on when launched as a worker
  const Arguments arguments = parse(argc, argv);
  const weir::Duration interval = weir::parse_duration(arguments.interval, "--interval");

  weir::StreamingContext stream(context, interval);
  if (!arguments.checkpoint.empty()) stream.checkpoint(arguments.checkpoint);
  set_up(stream, arguments);

  const auto summary = std::make_shared<Summary>();
  stream.add_listener(summary);
  stream.start();
  if (arguments.seconds > 0) {
    stream.await_termination_for(std::chrono::seconds(arguments.seconds));
    stream.stop();
  }
  stream.await_termination();
  summary->print();
  return 0;
}

}  // namespace

int main(int argc, char** argv) { return weir::run_main(count_words, argc, argv); }
