// Writes lines of text to a Kafka topic at a given rate: input for the examples and benchmarks.
//
//     line_generator --brokers localhost:9092 --topic lines --rate 10000 --seconds 60
//
// Pacing is open-loop: line i is due at start + i / rate, whether or not the brokers keep up, in
// bursts of at most 5 ms. With --numbered, line n of key k is "key-k n", so that whoever reads can
// check that none is missing or doubled; --ledger then says how many lines each key has.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <CLI/CLI.hpp>

#include "weir/connectors/kafka/producer_internal.h"
#include "weir/core/error.h"

namespace {

using weir::Error;
using weir::ErrorCode;
using weir::kafka::internal::Producer;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds kBrokerTimeout{10};
constexpr milliseconds kBurst{5};
constexpr std::size_t kVocabulary = 10'000;
constexpr int kWordsPerLine = 10;

struct Arguments {
  std::string brokers;
  std::string topic;
  double rate = 1000;
  double for_seconds = 0;
  std::int64_t lines = 0;
  int partitions = 4;
  std::uint64_t seed = 1;
  bool numbered = false;
  int keys = 100;
  std::string ledger;
};

// Lines of words whose frequencies follow Zipf's law with exponent 1, as those of texts do.
class Words {
 public:
  explicit Words(std::uint64_t seed) : random_(seed) {
    double sum = 0;
    for (std::size_t rank = 1; rank <= kVocabulary; ++rank) {
      sum += 1.0 / static_cast<double>(rank);
      cumulative_.push_back(sum);
      words_.push_back(make_word(rank));
    }
  }

  void next_line(std::string& line) {
    line.clear();
    std::uniform_real_distribution<double> anywhere(0, cumulative_.back());
    for (int i = 0; i < kWordsPerLine; ++i) {
      if (i > 0) line += ' ';
      const auto at = std::lower_bound(cumulative_.begin(), cumulative_.end(), anywhere(random_));
      line += words_[static_cast<std::size_t>(at - cumulative_.begin())];
    }
  }

 private:
  // Pronounceable and different for each rank; frequent words are short.
  static std::string make_word(std::size_t rank) {
    static constexpr char kConsonants[] = "bcdfghjklmnprstvwz";
    static constexpr char kVowels[] = "aeiou";
    std::string word;
    // Two syllables from rank 11 on: 90 consonant and vowel pairs.
    for (std::size_t left = rank > 10 ? rank + 107 : rank; left > 0; left /= 90) {
      word += kConsonants[left % 18];
      word += kVowels[left / 18 % 5];
      if (rank > 10) word += kConsonants[(left * 7 + rank) % 18];
    }
    return word;
  }

  std::mt19937_64 random_;
  std::vector<double> cumulative_;
  std::vector<std::string> words_;
};

// "key-k n" with n counting up from 1 for each key.
class Numbers {
 public:
  Numbers(std::uint64_t seed, int keys) : random_(seed), totals_(static_cast<std::size_t>(keys)) {}

  std::size_t next_line(std::string& line) {
    const std::size_t key = random_() % totals_.size();
    line = "key-" + std::to_string(key) + " " + std::to_string(++totals_[key]);
    return key;
  }
  const std::vector<std::int64_t>& totals() const { return totals_; }

