#include "weir/core/state/fingerprint.h"

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>

namespace weir::internal {
namespace {

enum class Colour : std::uint8_t { kRed };

struct Visit {
  std::int64_t count = 0;
  std::vector<std::string> pages;
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & count & pages;
  }
};
struct RenamedVisit {
  long long how_many = 0;
  std::deque<std::string> where;
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & how_many;
    ar & BOOST_SERIALIZATION_NVP(where);
  }
};
struct Tree {
  int value = 0;
  std::vector<Tree> children;
  std::map<std::string, Visit> visits;
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & value & children & visits;
  }
};
struct Free {
  double x = 0;
  bool on = false;
};
template <class Archive>
void serialize(Archive& ar, Free& free, unsigned) {
  ar << free.x << free.on;
}

TEST(Fingerprint, TellsTheStructureOfATypeAndNoNames) {
  using namespace std::chrono;
  EXPECT_EQ((fingerprint<std::pair<std::string, std::int64_t>>()), "pair<string,int64>");
  EXPECT_EQ((fingerprint<std::tuple<char, unsigned, float, Colour>>()),
            "tuple<int8,uint32,float32,enum<uint8>>");
  EXPECT_EQ((fingerprint<std::optional<std::variant<std::monostate, bool>>>()),
            "optional<variant<none,bool>>");
  EXPECT_EQ((fingerprint<std::unordered_map<int, std::set<double>>>()), "map<int32,set<float64>>");
  EXPECT_EQ((fingerprint<std::array<std::uint16_t, 3>>()), "array<uint16,3>");
  EXPECT_EQ((fingerprint<std::pair<microseconds, sys_time<seconds>>>()),
            "pair<duration<int64,1/1000000>,time<duration<int64,1/1>>>");
  EXPECT_EQ(fingerprint<Visit>(), "struct{int64,vector<string>}");
  EXPECT_EQ(fingerprint<RenamedVisit>(), fingerprint<Visit>());
  EXPECT_EQ(fingerprint<Free>(), "struct{float64,bool}");
}

TEST(Fingerprint, EndsForTypesThatHoldThemselves) {
  EXPECT_EQ(fingerprint<Tree>(),
            "struct{int32,vector<outer1>,map<string,struct{int64,vector<string>}>}");
  EXPECT_EQ(fingerprint<Tree>(), fingerprint<Tree>());
}

TEST(Fingerprint, ShowsBothStructuresWhenTheyDiffer) {
  require_same_structure("\"visits\"", fingerprint<Visit>(), fingerprint<RenamedVisit>());
  try {
    require_same_structure("\"visits\"", fingerprint<Visit>(), fingerprint<Free>());
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kDataLoss);
    EXPECT_EQ(
        std::string(error.what()),
        "the state of \"visits\" was written as struct{int64,vector<string>} and is now "
        "struct{float64,bool}: give the operator another uid to begin with an empty state, or "
        "bring the types back");
  }
}

}  // namespace
}  // namespace weir::internal
