// The latency of an empty two-stage batch on local-cluster[2,1], against the raw ROUTER/DEALER
// round trip to two processes over ipc, both in one run and interleaved. Each repetition's time is
// the median (p50) of 2,000 of them.

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>
#include <zmq.hpp>

#include "weir/core/runner_registry.h"
#include "weir/weir.h"

namespace {

/// Two child processes that answer each message over ipc: what any driver of two workers costs at
/// least.
class EchoWorkers {
 public:
  explicit EchoWorkers(int count) : count_(count) {
    char directory[] = "/tmp/weir-bench-XXXXXX";
    if (mkdtemp(directory) == nullptr) throw std::runtime_error("mkdtemp failed");
    directory_ = directory;
    const std::string endpoint = "ipc://" + directory_ + "/echo";
    for (int i = 0; i < count_; ++i) children_.insert(start_child(endpoint, i));
    context_ = std::make_unique<zmq::context_t>(1);  // after the forks
    router_ = std::make_unique<zmq::socket_t>(*context_, zmq::socket_type::router);
    router_->set(zmq::sockopt::linger, 0);
    router_->bind(endpoint);
    for (int i = 0; i < count_; ++i) receive();  // hello
  }
  ~EchoWorkers() {
    for (const pid_t child : children_) kill(child, SIGKILL);
    for (const pid_t child : children_) waitpid(child, nullptr, 0);
    router_->close();
    context_->close();
    unlink((directory_ + "/echo").c_str());
    rmdir(directory_.c_str());
  }

  /// One message of a task's size to each process and back.
  void round_trip() {
    for (int i = 0; i < count_; ++i) {
      router_->send(zmq::buffer(std::to_string(i)), zmq::send_flags::sndmore);
      router_->send(zmq::buffer(std::string(200, 'x')), zmq::send_flags::none);
    }
    for (int i = 0; i < count_; ++i) receive();
  }

 private:
  static pid_t start_child(const std::string& endpoint, int id) {
    const pid_t child = fork();
    if (child != 0) return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    zmq::context_t context(1);
    zmq::socket_t dealer(context, zmq::socket_type::dealer);
    dealer.set(zmq::sockopt::routing_id, std::to_string(id));
    dealer.connect(endpoint);
    dealer.send(zmq::str_buffer("hello"), zmq::send_flags::none);
    while (true) {
      zmq::message_t message;
      if (dealer.recv(message)) dealer.send(message, zmq::send_flags::none);
    }
  }
  void receive() {
    zmq::message_t identity;
    zmq::message_t body;
    if (!router_->recv(identity) || !router_->recv(body)) throw std::runtime_error("recv failed");
  }

  const int count_;
  std::string directory_;
  std::set<pid_t> children_;
  std::unique_ptr<zmq::context_t> context_;
  std::unique_ptr<zmq::socket_t> router_;
};

EchoWorkers* echo_workers = nullptr;
weir::Context* cluster = nullptr;

/// The median time of many calls, in seconds.
template <class Call>
double median_time(const Call& call) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> times(2000);
  for (double& time : times) {
    const auto start = Clock::now();
    call();
    time = std::chrono::duration<double>(Clock::now() - start).count();
  }
  std::nth_element(times.begin(), times.begin() + 1000, times.end());
  return times[1000];
}

void cluster_latency_raw(benchmark::State& state) {
  for (auto _ : state) {
    state.SetIterationTime(median_time([] { echo_workers->round_trip(); }));
  }
}
BENCHMARK(cluster_latency_raw)->Unit(benchmark::kMicrosecond)->UseManualTime()->Iterations(1);

/// Which workers ran tasks.
class TaskCounts final : public weir::Listener {
 public:
  void on_task_ended(const weir::TaskEnded& task) override {
    ++(task.is_map ? maps_ : reduces_)[task.worker];
  }
  /// Both workers had about half of the tasks of both stages.
  bool both_worked() const { return is_even(maps_) && is_even(reduces_); }

 private:
  using Counts = std::map<weir::WorkerId, int>;
  static bool is_even(const Counts& counts) {
    return counts.size() == 2 && counts.begin()->second < 2 * counts.rbegin()->second &&
           counts.rbegin()->second < 2 * counts.begin()->second;
  }

  Counts maps_;
  Counts reduces_;
};

/// Two map tasks and two reduce tasks, one of each on each worker, one record each.
void cluster_latency_weir(benchmark::State& state) {
  const auto tasks = std::make_shared<TaskCounts>();
  cluster->add_listener(tasks);
  const auto input = cluster->parallelize(std::vector<std::pair<int, int>>{{1, 1}, {2, 2}}, 2);
  for (auto _ : state) {
    state.SetIterationTime(median_time([&] {
      const auto sums = input.reduce_by_key([](int a, int b) { return a + b; }, 2).collect();
      if (sums.size() != 2) state.SkipWithError("wrong result");
    }));
  }
  cluster->remove_listener(tasks);
  cluster->engine()->bus().flush();
  if (!tasks->both_worked()) state.SkipWithError("tasks did not run on both workers");
}
BENCHMARK(cluster_latency_weir)->Unit(benchmark::kMicrosecond)->UseManualTime()->Iterations(1);

int run(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  weir::Config config;
  config.set("master", "local-cluster[2,1]");
  // In a worker this serves and never returns; the raw peers are forked before the driver has
  // threads.
  weir::internal::serve_if_worker();
  EchoWorkers echo(2);
  echo_workers = &echo;
  weir::Context context(argc, argv, config);
  cluster = &context;
  benchmark::RunSpecifiedBenchmarks();
  cluster = nullptr;
  return 0;
}

}  // namespace

int main(int argc, char** argv) { return weir::run_main(run, argc, argv); }
