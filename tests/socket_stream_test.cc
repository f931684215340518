// Lines over TCP: how bytes become lines, and streams of them over every kind of master.

#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "weir/connectors/sockets.h"
#include "weir/connectors/sockets/line_splitter_internal.h"

#include "line_server.h"
#include "masters.h"
#include "receiver_kit.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

using Lines = std::vector<std::string>;

/// What the pieces give.
Lines split(const std::vector<std::string>& pieces) {
  sockets::internal::LineSplitter splitter;
  Lines lines;
  const auto keep = [&](const std::string& line) {
    lines.push_back(line);
    return true;
  };
  for (const std::string& piece : pieces) EXPECT_TRUE(splitter.add(piece, keep));
  EXPECT_TRUE(splitter.finish(keep));
  return lines;
}

TEST(LineSplitter, MakesLinesHoweverBytesCome) {
  EXPECT_EQ(split({}), Lines{});
  EXPECT_EQ(split({"a\nb\n"}), (Lines{"a", "b"}));
  EXPECT_EQ(split({"a", "b\nc", "\n", "d"}), (Lines{"ab", "c", "d"}));
  EXPECT_EQ(split({"a\r\n\r\n", "b\r", "\nc\rd\n"}), (Lines{"a", "", "b", "c\rd"}));
  EXPECT_EQ(split({"\n\n"}), (Lines{"", ""}));
}

TEST(LineSplitter, EndsWhenNothingIsKept) {
  sockets::internal::LineSplitter splitter;
  int kept = 0;
  EXPECT_FALSE(splitter.add("a\nb\nc\n", [&](const std::string&) { return ++kept < 2; }));
  EXPECT_EQ(kept, 2);
}

TEST(LineSplitter, RefusesWhatIsNoText) {
  sockets::internal::LineSplitter splitter;
  const std::string piece(16 << 20, 'x');
  const auto keep = [](const std::string&) { return true; };
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(splitter.add(piece, keep));
  EXPECT_THROW(splitter.add(piece, keep), Error);
}

class SocketStreams : public ::testing::TestWithParam<const char*> {
 protected:
  Config config() const {
    return Config()
        .set("master", GetParam())
        .set("stop-on-signal", "false")
        .set("log-level", "off")
        .set("receiver.restart-delay", "10ms");
  }
  Lines seen() const {
    const std::scoped_lock lock(mutex_);
    return seen_;
  }
  void collect(const DStream<std::string>& lines) {
    lines.foreach_rdd([this](const Rdd<std::string>& rdd) {
      const Lines batch = rdd.collect();
      const std::scoped_lock lock(mutex_);
      seen_.insert(seen_.end(), batch.begin(), batch.end());
    });
  }

  mutable std::mutex mutex_;
  Lines seen_;  // guarded by mutex_
};
WEIR_TEST_OVER_MASTERS(SocketStreams);

TEST_P(SocketStreams, LinesOfOneConnectionAfterTheOther) {
  std::atomic<int> connections{0};
  std::atomic<bool> done{false};
  const LineServer server([&](const LineServer::Send& send) {
    const int number = ++connections;
    if (number > 3) {
      (void)eventually([&] { return !send("") || done; }, 1h);
      return;
    }
    (void)send("first of " + std::to_string(number) + "\nlast ");
    (void)send("of " + std::to_string(number));  // and ends
  });
  Context context(config());
  StreamingContext stream(context, 20ms);
  const auto events = std::make_shared<ReceiverEvents>();
  stream.add_listener(events);
  collect(stream.socket_text_stream("127.0.0.1", server.port()));
  stream.start();
  EXPECT_TRUE(eventually([&] { return connections > 3 && seen().size() >= 6; }));
  stream.stop();
  done = true;
  EXPECT_EQ(seen(), (Lines{"first of 1", "last of 1", "first of 2", "last of 2", "first of 3",
                           "last of 3"}));
  const auto errors = events->errors();
  ASSERT_EQ(errors.size(), 3u);
  EXPECT_NE(errors[0].last_error.find("has ended the connection"), std::string::npos);
}

TEST_P(SocketStreams, AServerThatIsNotThereIsLookedForAgain) {
  std::uint16_t port = 0;
  {
    const LineServer gone([](const LineServer::Send&) {});
    port = gone.port();
  }
  Context context(config());
  StreamingContext stream(context, 20ms);
  const auto events = std::make_shared<ReceiverEvents>();
  stream.add_listener(events);
  collect(stream.socket_text_stream("127.0.0.1", port));
  stream.start();
  EXPECT_TRUE(eventually([&] { return events->errors().size() >= 2; }));
  stream.stop();
  const std::string error = events->errors()[0].last_error;
  EXPECT_NE(error.find("cannot connect to 127.0.0.1:" + std::to_string(port)), std::string::npos)
      << error;
}

TEST(SocketStream, RefusesWhatIsNoServer) {
  Context context(Config().set("master", "local[1]"));
  const StreamingContext stream(context, 20ms);
  EXPECT_THROW(stream.socket_text_stream("localhost", 0), Error);
  EXPECT_THROW(stream.socket_text_stream("localhost", 70'000), Error);
  EXPECT_THROW(stream.socket_text_stream("", 80), Error);
}

}  // namespace
}  // namespace weir::test
