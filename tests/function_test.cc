#include "weir/core/function.h"

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "weir/core/loader.h"

namespace weir {
namespace {

using namespace std::string_literals;
using namespace std::string_view_literals;

/// What a worker gets when the driver ships `function`.
template <class F>
F ship(const F& function) {
  SlimWriter writer;
  internal::write_function(writer, function);
  SlimReader reader(writer.view());
  F shipped = internal::read_function<F>(reader);
  reader.expect_end();
  return shipped;
}

int twice(int x) { return 2 * x; }
int sum_of(int a, int b) { return a + b; }

struct Scale {
  double by = 1;
  double operator()(double x) const { return x * by; }
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & by;
  }
};

struct Prefix {
  std::string text;
  std::string operator()(std::string_view x) const { return text + std::string(x); }
};
template <class Archive>
void serialize(Archive& ar, Prefix& prefix, unsigned) {
  ar & prefix.text;
}

struct Stateless {
  int operator()(int x) const { return x; }
};

struct Unserializable {
  int by = 1;
  int operator()(int x) const { return x * by; }
};

struct NotDefaultConstructible {
  explicit NotDefaultConstructible(int b) : by(b) {}
  int by;
  int operator()(int x) const { return x * by; }
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & by;
  }
};

TEST(Shippable, TruthTable) {
  [[maybe_unused]] int local = 1;
  const auto plain = [](int x) { return x; };
  const auto by_reference = [&](int x) { return x + local; };
  const auto by_value = [=](int x) { return x + local; };
  const auto by_move = [moved = 1](int x) { return x + moved; };
  const auto generic = [](auto x) { return x; };
  const auto bound = weir::bind(1, [](int a, int x) { return a + x; });

  static_assert(shippable<std::decay_t<decltype(plain)>>);
  static_assert(shippable<std::decay_t<decltype(generic)>>);
  static_assert(shippable<std::decay_t<decltype(bound)>>);
  static_assert(shippable<std::decay_t<decltype(fn<&twice>)>>);
  static_assert(shippable<Scale> && shippable<Prefix> && shippable<Stateless>);
  static_assert(shippable<std::plus<int>> && shippable<std::less<>>);

  static_assert(!shippable<std::decay_t<decltype(by_reference)>>);
  static_assert(!shippable<std::decay_t<decltype(by_value)>>);
  static_assert(!shippable<std::decay_t<decltype(by_move)>>);
  static_assert(!shippable<int (*)(int)> && !shippable<int(int)>);
  static_assert(!shippable<std::function<int(int)>>);
  static_assert(!shippable<Unserializable> && !shippable<NotDefaultConstructible>);
  static_assert(!shippable<int (std::string::*)() const>);
  // A capture default that captures nothing is refused too: such a lambda has no default
  // constructor.
  const auto idle = [=](int x) { return x; };
  static_assert(!shippable<std::decay_t<decltype(idle)>>);
}

TEST(Functions, StatelessOnesShipAsNothing) {
  const auto add_one = [](int x) { return x + 1; };
  SlimWriter writer;
  internal::write_function(writer, add_one);
  EXPECT_EQ(writer.size(), 0U);
  EXPECT_EQ(ship(add_one)(1), 2);
  EXPECT_EQ(ship(fn<&twice>)(21), 42);
  EXPECT_EQ(ship(fn<&sum_of>)(1, 2), 3);
}

TEST(Functions, ObjectsShipTheirFields) {
  EXPECT_EQ(ship(Scale{2.5})(2.0), 5.0);
  EXPECT_EQ(ship(Prefix{"pre"})("fix"), "prefix");
}

TEST(Bind, ShipsValuesAndCallsTheLambdaWithThemFirst) {
  const auto within =
      weir::bind(2, 5, [](int low, int high, int x) { return low <= x && x < high; });
  const auto shipped = ship(within);
  EXPECT_FALSE(shipped(1));
  EXPECT_TRUE(shipped(2));
  EXPECT_FALSE(shipped(5));
}

TEST(Bind, KeepsContainersAndUserTypes) {
  const auto look_up =
      weir::bind(std::vector<std::string>{"zero", "one"}, Scale{2.0},
                 [](const std::vector<std::string>& names, const Scale& scale, int i) {
                   return names.at(static_cast<std::size_t>(scale(i)) / 2);
                 });
  EXPECT_EQ(ship(look_up)(1), "one");
}

TEST(Bind, OwnsLiteralsAndViews) {
  auto bound = [] {
    const std::string local = "local";
    return weir::bind("literal", std::string_view(local),
                      [](const std::string& a, const std::string& b) { return a + " " + b; });
  }();
  EXPECT_EQ(bound(), "literal local");
  EXPECT_EQ(ship(bound)(), "literal local");
}

TEST(Bind, PassesValuesAsConstReferencesToTheBoundOnes) {
  const auto address = weir::bind("text"s, [](const std::string& text) { return &text; });
  EXPECT_EQ(address(), address());
  const auto is_const =
      weir::bind(1, [](auto& value) { return std::is_same_v<decltype(value), const int&>; });
  EXPECT_TRUE(is_const());
}

TEST(Bind, TakesAnyShippableFunctionAndBindsFunctions) {
  const auto times_ten = weir::bind(10, [](int by, int x) { return x * by; });
  const auto and_one = weir::bind(times_ten, [](const auto& f, int x) { return f(x) + 1; });
  EXPECT_EQ(ship(and_one)(4), 41);
  const auto sum =
      weir::bind(1, weir::bind(2, [](int inner, int outer, int x) { return inner + outer * x; }));
  EXPECT_EQ(ship(sum)(5), 7);
  EXPECT_EQ(ship(weir::bind(3, fn<&sum_of>))(4), 7);
  EXPECT_EQ(ship(weir::bind(3.0, Scale{2.0}))(), 6.0);
}

TEST(Functions, TruncatedOnesAreCorrupt) {
  SlimWriter writer;
  internal::write_function(writer, Scale{2.0});
  SlimReader reader(writer.view().substr(0, 3));
  EXPECT_THROW((void)internal::read_function<Scale>(reader), Error);
}

}  // namespace
}  // namespace weir
