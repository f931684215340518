// Which edits of a program keep the state of its operators, and which are refused.

#include "weir/dstream/stateful.h"

#include <gtest/gtest.h>

#include "weir/core/error.h"

namespace weir::internal {
namespace {

using Operators = std::vector<OperatorIdentity>;

OperatorIdentity named(const std::string& uid, const std::string& kind = "map_with_state",
                       const std::string& fingerprint = "(string, int64)") {
  return {uid, true, kind, fingerprint};
}
OperatorIdentity unnamed(int number, const std::string& kind = "map_with_state",
                         const std::string& fingerprint = "(string, int64)") {
  return {kind + "-" + std::to_string(number), false, kind, fingerprint};
}

void expect_accepted(const Operators& recorded, const Operators& current,
                     const std::vector<std::string>& dropped = {}) {
  EXPECT_NO_THROW(require_same_operators(recorded, current, dropped));
}
void expect_refused(const Operators& recorded, const Operators& current,
                    const std::vector<std::string>& words,
                    const std::vector<std::string>& dropped = {}) {
  try {
    require_same_operators(recorded, current, dropped);
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kDataLoss);
    for (const std::string& each : words) {
      EXPECT_NE(std::string(error.what()).find(each), std::string::npos)
          << "'" << error.what() << "' does not say '" << each << "'";
    }
  }
}

TEST(Stateful, TheSameOperatorsAreAccepted) {
  expect_accepted({}, {});
  expect_accepted({unnamed(0), unnamed(1, "update_state_by_key"), named("a")},
                  {unnamed(0), unnamed(1, "update_state_by_key"), named("a")});
}

TEST(Stateful, NamedOnesMayMoveAndNewOnesMayCome) {
  expect_accepted({named("a"), named("b", "update_state_by_key")},
                  {named("b", "update_state_by_key"), named("new"), named("a")});
  expect_accepted({unnamed(0)}, {named("new"), unnamed(0)});
}

TEST(Stateful, UnnamedOnesMustKeepNumberOrderAndKind) {
  const std::vector<std::string> words = {
      "without .uid", "in the checkpoint: ", "in the program: ", "map_with_state-0"};
  expect_refused({unnamed(0)}, {unnamed(0), unnamed(1)}, words);
  expect_refused({unnamed(0), unnamed(1)}, {unnamed(0)}, words);
  expect_refused({unnamed(0), unnamed(1, "update_state_by_key")},
                 {unnamed(0, "update_state_by_key"), unnamed(1)}, words);
  expect_refused({}, {unnamed(0)}, {"in the checkpoint: none"});
}

TEST(Stateful, AnOperatorThatIsGoneMustBeDroppedByName) {
  expect_refused({named("a"), named("b")}, {named("a")},
                 {"operator b", "would be lost", "--weir.drop-state=b"});
  expect_refused({named("a"), named("b")}, {named("a")}, {"operator b"}, {"c"});
  expect_accepted({named("a"), named("b")}, {named("a")}, {"c", "b"});
}

TEST(Stateful, AnUnnamedOperatorCanBeDroppedByItsName) {
  expect_accepted({unnamed(0), named("b")}, {named("b")}, {"map_with_state-0"});
  expect_accepted({unnamed(0), unnamed(1)}, {unnamed(0)}, {"map_with_state-1"});
  expect_refused({unnamed(0), unnamed(1, "update_state_by_key")}, {unnamed(0)}, {"without .uid"},
                 {"map_with_state-0"});
  expect_accepted({unnamed(0)}, {unnamed(0)}, {"map_with_state-0"});  // left on the command line
}

TEST(Stateful, AnotherStructureIsRefusedWithBoth) {
  expect_refused({named("a")}, {named("a", "map_with_state", "(string, double)")},
                 {"operator a", "(string, int64)", "(string, double)", "another .uid"});
  expect_refused({named("a")}, {named("a", "update_state_by_key")},
                 {"map_with_state", "update_state_by_key"});
  expect_refused({unnamed(0)}, {unnamed(0, "map_with_state", "(int, int64)")},
                 {"map_with_state-0", "(int, int64)"});
}

}  // namespace
}  // namespace weir::internal
