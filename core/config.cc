#include "weir/core/config.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>

#include <fmt/format.h>
#include <toml++/toml.h>

#include "weir/core/error.h"

namespace weir {
namespace {

std::map<std::string, internal::KeyInfo>& keys() {
  static std::map<std::string, internal::KeyInfo> instance;
  return instance;
}

[[noreturn]] void refuse(const std::string& message) {
  throw Error(ErrorCode::kInvalidArgument, message);
}

/// "WEIR_CLUSTER_HEARTBEAT_INTERVAL" for "cluster.heartbeat-interval".
std::string environment_name(const std::string& key) {
  std::string name = "WEIR_";
  for (const char c : key) {
    name += c == '.' || c == '-' ? '_' : static_cast<char>(std::toupper(c));
  }
  return name;
}

const internal::KeyInfo& known_key(const std::string& name, const std::string& where) {
  const auto found = keys().find(name);
  if (found == keys().end()) {
    refuse(fmt::format("{}: there is no setting weir.{}; --weir.help lists them", where, name));
  }
  return found->second;
}

void print_help() {
  std::string text =
      "Settings (command line, then environment, then the TOML file of --weir.conf). On the "
      "command "
      "line the name of a <true|false> alone means true:\n";
  for (const auto& [name, key] : keys()) {
    text += fmt::format("  --weir.{}=<{}>  (default {}; {})\n      {}\n", name, key.type,
                        key.default_value.empty() ? "none" : key.default_value,
                        environment_name(name), key.meaning);
  }
  text +=
      "  --weir.conf=<path>\n      a TOML file of settings, [cluster] heartbeat-interval = "
      "\"200ms\"\n";
  std::fputs(text.c_str(), stdout);
}

void add_table(const toml::table& table, const std::string& prefix, const std::string& path,
               std::map<std::string, std::string>& values) {
  for (const auto& [key, node] : table) {
    const std::string name = prefix + std::string(key.str());
    const std::string where = fmt::format("{}:{}", path, node.source().begin.line);
    if (const auto* inner = node.as_table()) {
      add_table(*inner, name + ".", path, values);
      continue;
    }
    std::string text;
    if (const auto* value = node.as_string()) {
      text = value->get();
    } else if (const auto* integer = node.as_integer()) {
      text = std::to_string(integer->get());
    } else if (const auto* real = node.as_floating_point()) {
      text = fmt::format("{}", real->get());
    } else if (const auto* flag = node.as_boolean()) {
      text = flag->get() ? "true" : "false";
    } else {
      refuse(fmt::format("{}: weir.{} is not a string, number or boolean", where, name));
    }
    known_key(name, where).check("weir." + name + " in " + where, text);
    values[name] = text;
  }
}

std::map<std::string, std::string> read_file(const std::string& path) {
  std::map<std::string, std::string> values;
  try {
    add_table(toml::parse_file(path), "", path, values);
  } catch (const toml::parse_error& error) {
    refuse(fmt::format("{}:{}: {}", path, error.source().begin.line, error.description()));
  }
  return values;
}

template <class T>
void parse_number(const std::string& name, const std::string& text, T& value, const char* kind) {
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || rest != end) {
    refuse(fmt::format("{}: '{}' is not {}", name, text, kind));
  }
}

}  // namespace

namespace internal {

void register_key(KeyInfo info) {
  const std::string name = info.name;
  keys().insert_or_assign(name, std::move(info));
}

std::string format_value(const std::string& value) { return value; }
std::string format_value(bool value) { return value ? "true" : "false"; }
std::string format_value(std::int64_t value) { return std::to_string(value); }
std::string format_value(double value) { return fmt::format("{}", value); }
std::string format_value(Duration value) { return to_string(value); }

void parse_value(const std::string&, const std::string& text, std::string& value) { value = text; }
void parse_value(const std::string& name, const std::string& text, bool& value) {
  if (text != "true" && text != "false") {
    refuse(fmt::format("{}: '{}' is not true or false", name, text));
  }
  value = text == "true";
}
void parse_value(const std::string& name, const std::string& text, std::int64_t& value) {
  parse_number(name, text, value, "a whole number");
}
void parse_value(const std::string& name, const std::string& text, double& value) {
  parse_number(name, text, value, "a number");
}
void parse_value(const std::string& name, const std::string& text, Duration& value) {
  value = parse_duration(text, name);
}

void refuse_value(const std::string& name, const std::string& value, const std::string& least,
                  const std::string& most) {
  refuse(fmt::format("weir.{} is {}; it must be {} to {}", name, value, least, most));
}

bool KeyInfo::is_flag() const { return type == type_name(false); }

const char* type_name(const std::string&) { return "text"; }
const char* type_name(bool) { return "true|false"; }
const char* type_name(std::int64_t) { return "number"; }
const char* type_name(double) { return "number"; }
const char* type_name(Duration) { return "duration"; }

}  // namespace internal

Config& Config::set(const std::string& name, const std::string& value) {
  known_key(name, "Config::set").check("weir." + name, value);
  values_[name] = value;
  return *this;
}

const std::string* Config::find(const std::string& name) const {
  const auto found = values_.find(name);
  return found == values_.end() ? nullptr : &found->second;
}

void Config::load(int& argc, char** argv) {
  std::map<std::string, std::string> command_line;
  int kept = std::min(argc, 1);
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument.rfind("--weir.", 0) != 0) {
      argv[kept++] = argv[i];
      continue;
    }
    const std::size_t equals = argument.find('=');
    const std::string name = argument.substr(7, equals == std::string::npos ? equals : equals - 7);
    if (name == "help") {
      print_help();
      std::exit(0);
    }
    std::string value;
    if (equals != std::string::npos) {
      value = argument.substr(equals + 1);
    } else if (name != "conf" && known_key(name, "command line").is_flag()) {
      value = "true";
    } else {
      refuse(argument + ": write --weir." + name + "=value");
    }
    if (name != "conf") known_key(name, "command line").check("--weir." + name, value);
    command_line[name] = value;
  }
  if (kept < argc) argv[kept] = nullptr;
  argc = kept;

  std::map<std::string, std::string> environment;
  for (const auto& [name, key] : keys()) {
    const std::string variable = environment_name(name);
    const char* value = std::getenv(variable.c_str());
    if (value == nullptr) continue;
    key.check(variable, value);
    environment[name] = value;
  }
  const char* file_variable = std::getenv("WEIR_CONF");
  const auto conf = command_line.find("conf");
  std::map<std::string, std::string> file;
  if (conf != command_line.end()) {
    file = read_file(conf->second);
    command_line.erase(conf);
  } else if (file_variable != nullptr) {
    file = read_file(file_variable);
  }
  for (const auto* source : {&file, &environment, &command_line}) {  // later ones win
    for (const auto& [name, value] : *source) values_[name] = value;
  }
}

}  // namespace weir
