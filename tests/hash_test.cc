#include "weir/core/hash.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

#include "weir/core/dataset.h"

namespace weir {
namespace {

using namespace std::string_literals;
using namespace std::string_view_literals;
using internal::key_hash;

enum class Colour : std::uint8_t { kRed, kGreen };

struct Point {
  double x = 0;
  double y = 0;
  bool operator==(const Point&) const = default;
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & x & y;
  }
};

/// Compares without regard to case.
struct Name {
  std::string text;
};

}  // namespace

template <>
struct hash<Name> {
  std::uint64_t operator()(const Name& name) const {
    std::string lower = name.text;
    std::transform(lower.begin(), lower.end(), lower.begin(),
                   [](unsigned char c) { return std::tolower(c); });
    return hash_bytes(lower);
  }
};

namespace {

/// XXH3 of no bytes and of "a" with seed 0, from its specification's reference implementation.
TEST(Hash, IsXxh3) {
  EXPECT_EQ(hash_bytes(""), 0x2D06800538D394C2U);
  EXPECT_EQ(hash_bytes("a"), 0xE6C632B61E964E1FU);
}

TEST(KeyHash, IsAlikeForAViewAndItsOwningForm) {
  EXPECT_EQ(key_hash("word"sv, 7), key_hash("word"s, 7));
  const char* literal = "word";
  EXPECT_EQ(key_hash(literal, 7), key_hash("word"s, 7));
  EXPECT_EQ(key_hash(std::pair("a"sv, 1), 7), key_hash(std::pair("a"s, 1), 7));
  EXPECT_EQ(key_hash(std::optional("a"sv), 7), key_hash(std::optional("a"s), 7));
  EXPECT_EQ(key_hash(std::vector{"a"sv, "b"sv}, 7), key_hash(std::vector{"a"s, "b"s}, 7));
  EXPECT_EQ(key_hash(std::tuple("a"sv, 1.0), 7), key_hash(std::tuple("a"s, 1.0), 7));
}

TEST(KeyHash, IsAlikeForBothZeros) {
  EXPECT_EQ(key_hash(-0.0, 7), key_hash(0.0, 7));
  EXPECT_EQ(key_hash(-0.0F, 7), key_hash(0.0F, 7));
  EXPECT_EQ(key_hash(std::pair("a"s, -0.0), 7), key_hash(std::pair("a"s, 0.0), 7));
  EXPECT_EQ(key_hash(std::vector{1.0, -0.0}, 7), key_hash(std::vector{1.0, 0.0}, 7));
  EXPECT_EQ(key_hash(std::optional(-0.0), 7), key_hash(std::optional(0.0), 7));
  EXPECT_EQ(key_hash(Point{-0.0, 1}, 7), key_hash(Point{0.0, 1}, 7));
  const std::array<double, 1> negative = {-0.0};
  const std::array<double, 1> positive = {0.0};
  EXPECT_EQ(key_hash(negative, 7), key_hash(positive, 7));
}

TEST(KeyHash, DiffersBetweenSeedsAndBetweenKeys) {
  EXPECT_NE(key_hash("a"s, 1), key_hash("a"s, 2));
  EXPECT_NE(key_hash(1, 1), key_hash(1, 2));
  EXPECT_NE(key_hash(Point{1, 2}, 1), key_hash(Point{1, 2}, 2));
  EXPECT_NE(key_hash(std::pair("ab"s, "c"s), 1), key_hash(std::pair("a"s, "bc"s), 1));
  EXPECT_NE(key_hash(Colour::kRed, 1), key_hash(Colour::kGreen, 1));
  EXPECT_NE(key_hash(0.5, 1), key_hash(0.25, 1));
  std::set<std::uint64_t> hashes;
  for (int i = -500; i < 500; ++i) hashes.insert(key_hash(i, 1));
  EXPECT_EQ(hashes.size(), 1000U);
}

TEST(KeyHash, IsTheSameInEveryRunOfAProgram) {
  EXPECT_EQ(key_hash("a"s, 0), 0xE6C632B61E964E1FU);
  EXPECT_EQ(key_hash(std::pair("a"s, std::int32_t{1}), 5), hash_bytes("\x01\0\0\0a\x01\0\0\0"s, 5));
}

TEST(KeyHash, UsesTheTypesOwnHashAndSeedsIt) {
  EXPECT_EQ(key_hash(Name{"Anna"}, 3), key_hash(Name{"aNNA"}, 3));
  EXPECT_NE(key_hash(Name{"Anna"}, 3), key_hash(Name{"Anna"}, 4));
  EXPECT_NE(key_hash(Name{"Anna"}, 3), key_hash(Name{"Otto"}, 3));
}

TEST(Partitioner, SpreadsKeysEvenlyOverAnyNumberOfPartitions) {
  for (const std::uint32_t partitions : {1U, 2U, 3U, 7U, 512U}) {
    const internal::Partitioner partitioner{partitions};
    std::vector<int> sizes(partitions);
    const int per_partition = 200;
    for (std::uint32_t i = 0; i < per_partition * partitions; ++i) {
      const std::uint32_t p = partitioner.partition_of(key_hash(i, 1));
      ASSERT_LT(p, partitions);
      ++sizes[p];
    }
    EXPECT_GT(*std::min_element(sizes.begin(), sizes.end()), per_partition / 2);
    EXPECT_LT(*std::max_element(sizes.begin(), sizes.end()), per_partition * 2);
  }
  const internal::Partitioner three{3};
  EXPECT_EQ(three.partition_of(0), 0U);
  EXPECT_EQ(three.partition_of(~std::uint64_t{0}), 2U);
}

}  // namespace
}  // namespace weir
