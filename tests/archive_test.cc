#include "weir/core/archive.h"

#include <array>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include <boost/serialization/nvp.hpp>
#include <boost/serialization/split_free.hpp>
#include <boost/serialization/split_member.hpp>
#include <gtest/gtest.h>

#include "weir/core/owned.h"

namespace weir {
namespace {

using namespace std::string_literals;
using namespace std::string_view_literals;
using namespace std::chrono_literals;

template <class T>
void expect_round_trip(const T& value) {
  EXPECT_EQ(decode<T>(encode(value)), value);
  EXPECT_EQ(decode<T>(encode_bytes(value).view()), value);
}

template <class F>
void expect_error(ErrorCode code, F f) {
  try {
    f();
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
  }
}

template <class T>
void expect_corrupt(std::string_view bytes) {
  expect_error(ErrorCode::kCorrupt, [&] { (void)decode<T>(bytes); });
}

enum class Colour : std::uint8_t { kRed, kGreen = 200 };
enum Plain { kOne = 1, kMany = 1000 };

TEST(Archive, NumbersKeepTheirExtremes) {
  expect_round_trip(true);
  expect_round_trip(false);
  expect_round_trip('x');
  expect_round_trip(std::numeric_limits<std::int8_t>::min());
  expect_round_trip(std::numeric_limits<std::uint16_t>::max());
  expect_round_trip(std::numeric_limits<std::int32_t>::min());
  expect_round_trip(std::numeric_limits<std::int64_t>::min());
  expect_round_trip(std::numeric_limits<std::uint64_t>::max());
  expect_round_trip(1.5F);
  expect_round_trip(-std::numeric_limits<double>::infinity());
  expect_round_trip(Colour::kGreen);
  expect_round_trip(kMany);
}

TEST(Archive, NegativeZeroStaysNegative) {
  EXPECT_TRUE(std::signbit(decode<double>(encode(-0.0))));
}

TEST(Archive, NumbersAreLittleEndianAndStringsHaveThirtyTwoBitLengths) {
  EXPECT_EQ(encode(std::uint32_t{0x01020304}), "\x04\x03\x02\x01"s);
  EXPECT_EQ(encode("ab"s), "\x02\0\0\0ab"s);
  EXPECT_EQ(encode(std::optional<std::uint8_t>(7)), "\x01\x07"s);
  EXPECT_EQ(encode((std::vector<std::uint16_t>{1, 2})), "\x02\0\0\0\x01\0\x02\0"s);
}

TEST(Archive, StringsAndBytesKeepEveryByte) {
  expect_round_trip(""s);
  expect_round_trip("a\0b"s);
  expect_round_trip(std::string(100'000, 'z'));
  EXPECT_EQ(decode<Bytes>(encode(Bytes("a\0b"s))).view(), "a\0b"sv);
}

TEST(Archive, TimesAndDurations) {
  expect_round_trip(250ms);
  expect_round_trip(std::chrono::duration<double>(0.5));
  expect_round_trip(std::chrono::sys_time<std::chrono::microseconds>(1'700'000'000'000'001us));
}

TEST(Archive, Aggregates) {
  expect_round_trip(std::pair(1, "one"s));
  expect_round_trip(std::tuple(1, "two"s, 3.0, Colour::kRed));
  expect_round_trip(std::tuple<>());
  expect_round_trip(std::optional<std::string>());
  expect_round_trip(std::optional<std::string>(""));
  expect_round_trip(std::array<std::string, 2>{"a", "bc"});
  using Either = std::variant<std::monostate, int, std::string>;
  expect_round_trip(Either());
  expect_round_trip(Either(5));
  expect_round_trip(Either("five"));
}

TEST(Archive, Containers) {
  expect_round_trip(std::vector<int>{});
  expect_round_trip(std::vector<int>{3, 1, 2});
  expect_round_trip(std::vector<double>{-0.0, 1.0});
  expect_round_trip(std::vector<bool>{true, false, true});
  expect_round_trip(std::vector<std::string>{"", "a", std::string(1000, 'b')});
  expect_round_trip(std::vector<std::vector<int>>{{}, {1}, {2, 3}});
  expect_round_trip(std::deque<std::string>{"a", "b"});
  expect_round_trip(std::list<std::pair<int, int>>{{1, 2}});
  expect_round_trip(std::set<std::string>{"b", "a"});
  expect_round_trip(std::multiset<int>{2, 1, 2});
  expect_round_trip(std::map<std::string, std::vector<int>>{{"a", {1}}, {"b", {}}});
  expect_round_trip(std::multimap<int, int>{{1, 1}, {1, 2}});
  expect_round_trip(std::unordered_set<int>{1, 2, 3});
  expect_round_trip(std::unordered_multiset<int>{1, 1, 2});
  expect_round_trip(std::unordered_map<int, std::string>{{1, "a"}, {2, "b"}});
  expect_round_trip(std::unordered_multimap<int, int>{{1, 1}, {1, 1}});
}

TEST(Archive, LongVectorsOfUnevenElements) {
  std::vector<std::string> values;
  for (std::size_t i = 0; i < 5000; ++i) values.emplace_back(i % 300, 'x');
  expect_round_trip(values);
}

struct WithMember {
  int a = 0;
  std::string b;
  bool operator==(const WithMember&) const = default;
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & a & b;
  }
};

struct WithFree {
  std::vector<WithMember> members;
  bool operator==(const WithFree&) const = default;
};
template <class Archive>
void serialize(Archive& ar, WithFree& value, unsigned) {
  ar & value.members;
}

struct WithNvp {
  int a = 0;
  WithMember b;
  bool operator==(const WithNvp&) const = default;
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & BOOST_SERIALIZATION_NVP(a);
    ar & boost::serialization::make_nvp("b", b);
  }
};

/// Keeps a square and writes its root.
struct WithSplitMember {
  int square = 0;
  bool operator==(const WithSplitMember&) const = default;
  template <class Archive>
  void save(Archive& ar, unsigned) const {
    int root = 0;
    while (root * root < square) ++root;
    ar << root;
  }
  template <class Archive>
  void load(Archive& ar, unsigned) {
    int root = 0;
    ar >> root;
    square = root * root;
  }
  BOOST_SERIALIZATION_SPLIT_MEMBER()
};

struct WithSplitFree {
  std::string text;
  bool operator==(const WithSplitFree&) const = default;
};
template <class Archive>
void save(Archive& ar, const WithSplitFree& value, unsigned) {
  ar << std::string(value.text.rbegin(), value.text.rend());
}
template <class Archive>
void load(Archive& ar, WithSplitFree& value, unsigned) {
  std::string reversed;
  ar >> reversed;
  value.text.assign(reversed.rbegin(), reversed.rend());
}
template <class Archive>
void serialize(Archive& ar, WithSplitFree& value, unsigned version) {
  boost::serialization::split_free(ar, value, version);
}

class WithPrivate {
 public:
  WithPrivate() = default;
  explicit WithPrivate(int value) : value_(value) {}
  bool operator==(const WithPrivate&) const = default;

 private:
  friend class boost::serialization::access;
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & value_;
  }
  int value_ = 0;
};

/// Knows its direction, as Boost's archives tell it.
struct Directed {
  int value = 0;
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    if constexpr (Archive::is_saving::value) {
      int doubled = value * 2;
      ar & doubled;
    } else {
      static_assert(Archive::is_loading::value);
      ar & value;
    }
  }
};

}  // namespace

template <>
inline constexpr bool declared_serializable<WithPrivate> = true;

namespace {

TEST(Archive, UserTypes) {
  expect_round_trip(WithMember{1, "a"});
  expect_round_trip(WithFree{{{1, "a"}, {2, "b"}}});
  expect_round_trip(WithNvp{1, {2, "b"}});
  expect_round_trip(WithSplitMember{49});
  expect_round_trip(WithSplitFree{"abc"});
  expect_round_trip(WithPrivate(5));
  expect_round_trip(std::map<std::string, WithNvp>{{"k", {1, {2, "b"}}}});
}

TEST(Archive, NamesCostNothing) {
  EXPECT_EQ(encode(WithNvp{1, {2, "b"}}), encode(std::tuple(1, 2, "b"s)));
}

TEST(Archive, SplitFunctionsReallyRun) {
  EXPECT_EQ(encode(WithSplitMember{49}), encode(7));
  EXPECT_EQ(encode(WithSplitFree{"abc"}), encode("cba"s));
}

TEST(Archive, TypesLearnTheDirection) {
  EXPECT_EQ(decode<Directed>(encode(Directed{21})).value, 42);
}

struct NotSerializable {
  int value = 0;
};

TEST(Archive, TheConceptKnowsWhatCanBeWritten) {
  static_assert(Serializable<int> && Serializable<std::string> && Serializable<Colour>);
  static_assert(Serializable<WithMember> && Serializable<WithFree> && Serializable<WithNvp>);
  static_assert(Serializable<WithSplitMember> && Serializable<WithSplitFree>);
  static_assert(Serializable<std::map<std::string, std::vector<std::optional<WithFree>>>>);
  static_assert(Serializable<std::variant<int, WithMember>>);
  static_assert(!Serializable<NotSerializable>);
  static_assert(!Serializable<int*> && !Serializable<void (*)(int)>);
  static_assert(!Serializable<std::vector<NotSerializable>>);
  static_assert(!Serializable<std::pair<int, NotSerializable>>);
  static_assert(!Serializable<std::unique_ptr<int>>);
}

struct Everything {
  bool flag = true;
  double number = 1.5;
  std::string text = "text";
  std::vector<std::pair<int, std::string>> pairs = {{1, "a"}, {2, "bc"}};
  std::map<std::string, std::set<int>> sets = {{"x", {1, 2}}, {"y", {3}}};
  std::optional<std::vector<bool>> flags = std::vector<bool>{true, false};
  std::variant<int, std::string> either = "either"s;
  std::array<std::uint16_t, 2> fixed = {7, 8};
  std::deque<double> queue = {0.5};
  std::chrono::milliseconds duration = 5ms;

