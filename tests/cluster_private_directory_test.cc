#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

#include <gtest/gtest.h>

#include "weir/cluster/private_directory.h"
#include "weir/cluster/worker_boot.h"

#include "process_tools.h"

namespace weir::test {
namespace {

namespace fs = std::filesystem;

/// A $TMPDIR of the test's own.
class PrivateDirectories : public testing::Test {
 protected:
  PrivateDirectories() {
    if (const char* before = std::getenv("TMPDIR")) before_ = before;
    setenv("TMPDIR", folder_.file("").c_str(), 1);
  }
  ~PrivateDirectories() override {
    before_ ? setenv("TMPDIR", before_->c_str(), 1) : unsetenv("TMPDIR");
  }

  /// A directory as a killed run leaves it.
  std::string leave(const std::string& name) {
    const std::string path = folder_.file(name);
    fs::create_directory(path);
    for (const char* file : {"driver", "beat", "0.1", "12.345"}) make_socket(path + "/" + file);
    return path;
  }
  static void make_socket(const std::string& path) {
    const int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    ASSERT_EQ(::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    close(socket);
  }

  const TempFolder folder_;
  std::optional<std::string> before_;
};

TEST_F(PrivateDirectories, AreForTheUserAloneAndGoWithTheirSockets) {
  std::string path;
  {
    const PrivateDirectory directory(21);
    path = directory.path();
    EXPECT_EQ(path.rfind(folder_.file("weir-run-"), 0), 0U) << path;
    EXPECT_EQ(fs::status(path).permissions(), fs::perms::owner_all);
    make_socket(path + "/driver");
    make_socket(path + "/3.14");
  }
  EXPECT_FALSE(fs::exists(path));
}

TEST_F(PrivateDirectories, OfKilledRunsAreRemoved) {
  const std::string abandoned = leave("weir-run-abcdef");
  const PrivateDirectory directory(21);
  EXPECT_FALSE(fs::exists(abandoned));
}

TEST_F(PrivateDirectories, InUseStay) {
  const PrivateDirectory first(21);
  make_socket(first.path() + "/driver");
  const PrivateDirectory second(21);
  EXPECT_TRUE(fs::exists(first.path() + "/driver"));
}

TEST_F(PrivateDirectories, OfOthersStayHoweverOldTheyAre) {
  const std::string foreign = leave("weir-kafka-1000");
  std::ofstream(foreign + "/log") << "records";
  fs::last_write_time(foreign, fs::file_time_type::clock::now() - std::chrono::hours(1000));
  const PrivateDirectory directory(21);
  EXPECT_TRUE(fs::exists(foreign + "/log"));
  EXPECT_TRUE(fs::exists(foreign + "/driver"));
}

TEST_F(PrivateDirectories, ThatHoldAnythingElseKeepIt) {
  const std::string strange = leave("weir-run-abcdef");
  std::ofstream(strange + "/0.7") << "called like a socket, but none";
  std::ofstream(strange + "/notes") << "somebody's";
  const PrivateDirectory directory(21);
  EXPECT_TRUE(fs::exists(strange + "/0.7"));
  EXPECT_TRUE(fs::exists(strange + "/notes"));
}

TEST_F(PrivateDirectories, StandInTmpWhereTmpdirIsTooLong) {
  const std::string longer = folder_.file(std::string(80, 'x'));
  fs::create_directory(longer);
  setenv("TMPDIR", longer.c_str(), 1);
  const PrivateDirectory directory(21);
  EXPECT_EQ(directory.path().rfind("/tmp/weir-run-", 0), 0U) << directory.path();
}

TEST_F(PrivateDirectories, DoNotStandWhereALogoutRemovesThem) {
  unsetenv("TMPDIR");
  const char* before = std::getenv("XDG_RUNTIME_DIR");
  const std::string kept = before == nullptr ? "" : before;
  setenv("XDG_RUNTIME_DIR", folder_.file("").c_str(), 1);
  const PrivateDirectory directory(21);
  EXPECT_EQ(directory.path().rfind("/tmp/", 0), 0U) << directory.path();
  before == nullptr ? unsetenv("XDG_RUNTIME_DIR") : setenv("XDG_RUNTIME_DIR", kept.c_str(), 1);
}

TEST(SocketNames, AreThoseOfARun) {
  for (const char* name : {"driver", "beat", "0.1", "4294967295.4294967295"}) {
    EXPECT_TRUE(is_socket_name(name)) << name;
  }
  for (const char* name : {"", ".", "..", "lock", "1", "1.", ".1", "1.2.3", "1.x", "driver2"}) {
    EXPECT_FALSE(is_socket_name(name)) << name;
  }
}

}  // namespace
}  // namespace weir::test
