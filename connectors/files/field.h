#pragma once

#include <charconv>
#include <concepts>
#include <cstdint>
#include <optional>
#include <ranges>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <boost/serialization/nvp.hpp>

#include "weir/core/archive.h"
#include "weir/core/print_value.h"

namespace weir::files {

/// An element as the formats of files see it: null, a scalar, text, a list, or a record whose
/// fields may have names.
struct Field {
  using List = std::vector<Field>;
  struct Record {
    std::vector<std::string> names;  ///< one per field, or none
    std::vector<Field> fields;
  };

  std::variant<std::monostate, bool, std::int64_t, std::uint64_t, double, std::string, List, Record>
      value;
};

/// Pairs, tuples and types that describe themselves by `serialize` are records (those written with
/// BOOST_SERIALIZATION_NVP have names), maps of strings too, other ranges lists, an empty optional
/// null, enums numbers; times, durations and types with only an operator<< are text as `print`
/// shows them.
template <class T>
Field to_field(const T& value);

namespace internal {

/// Collects what a type's `serialize` lists.
class FieldArchive {
 public:
  using is_saving = std::true_type;
  using is_loading = std::false_type;

  template <class T>
  FieldArchive& operator&(const T& value) {
    record_.fields.push_back(to_field(value));
    return *this;
  }
  template <class T>
  FieldArchive& operator&(const boost::serialization::nvp<T>& named) {
    record_.names.emplace_back(named.name());
    record_.fields.push_back(to_field(named.const_value()));
    return *this;
  }
  template <class T>
  FieldArchive& operator<<(const T& value) {
    return *this & value;
  }

  Field::Record take() {
    if (record_.names.size() != record_.fields.size()) record_.names.clear();  // only some have one
    return std::move(record_);
  }

 private:
  Field::Record record_;
};

template <class T>
concept MapOfStrings = std::ranges::input_range<const T> && requires {
  typename T::mapped_type;
  requires std::convertible_to<const typename T::key_type&, std::string_view>;
};

/// The double that is printed as this one is: 0.1f becomes 0.1.
template <class T>
double shortest_double(T value) {
  if constexpr (std::is_same_v<T, float>) {
    char text[64];
    double same = value;
    const char* end = std::to_chars(text, text + sizeof text, value).ptr;
    std::from_chars(text, end, same);
    return same;
  } else {
    return static_cast<double>(value);
  }
}

}  // namespace internal

template <class T>
Field to_field(const T& value) {
  if constexpr (std::is_convertible_v<const T&, std::string_view>) {
    return {std::string(std::string_view(value))};
  } else if constexpr (std::is_same_v<T, bool>) {
    return {value};
  } else if constexpr (std::is_same_v<T, char>) {
    return {std::string(1, value)};
  } else if constexpr (std::is_enum_v<T>) {
    return to_field(static_cast<std::underlying_type_t<T>>(value));
  } else if constexpr (std::is_integral_v<T> && std::is_signed_v<T>) {
    return {static_cast<std::int64_t>(value)};
  } else if constexpr (std::is_integral_v<T>) {
    return {static_cast<std::uint64_t>(value)};
  } else if constexpr (std::is_floating_point_v<T>) {
    return {weir::files::internal::shortest_double(value)};
  } else if constexpr (std::is_convertible_v<const T&, Duration> ||
                       std::is_convertible_v<const T&, Time>) {
    return {printed(value)};
  } else if constexpr (weir::internal::is_std_optional<T>) {
    return value ? to_field(*value) : Field{};
  } else if constexpr (internal::MapOfStrings<T>) {
    Field::Record record;
    for (const auto& [key, mapped] : value) {
      record.names.emplace_back(std::string_view(key));
      record.fields.push_back(to_field(mapped));
    }
    return {std::move(record)};
  } else if constexpr (std::ranges::input_range<const T>) {
    Field::List list;
    for (const auto& element : value) {
      list.push_back(to_field(static_cast<const std::ranges::range_value_t<const T>&>(element)));
    }
    return {std::move(list)};
  } else if constexpr (weir::internal::TupleLike<T>) {
    Field::Record record;
    std::apply([&](const auto&... parts) { (record.fields.push_back(to_field(parts)), ...); },
               value);
    return {std::move(record)};
  } else if constexpr (weir::internal::SelfDescribing<T, internal::FieldArchive>) {
    internal::FieldArchive archive;
    auto& listed = const_cast<T&>(value);  // serialize() takes both directions, so no const
    if constexpr (requires { listed.serialize(archive, 0U); }) {
      listed.serialize(archive, 0U);
    } else {
      boost::serialization::serialize_adl(archive, listed, 0U);
    }
    return {archive.take()};
  } else {
    static_assert(weir::internal::Streamable<T>,
                  "files: give the element type a public member serialize(Archive&, unsigned), "
                  "which makes its fields known, or an operator<<");
    return {printed(value)};
  }
}

}  // namespace weir::files