 private:
  std::mt19937_64 random_;
  std::vector<std::int64_t> totals_;
};

// "key-k total" per key, written whole or not at all.
void write_ledger(const std::string& path, const std::vector<std::int64_t>& totals) {
  const std::string unfinished = path + ".tmp";
  {
    std::ofstream file(unfinished);
    for (std::size_t key = 0; key < totals.size(); ++key) {
      file << "key-" << key << ' ' << totals[key] << '\n';
    }
    file.flush();
    if (!file) throw Error(ErrorCode::kUnreachable, "cannot write " + unfinished);
  }
  std::filesystem::rename(unfinished, path);
}

// The topic's partitions, creating it when it is missing.
int prepare_topic(Producer& producer, const Arguments& arguments) {
  if (const int found = producer.partitions(arguments.topic, kBrokerTimeout); found > 0) {
    return found;
  }
  producer.create_topic(arguments.topic, arguments.partitions, kBrokerTimeout);
  const auto deadline = Clock::now() + kBrokerTimeout;
  while (Clock::now() < deadline) {
    if (const int found = producer.partitions(arguments.topic, kBrokerTimeout); found > 0) {
      return found;
    }
    producer.poll(milliseconds(20));
  }
  throw Error(ErrorCode::kUnreachable,
              "topic " + arguments.topic + " was created but is not there");
}

std::int64_t produce(Producer& producer, const Arguments& arguments, Numbers& numbers) {
  const double total = arguments.lines > 0 ? static_cast<double>(arguments.lines)
                                           : std::floor(arguments.rate * arguments.for_seconds);
  Words words(arguments.seed);
  std::string line;
  std::string key;
  std::int64_t sent = 0;
  const auto start = Clock::now();
  while (static_cast<double>(sent) < total) {
    const double elapsed = std::chrono::duration<double>(Clock::now() - start).count();
    const double due = std::min(total, std::floor(elapsed * arguments.rate) + 1);
    for (; static_cast<double>(sent) < due; ++sent) {
      if (arguments.numbered) {
        key = "key-" + std::to_string(numbers.next_line(line));
        producer.send(arguments.topic, {.key = key, .value = line});
      } else {
        words.next_line(line);
        producer.send(arguments.topic, {.key = {}, .value = line});
      }
    }
    producer.poll(milliseconds(0));
    const auto next_line =
        start + std::chrono::duration_cast<Clock::duration>(
                    std::chrono::duration<double>(static_cast<double>(sent) / arguments.rate));
    std::this_thread::sleep_until(std::max(next_line, Clock::now() + kBurst / 5));
  }
  return sent;
}

int run(int argc, char** argv) {
  Arguments arguments;
  CLI::App app("Writes lines of text to a Kafka topic at a given rate.");
  app.add_option("--brokers", arguments.brokers, "host:port, several separated by commas")
      ->required();
  app.add_option("--topic", arguments.topic, "Created when it is missing")->required();
  app.add_option("--rate", arguments.rate, "Lines per second")->check(CLI::PositiveNumber);
  CLI::Option* const lines =
      app.add_option("--lines", arguments.lines, "How many")->check(CLI::PositiveNumber);
  app.add_option("--seconds", arguments.for_seconds, "For how long, instead of --lines")
      ->check(CLI::PositiveNumber)
      ->excludes(lines);
  app.add_option("--partitions", arguments.partitions, "Of the topic, if it is created")
      ->check(CLI::Range(1, 10'000));
  app.add_option("--seed", arguments.seed, "Same seed, same lines");
  CLI::Option* const numbered =
      app.add_flag("--numbered", arguments.numbered, "Lines \"key-k n\" instead of text");
  app.add_option("--keys", arguments.keys, "Number of keys of --numbered")
      ->check(CLI::Range(1, 10'000'000));
  app.add_option("--ledger", arguments.ledger, "Write each key's number of lines there at the end")
      ->needs(numbered);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (arguments.lines == 0 && arguments.for_seconds == 0) arguments.for_seconds = 10;

  Producer producer(arguments.brokers);
  const int partitions = prepare_topic(producer, arguments);
  std::fprintf(stderr, "writing to %s (%d partitions) at %.0f lines/s\n", arguments.topic.c_str(),
               partitions, arguments.rate);

  Numbers numbers(arguments.seed, arguments.keys);
  const auto start = Clock::now();
  const std::int64_t sent = produce(producer, arguments, numbers);
  const bool flushed = producer.flush(seconds(30));
  const double took = std::chrono::duration<double>(Clock::now() - start).count();
  if (!arguments.ledger.empty()) write_ledger(arguments.ledger, numbers.totals());

  std::printf("sent %lld acknowledged %lld failed %lld seconds %.3f\n",
              static_cast<long long>(sent), static_cast<long long>(producer.acknowledged()),
              static_cast<long long>(producer.failed()), took);
  if (flushed && producer.acknowledged() == sent) return 0;
  throw Error(ErrorCode::kUnreachable,
              std::to_string(sent - producer.acknowledged()) + " of " + std::to_string(sent) +
                  " lines were not acknowledged" +
                  (producer.first_failure().empty() ? "" : ": " + producer.first_failure()));
}

}  // namespace

int main(int argc, char** argv) { return weir::run_main(&run, argc, argv); }