  bool operator==(const Everything&) const = default;
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & flag & number & text & pairs & sets & flags & either & fixed & queue & duration;
  }
};

TEST(Archive, EveryTruncationIsCorrupt) {
  const std::string whole = encode(Everything());
  EXPECT_EQ(decode<Everything>(whole), Everything());
  for (std::size_t size = 0; size < whole.size(); ++size) {
    SCOPED_TRACE(size);
    expect_corrupt<Everything>(std::string(whole, 0, size));  // a copy, so that ASan sees its end
  }
}

TEST(Archive, AnyFlippedByteIsReadOrRefusedButNeverWorse) {
  const std::string whole = encode(Everything());
  for (std::size_t i = 0; i < whole.size(); ++i) {
    for (const char flip : {'\x01', '\x80', '\xff'}) {
      std::string bad = whole;
      bad[i] = static_cast<char>(bad[i] ^ flip);
      try {
        (void)decode<Everything>(bad);
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kCorrupt) << "byte " << i;
      }
    }
  }
}

TEST(Archive, LeftOverBytesAreCorrupt) {
  expect_corrupt<int>(encode(1) + "x");
  expect_corrupt<Everything>(encode(Everything()) + std::string(1, '\0'));
}

TEST(Archive, ValuesOutOfRangeAreCorrupt) {
  expect_corrupt<bool>("\x02");
  expect_corrupt<std::optional<int>>("\x02");
  expect_corrupt<std::vector<bool>>("\x01\0\0\0\x02"s);
  using Either = std::variant<int, std::string>;
  expect_corrupt<Either>("\x02\0\0\0\0"s);
}

