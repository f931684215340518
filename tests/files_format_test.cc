// How elements become lines of files.

#include <chrono>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "weir/connectors/files/row_format.h"
#include "weir/core/error.h"

namespace weir::files {
namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;

enum class Colour : std::uint8_t { kRed = 1, kBlue = 2 };

struct Named {
  std::string word;
  std::optional<int> count;
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & boost::serialization::make_nvp("word", word);
    ar & boost::serialization::make_nvp("count", count);
  }
};

struct Unnamed {
  int x = 0;
  double y = 0;
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & x & y;
  }
};

struct Printed {
  int x = 0;
  friend std::ostream& operator<<(std::ostream& out, const Printed& p) {
    return out << "<" << p.x << ">";
  }
};

template <class T>
std::string csv(const T& element, char delimiter = ',') {
  std::string line;
  RowFormat(Format::kDelimited, delimiter, {}, false).append(line, to_field(element));
  return line;
}

template <class T>
std::string json(const T& element, std::vector<std::string> fields = {}) {
  std::string line;
  RowFormat(Format::kJsonLines, ',', std::move(fields), false).append(line, to_field(element));
  return line;
}

template <class F>
std::string refusal(F f) {
  try {
    f();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    return error.what();
  }
  return "nothing was thrown";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(DelimitedFormat, PairsTuplesAndStructsAreFields) {
  EXPECT_EQ(csv(std::pair("to"s, std::int64_t{2})), "to,2\n");
  EXPECT_EQ(csv(std::tuple(true, 'c', std::uint8_t{200}, -1.5)), "true,c,200,-1.5\n");
  EXPECT_EQ(csv(Unnamed{3, 0.25}), "3,0.25\n");
  EXPECT_EQ(csv(std::pair(Colour::kBlue, Printed{7})), "2,<7>\n");
}

TEST(DelimitedFormat, OtherElementsAreOneField) {
  EXPECT_EQ(csv("be"s), "be\n");
  EXPECT_EQ(csv(std::string_view("be")), "be\n");
  EXPECT_EQ(csv(std::numeric_limits<std::int64_t>::min()), "-9223372036854775808\n");
  EXPECT_EQ(csv(std::numeric_limits<std::uint64_t>::max()), "18446744073709551615\n");
  EXPECT_EQ(csv(0.1f), "0.1\n");
  EXPECT_EQ(csv(250ms), "250ms\n");
}

TEST(DelimitedFormat, WhatWouldBeMisreadIsQuoted) {
  EXPECT_EQ(csv(std::pair("a,b"s, R"(say "hi")"s)), "\"a,b\",\"say \"\"hi\"\"\"\n");
  EXPECT_EQ(csv("two\nlines"s), "\"two\nlines\"\n");
  EXPECT_EQ(csv("carriage\rreturn"s), "\"carriage\rreturn\"\n");
  EXPECT_EQ(csv("größer, 水"s), "\"größer, 水\"\n");
  EXPECT_EQ(csv(std::pair("a,b"s, "tab\there"s), '\t'), "a,b\t\"tab\there\"\n");
}

TEST(DelimitedFormat, NullIsNothingAndTheEmptyStringIsQuoted) {
  EXPECT_EQ(csv(std::tuple(std::optional<int>(), ""s, std::optional<std::string>(""))),
            ",\"\",\"\"\n");
}

TEST(DelimitedFormat, WhatIsNestedIsJson) {
  EXPECT_EQ(csv(std::pair(std::vector<int>{1, 2}, std::pair("a"s, 1))),
            "\"[1,2]\",\"[\"\"a\"\",1]\"\n");
}

TEST(DelimitedFormat, HeadersNameTheFields) {
  std::string header;
  const RowFormat named(Format::kDelimited, ';', {"word", "how often; exactly"}, true);
  named.append_header(header, to_field(std::pair("a"s, 1)));
  EXPECT_EQ(header, "word;\"how often; exactly\"\n");
  header.clear();
  const RowFormat unnamed(Format::kDelimited, ',', {}, true);
  unnamed.append_header(header, to_field(Named{"a", 1}));
  EXPECT_EQ(header, "word,count\n");
  EXPECT_TRUE(
      contains(refusal([&] { unnamed.append_header(header, to_field(std::pair("a"s, 1))); }),
               "give .fields"));
}

TEST(JsonLines, NamedFieldsMakeObjectsInTheirOrder) {
  EXPECT_EQ(json(Named{"to", 2}), "{\"word\":\"to\",\"count\":2}\n");
  EXPECT_EQ(json(Named{"to", std::nullopt}), "{\"word\":\"to\",\"count\":null}\n");
  EXPECT_EQ(json(std::pair("to"s, 2), {"word", "n"}), "{\"word\":\"to\",\"n\":2}\n");
  EXPECT_EQ(json(2, {"n"}), "{\"n\":2}\n");
  EXPECT_EQ(json(std::map<std::string, int>{{"b", 1}, {"a", 2}}), "{\"a\":2,\"b\":1}\n");
}

TEST(JsonLines, UnnamedFieldsMakeArraysAndScalarsStayScalars) {
  EXPECT_EQ(json(std::pair("to"s, 2)), "[\"to\",2]\n");
  EXPECT_EQ(json(std::pair(std::vector<double>{0.5}, true)), "[[0.5],true]\n");
  EXPECT_EQ(json("be"s), "\"be\"\n");
  EXPECT_EQ(json(std::optional<int>()), "null\n");
  EXPECT_EQ(json(std::numeric_limits<std::uint64_t>::max()), "18446744073709551615\n");
  EXPECT_EQ(json(std::vector<int>()), "[]\n");
  EXPECT_EQ(json(std::map<std::string, int>()), "{}\n");
}

TEST(JsonLines, TextIsEscaped) {
  EXPECT_EQ(json("a\"b\\c\nd\te\x01"s), "\"a\\\"b\\\\c\\nd\\te\\u0001\"\n");
  EXPECT_EQ(json("größer 水 😀"s), "\"größer 水 😀\"\n");
  EXPECT_EQ(json(std::string(1, '\0')), "\"\\u0000\"\n");
}

TEST(JsonLines, NumbersThatAreNotFiniteAreNull) {
  EXPECT_EQ(json(std::vector{std::numeric_limits<double>::quiet_NaN(),
                             std::numeric_limits<double>::infinity(), 1e300}),
            "[null,null,1e+300]\n");
}

TEST(JsonLines, TextThatIsNotUtf8IsRefused) {
  EXPECT_TRUE(contains(refusal([] { json("bad \xff byte"s); }), "not UTF-8"));
}

TEST(TextFormat, LineEndsAreRefused) {
  std::string line;
  RowFormat::append_text(line, "to be");
  EXPECT_EQ(line, "to be\n");
  EXPECT_TRUE(
      contains(refusal([&] { RowFormat::append_text(line, "two\nlines"); }), "'two?lines'"));
}

TEST(Formats, RowsHaveAsManyFieldsAsThereAreNames) {
  EXPECT_TRUE(contains(refusal([] { json(std::pair("to"s, 2), {"word"}); }),
                       "has 2 fields, but .fields names 1"));
}

TEST(Formats, NonsenseIsRefused) {
  EXPECT_TRUE(contains(refusal([] { RowFormat(Format::kDelimited, '"', {}, false); }), "quote"));
  EXPECT_TRUE(contains(refusal([] { RowFormat(Format::kDelimited, '5', {}, false); }), "numbers"));
  EXPECT_TRUE(contains(refusal([] { RowFormat(Format::kJsonLines, ',', {}, true); }), "header"));
  EXPECT_TRUE(contains(refusal([] { RowFormat(Format::kText, ',', {"a"}, false); }), "text"));
}

}  // namespace
}  // namespace weir::files
