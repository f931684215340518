#pragma once

#include <optional>
#include <tuple>
#include <type_traits>

#include "weir/core/function.h"

/// The parameter types of a function object: state types are deduced from them.
namespace weir::internal {

template <class... Args>
struct Parameters {
  static constexpr std::size_t kCount = sizeof...(Args);
  template <std::size_t I>
  using at = std::tuple_element_t<I, std::tuple<Args...>>;
};

template <class Call>
struct CallParameters;
#define WEIR_CALL_PARAMETERS(qualifiers)                \
  template <class F, class R, class... Args>            \
  struct CallParameters<R (F::*)(Args...) qualifiers> { \
    using type = Parameters<Args...>;                   \
  }
WEIR_CALL_PARAMETERS();
WEIR_CALL_PARAMETERS(const);
WEIR_CALL_PARAMETERS(noexcept);
WEIR_CALL_PARAMETERS(const noexcept);
#undef WEIR_CALL_PARAMETERS
template <class R, class... Args>
struct CallParameters<R (*)(Args...)> {
  using type = Parameters<Args...>;
};
template <class R, class... Args>
struct CallParameters<R (*)(Args...) noexcept> {
  using type = Parameters<Args...>;
};

/// `type` is the Parameters<...> of F; not there if they are not spelled out (a generic lambda, an
/// overloaded call operator).
template <class F>
struct ParametersOf {};
template <class F>
requires requires { &F::operator(); }
struct ParametersOf<F> : CallParameters<decltype(&F::operator())> {};
template <auto function>
struct ParametersOf<Fn<function>> : CallParameters<std::decay_t<decltype(function)>> {};
template <class F>
struct ParametersOf<Refused<F>> : ParametersOf<F> {};

template <std::size_t N, class All>
struct WithoutFirst;
template <class... Args>
struct WithoutFirst<0, Parameters<Args...>> {
  using type = Parameters<Args...>;
};
template <std::size_t N, class First, class... Rest>
requires(N > 0) struct WithoutFirst<N, Parameters<First, Rest...>>
    : WithoutFirst<N - 1, Parameters<Rest...>> {
};

template <class F, class... Values>
requires requires { typename ParametersOf<F>::type; }
struct ParametersOf<Bound<F, Values...>>
    : WithoutFirst<sizeof...(Values), typename ParametersOf<F>::type> {};

template <class F>
concept SpelledOut = requires {
  typename ParametersOf<F>::type;
};

template <class T>
struct OptionalValue {};
template <class T>
struct OptionalValue<std::optional<T>> {
  using type = T;
};
template <class T>
concept Optional = requires {
  typename OptionalValue<T>::type;
};

}  // namespace weir::internal