/// Counts what it is asked for, to show what a hostile count makes a reader allocate.
template <class T>
struct CountingAllocator {
  using value_type = T;
  static inline std::size_t most = 0;

  CountingAllocator() = default;
  template <class U>
  CountingAllocator(const CountingAllocator<U>&) {}
  T* allocate(std::size_t n) {
    most = std::max(most, n);
    return std::allocator<T>().allocate(n);
  }
  void deallocate(T* memory, std::size_t n) { std::allocator<T>().deallocate(memory, n); }
  bool operator==(const CountingAllocator&) const { return true; }
};

template <class T>
std::size_t most_allocated_for(std::string_view bytes) {
  CountingAllocator<T>::most = 0;
  expect_corrupt<std::vector<T, CountingAllocator<T>>>(bytes);
  return CountingAllocator<T>::most;
}

TEST(Archive, PaddingOfLongDoublesIsNotWritten) {
  alignas(long double) unsigned char memory[2][sizeof(long double)];
  std::memset(memory[0], 0x00, sizeof memory[0]);
  std::memset(memory[1], 0xff, sizeof memory[1]);
  std::string written[2];
  for (int i = 0; i < 2; ++i) {
    const long double value = 1.5L;
    std::memcpy(memory[i], &value, 10);
    written[i] = encode(reinterpret_cast<const long double&>(memory[i]));
    EXPECT_EQ(decode<long double>(written[i]), 1.5L);
  }
  EXPECT_EQ(written[0], written[1]);
}

struct Large {
  char unread[1000];
  std::string text;
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & text;
  }
};

TEST(Archive, HostileCountsDoNotAllocate) {
  const std::string huge = "\xff\xff\xff\xff";
  EXPECT_EQ(most_allocated_for<int>(huge + "1234"), 0U);
  EXPECT_EQ(most_allocated_for<std::string>(huge + "1234"), 0U);
  EXPECT_EQ(most_allocated_for<WithMember>(huge + "1234"), 0U);
  EXPECT_EQ(most_allocated_for<double>("\x02\0\0\0"s + "12345678"
                                                       "1234567"),
            0U);
  EXPECT_LE(most_allocated_for<std::string>("\x02\0\0\0"s + "\x01\0\0\0xxx"s), 2U);
  EXPECT_LE(most_allocated_for<Large>("\xe8\x03\0\0"s + std::string(1000, '\xff')), 9U);
  expect_corrupt<std::string>(huge + "1234");
  expect_corrupt<Bytes>(huge + "1234");
  expect_corrupt<std::vector<std::vector<std::vector<int>>>>(huge + huge + huge);
  expect_corrupt<std::list<int>>(huge + "1234");
  expect_corrupt<std::set<std::string>>(huge + "1234");
  expect_corrupt<std::unordered_map<int, int>>(huge + "1234");
}

