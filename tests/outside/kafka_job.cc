#include <chrono>
#include <string_view>
#include <utility>

#include <weir/connectors/kafka.h>
#include <weir/weir.h>

using namespace std::chrono_literals;

// Counts words from Kafka until it is stopped; says what is wrong and ends if it cannot.
int main(int argc, char** argv) {
  weir::Context context(argc, argv);
  weir::StreamingContext stream(context, 100ms);
  auto lines = weir::kafka::direct_stream(
      stream, {.brokers = argc > 1 ? argv[1] : "localhost:9092", .topics = {"lines"}});
  lines.flat_map([](const weir::kafka::Record& record) { return weir::split(record.value, ' '); })
      .map([](std::string_view word) { return std::pair(word, std::int64_t{1}); })
      .reduce_by_key([](std::int64_t a, std::int64_t b) { return a + b; })
      .print();
  stream.start();
  stream.await_termination();
}
