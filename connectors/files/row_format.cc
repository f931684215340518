#include "weir/connectors/files/row_format.h"

#include <nlohmann/json.hpp>

#include <array>
#include <cctype>
#include <charconv>
#include <utility>

#include "weir/core/error.h"

namespace weir::files {
namespace {

using Json = nlohmann::ordered_json;  // fields in their own order

/// The beginning of what cannot be written, for messages.
std::string excerpt(std::string_view text) {
  constexpr std::size_t kShown = 40;
  std::string shown;
  for (const char c : text.substr(0, kShown)) {
    shown += (static_cast<unsigned char>(c) < ' ' || c == '\x7f') ? '?' : c;
  }
  return "'" + shown + (text.size() > kShown ? "...'" : "'");
}

struct ToJson {
  Json operator()(std::monostate) const { return nullptr; }
  Json operator()(const Field::List& list) const {
    Json array = Json::array();
    for (const Field& field : list) array.push_back(std::visit(*this, field.value));
    return array;
  }
  Json operator()(const Field::Record& record) const { return record_of(record, record.names); }
  template <class Scalar>
  Json operator()(const Scalar& scalar) const {
    return scalar;
  }

  Json record_of(const Field::Record& record, const std::vector<std::string>& names) const {
    if (names.empty() && !record.fields.empty()) return (*this)(record.fields);
    Json object = Json::object();
    for (std::size_t i = 0; i < names.size(); ++i) {
      object[names[i]] = std::visit(*this, record.fields[i].value);
    }
    return object;
  }
};

std::string dumped(const Json& json) {
  try {
    return json.dump();
  } catch (const Json::type_error&) {
    throw Error(ErrorCode::kInvalidArgument,
                "an element's text is not UTF-8, which JSON must be: " +
                    excerpt(json.dump(-1, ' ', false, Json::error_handler_t::replace)) +
                    "; write it as text or convert it first");
  }
}

template <class Number>
void append_number(std::string& out, Number number) {
  std::array<char, 32> text{};
  out.append(text.data(), std::to_chars(text.data(), text.data() + text.size(), number).ptr);
}

}  // namespace

std::string_view extension_of(Format format) {
  switch (format) {
    case Format::kText: return "txt";
    case Format::kDelimited: return "csv";
    case Format::kJsonLines: return "jsonl";
  }
  throw Error(ErrorCode::kInvalidArgument, "an unknown format of files");
}

RowFormat::RowFormat(Format format, char delimiter, std::vector<std::string> fields, bool header)
    : format_(format), delimiter_(delimiter), fields_(std::move(fields)), header_(header) {
  const bool in_numbers = std::isalnum(static_cast<unsigned char>(delimiter)) != 0 ||
                          delimiter == '.' || delimiter == '-' || delimiter == '+';
  if (delimiter == '"' || delimiter == '\n' || delimiter == '\r' || delimiter == '\0' ||
      in_numbers) {
    throw Error(ErrorCode::kInvalidArgument,
                "files: the delimiter must not be a quote, a line end, a null byte or what numbers "
                "are made of");
  }
  if (header && format != Format::kDelimited) {
    throw Error(ErrorCode::kInvalidArgument, "files: only delimited files have a header line");
  }
  if (!fields_.empty() && format == Format::kText) {
    throw Error(ErrorCode::kInvalidArgument,
                "files: text has no fields to name; use the delimited format or JSON lines");
  }
}

void RowFormat::append_text(std::string& out, std::string_view text) {
  if (text.find('\n') != std::string_view::npos) {
    throw Error(ErrorCode::kInvalidArgument,
                "an element has a line end in it and would be read back as two: " + excerpt(text) +
                    "; write JSON lines or the delimited format, or replace the line ends");
  }
  out.append(text);
  out.push_back('\n');
}

void RowFormat::append_header(std::string& out, const Field& row) const {
  const auto* record = std::get_if<Field::Record>(&row.value);
  const std::vector<std::string>& names =
      !fields_.empty() || record == nullptr ? fields_ : record->names;
  if (names.empty()) {
    throw Error(ErrorCode::kInvalidArgument,
                "files: a header was asked for, but the fields have no names: give .fields");
  }
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (i != 0) out.push_back(delimiter_);
    append_quoted(out, names[i]);
  }
  out.push_back('\n');
}

void RowFormat::append(std::string& out, const Field& row) const {
  if (format_ == Format::kJsonLines) {
    append_json(out, row);
  } else {
    append_delimited(out, row);
  }
  out.push_back('\n');
}

void RowFormat::append_delimited(std::string& out, const Field& row) const {
  const auto* record = std::get_if<Field::Record>(&row.value);
  require_fields(record == nullptr ? 1 : record->fields.size());
  if (record == nullptr) return append_column(out, row);
  for (std::size_t i = 0; i < record->fields.size(); ++i) {
    if (i != 0) out.push_back(delimiter_);
    append_column(out, record->fields[i]);
  }
}

void RowFormat::append_column(std::string& out, const Field& column) const {
  std::visit(
      [&](const auto& value) {
        using Value = std::decay_t<decltype(value)>;
        if constexpr (std::is_same_v<Value, std::monostate>) {
        } else if constexpr (std::is_same_v<Value, bool>) {
          out.append(value ? "true" : "false");
        } else if constexpr (std::is_arithmetic_v<Value>) {
          append_number(out, value);
        } else if constexpr (std::is_same_v<Value, std::string>) {
          append_quoted(out, value);
        } else {
          append_quoted(out, dumped(ToJson()(value)));
        }
      },
      column.value);
}

void RowFormat::append_quoted(std::string& out, std::string_view text) const {
  const char special[] = {'"', '\n', '\r', delimiter_};
  if (!text.empty() && text.find_first_of({special, sizeof special}) == std::string_view::npos) {
    out.append(text);
    return;
  }
  out.push_back('"');
  for (const char c : text) {
    if (c == '"') out.push_back('"');
    out.push_back(c);
  }
  out.push_back('"');
}

void RowFormat::append_json(std::string& out, const Field& row) const {
  if (fields_.empty()) {
    out.append(dumped(std::visit(ToJson(), row.value)));
    return;
  }
  const auto* record = std::get_if<Field::Record>(&row.value);
  require_fields(record == nullptr ? 1 : record->fields.size());
  out.append(dumped(record != nullptr
                        ? ToJson().record_of(*record, fields_)
                        : Json::object({{fields_[0], std::visit(ToJson(), row.value)}})));
}

void RowFormat::require_fields(std::size_t count) const {
  if (fields_.empty() || fields_.size() == count) return;
  throw Error(ErrorCode::kInvalidArgument, "files: an element has " + std::to_string(count) +
                                               " fields, but .fields names " +
                                               std::to_string(fields_.size()));
}

}  // namespace weir::files
