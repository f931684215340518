#include "weir/core/listener.h"

#include <future>
#include <stdexcept>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "weir/core/log.h"

namespace weir {
namespace {

TEST(ListenerBus, DeliversInTheOrderOfPosting) {
  ListenerBus bus;
  std::vector<int> delivered;
  for (int i = 0; i < 1000; ++i) bus.post([&delivered, i] { delivered.push_back(i); });
  bus.flush();
  ASSERT_EQ(delivered.size(), 1000U);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(delivered[i], i);
}

TEST(ListenerBus, DeliversOnAThreadOfItsOwn) {
  ListenerBus bus;
  std::vector<std::thread::id> ids;
  for (int i = 0; i < 2; ++i) {
    bus.post([&] { ids.push_back(std::this_thread::get_id()); });
    bus.flush();
  }
  EXPECT_NE(ids[0], std::this_thread::get_id());
  EXPECT_EQ(ids[0], ids[1]);
}

TEST(ListenerBus, GoesOnAfterAnException) {
  set_log_level("off");
  ListenerBus bus;
  bool reached = false;
  bus.post([] { throw std::runtime_error("from a listener"); });
  bus.post([] { throw 5; });
  bus.post([&] { reached = true; });
  bus.flush();
  set_log_level("warning");
  EXPECT_TRUE(reached);
}

TEST(ListenerBus, PostingDoesNotWaitForListeners) {
  ListenerBus bus;
  std::promise<void> release;
  int delivered = 0;
  bus.post([&] { release.get_future().wait(); });
  for (int i = 0; i < 10; ++i) bus.post([&] { ++delivered; });
  release.set_value();
  bus.flush();
  EXPECT_EQ(delivered, 10);
}

TEST(ListenerBus, EventsAreDroppedWhenListenersAreFarBehind) {
  set_log_level("off");
  {
    ListenerBus bus;
    std::promise<void> started;
    std::promise<void> release;
    int delivered = 0;
    bus.post([&] {
      started.set_value();
      release.get_future().wait();
    });
    started.get_future().wait();
    for (int i = 0; i < 100'010; ++i) bus.post([&] { ++delivered; });
    release.set_value();
    bus.flush();
    EXPECT_EQ(delivered, 100'000);
    bus.post([&] { ++delivered; });
    bus.flush();
    EXPECT_EQ(delivered, 100'001);
  }
  set_log_level("warning");
}

TEST(ListenerBus, StopDeliversWhatIsQueuedAndThenTakesNothing) {
  ListenerBus bus;
  std::promise<void> release;
  int delivered = 0;
  bus.post([&] { release.get_future().wait(); });
  bus.post([&] { ++delivered; });
  release.set_value();
  bus.stop();
  bus.stop();
  EXPECT_EQ(delivered, 1);
  bus.post([&] { ++delivered; });
  bus.flush();
  EXPECT_EQ(delivered, 1);
}

TEST(ListenerBus, ListenersMayPost) {
  ListenerBus bus;
  int delivered = 0;
  bus.post([&] {
    ++delivered;
    bus.post([&] { ++delivered; });
  });
  bus.flush();  // the first; it posted the second before it was delivered
  bus.flush();
  EXPECT_EQ(delivered, 2);
}

TEST(ListenerBus, TakesEventsFromManyThreads) {
  ListenerBus bus;
  std::vector<int> last(4, -1);
  bool in_order = true;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < 200; ++i) {
          bus.post([&, t, i] {
            in_order = in_order && last[t] == i - 1;
            last[t] = i;
          });
        }
      });
    }
  }
  bus.flush();
  EXPECT_TRUE(in_order);
  EXPECT_EQ(last, std::vector<int>(4, 199));
}

}  // namespace
}  // namespace weir
