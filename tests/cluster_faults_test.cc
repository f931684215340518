// Workers that die, freeze, hang and crash: real processes, compared with the fault-free answer.

#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <map>
#include <thread>

#include <gtest/gtest.h>

#include "weir/cluster/settings.h"
#include "weir/core/runner_registry.h"
#include "weir/weir.h"

#include "process_tools.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;
using Pairs = std::vector<std::pair<int, std::int64_t>>;

Config cluster(const std::string& master) { return Config().set("master", master); }

template <class T>
std::vector<T> sorted(std::vector<T> values) {
  std::sort(values.begin(), values.end());
  return values;
}

TEST(ClusterFaults, WorkerKilledInATaskLosesNothing) {
  Context context(cluster("local-cluster[2,1]"));
  const auto doubled = context.parallelize({1, 2, 3, 4, 5, 6}, 3).map([](int x) {
    if (x == 3 && TaskContext::current().attempt() == 1) kill(getpid(), SIGKILL);
    return x * 2;
  });
  EXPECT_EQ(doubled.collect(), (std::vector<int>{2, 4, 6, 8, 10, 12}));
  EXPECT_EQ(doubled.count(), 6);
}

TEST(ClusterFaults, EveryWorkerKilledAtOnceIsReplaced) {
  Context context(cluster("local-cluster[2,1]"));
  const auto sum = context.parallelize({1, 2, 3, 4}, 2)
                       .map([](int x) {
                         if (TaskContext::current().attempt() <= 2) kill(getpid(), SIGKILL);
                         return x;
                       })
                       .reduce([](int a, int b) { return a + b; });
  EXPECT_EQ(sum, 10);
}

TEST(ClusterFaults, CrashOfUserCodeFailsTheJobWithItsSignalAndTheContextLives) {
  Context context(cluster("local-cluster[2,1]"));
  const auto numbers = context.parallelize({1, 2, 3, 4}, 2);
  try {
    (void)numbers
        .map([](int x) {
          if (x == 4) raise(SIGSEGV);
          return x;
        })
        .collect();
    FAIL() << "the job succeeded";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kJobFailed);
    const std::string message = error.what();
    EXPECT_NE(message.find("task 1 "), std::string::npos) << message;
    EXPECT_TRUE(message.find("SIGSEGV") != std::string::npos ||
                message.find("signal 11") != std::string::npos)
        << message;
  }
  EXPECT_EQ(numbers.count(), 4);
}

TEST(ClusterFaults, ExitOfUserCodeFailsTheJobWithItsStatus) {
  Context context(cluster("local-cluster[1,1]"));
  const auto numbers = context.parallelize({1}, 1);
  try {
    (void)numbers
        .map([](int x) {
          _exit(17);
          return x;
        })
        .collect();
    FAIL() << "the job succeeded";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("17"), std::string::npos) << error.what();
  }
  EXPECT_EQ(numbers.count(), 1);
}

// exit() runs destructors while the other slot waits for a task.
TEST(ClusterFaults, ExitWithDestructorsOfUserCodeFailsTheJobWithItsStatusToo) {
  Context context(cluster("local-cluster[1,2]").set("cluster.task-hang-timeout", "5s"));
  try {
    (void)context.parallelize({1}, 1)
        .map([](int x) {
          std::exit(17);
          return x;
        })
        .collect();
    FAIL() << "the job succeeded";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("status 17"), std::string::npos) << error.what();
  }
}

struct Unwritable {
  int value = 0;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    if constexpr (Archive::is_saving::value) throw std::runtime_error("cannot write it down");
    ar & value;
  }
};

// Elements of parallelize are written by the driver when it sends their task.
TEST(ClusterFaults, AnElementThatCannotBeWrittenFailsItsJobAndTheContextLives) {
  Context context(cluster("local-cluster[1,1]"));
  try {
    (void)context.parallelize(std::vector<Unwritable>(1), 1).count();
    FAIL() << "the job succeeded";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kJobFailed);
    EXPECT_NE(std::string(error.what()).find("cannot write it down"), std::string::npos)
        << error.what();
  }
  EXPECT_EQ(context.parallelize({1, 2}, 1).count(), 2);
}

