// A Kafka for tests and first steps: librdkafka's mock cluster in a process of its own, on the
// loopback, until SIGTERM, or SIGINT unless that was ignored when it started.

#include <sys/prctl.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include "weir/connectors/kafka/client_internal.h"
#include "weir/core/error.h"

namespace {

using weir::Error;
using weir::ErrorCode;

constexpr const char* kCannot =
    "weir-embedded-kafka keeps records in memory and is for tests and first steps only. It has no\n"
    "transactions (aborted records are seen, nobody is fenced), no retention by time, no "
    "compaction,\n"
    "no admin requests, no authentication or TLS; it holds the newest 5 MiB of a partition, "
    "creates\n"
    "any topic it is asked for with 4 partitions, and forgets everything when it ends.\n";

struct Topic {
  std::string name;
  int partitions = 0;
};

Topic parse_topic(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  Topic topic{text.substr(0, colon), 0};
  if (colon != std::string::npos) {
    const char* const end = text.data() + text.size();
    const auto [last, error] = std::from_chars(text.data() + colon + 1, end, topic.partitions);
    if (error != std::errc() || last != end) topic.partitions = 0;
  }
  if (topic.name.empty() || topic.partitions < 1) {
    throw Error(ErrorCode::kInvalidArgument,
                "--topic " + text + ": give name:partitions, for example lines:4");
  }
  return topic;
}

// Whole or not at all: whoever waits for the file never reads half of it.
void write_atomically(const std::string& path, const std::string& text) {
  const std::string unfinished = path + ".tmp";
  {
    std::ofstream file(unfinished);
    file << text << '\n';
    file.flush();
    if (!file) throw Error(ErrorCode::kUnreachable, "cannot write " + unfinished);
  }
  std::filesystem::rename(unfinished, path);
}

int run(int argc, char** argv) {
  int brokers = 1;
  std::vector<std::string> topics;
  std::string port_file;
  bool die_with_parent = false;
  CLI::App app("An in-memory Kafka on 127.0.0.1 for tests and first steps. Prints its address.");
  app.add_option("--brokers", brokers, "Number of brokers")->check(CLI::Range(1, 16));
  app.add_option("--topic", topics, "name:partitions, to be created at start; repeatable");
  app.add_option("--port-file", port_file, "Write the address there when ready, not to stdout");
  app.add_flag("--die-with-parent", die_with_parent, "End when the starting process ends");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }

  if (die_with_parent) {
    const pid_t parent = getppid();
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) return 0;  // it ended meanwhile
  }
  sigset_t ending;
  sigemptyset(&ending);
  sigaddset(&ending, SIGTERM);
  // Shells start background jobs with SIGINT ignored, so that Ctrl-C ends only what is in front.
  struct sigaction interrupt {};
  sigaction(SIGINT, nullptr, &interrupt);
  if (interrupt.sa_handler != SIG_IGN) sigaddset(&ending, SIGINT);
  sigprocmask(SIG_BLOCK, &ending, nullptr);  // before any thread exists

  std::vector<Topic> wanted;
  wanted.reserve(topics.size());
  for (const std::string& text : topics) wanted.push_back(parse_topic(text));

  // The cluster's owner talks to nobody, and need not complain that it was not told to whom.
  auto conf = weir::kafka::internal::make_conf({{"log_level", "4"}});
  std::array<char, 512> why{};
  const weir::kafka::internal::ClientHandle owner(
      rd_kafka_new(RD_KAFKA_PRODUCER, conf.release(), why.data(), why.size()));
  if (!owner) throw Error(ErrorCode::kInternal, why.data());
  const std::unique_ptr<rd_kafka_mock_cluster_t, void (*)(rd_kafka_mock_cluster_t*)> cluster(
      rd_kafka_mock_cluster_new(owner.get(), brokers), rd_kafka_mock_cluster_destroy);
  if (!cluster) throw Error(ErrorCode::kInternal, "the mock cluster did not start");
  for (const Topic& topic : wanted) {
    const rd_kafka_resp_err_t error =
        rd_kafka_mock_topic_create(cluster.get(), topic.name.c_str(), topic.partitions, 1);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
      throw Error(ErrorCode::kInvalidArgument,
                  "topic " + topic.name + ": " + rd_kafka_err2str(error));
    }
  }

  std::fputs(kCannot, stderr);
  const std::string address = rd_kafka_mock_cluster_bootstraps(cluster.get());
  if (port_file.empty()) {
    std::printf("%s\n", address.c_str());
    std::fflush(stdout);
  } else {
    write_atomically(port_file, address);
  }
  int signal = 0;
  sigwait(&ending, &signal);
  return 0;
}

}  // namespace

int main(int argc, char** argv) { return weir::run_main(&run, argc, argv); }
