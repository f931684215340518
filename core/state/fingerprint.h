#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "weir/core/archive.h"

/// The structure of a type as text, such as "pair<string,int64>" or "struct{int64,vector<string>}":
/// what the slim archive writes of it, in which order. Kept with state, so that state of another
/// structure is refused with both texts and never misread. Names do not matter: renaming a type or
/// a field changes nothing, nor does another container with the same encoding.
namespace weir::internal {

/// The structure of T, whose own description, if it has one, is run on a default-constructed value.
template <class T>
std::string fingerprint();

/// Throws Error(kDataLoss) that shows both, unless they are the same. `state` names it for people.
inline void require_same_structure(const std::string& state, const std::string& written,
                                   const std::string& current) {
  if (written == current) return;
  throw Error(ErrorCode::kDataLoss,
              "the state of " + state + " was written as " + written + " and is now " + current +
                  ": give the operator another uid to begin with an empty state, or bring the " +
                  "types back");
}

/// An archive that writes down what a type's `serialize` gives it.
class StructureArchive {
 public:
  using is_saving = std::true_type;
  using is_loading = std::false_type;

  template <class T>
  StructureArchive& operator&(const T& value);
  template <class T>
  StructureArchive& operator<<(const T& value) {
    return *this & value;
  }
  const std::string& fields() const { return fields_; }

 private:
  std::string fields_;
};

template <class... Ts>
std::string list_of(const char* name) {
  std::string text = std::string(name) + '<';
  const char* separator = "";
  ((text += separator + fingerprint<std::remove_const_t<Ts>>(), separator = ","), ...);
  return text + '>';
}

/// The self-describing types that are being written down on this thread, outermost first.
inline std::vector<const char*>& open_structures() {
  thread_local std::vector<const char*> open;
  return open;
}

template <class T>
struct Structure {
  static std::string text() {
    if constexpr (std::is_same_v<T, bool>) {
      return "bool";
    } else if constexpr (std::is_enum_v<T>) {
      return list_of<std::underlying_type_t<T>>("enum");
    } else if constexpr (std::is_floating_point_v<T>) {
      return "float" + std::to_string(std::is_same_v<T, long double> ? 80 : 8 * sizeof(T));
    } else if constexpr (std::is_arithmetic_v<T>) {
      return (std::is_signed_v<T> ? "int" : "uint") + std::to_string(8 * sizeof(T));
    } else {
      return described();
    }
  }

 private:
  // A type whose fields hold values of it again is named by how far out it stands.
  static std::string described() {
    static const char kType = 0;
    auto& open = open_structures();
    const auto at = std::find(open.rbegin(), open.rend(), &kType);
    if (at != open.rend()) return "outer" + std::to_string(at - open.rbegin() + 1);
    open.push_back(&kType);
    StructureArchive archive;
    T value{};
    describe(archive, value);
    open.pop_back();
    return "struct{" + archive.fields() + '}';
  }
};

#define WEIR_STRUCTURE(type, text_of)             \
  struct Structure<type> {                        \
    static std::string text() { return text_of; } \
  }
template <>
WEIR_STRUCTURE(std::string, "string");
template <>
WEIR_STRUCTURE(Bytes, "string");
template <>
WEIR_STRUCTURE(std::monostate, "none");
#undef WEIR_STRUCTURE

template <class T>
struct Structure<boost::serialization::nvp<T>> : Structure<std::remove_const_t<T>> {};
template <class Rep, class Period>
struct Structure<std::chrono::duration<Rep, Period>> {
  static std::string text() {
    return "duration<" + fingerprint<Rep>() + ',' + std::to_string(Period::num) + '/' +
           std::to_string(Period::den) + '>';
  }
};
template <class C, class D>
struct Structure<std::chrono::time_point<C, D>> {
  static std::string text() { return "time<" + fingerprint<D>() + '>'; }
};
template <class T, std::size_t N>
struct Structure<std::array<T, N>> {
  static std::string text() { return "array<" + fingerprint<T>() + ',' + std::to_string(N) + '>'; }
};

// All but the element types (allocators, orders, hashes) leaves the encoding alone.
#define WEIR_STRUCTURE_OF_ALL(type, name)                      \
  template <class... Ts>                                       \
  struct Structure<type<Ts...>> {                              \
    static std::string text() { return list_of<Ts...>(name); } \
  }
#define WEIR_STRUCTURE_OF_ONE(type, name)                  \
  template <class T, class... Rest>                        \
  struct Structure<type<T, Rest...>> {                     \
    static std::string text() { return list_of<T>(name); } \
  }
#define WEIR_STRUCTURE_OF_TWO(type, name)                     \
  template <class K, class V, class... Rest>                  \
  struct Structure<type<K, V, Rest...>> {                     \
    static std::string text() { return list_of<K, V>(name); } \
  }
WEIR_STRUCTURE_OF_ALL(std::pair, "pair");
WEIR_STRUCTURE_OF_ALL(std::tuple, "tuple");
WEIR_STRUCTURE_OF_ALL(std::optional, "optional");
WEIR_STRUCTURE_OF_ALL(std::variant, "variant");
WEIR_STRUCTURE_OF_ONE(std::vector, "vector");
WEIR_STRUCTURE_OF_ONE(std::deque, "vector");
WEIR_STRUCTURE_OF_ONE(std::list, "vector");
WEIR_STRUCTURE_OF_ONE(std::set, "set");
WEIR_STRUCTURE_OF_ONE(std::multiset, "set");
WEIR_STRUCTURE_OF_ONE(std::unordered_set, "set");
WEIR_STRUCTURE_OF_ONE(std::unordered_multiset, "set");
WEIR_STRUCTURE_OF_TWO(std::map, "map");
WEIR_STRUCTURE_OF_TWO(std::multimap, "map");
WEIR_STRUCTURE_OF_TWO(std::unordered_map, "map");
WEIR_STRUCTURE_OF_TWO(std::unordered_multimap, "map");
#undef WEIR_STRUCTURE_OF_ALL
#undef WEIR_STRUCTURE_OF_ONE
#undef WEIR_STRUCTURE_OF_TWO

template <class T>
std::string fingerprint() {
  return Structure<T>::text();
}

template <class T>
StructureArchive& StructureArchive::operator&(const T&) {
  if (!fields_.empty()) fields_ += ',';
  fields_ += fingerprint<T>();
  return *this;
}

}  // namespace weir::internal