const ConfigKey<std::string> kLong("test.long", "", "a setting of a job");

TEST(ClusterFaults, SettingsThatAreTooLargeToHandOverAreAnErrorOfTheStart) {
  try {
    const Context context(
        cluster("local-cluster[1,1]").set("test.long", std::string(100'000, 'x')));
    FAIL() << "the context started";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("settings take"), std::string::npos) << error.what();
  }
}

TEST(ClusterFaults, ALargeTaskIsSentOnceHoweverShortTheGrace) {
  Context context(cluster("local-cluster[1,1]")
                      .set("cluster.launch-grace", "10ms")
                      .set("cluster.heartbeat-interval", "10ms"));
  const auto record = std::make_shared<EventRecord>();
  context.add_listener(record);
  const std::vector<std::string> lines(64, std::string(1 << 20, 'x'));
  EXPECT_EQ(context.parallelize(lines, 1).count(), 64);
  context.engine()->bus().flush();
  EXPECT_EQ(record->tasks().size(), 1U);
}

/// Sends a signal to every thread of a process but the calling one.
void signal_threads(pid_t process, int signal) {
  const std::string tasks = "/proc/" + std::to_string(process) + "/task";
  for (const auto& entry : std::filesystem::directory_iterator(tasks)) {
    const pid_t thread = std::stoi(entry.path().filename());
    if (thread != gettid()) syscall(SYS_tgkill, process, thread, signal);
  }
}

// A handled signal interrupts every blocking call of the thread that it comes to.
TEST(ClusterFaults, SignalsThatTheProgramHandlesDisturbNoThread) {
  struct sigaction action {};
  action.sa_handler = [](int) {};  // and without SA_RESTART; workers have it from main
  sigaction(SIGUSR1, &action, nullptr);
  const TempFolder folder;
  Context context(cluster("local-cluster[2,2]"));
  const auto record = std::make_shared<EventRecord>();
  context.add_listener(record);
  const auto pids = context.parallelize({0, 1}, 2).map([](int) { return getpid(); }).collect();
  const auto signal_all = [&] {
    for (const pid_t worker : pids) signal_threads(worker, SIGUSR1);
    signal_threads(getpid(), SIGUSR1);
  };
  // Long enough for a worker whose heartbeats have ended to be missed.
  const auto end = std::chrono::steady_clock::now() + 3s * kTimeoutScale;
  EXPECT_TRUE(eventually(
      [&] {
        signal_all();
        return std::chrono::steady_clock::now() > end;
      },
      60s));
  Pairs result = context.parallelize({0, 1, 2, 3}, 4)
                     .map([](int x) { return std::pair(x % 2, std::int64_t{x}); })
                     .reduce_by_key([](std::int64_t a, std::int64_t b) { return a + b; }, 2)
                     .collect();
  EXPECT_EQ(sorted(result), (Pairs{{0, 2}, {1, 4}}));
  EXPECT_TRUE(record->lost().empty());
}

TEST(ClusterFaults, ExceptionOfUserCodeIsRetriedThenNamed) {
  Context context(cluster("local-cluster[2,1]"));
  const auto record = std::make_shared<EventRecord>();
  context.add_listener(record);
  try {
    (void)context.parallelize({1, 2}, 2)
        .map([](int x) {
          if (x == 2) throw std::runtime_error("no such record");
          return x;
        })
        .collect();
    FAIL() << "the job succeeded";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("no such record"), std::string::npos) << error.what();
  }
  context.engine()->bus().flush();
  const auto tasks = record->tasks();
  EXPECT_EQ(std::count_if(tasks.begin(), tasks.end(),
                          [](const TaskEnded& task) { return !task.failure.empty(); }),
            4);
}

// A process that is stopped for 10 s: lost within 2 s, its task finished elsewhere, its late result
// refused when it goes on.
TEST(ClusterFaults, FrozenWorkerIsLostWithinTwoSecondsAndItsLateResultsAreRefused) {
  const TempFolder folder;
  Context context(cluster("local-cluster[2,1]"));
  const auto record = std::make_shared<EventRecord>();
  context.add_listener(record);

  std::vector<int> result;
  std::jthread job([&] {
    result = context.parallelize({1, 2}, 2)
                 .map(weir::bind(folder.file("pid"), folder.file("go"),
                                 [](const std::string& pid, const std::string& go, int x) {
                                   if (x == 1 && TaskContext::current().attempt() == 1) {
                                     write_file(pid, std::to_string(getpid()));
                                     await_file(go);
                                   }
                                   return x * 10;
                                 }))
                 .collect();
  });
  ASSERT_TRUE(eventually([&] { return std::filesystem::exists(folder.file("pid")); }));
  const pid_t frozen = std::stoi(read_file(folder.file("pid")));
  ASSERT_EQ(kill(frozen, SIGSTOP), 0);
  const auto stopped_at = std::chrono::steady_clock::now();
  ASSERT_TRUE(eventually([&] { return !record->lost().empty(); }));
  const std::chrono::duration<double> lost_after = std::chrono::steady_clock::now() - stopped_at;
  std::cout << "lost after " << lost_after.count() << " s\n";
  EXPECT_LT(lost_after, 2s * kTimeoutScale) << "a frozen worker was noticed late";
  job.join();
  EXPECT_EQ(result, (std::vector<int>{10, 20}));

  EXPECT_FALSE(eventually([&] { return !is_alive(frozen); },
                          std::chrono::duration_cast<std::chrono::milliseconds>(
                              stopped_at + 10s - std::chrono::steady_clock::now())));
  write_file(folder.file("go"), "");
  ASSERT_EQ(kill(frozen, SIGCONT), 0);
  EXPECT_TRUE(eventually([&] { return !record->refused().empty(); }));
  EXPECT_TRUE(eventually([&] { return !is_alive(frozen); }));
  EXPECT_EQ(context.parallelize({1, 2, 3}, 2).count(), 3);
}

// Worker A announces its map outputs and is killed before anyone fetches them: exactly its map
// partitions run again.
TEST(ClusterFaults, LostMapOutputsAloneAreMadeAgain) {
  const TempFolder folder;
  Context context(cluster("local-cluster[2,1]").set("cluster.inline-bytes", "0"));
  const auto record = std::make_shared<EventRecord>();
  context.add_listener(record);

  Pairs result;
  std::jthread job([&] {
    result =
        sorted(context.parallelize({0, 1, 2, 3}, 4)
                   .map(weir::bind(folder.file("pid"), folder.file("killed"),
                                   [](const std::string& pid, const std::string& killed, int x) {
                                     if (x == 0 && !std::filesystem::exists(killed)) {
                                       write_file(pid, std::to_string(getpid()));
                                     }
                                     if (x == 3)
                                       await_file(killed);  // the stage cannot end before the kill
                                     return std::pair(x % 2, std::int64_t{1} << x);
                                   }))
                   .reduce_by_key([](std::int64_t a, std::int64_t b) { return a + b; }, 2)
                   .collect());
  });
  const auto announced = [&](std::uint32_t partition) {
    const auto tasks = record->tasks();
    return std::any_of(tasks.begin(), tasks.end(), [&](const TaskEnded& task) {
      return task.is_map && task.partition == partition && task.failure.empty();
    });
  };
  ASSERT_TRUE(eventually([&] { return announced(0) && announced(1) && announced(2); }));
  const auto before = record->tasks();
  const WorkerId victim = std::find_if(before.begin(), before.end(), [](const TaskEnded& task) {
                            return task.is_map && task.partition == 0;
                          })->worker;
  std::map<std::uint32_t, int> expected{{3, 1}};
  for (const TaskEnded& task : before) expected[task.partition] = task.worker == victim ? 2 : 1;
  ASSERT_EQ(kill(std::stoi(read_file(folder.file("pid"))), SIGKILL), 0);
  ASSERT_TRUE(eventually([&] { return !record->lost().empty(); }));
  write_file(folder.file("killed"), "");
  job.join();

  EXPECT_EQ(result, (Pairs{{0, 1 + 4}, {1, 2 + 8}}));
  context.engine()->bus().flush();
  std::map<std::uint32_t, int> runs;
  for (const TaskEnded& task : record->tasks()) {
    if (task.is_map && task.failure.empty()) ++runs[task.partition];
  }
  EXPECT_EQ(runs, expected);
  EXPECT_EQ(expected[0], 2);
}

std::size_t open_descriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

TEST(ClusterFaults, ASurvivorKeepsNoSocketsToTheDead) {
  Context context(cluster("local-cluster[2,1]")
                      .set("cluster.inline-bytes", "0")
                      .set("cluster.restart-backoff-max", "1ms"));
  const auto record = std::make_shared<EventRecord>();
  context.add_listener(record);
  // Every reducer gets some of many keys and fetches from every worker: the processes that reduce,
  // and their descriptors.
  const auto shuffle = [&] {
    const auto result = context.parallelize({0, 1}, 2)
                            .flat_map([](int x) {
                              std::vector<std::pair<int, int>> pairs;
                              for (int key = 0; key < 32; ++key) pairs.emplace_back(key, x);
                              return pairs;
                            })
                            .group_by_key(2)
                            .map([](const std::pair<int, std::vector<int>>&) {
                              return std::pair(getpid(), open_descriptors());
                            })
                            .collect();
    return std::map<pid_t, std::size_t>(result.begin(), result.end());
  };
  const auto processes = [&] {
    return context.parallelize({0, 1}, 2).map([](int) { return getpid(); }).collect();
  };
  const pid_t survivor = processes()[0];
  const std::size_t before = shuffle()[survivor];
  for (std::size_t i = 1; i <= 20; ++i) {
    const pid_t victim = processes()[1];
    ASSERT_NE(victim, survivor);
    ASSERT_EQ(kill(victim, SIGKILL), 0);
    ASSERT_TRUE(eventually([&] { return record->added().size() == i; }));
    (void)shuffle();
  }
  EXPECT_TRUE(eventually([&] {
    const auto now = shuffle();
    return now.contains(survivor) && now.at(survivor) <= before + 5;
  }));
}

TEST(ClusterFaults, LargeMapOutputsCrossWorkersUnharmed) {
  Context context(cluster("local-cluster[2,1]"));
  const auto sizes =
      sorted(context.parallelize({0, 1, 2, 3}, 4)
                 .flat_map([](int x) {
                   std::vector<std::pair<int, std::string>> values;
                   for (int key = 0; key < 8; ++key) {
                     values.emplace_back(key, std::string(200'000, static_cast<char>('a' + x)));
                   }
                   return values;
                 })
                 .group_by_key(3)
                 .map([](const std::pair<int, std::vector<std::string>>& group) {
                   std::string seen;
                   for (const auto& value : group.second) {
                     if (value == std::string(200'000, value[0])) seen += value[0];
                   }
                   return std::pair(group.first, seen);
                 })
                 .collect());
  ASSERT_EQ(sizes.size(), 8U);
  for (int key = 0; key < 8; ++key) {
    EXPECT_EQ(sizes[static_cast<std::size_t>(key)], std::pair(key, std::string("abcd")));
  }
}

TEST(ClusterFaults, HungTaskIsKilledAndRetried) {
  Context context(cluster("local-cluster[2,1]").set("cluster.task-hang-timeout", "1s"));
  const auto values = context.parallelize({1, 2}, 2).map([](int x) {
    while (x == 2 && TaskContext::current().attempt() == 1) {
    }
    return x;
  });
  EXPECT_EQ(values.collect(), (std::vector<int>{1, 2}));
}

TEST(ClusterFaults, PersistedBlocksOfADeadWorkerAreComputedAgain) {
  const TempFolder folder;
  Context context(cluster("local-cluster[2,1]"));
  const auto kept = context.parallelize({1, 2, 3, 4}, 2)
                        .map([](int x) { return std::pair(x, std::int64_t{x}); })
                        .reduce_by_key([](std::int64_t a, std::int64_t b) { return a + b; }, 2)
                        .persist();
  const auto before = sorted(kept.collect());
  const auto pids = context.parallelize({0, 1}, 2).map([](int) { return getpid(); }).collect();
  ASSERT_EQ(kill(pids[0], SIGKILL), 0);
  EXPECT_EQ(sorted(kept.collect()), before);
  EXPECT_EQ(sorted(kept.collect()), before);
}

/// What the calling process's descriptors are, but for those of its own doing (sockets, events).
std::vector<std::string> open_files() {
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    const std::string file = std::filesystem::read_symlink(entry.path(), gone);
    if (std::stoi(entry.path().filename()) > 2 && file.starts_with("/") &&
        !file.starts_with("/proc")) {
      files.push_back(file);
    }
  }
  return files;
}

TEST(ClusterFaults, WorkersInheritNoFileOfTheirDriver) {
  const TempFolder folder;
  std::FILE* secret = std::fopen(folder.file("secret").c_str(), "w");
  Context context(cluster("local-cluster[1,1]"));
  const auto files =
      context.parallelize({0}, 1).flat_map([](int) { return open_files(); }).collect();
  std::fclose(secret);
  EXPECT_EQ(files, std::vector<std::string>());
}

TEST(ClusterFaults, TheSocketOfADeadWorkerIsRemovedAndAllAreAtTheEnd) {
  const TempFolder folder;
  const char* before = std::getenv("TMPDIR");
  const std::string kept = before == nullptr ? "" : before;
  setenv("TMPDIR", folder.file("").c_str(), 1);
  {
    Context context(cluster("local-cluster[1,1]"));
    const auto pids = context.parallelize({0}, 1).map([](int) { return getpid(); }).collect();
    const std::string run = std::filesystem::directory_iterator(folder.file(""))->path();
    EXPECT_TRUE(std::filesystem::exists(run + "/0.1"));
    kill(pids[0], SIGKILL);
    EXPECT_TRUE(eventually([&] { return std::filesystem::exists(run + "/0.2"); }));
    EXPECT_FALSE(std::filesystem::exists(run + "/0.1"));
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.file("")));
  before == nullptr ? unsetenv("TMPDIR") : setenv("TMPDIR", kept.c_str(), 1);
}

TEST(ClusterFaults, StopLeavesNoProcess) {
  std::vector<pid_t> pids;
  {
    Context context(cluster("local-cluster[3,1]"));
    pids = context.parallelize({0, 1, 2}, 3).map([](int) { return getpid(); }).collect();
  }
  for (const pid_t pid : pids) EXPECT_FALSE(is_alive(pid));
}

class KilledDriver : public testing::TestWithParam<const char*> {};

// The kernel's signal to the worker and the end of its pipe see to it; each must do alone.
TEST_P(KilledDriver, TakesItsWorkersAlong) {
  const TempFolder folder;
  const pid_t driver = fork();
  if (driver == 0) {
    setenv("WEIR_TEST_DRIVER", folder.file("pids").c_str(), 1);
    setenv("WEIR_TEST_WITHOUT", GetParam(), 1);
    execl("/proc/self/exe", "driver", static_cast<char*>(nullptr));
    _exit(127);
  }
  ASSERT_TRUE(eventually([&] { return std::filesystem::exists(folder.file("pids")); }));
  std::istringstream pids(read_file(folder.file("pids")));
  const std::vector<pid_t> workers{std::istream_iterator<pid_t>(pids), {}};
  ASSERT_EQ(workers.size(), 2U);
  for (const pid_t worker : workers) EXPECT_TRUE(is_alive(worker));
  kill(driver, SIGKILL);
  waitpid(driver, nullptr, 0);
  for (const pid_t worker : workers) {
    EXPECT_TRUE(eventually([&] { return !is_alive(worker); })) << worker;
  }
}

/// What stands in a pipe now.
std::string read_waiting(int pipe) {
  std::string bytes(64 * 1024, '\0');
  const ssize_t size = read(pipe, bytes.data(), bytes.size());
  bytes.resize(size < 0 ? 0 : static_cast<std::size_t>(size));
  return bytes;
}

INSTANTIATE_TEST_SUITE_P(ClusterFaults, KilledDriver,
                         testing::Values("nothing", "death-signal", "lifeline"));

TEST(ClusterFaults, WorkersThatCannotStartAreAnErrorThatSaysWhy) {
  setenv("WEIR_TEST_BROKEN_WORKER", "1", 1);
  try {
    const Context context(cluster("local-cluster[2,1]"));
    FAIL() << "the context started";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("77"), std::string::npos) << error.what();
  }
  unsetenv("WEIR_TEST_BROKEN_WORKER");
}

TEST(ClusterFaults, WorkersOfAnotherBinaryAreAnErrorThatSaysSo) {
  setenv("WEIR_TEST_OTHER_BINARY", WEIR_OTHER_BINARY, 1);
  try {
    const Context context(cluster("local-cluster[2,1]"));
    FAIL() << "the context started";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUnreachable);
    EXPECT_NE(std::string(error.what()).find("another binary"), std::string::npos) << error.what();
  }
  unsetenv("WEIR_TEST_OTHER_BINARY");
}

TEST(ClusterFaults, BadMasterIsRefusedWithTheForm) {
  for (const char* master : {"local-cluster[0,1]", "local-cluster[2]", "local-cluster[a,b]"}) {
    try {
      const Context context(cluster(master));
      FAIL() << master;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      EXPECT_NE(std::string(error.what()).find(master), std::string::npos) << error.what();
    }
  }
}

/// In a worker: takes away one of the things that end it with its driver.
void weaken_worker(std::string_view without) {
  if (without == "death-signal") prctl(PR_SET_PDEATHSIG, 0);
  if (without == "lifeline") {  // an open pipe with nobody at its other end instead
    int pipe[2];
    const int lifeline = std::stoi(std::getenv("WEIR_WORKER_ROLE"));
    const std::string boot = read_waiting(lifeline);
    if (::pipe(pipe) != 0 || write(pipe[1], boot.data(), boot.size()) < 0) _exit(78);
    dup2(pipe[0], lifeline);
  }
}

/// The program that KilledDriver kills.
int serve_as_driver(const char* pid_file) {
  Context context(cluster("local-cluster[2,1]"));
  std::string pids;
  for (const int pid : context.parallelize({0, 1}, 2).map([](int) { return getpid(); }).collect()) {
    pids += std::to_string(pid) + "\n";
  }
  write_file(pid_file, pids);
  pause();
  return 0;
}

}  // namespace
}  // namespace weir::test

int main(int argc, char** argv) {
  if (const char* other = std::getenv("WEIR_TEST_OTHER_BINARY");
      other != nullptr && std::getenv("WEIR_WORKER_ROLE") != nullptr) {
    execl(other, other, static_cast<char*>(nullptr));
    _exit(127);
  }
  if (std::getenv("WEIR_TEST_BROKEN_WORKER") != nullptr &&
      std::getenv("WEIR_WORKER_ROLE") != nullptr) {
    _exit(77);
  }
  if (std::getenv("WEIR_WORKER_ROLE") != nullptr) {
    struct sigaction action {};
    action.sa_handler = [](int) {};
    sigaction(SIGUSR1, &action, nullptr);
    if (const char* without = std::getenv("WEIR_TEST_WITHOUT")) weir::test::weaken_worker(without);
  }
  weir::internal::serve_if_worker();
  if (const char* pid_file = std::getenv("WEIR_TEST_DRIVER")) {
    return weir::test::serve_as_driver(pid_file);
  }
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