struct Empty {
  bool operator==(const Empty&) const = default;
  template <class Archive>
  void serialize(Archive&, unsigned) {}
};

TEST(Archive, ElementsWithoutBytesCannotBeCountedAndAreRefusedWhenWritten) {
  expect_round_trip(Empty());
  expect_round_trip(std::vector<Empty>());
  expect_error(ErrorCode::kInvalidArgument, [] { (void)encode(std::vector<Empty>(3)); });
  expect_error(ErrorCode::kInvalidArgument, [] { (void)encode(std::list<std::tuple<>>(3)); });
  expect_error(ErrorCode::kInvalidArgument, [] { (void)encode(std::vector<std::monostate>(1)); });
  expect_round_trip(std::vector<std::optional<Empty>>(3));
}

TEST(Archive, ViewsEncodeAsTheirOwningForms) {
  EXPECT_EQ(encode("abc"sv), encode("abc"s));
  EXPECT_EQ(encode(std::pair("abc"sv, 1)), encode(std::pair("abc"s, 1)));
  EXPECT_EQ(encode(std::tuple("a"sv, std::optional("b"sv))),
            encode(std::tuple("a"s, std::optional("b"s))));
  EXPECT_EQ(encode(std::vector{"a"sv, "bc"sv}), encode(std::vector{"a"s, "bc"s}));
  const std::vector<int> numbers = {1, 2, 3};
  EXPECT_EQ(encode(std::span(numbers)), encode(numbers));
  const std::vector<std::string_view> words = {"a", "bc"};
  EXPECT_EQ(encode(std::span(words)), encode(to_owned(words)));
}

TEST(Archive, StringsDecodeAsViewsWhereTheBytesLive) {
  const std::string bytes = encode(std::pair("key"s, "value"s));
  SlimReader reader(bytes);
  const auto decoded = internal::read_in_place<std::pair<std::string, std::string>>(reader);
  static_assert(
      std::is_same_v<decltype(decoded), const std::pair<std::string_view, std::string_view>>);
  EXPECT_EQ(decoded.first, "key");
  EXPECT_EQ(decoded.first.data(), bytes.data() + 4);
}

TEST(Archive, DecodingReplacesWhatWasThere) {
  std::vector<int> numbers = {9, 9, 9};
  std::map<int, int> map = {{9, 9}};
  std::optional<int> maybe = 9;
  const std::string bytes =
      encode(std::tuple(std::vector{1}, std::map<int, int>{{1, 1}}, std::optional<int>()));
  SlimReader reader(bytes);
  reader & numbers & map & maybe;
  EXPECT_EQ(numbers, std::vector{1});
  EXPECT_EQ(map, (std::map<int, int>{{1, 1}}));
  EXPECT_EQ(maybe, std::nullopt);
}

TEST(SlimWriter, TakesItsBytesWithoutCopyingAndStartsAfresh) {
  SlimWriter writer;
  writer & "first"s;
  const char* written = writer.view().data();
  const Bytes first = writer.take();
  EXPECT_EQ(first.data(), written);
  EXPECT_EQ(writer.size(), 0U);
  writer & "second"s;
  EXPECT_EQ(decode<std::string>(first.view()), "first");
  EXPECT_EQ(decode<std::string>(writer.view()), "second");
}

TEST(SlimWriter, MovedFromIsEmptyAndUsable) {
  SlimWriter writer;
  writer & 1;
  SlimWriter other(std::move(writer));
  writer & 2;  // NOLINT(bugprone-use-after-move): moved-from writers are empty
  EXPECT_EQ(decode<int>(other.view()), 1);
  EXPECT_EQ(decode<int>(writer.view()), 2);
}

TEST(Owned, MovesWhatIsOwnedAndCopiesViews) {
  std::string text(100, 'x');
  const char* content = text.data();
  EXPECT_EQ(to_owned(std::move(text)).data(), content);
  std::pair<std::string, std::string_view> mixed("key", "value");
  static_assert(std::is_same_v<owned_t<decltype(mixed)>, std::pair<std::string, std::string>>);
  EXPECT_EQ(to_owned(mixed), (std::pair("key"s, "value"s)));
  EXPECT_EQ(to_owned(std::optional<std::string_view>()), std::optional<std::string>());
  EXPECT_EQ(to_owned(std::tuple("a"sv, 1)), std::tuple("a"s, 1));
  EXPECT_EQ(to_owned("literal"), "literal"s);
  static_assert(is_owned<std::vector<std::pair<int, std::string>>>);
  static_assert(!is_owned<std::vector<std::pair<int, std::string_view>>>);
}

}  // namespace
}  // namespace weir
