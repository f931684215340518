#pragma once

#include <tuple>
#include <type_traits>
#include <utility>

#include "weir/core/archive.h"
#include "weir/core/owned.h"

/// Functions that can be sent to workers. Code is not shipped (driver and workers run the same
/// binary), captured values are, and they must be explicit:
///
///     rdd.map([](int x) { return x + 1; });                                  // captures nothing
///     rdd.map(weir::fn<&parse>);                                             // a plain function
///     rdd.filter(weir::bind(limit, [](int limit, int x) { return x < limit; }));
///     struct Scale { double by; double operator()(double x) const; template <class Ar> void
///                    serialize(Ar& ar, unsigned) { ar & by; } };             // a function object
namespace weir {

namespace internal {

template <class F>
inline constexpr bool is_stateless =
    std::is_class_v<F>&& std::is_empty_v<F>&& std::is_default_constructible_v<F>;

template <class F>
inline constexpr bool is_self_describing_function =
    std::is_class_v<F>&& std::is_default_constructible_v<F>&& SelfDescribing<F, SlimWriter>;

}  // namespace internal

/// Whether a function may be given to an operator that runs in workers.
template <class F>
inline constexpr bool shippable =
    internal::is_stateless<F> || internal::is_self_describing_function<F>;

/// First statement of every operator whose function runs in workers.
#define WEIR_REQUIRE_SHIPPABLE(F)                                                             \
  static_assert(::weir::shippable<std::decay_t<F>>,                                           \
                "captures must be explicit: use weir::bind(value..., lambda) with a lambda "  \
                "written [] that takes the values first; write [] where [=] or [&] captures " \
                "nothing; use weir::fn<&function> for a plain function")

namespace internal {

/// The fields of a function. Nothing for what is not shippable: the operator that was given it has
/// been refused, which is to be the only error.
template <class Archive, class F>
void serialize_function(Archive& ar, F& function) {
  if constexpr (shippable<F> && SelfDescribing<F, SlimWriter>) ar& function;
}

/// A function that an operator has refused, for what the operator is made of: one error is enough.
template <class F>
struct Refused {
  F function;

  template <class... Args>
  decltype(auto) operator()(Args&&... args) const {
    return function(std::forward<Args>(args)...);
  }
};

}  // namespace internal

template <class F>
inline constexpr bool shippable<internal::Refused<F>> = true;

namespace internal {

/// For operators that are expressions over other operators, behind WEIR_REQUIRE_SHIPPABLE.
template <class F>
auto checked(F f) {
  if constexpr (shippable<F>) {
    return f;
  } else {
    return Refused<F>{std::move(f)};
  }
}

}  // namespace internal

/// A plain function as a shippable function object: `weir::fn<&parse>`.
template <auto function>
struct Fn {
  template <class... Args>
  constexpr decltype(auto) operator()(Args&&... args) const {
    return function(std::forward<Args>(args)...);
  }
};
template <auto function>
inline constexpr Fn<function> fn{};

/// A function with explicit captured values; made by `bind`.
template <class F, class... Values>
class Bound {
 public:
  Bound() = default;
  Bound(std::tuple<Values...> values, F function)
      : values_(std::move(values)), function_(std::move(function)) {}

  template <class... Args>
  decltype(auto) operator()(Args&&... args) const {
    return std::apply(
        [&](const Values&... values) -> decltype(auto) {
          return function_(values..., std::forward<Args>(args)...);
        },
        values_);
  }

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    if constexpr ((Serializable<Values> && ...)) ar& values_;  // else bind has been refused
    internal::serialize_function(ar, function_);
  }

 private:
  std::tuple<Values...> values_;
  [[no_unique_address]] F function_;
};

/// What is wrong with it, `bind` has said.
template <class F, class... Values>
inline constexpr bool shippable<Bound<F, Values...>> = true;

namespace internal {

template <class Tuple, std::size_t... I>
auto bind_tuple(Tuple&& parts, std::index_sequence<I...>) {
  using F = std::decay_t<std::tuple_element_t<sizeof...(I), std::decay_t<Tuple>>>;
  WEIR_REQUIRE_SHIPPABLE(F);
  static_assert((is_encodable<owned_t<std::tuple_element_t<I, std::decay_t<Tuple>>>> && ...),
                "weir::bind: every value must be serializable: give its type a public member "
                "serialize(Archive&, unsigned)");
  return Bound<F, owned_t<std::tuple_element_t<I, std::decay_t<Tuple>>>...>(
      {to_owned(std::get<I>(std::forward<Tuple>(parts)))...},
      std::get<sizeof...(I)>(std::forward<Tuple>(parts)));
}

}  // namespace internal

/// `bind(value..., lambda)`: a shippable function that calls `lambda(values..., arguments...)`. The
/// values are kept in their owning form (literals as std::string) and passed as `const V&`.
template <class... Parts>
auto bind(Parts&&... parts) {
  static_assert(sizeof...(Parts) >= 2, "weir::bind(value..., lambda): give at least one value");
  return internal::bind_tuple(std::tuple<std::decay_t<Parts>...>(std::forward<Parts>(parts)...),
                              std::make_index_sequence<sizeof...(Parts) - 1>());
}

namespace internal {

template <class F>
void write_function(SlimWriter& writer, const F& function) {
  serialize_function(writer, const_cast<F&>(function));
}

template <class F>
F read_function(SlimReader& reader) {
  if constexpr (std::is_default_constructible_v<F>) {
    F function{};
    serialize_function(reader, function);
    return function;
  } else {
    throw Error(ErrorCode::kInternal, "a function that is not shippable");
  }
}

}  // namespace internal
}  // namespace weir
