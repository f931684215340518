#include "weir/core/boost_archive.h"

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <unordered_map>
#include <variant>
#include <vector>

#include <boost/serialization/version.hpp>
#include <gtest/gtest.h>

#include "weir/core/archive.h"
#include "weir/core/time.h"

namespace weir {
namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;

template <class T>
void expect_round_trip(const T& value) {
  EXPECT_EQ(from_boost_text<T>(to_boost_text(value)), value);
}

struct Position {
  std::string topic;
  std::map<int, std::int64_t> offsets;
  bool operator==(const Position&) const = default;
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & topic & offsets;
  }
};

/// As it would be after a field was added in version 1.
struct Grown {
  int old_field = 0;
  int new_field = -1;
  bool operator==(const Grown&) const = default;
  template <class Archive>
  void serialize(Archive& ar, unsigned version) {
    ar & old_field;
    if (version >= 1) ar & new_field;
  }
};

/// As it was before.
struct Original {
  int old_field = 0;
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & old_field;
  }
};

}  // namespace
}  // namespace weir

BOOST_CLASS_VERSION(weir::Grown, 1)

namespace weir {
namespace {

TEST(BoostArchive, StandardTypes) {
  expect_round_trip(42);
  expect_round_trip("text with spaces\nand lines"s);
  expect_round_trip(std::vector<std::string>{"", "a b"});
  expect_round_trip(std::map<std::string, std::vector<int>>{{"a", {1, 2}}});
  expect_round_trip(std::unordered_map<int, std::string>{{1, "a"}});
  expect_round_trip(std::pair(1, "a"s));
}

TEST(BoostArchive, StandardTypesThatBoostDoesNotKnow) {
  expect_round_trip(std::optional<std::string>());
  expect_round_trip(std::optional<std::string>("a"));
  expect_round_trip(std::tuple(1, "a"s, 2.5));
  expect_round_trip(std::variant<int, std::string>(5));
  expect_round_trip(std::variant<int, std::string>("five"));
  expect_round_trip(250ms);
  expect_round_trip(Time(1700000000s));
  expect_round_trip(std::vector<std::optional<std::tuple<int, std::string>>>{{}, {{1, "a"}}});
}

TEST(BoostArchive, OneDescriptionServesBothEncoders) {
  const Position position{"lines", {{0, 5}, {1, 7}}};
  expect_round_trip(position);
  EXPECT_EQ(decode<Position>(encode(position)), position);
}

TEST(BoostArchive, LaterVersionsReadWhatEarlierOnesWrote) {
  expect_round_trip(Grown{1, 2});
  const Grown grown = from_boost_text<Grown>(to_boost_text(Original{7}));
  EXPECT_EQ(grown, (Grown{7, -1}));
}

TEST(BoostArchive, WhatIsMalformedOrNewerIsCorrupt) {
  const std::string whole = to_boost_text(Position{"lines", {{0, 5}}});
  const auto code = [](auto read) {
    try {
      read();
    } catch (const Error& error) {
      return error.code();
    }
    return ErrorCode::kInternal;
  };
  EXPECT_EQ(code([] { (void)from_boost_text<Position>(""); }), ErrorCode::kCorrupt);
  EXPECT_EQ(code([] { (void)from_boost_text<Position>("not an archive"); }), ErrorCode::kCorrupt);
  EXPECT_EQ(code([&] { (void)from_boost_text<Position>(whole.substr(0, whole.size() / 2)); }),
            ErrorCode::kCorrupt);
  EXPECT_EQ(code([] {
              (void)from_boost_text<Original>(to_boost_text(Grown{1, 2}));
            }),
            ErrorCode::kCorrupt);
}

}  // namespace
}  // namespace weir
