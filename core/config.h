#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <type_traits>
#include <vector>

#include "weir/core/time.h"

namespace weir {

namespace internal {

/// What `--weir.help` shows of a key. Keys register themselves when their object is constructed, so
/// only those of the layers that a program links exist.
struct KeyInfo {
  std::string name;
  std::string type;
  std::string default_value;
  std::string meaning;
  void (*check)(const std::string& name, const std::string& value);

  bool is_flag() const;
};

void register_key(KeyInfo info);
std::string format_value(const std::string& value);
std::string format_value(bool value);
std::string format_value(std::int64_t value);
std::string format_value(double value);
std::string format_value(Duration value);
void parse_value(const std::string& name, const std::string& text, std::string& value);
void parse_value(const std::string& name, const std::string& text, bool& value);
void parse_value(const std::string& name, const std::string& text, std::int64_t& value);
void parse_value(const std::string& name, const std::string& text, double& value);
void parse_value(const std::string& name, const std::string& text, Duration& value);
[[noreturn]] void refuse_value(const std::string& name, const std::string& value,
                               const std::string& least, const std::string& most);
const char* type_name(const std::string&);
const char* type_name(bool);
const char* type_name(std::int64_t);
const char* type_name(double);
const char* type_name(Duration);

}  // namespace internal

/// A setting: its name without the leading "weir.", its default, its meaning with unit and range.
/// T is std::string, bool, std::int64_t, double or Duration. Define as an inline or static object.
template <class T>
class ConfigKey {
 public:
  ConfigKey(const char* name, T default_value, const char* meaning)
      : name_(name), default_(default_value) {
    internal::register_key({name, internal::type_name(default_), internal::format_value(default_),
                            meaning, [](const std::string& key, const std::string& value) {
                              T parsed{};
                              internal::parse_value(key, value, parsed);
                            }});
  }

  const std::string& name() const { return name_; }
  const T& default_value() const { return default_; }

 private:
  std::string name_;
  T default_;
};

/// Settings by name. Where one is given several times the first of these wins: command line
/// (`--weir.master=local[2]`; the name of a flag alone means true), environment (`WEIR_MASTER`),
/// the TOML file named by `--weir.conf`, code. A value type; not synchronised.
class Config {
 public:
  Config() = default;

  /// Sets from code, as text as it would stand on the command line.
  Config& set(const std::string& name, const std::string& value);

  template <class T>
  T get(const ConfigKey<T>& key) const {
    const std::string* text = find(key.name());
    if (text == nullptr) return key.default_value();
    T value{};
    internal::parse_value(key.name(), *text, value);
    return value;
  }
  /// The same; throws Error(kInvalidArgument) unless it is `least` to `most`.
  template <class T>
  T get(const ConfigKey<T>& key, const std::type_identity_t<T>& least,
        const std::type_identity_t<T>& most) const {
    const T value = get(key);
    if (value < least || value > most) {
      internal::refuse_value(key.name(), internal::format_value(value),
                             internal::format_value(least), internal::format_value(most));
    }
    return value;
  }

  /// Adds what command line, environment and file say, and takes `--weir.*` out of argv. Prints the
  /// keys and exits the process with 0 for `--weir.help`. Throws Error(kInvalidArgument) that names
  /// an unknown key, a malformed value or the line of a malformed file.
  void load(int& argc, char** argv);

  const std::map<std::string, std::string>& values() const { return values_; }

 private:
  const std::string* find(const std::string& name) const;

  std::map<std::string, std::string> values_;
};

}  // namespace weir
