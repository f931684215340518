#pragma once

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "process_tools.h"

/// What the ledger tests share: a broker, a generator of numbered lines that keeps the ledger, and
/// the processes to kill.
namespace weir::test {

using Totals = std::map<std::string, std::int64_t>;

inline std::string run(const std::string& command) {
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) throw std::runtime_error("popen failed");
  std::string output;
  char buffer[4096];
  while (const std::size_t got = std::fread(buffer, 1, sizeof buffer, pipe)) {
    output.append(buffer, got);
  }
  const int status = pclose(pipe);
  if (status != 0) throw std::runtime_error(command + " failed: " + output);
  return output;
}

/// A real broker of the test's own.
class Kafka {
 public:
  Kafka() {
    address_ = run(script("start --port 0"));
    while (!address_.empty() && address_.back() == '\n') address_.pop_back();
    port_ = address_.substr(address_.rfind(':') + 1);
  }
  ~Kafka() { run(script("stop --port " + port_)); }

  const std::string& address() const { return address_; }
  void create_topic(const std::string& name, int partitions) const {
    run(script("topic " + name + " --partitions " + std::to_string(partitions) + " --port " +
               port_));
  }
  void restart() const { run(script("restart --port " + port_)); }

 private:
  static std::string script(const std::string& arguments) {
    return std::string(WEIR_SOURCE_DIR) + "/scripts/kafka " + arguments + " 2>/dev/null";
  }

  std::string address_;
  std::string port_;
};

/// Writes numbered lines, spread over the keys, and in the end how many of each key.
inline pid_t start_generator(const std::string& brokers, const std::string& ledger,
                             std::uint64_t seed, int lines_per_second, int seconds) {
  const pid_t child = fork();
  if (child != 0) return child;
  const std::string rate = std::to_string(lines_per_second);
  const std::string duration = std::to_string(seconds);
  const std::string seed_text = std::to_string(seed);
  execl(WEIR_LINE_GENERATOR, "line_generator", "--brokers", brokers.c_str(), "--topic", "ledger",
        "--rate", rate.c_str(), "--seconds", duration.c_str(), "--seed", seed_text.c_str(),
        "--numbered", "--ledger", ledger.c_str(), static_cast<char*>(nullptr));
  _exit(127);
}

/// "key count" lines.
inline Totals read_ledger(const std::string& path) {
  Totals totals;
  std::istringstream in(read_file(path));
  std::string key;
  std::int64_t count = 0;
  while (in >> key >> count) totals[key] = count;
  return totals;
}

inline std::uint64_t choose_seed() {
  const char* given = std::getenv("WEIR_TEST_SEED");
  const std::uint64_t seed =
      given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
  std::printf("seed %llu (set WEIR_TEST_SEED to repeat)\n", static_cast<unsigned long long>(seed));
  return seed;
}

}  // namespace weir::test
