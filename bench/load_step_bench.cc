// A stream whose input comes three times as fast as it can be processed, for a while: how long
// batches wait, how fast the backlog goes, and what memory that takes. Run by
// `scripts/bench load_step`.
//
//     load_step_bench [--seconds 30] [--times 3] [--series series.csv] [--plot series.svg]

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

#include "weir/testing.h"

#include "open_loop_source.h"

namespace {

using namespace std::chrono_literals;
using weir::tools::OpenLoopSource;
using weir::tools::Schedule;

constexpr weir::Duration kInterval = 100ms;
constexpr double kBefore = 10;  // seconds at half of the capacity
constexpr double kAfter = 10;   // and when the backlog should be gone
constexpr auto kPerLine = 20us;

double seconds(weir::Duration duration) { return std::chrono::duration<double>(duration).count(); }

/// One batch, as the series has it.
struct Point {
  double at = 0;     ///< second, of the batch time
  double delay = 0;  ///< seconds, from the batch time to the start of processing
  double processing = 0;
  double records = 0;
  double limit = 0;    ///< records/s that the batch might take; 0: any number
  double backlog = 0;  ///< records that were there and in no batch yet
  double rss = 0;      ///< MiB, of the driver
};

double rss_mib() {
  std::ifstream file("/proc/self/statm");
  double total = 0;
  double resident = 0;
  file >> total >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE)) / (1 << 20);
}

class Series final : public weir::StreamingListener {
 public:
  explicit Series(Schedule schedule) : schedule_(std::move(schedule)) {}

  void on_batch_completed(const weir::BatchInfo& batch) override {
    if (!batch.processing_end_time || !batch.failure.empty()) return;
    const std::scoped_lock lock(mutex_);
    const auto taken = static_cast<double>(weir::decode<std::int64_t>(batch.inputs.at(0).end));
    points_.push_back({seconds(batch.batch_time - schedule_.start),
                       seconds(*batch.processing_start_time - batch.batch_time),
                       seconds(*batch.processing_time()), static_cast<double>(batch.num_records()),
                       batch.inputs.at(0).limit.value_or(0),
                       schedule_.records_at(batch.batch_time) - taken, rss_mib()});
  }
  std::vector<Point> points() const {
    const std::scoped_lock lock(mutex_);
    return points_;
  }

 private:
  const Schedule schedule_;
  mutable std::mutex mutex_;
  std::vector<Point> points_;  // guarded by mutex_
};

/// Runs lines that cost `kPerLine` each through a stream for so long.
std::vector<Point> run_stream(const Schedule& schedule, double for_seconds) {
  weir::Context context(
      weir::Config().set("master", "local-cluster[2,1]").set("log-level", "error"));
  weir::StreamingContext stream(context, kInterval);
  const auto series = std::make_shared<Series>(schedule);
  stream.add_listener(series);
  stream.source_stream(OpenLoopSource(schedule, 1000, 2))
      .map([](const std::string& line) {
        const auto until = std::chrono::steady_clock::now() + kPerLine;
        while (std::chrono::steady_clock::now() < until) continue;
        return static_cast<std::int64_t>(line.size());
      })
      .foreach_rdd([](const weir::Rdd<std::int64_t>& rdd) { (void)rdd.count(); });
  stream.start();
  stream.await_termination_for(
      std::chrono::duration_cast<weir::Duration>(std::chrono::duration<double>(for_seconds)));
  stream.stop({.graceful = false});
  return series->points();
}

/// Records per second of processing time, when there are always enough.
double capacity() {
  const Schedule enough{.start = weir::Clock::system().now(), .rates = {{0, 1e9}}};
  const auto points = run_stream(enough, 8);
  double records = 0;
  double busy = 0;
  for (const Point& point : points) {
    if (point.at < 2) continue;
    records += point.records;
    busy += point.processing;
  }
  return records / busy;
}

void write_series(const std::string& path, const std::vector<Point>& points) {
  std::ofstream out(path);
  out << "second,delay_s,processing_s,records,limit_per_s,backlog,rss_mib\n";
  for (const Point& p : points) {
    out << p.at << ',' << p.delay << ',' << p.processing << ',' << p.records << ',' << p.limit
        << ',' << p.backlog << ',' << p.rss << '\n';
  }
}

