#pragma once

#include <chrono>
#include <locale>
#include <optional>
#include <sstream>
#include <string>
#include <tuple>
#include <variant>

#include <boost/archive/text_iarchive.hpp>
#include <boost/archive/text_oarchive.hpp>
#include <boost/serialization/array.hpp>
#include <boost/serialization/deque.hpp>
#include <boost/serialization/list.hpp>
#include <boost/serialization/map.hpp>
#include <boost/serialization/set.hpp>
#include <boost/serialization/split_free.hpp>
#include <boost/serialization/string.hpp>
#include <boost/serialization/unordered_map.hpp>
#include <boost/serialization/unordered_set.hpp>
#include <boost/serialization/utility.hpp>
#include <boost/serialization/vector.hpp>
#include <boost/version.hpp>
#if BOOST_VERSION >= 108400
#include <boost/serialization/optional.hpp>
#include <boost/serialization/std_variant.hpp>
#endif

#include "weir/core/error.h"

/// The second encoder, for what is written once and read by people or by later versions of a
/// program (checkpoint metadata, configuration): Boost's text archive, with class versions. The
/// same `serialize` functions describe the types. Records go through the slim archive (archive.h).
namespace weir {

/// The same text under every locale. Passes on what a type's serialize throws.
template <class T>
std::string to_boost_text(const T& value) {
  std::ostringstream out;
  out.imbue(std::locale::classic());
  boost::archive::text_oarchive(out) << value;
  return out.str();
}

/// Throws Error(kCorrupt) if the text is malformed or goes on behind the value, as that of a newer
/// version with more fields does.
template <class T>
T from_boost_text(const std::string& text) {
  try {
    std::istringstream in(text);
    in.imbue(std::locale::classic());
    T value{};
    boost::archive::text_iarchive(in) >> value;
    if (!(in >> std::ws).eof()) {  // Boost itself does not look at versions it does not know
      throw Error(ErrorCode::kCorrupt,
                  "malformed Boost archive: text left over; a newer version of the type wrote it");
    }
    return value;
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    throw Error(ErrorCode::kCorrupt, std::string("malformed Boost archive: ") + error.what());
  }
}

}  // namespace weir

// Standard types that Boost's archives of this version do not know.
namespace boost::serialization {

template <class Archive, class Rep, class Period>
void serialize(Archive& ar, std::chrono::duration<Rep, Period>& value, unsigned) {
  Rep count = value.count();
  ar & count;
  value = std::chrono::duration<Rep, Period>(count);
}

template <class Archive, class C, class D>
void serialize(Archive& ar, std::chrono::time_point<C, D>& value, unsigned) {
  D since = value.time_since_epoch();
  ar & since;
  value = std::chrono::time_point<C, D>(since);
}

template <class Archive, class... Ts>
void serialize(Archive& ar, std::tuple<Ts...>& value, unsigned) {
  std::apply([&](Ts&... parts) { (void)(ar & ... & parts); }, value);
}

#if BOOST_VERSION < 108400  // later versions bring these two, in the headers above
template <class Archive, class T>
void save(Archive& ar, const std::optional<T>& value, unsigned) {
  const bool has = value.has_value();
  ar << has;
  if (has) ar << *value;
}
template <class Archive, class T>
void load(Archive& ar, std::optional<T>& value, unsigned) {
  bool has = false;
  ar >> has;
  value.reset();
  if (has) ar >> value.emplace();
}
template <class Archive, class T>
void serialize(Archive& ar, std::optional<T>& value, unsigned version) {
  split_free(ar, value, version);
}

template <class Archive, class... Ts>
void save(Archive& ar, const std::variant<Ts...>& value, unsigned) {
  const std::size_t index = value.index();
  ar << index;
  std::visit([&](const auto& held) { ar << held; }, value);
}
template <class Archive, class... Ts>
void load(Archive& ar, std::variant<Ts...>& value, unsigned) {
  std::size_t index = 0;
  ar >> index;
  const auto load_at = [&]<std::size_t... I>(std::index_sequence<I...>) {
    return ((I == index ? (ar >> value.template emplace<I>(), true) : false) || ...);
  };
  if (!load_at(std::index_sequence_for<Ts...>())) {
    throw weir::Error(weir::ErrorCode::kCorrupt, "malformed Boost archive: bad variant index");
  }
}
template <class Archive, class... Ts>
void serialize(Archive& ar, std::variant<Ts...>& value, unsigned version) {
  split_free(ar, value, version);
}
#endif

}  // namespace boost::serialization