/// Three curves over the same seconds, each in a panel of its own scale.
void write_plot(const std::string& path, const std::vector<Point>& points) {
  struct Panel {
    const char* title;
    std::function<double(const Point&)> value;
  };
  const Panel panels[] = {
      {"delay, batch intervals", [](const Point& p) { return p.delay / seconds(kInterval); }},
      {"records per batch", [](const Point& p) { return p.records; }},
      {"backlog, records", [](const Point& p) { return p.backlog; }}};
  constexpr double kWidth = 900;
  constexpr double kHeight = 160;
  std::ofstream out(path);
  out << "<svg xmlns='http://www.w3.org/2000/svg' width='" << kWidth + 80 << "' height='"
      << 3 * (kHeight + 40) + 20 << "' font-family='sans-serif' font-size='12'>\n";
  const double end = points.back().at;
  double top = 20;
  for (const Panel& panel : panels) {
    double most = 1e-9;
    for (const Point& p : points) most = std::max(most, panel.value(p));
    out << "<text x='60' y='" << top - 4 << "'>" << panel.title << ", at most " << most
        << "</text>\n<rect x='60' y='" << top << "' width='" << kWidth << "' height='" << kHeight
        << "' fill='none' stroke='#bbb'/>\n<polyline fill='none' stroke='#06c' points='";
    for (const Point& p : points) {
      out << 60 + kWidth * p.at / end << ',' << top + kHeight * (1 - panel.value(p) / most) << ' ';
    }
    out << "'/>\n";
    top += kHeight + 40;
  }
  out << "<text x='60' y='" << top - 24 << "'>0 s</text><text x='" << kWidth + 20 << "' y='"
      << top - 24 << "'>" << end << " s</text>\n</svg>\n";
}

void report(const std::vector<Point>& points, double capacity, double step_end) {
  double most_delay = 0;
  double calm_since = step_end;  // the last time that a batch waited longer than an interval
  double drained_at = step_end;
  double most_rss = 0;
  double records = 0;
  for (const Point& p : points) {
    most_delay = std::max(most_delay, p.delay);
    most_rss = std::max(most_rss, p.rss);
    if (p.at > step_end && p.delay > seconds(kInterval)) calm_since = p.at;
    if (p.at > step_end && p.backlog > capacity * seconds(kInterval)) drained_at = p.at;
  }
  for (const Point& p : points) {
    if (p.at > kBefore + 1 && p.at <= drained_at) records += p.records;
  }
  const double rate = records / (drained_at - kBefore - 1);
  std::printf("capacity                      %.0f records/s\n", capacity);
  std::printf("longest delay                 %.1f intervals (at most 10)\n",
              most_delay / seconds(kInterval));
  std::printf("under one interval            %.1f s after the drop (at most 3)\n",
              calm_since - step_end);
  std::printf("rate until drained            %.1f %% of the capacity (at least 90)\n",
              100 * rate / capacity);
  std::printf("backlog drained               %.1f s after the drop\n", drained_at - step_end);
  std::printf("driver's memory               at most %.0f MiB\n", most_rss);
}

int run(int argc, char** argv) {
  weir::testing::init(&argc, argv);  // serves as a worker, when started as one
  double step = 30;
  double times = 3;
  std::string series = "load_step.csv";
  std::string plot = "load_step.svg";
  CLI::App app("Measures a stream under more load than it can bear");
  app.add_option("--seconds", step, "how long")->capture_default_str();
  app.add_option("--times", times, "how much more than the capacity")->capture_default_str();
  app.add_option("--series", series, "CSV, a line per batch")->capture_default_str();
  app.add_option("--plot", plot, "SVG")->capture_default_str();
  CLI11_PARSE(app, argc, argv);

  const double most = capacity();
  const Schedule schedule{.start = weir::Clock::system().now(),
                          .rates = {{0, most / 2}, {kBefore, times * most}, {kBefore + step, 0}}};
  // What came too much has to be processed, and a little more.
  const double drain = (times - 1) * step;
  const auto points = run_stream(schedule, kBefore + step + drain * 1.2 + kAfter);
  write_series(series, points);
  write_plot(plot, points);
  report(points, most, kBefore + step);
  std::printf("series and plot               %s %s\n", series.c_str(), plot.c_str());
  return 0;
}

}  // namespace

int main(int argc, char** argv) { return weir::run_main(run, argc, argv); }
